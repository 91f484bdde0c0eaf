//! Rotation without a restart: the key ring file is read again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use authmesh::proto::crypto::{NamingKeyId, SealKeyId};
use authmesh::{AuthMesh, KeyRing};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use authmesh::keyring::RingFile;

/// How often the file is looked at. SIGHUP makes it at once.
const PERIOD: Duration = Duration::from_secs(5);

/// Follows the key ring file until `stop`. A file that cannot be used is reported once, and the ring in use goes on.
pub(super) async fn follow(mesh: AuthMesh, path: PathBuf, ring: KeyRing, stop: CancellationToken) {
    let mut rotation = Rotation {
        mesh,
        path,
        in_use: keys_of(&ring),
        refused: None,
    };
    let mut hangups = signal(SignalKind::hangup()).ok();
    loop {
        let hangup = async {
            match &mut hangups {
                Some(hangups) => hangups.recv().await,
                None => std::future::pending().await,
            }
        };
        let asked = tokio::select! {
            () = stop.cancelled() => return,
            _ = hangup => true,
            () = tokio::time::sleep(PERIOD) => false,
        };
        rotation.look(asked).await;
    }
}

struct Rotation {
    mesh: AuthMesh,
    path: PathBuf,
    in_use: Keys,
    /// What was wrong at the last look, so that it is said once.
    refused: Option<String>,
}

impl Rotation {
    /// The content is compared and not the file's time: a secret that is mounted anew keeps or loses its time as it likes.
    async fn look(&mut self, asked: bool) {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || read(&path)).await;
        let done = match read {
            Ok(read) => read.and_then(|ring| {
                let keys = keys_of(&ring);
                if keys == self.in_use {
                    return Ok(None);
                }
                let taken = self.mesh.set_key_ring(&ring);
                taken.map_err(|error| format!("key ring {}: {error}", self.path.display()))?;
                Ok(Some(keys))
            }),
            // The runtime is ending.
            Err(_) => return,
        };
        match done {
            Ok(Some(keys)) => {
                tracing::info!(
                    target: "authmesh::audit", seals = ?keys.1.first(), keys = keys.1.len(),
                    "the key ring was read again"
                );
                self.in_use = keys;
                self.refused = None;
            }
            Ok(None) => {
                if asked || self.refused.is_some() {
                    tracing::info!("the key ring was read again and is the one in use");
                }
                self.refused = None;
            }
            Err(why) => {
                if asked || self.refused.as_ref() != Some(&why) {
                    tracing::error!(target: "authmesh::audit", "{why}. The ring in use goes on");
                }
                self.refused = Some(why);
            }
        }
    }
}

fn read(path: &Path) -> Result<KeyRing, String> {
    RingFile::read(path).map_err(|error| error.to_string())?.ring()
}

/// What a ring consists of: the naming key, and the sealing keys in their order.
type Keys = (NamingKeyId, Vec<SealKeyId>);

fn keys_of(ring: &KeyRing) -> Keys {
    (ring.naming_id(), ring.key_ids().collect())
}
