//! Marks against the table in Redis.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use authmesh_proto::ident::ChannelId;
use authmesh_proto::observe::Lacks;
use authmesh_proto::statement::{Mark, MarkKey};
use authmesh_proto::time::Unix;

use super::report::{Checked, Explained, Finding, Inconsistency};
use super::round::FOLLOWED;
use super::sample::reservoir;
use crate::node::{Node, compare_table, hex};

/// A mark as it was lacking: one that grew meanwhile is another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Lacking {
    lacks: Lacks,
    key: MarkKey,
    not_before: Unix,
    expires: Unix,
}

pub(super) struct Suspect {
    channel: ChannelId,
    /// `None`: the table contradicts its log.
    lacking: Option<(Lacking, Unix)>,
}

pub(super) async fn look(
    node: &Arc<Node>,
    channels: usize,
    checked: &mut Checked,
    could_not_ask: &mut u64,
) -> Vec<Suspect> {
    // The log of a node without Redis is its own.
    if node.gossip().is_some_and(|room| !room.has_log) {
        return Vec::new();
    }
    let mut suspects = Vec::new();
    for channel in reservoir(channels, u64::from_le_bytes(node.random()), ChannelId::all()) {
        // A channel under repair loads its table anyway.
        if node.follower().settled(channel).is_none() {
            continue;
        }
        let Some(found) = look_at(node, channel).await else {
            // Redis is away: it would be for the others, too.
            *could_not_ask += 1;
            break;
        };
        checked.channels += 1;
        suspects.extend(found.into_iter().take(FOLLOWED - suspects.len().min(FOLLOWED)));
    }
    suspects
}

/// `None`: the table could not be read.
async fn look_at(node: &Node, channel: ChannelId) -> Option<Vec<Suspect>> {
    let differences = compare_table(node, channel).await?;
    let damaged = (!differences.whole).then_some(Suspect { channel, lacking: None });
    let lacking = |lacks| {
        move |mark: Mark| {
            let lacking = Lacking {
                lacks,
                key: mark.key,
                not_before: mark.not_before,
                expires: mark.expires,
            };
            Suspect {
                channel,
                lacking: Some((lacking, mark.note.at)),
            }
        }
    };
    let there = differences.lacking_there.into_iter().map(lacking(Lacks::There));
    let here = differences.lacking_here.into_iter().map(lacking(Lacks::Here));
    Some(damaged.into_iter().chain(there).chain(here).collect())
}

pub(super) async fn look_again(node: &Arc<Node>, suspects: &mut Vec<Suspect>) {
    let mut by_channel: BTreeMap<ChannelId, BTreeSet<Option<Lacking>>> = BTreeMap::new();
    for suspect in suspects.drain(..) {
        let lacking = suspect.lacking.map(|(lacking, _)| lacking);
        by_channel.entry(suspect.channel).or_default().insert(lacking);
    }
    for (channel, suspected) in by_channel {
        // One that cannot be read contradicts nobody.
        let Some(found) = look_at(node, channel).await else {
            continue;
        };
        suspects.extend(found.into_iter().filter(|suspect| {
            let lacking = suspect.lacking.as_ref().map(|(lacking, _)| lacking.clone());
            suspected.contains(&lacking)
        }));
    }
}

impl Suspect {
    pub(super) fn explained(self, node: &Node, watched: u64) -> Finding {
        let age = self
            .lacking
            .as_ref()
            .map_or(0, |(_, at)| node.now().wall.saturating_sub(*at));
        let (what, name) = match self.lacking {
            None => ("the table of marks in Redis contradicts its log", String::new()),
            Some((lacking, _)) => (
                match lacking.lacks {
                    Lacks::There => "the table of marks in Redis lacks a mark that this node holds",
                    Lacks::Here => "this node lacks a mark that the table in Redis holds",
                },
                hex(lacking.key.scope.as_bytes()),
            ),
        };
        Finding {
            kind: Inconsistency::Table,
            explained: Explained {
                what: what.into(),
                name,
                channel: self.channel.number(),
                peer: None,
                age_seconds: watched.max(age),
            },
        }
    }
}
