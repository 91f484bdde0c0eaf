//! The snapshot: a node's marks on its own disk, for its next start.
//!
//! It proves nothing about what came since: a node is as blind with it as without it, until it has loaded the marks of its
//! cluster. But what it holds is true, and is in force from the start; and what the cluster's table lacks is committed
//! again, so that marks come back even where Redis was emptied while no node ran. See
//! `docs/decisions/0011-marks-on-disk.md`.

mod file;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use authmesh_proto::crypto::{ScopeKind, Sealer};
use authmesh_proto::ident::ChannelId;
use authmesh_proto::statement::Mark;
use tokio::time::Instant;

use crate::error::BuildError;
use crate::node::Node;
use file::Found;

/// How often a node looks whether its marks have changed.
const LOOK: Duration = Duration::from_secs(1);
/// The longest pause after a write, however long it took.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The pause after a write is so many times as long as the write.
const PAUSE: u32 = 100;

/// Where a node keeps its marks.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot(Arc<Path>);

/// What stands in the file.
struct Written {
    revision: u64,
    /// A key that leaves the ring must not be needed for it.
    sealer: Arc<Sealer>,
    next: Instant,
}

impl Snapshot {
    pub(crate) fn new(path: &Path) -> Result<Self, BuildError> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        if path.file_name().is_none() || path.is_dir() || !folder.is_dir() {
            return Err(BuildError::new(
                "snapshot",
                format!(
                    "{} is no place for a file: name one in a folder that exists",
                    path.display()
                ),
            ));
        }
        Ok(Self(path.into()))
    }

    /// Puts the marks of the file in force. A file that cannot be taken whole is set aside, and what opens of it counts.
    pub(crate) async fn load(&self, node: &Arc<Node>) -> Result<(), BuildError> {
        let (own, of_node) = (self.clone(), Arc::clone(node));
        let loaded = tokio::task::spawn_blocking(move || own.load_now(&of_node)).await;
        match loaded {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.refuse(&error)),
            Err(error) => Err(self.refuse(&error)),
        }
    }

    fn refuse(&self, error: &dyn std::fmt::Display) -> BuildError {
        BuildError::new("snapshot", format!("{}: {error}", self.0.display()))
    }

    fn load_now(&self, node: &Node) -> std::io::Result<()> {
        let mut count = 0;
        let sealer = Arc::clone(&node.codec.sealer());
        let found = file::read(&self.0, &sealer, |marks| {
            count += marks.len();
            node.apply_kept(marks);
        })?;
        match found {
            Found::Nothing => {}
            Found::Whole => tracing::info!(marks = count, "the snapshot of marks was read"),
            Found::Broken(error) => {
                node.counters.unopened.add();
                let aside = file::set_aside(&self.0, node.now().wall)?;
                tracing::error!(
                    target: "authmesh::audit", marks = count, %error, aside = %aside.display(),
                    "the snapshot of marks was refused; marks that could be read before that are in force"
                );
            }
        }
        Ok(())
    }

    /// Keeps the file up until the node shuts down, and once more then.
    pub(crate) async fn keep(self, node: Arc<Node>) {
        let mut written: Option<Written> = None;
        loop {
            let ends = tokio::select! {
                () = node.shutdown.cancelled() => true,
                () = tokio::time::sleep(LOOK) => false,
            };
            let due = written.as_ref().is_none_or(|written| Instant::now() >= written.next);
            if due || ends {
                self.write_if_changed(&node, &mut written).await;
            }
            if ends {
                break;
            }
        }
    }

    async fn write_if_changed(&self, node: &Arc<Node>, written: &mut Option<Written>) {
        let began = Instant::now();
        let mut now = Written {
            // Before the marks are looked at: what comes meanwhile is written next time.
            revision: node.marks().revision(),
            sealer: Arc::clone(&node.codec.sealer()),
            next: began,
        };
        let same = |written: &Written| written.revision == now.revision && Arc::ptr_eq(&written.sealer, &now.sealer);
        if written.as_ref().is_some_and(same) {
            return;
        }
        let (path, of_node, sealer) = (PathBuf::from(&*self.0), Arc::clone(node), Arc::clone(&now.sealer));
        let wrote = tokio::task::spawn_blocking(move || {
            let random = |bytes: &mut [u8]| of_node.ports.entropy.fill(bytes);
            file::write(&path, &sealer, random, |channel| marks_of(&of_node, channel))
        });
        let wrote = wrote.await;
        now.next = Instant::now() + began.elapsed().saturating_mul(PAUSE).min(LONGEST_PAUSE);
        match wrote {
            Ok(Ok(marks)) => {
                tracing::debug!(marks, "the snapshot of marks was written");
                *written = Some(now);
            }
            Ok(Err(error)) => {
                node.counters.snapshot_failures.add();
                tracing::error!(%error, path = %self.0.display(), "the snapshot of marks could not be written");
                // It holds what it held. Tried again, but not at once.
                *written = Some(Written {
                    revision: u64::MAX,
                    next: Instant::now() + LONGEST_PAUSE,
                    ..now
                });
            }
            // The runtime is going down.
            Err(_) => {}
        }
    }
}

/// A tag voids entries of caches, and none of those outlives the node.
fn marks_of(node: &Node, channel: ChannelId) -> Vec<Mark> {
    let marks = node.marks();
    let of_tokens = marks.of_channel(channel).filter(|mark| mark.kind != ScopeKind::Tag);
    of_tokens.collect()
}
