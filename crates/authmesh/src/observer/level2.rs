//! Memory against L2: two values under one key, of which this node would serve either.

use std::sync::Arc;

use authmesh_proto::ident::EntryName;
use authmesh_proto::observe::Held;
use tokio::task::JoinSet;

use super::report::{Checked, Explained, Finding, Inconsistency};
use super::round::FOLLOWED;
use crate::cache;
use crate::l1::Entry;
use crate::node::{Node, hex};

/// How many reads of L2 run at a time.
const AT_ONCE: usize = 8;

pub(super) struct Suspect {
    name: EntryName,
    entry: Arc<Entry>,
    theirs: Held,
}

/// What a look at one entry found.
enum Found {
    /// It is not served any more.
    Gone,
    /// L2 has nothing that counts.
    Alone,
    Same,
    Other(Held),
}

/// Whether an entry is served from memory as it is.
pub(super) fn is_served(node: &Node, entry: &Entry) -> bool {
    node.now().boot < entry.until && node.fence.all_current(&entry.stamps)
}

/// Whether it is still this entry that is served under its name.
pub(super) fn is_still_served(node: &Node, name: &EntryName, entry: &Arc<Entry>) -> bool {
    let held = node.l1.entries.get(&name.into());
    held.is_some_and(|held| Arc::ptr_eq(&held, entry)) && is_served(node, entry)
}

/// When both values were there: so long at least have they differed.
pub(super) fn apart_for(node: &Node, entry: &Entry, theirs: &Held) -> u64 {
    node.now()
        .wall
        .saturating_sub(entry.seen.filled_at.max(theirs.filled_at))
}

pub(super) async fn look(node: &Arc<Node>, sample: &[(EntryName, Arc<Entry>)], checked: &mut Checked) -> Vec<Suspect> {
    let served = sample.iter().filter(|(_, entry)| is_served(node, entry));
    let looked = look_at(node, served.map(|(name, entry)| (*name, Arc::clone(entry))).collect()).await;
    let mut suspects = Vec::new();
    for (name, entry, found) in looked {
        checked.entries += 1;
        match found {
            Found::Gone | Found::Alone => {}
            Found::Same => checked.in_l2 += 1,
            Found::Other(theirs) => {
                checked.in_l2 += 1;
                if suspects.len() < FOLLOWED {
                    suspects.push(Suspect { name, entry, theirs });
                }
            }
        }
    }
    suspects
}

pub(super) async fn look_again(node: &Arc<Node>, suspects: &mut Vec<Suspect>) {
    let suspected = std::mem::take(suspects);
    let entries = suspected.into_iter().map(|suspect| (suspect.name, suspect.entry));
    for (name, entry, found) in look_at(node, entries.collect()).await {
        if let Found::Other(theirs) = found {
            suspects.push(Suspect { name, entry, theirs });
        }
    }
}

async fn look_at(node: &Arc<Node>, entries: Vec<(EntryName, Arc<Entry>)>) -> Vec<(EntryName, Arc<Entry>, Found)> {
    let (mut looks, mut looked) = (JoinSet::new(), Vec::with_capacity(entries.len()));
    for (name, entry) in entries {
        if looks.len() >= AT_ONCE {
            looked.extend(looks.join_next().await.and_then(Result::ok));
        }
        let node = Arc::clone(node);
        looks.spawn(async move {
            let found = look_at_one(&node, &name, &entry).await;
            (name, entry, found)
        });
    }
    while let Some(one) = looks.join_next().await {
        looked.extend(one.ok());
    }
    looked
}

async fn look_at_one(node: &Arc<Node>, name: &EntryName, entry: &Arc<Entry>) -> Found {
    let theirs = cache::seen_in_l2(node, name, entry.seen.whole).await;
    // Whatever voided it meanwhile is the reason why L2 has another one.
    if !is_still_served(node, name, entry) {
        return Found::Gone;
    }
    match theirs {
        None => Found::Alone,
        Some(theirs) if theirs.digest == entry.seen.digest => Found::Same,
        Some(theirs) => Found::Other(theirs),
    }
}

impl Suspect {
    pub(super) fn explained(self, node: &Node, watched: u64) -> Finding {
        let wall = node.now().wall;
        let ago = |filled_at| wall.saturating_sub(filled_at);
        Finding {
            kind: Inconsistency::Level2,
            explained: Explained {
                what: format!(
                    "memory serves a value filled {} s ago, L2 has another one filled {} s ago that counts as well",
                    ago(self.entry.seen.filled_at),
                    ago(self.theirs.filled_at)
                ),
                name: hex(self.name.as_bytes()),
                channel: self.name.slot().channel.number(),
                peer: None,
                age_seconds: watched.max(apart_for(node, &self.entry, &self.theirs)),
            },
        }
    }
}
