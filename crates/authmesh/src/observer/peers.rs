//! This node against members: marks by the digests of their buckets, then one by one; values by their keyed digests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use authmesh_proto::ident::{ChannelId, Digest, EntryName, ScopeId};
use authmesh_proto::observe::{Element, Held, Lacks, MAX_BUCKETS, MAX_ELEMENTS, MAX_ENTRIES, Question, Reply, unequal};
use authmesh_proto::time::Unix;

use super::answer::{Named, elements};
use super::level2::{apart_for, is_served, is_still_served};
use super::report::{Checked, Explained, Finding, Inconsistency};
use super::round::FOLLOWED;
use super::sample::reservoir;
use crate::l1::Entry;
use crate::node::{Node, hex, port_peer};
use crate::ports::GossipPeer;

/// How long a member's answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) struct Suspect {
    peer: GossipPeer,
    what: What,
}

enum What {
    Mark(Lacking),
    Value(EntryName, Arc<Entry>, Held),
}

/// A mark that one side lacks.
struct Lacking {
    channel: ChannelId,
    bucket: usize,
    element: Element,
    lacks: Lacks,
    /// Its scope, and when it was made; of one that this node lacks neither is known.
    known: Option<(ScopeId, Unix)>,
}

pub(super) async fn look(
    node: &Arc<Node>,
    sample: &[(EntryName, Arc<Entry>)],
    peers: usize,
    checked: &mut Checked,
    could_not_ask: &mut u64,
) -> Vec<Suspect> {
    let mut suspects = Vec::new();
    for peer in some_members(node, peers) {
        let Some(found) = look_at(node, &peer, sample, checked).await else {
            *could_not_ask += 1;
            continue;
        };
        checked.peers += 1;
        let room = FOLLOWED - suspects.len().min(FOLLOWED);
        suspects.extend(found.into_iter().take(room).map(|what| Suspect {
            peer: peer.clone(),
            what,
        }));
    }
    suspects
}

/// Members that SWIM finds, each with the same chance.
fn some_members(node: &Node, peers: usize) -> Vec<GossipPeer> {
    let Some(room) = node.gossip() else { return Vec::new() };
    let machine = room.machine();
    let up = machine.members().filter(|(_, is_up, _)| *is_up);
    let up = up.filter_map(|(peer, ..)| port_peer(&peer));
    reservoir(peers, u64::from_le_bytes(node.random()), up)
}

/// `None`: it did not answer, or is blind.
async fn look_at(
    node: &Arc<Node>,
    peer: &GossipPeer,
    sample: &[(EntryName, Arc<Entry>)],
    checked: &mut Checked,
) -> Option<Vec<What>> {
    let served = sample.iter().filter(|(_, entry)| is_served(node, entry));
    let served: Vec<_> = served.take(MAX_ENTRIES).collect();
    let question = Question {
        roots: {
            let marks = node.marks();
            ChannelId::all().map(|channel| marks.root(channel)).collect()
        },
        buckets: Vec::new(),
        entries: served.iter().map(|(name, _)| *name).collect(),
    };
    let reply = ask(node, peer, &question).await?;
    let mut found = Vec::new();
    for ((name, entry), theirs) in served.into_iter().zip(&reply.entries) {
        let Some(theirs) = theirs else { continue };
        checked.at_peers += 1;
        if differs(node, name, entry, theirs) {
            found.push(What::Value(*name, Arc::clone(entry), *theirs));
        }
    }
    let differing = reply.differing(|channel| node.marks().digests(channel));
    let seed = u64::from_le_bytes(node.random());
    let differing = reservoir(MAX_BUCKETS, seed, differing.into_iter());
    if !differing.is_empty() {
        found.extend(lacking(node, peer, differing).await?.into_iter().map(What::Mark));
    }
    Some(found)
}

fn differs(node: &Node, name: &EntryName, entry: &Arc<Entry>, theirs: &Held) -> bool {
    theirs.digest != entry.seen.digest && is_still_served(node, name, entry)
}

async fn lacking(node: &Node, peer: &GossipPeer, buckets: Vec<(u8, u8)>) -> Option<Vec<Lacking>> {
    let question = Question {
        buckets,
        ..Question::default()
    };
    let reply = ask(node, peer, &question).await?;
    Some(compared(node, &question, &reply))
}

/// What either side lacks in the buckets of a question.
fn compared(node: &Node, question: &Question, reply: &Reply) -> Vec<Lacking> {
    // Each node forgets what is past by its own clocks.
    let from = node.now().wall.saturating_add(node.max_skew.as_secs());
    let mut found = Vec::new();
    for ((channel, bucket), theirs) in question.asked_buckets().zip(&reply.buckets) {
        let own = elements(node, channel, bucket, MAX_ELEMENTS);
        let (Some(own), Some(theirs)) = (own, theirs) else {
            continue;
        };
        let known: BTreeMap<Digest, &Named> = own.iter().map(|named| (named.element.digest, named)).collect();
        let elements: Vec<Element> = own.iter().map(|named| named.element).collect();
        for (element, lacks) in unequal(&elements, theirs, from) {
            found.push(Lacking {
                channel,
                bucket,
                element,
                lacks,
                known: known.get(&element.digest).map(|named| (named.scope, named.at)),
            });
        }
    }
    found
}

/// `None`: no answer that counts.
async fn ask(node: &Node, peer: &GossipPeer, question: &Question) -> Option<Reply> {
    let room = node.gossip()?;
    let asked = tokio::time::timeout(PATIENCE, room.port.pull(peer, question.encode()));
    let answer = asked.await.ok()?.ok()?;
    match Reply::decode(&answer, question) {
        // One that is blind may lack anything, and knows it.
        Ok(reply) => reply.coherent.then_some(reply),
        Err(error) => {
            tracing::debug!(%error, peer = %peer.name, "an answer to an observer does not fit its question");
            None
        }
    }
}

pub(super) async fn look_again(node: &Arc<Node>, suspects: &mut Vec<Suspect>) {
    let mut by_peer: BTreeMap<GossipPeer, Vec<What>> = BTreeMap::new();
    for Suspect { peer, what } in suspects.drain(..) {
        by_peer.entry(peer).or_default().push(what);
    }
    for (peer, whats) in by_peer {
        for what in look_again_at(node, &peer, whats).await {
            suspects.push(Suspect {
                peer: peer.clone(),
                what,
            });
        }
    }
}

/// Those that still differ. A member that does not answer any more serves nobody, as far as is known.
async fn look_again_at(node: &Arc<Node>, peer: &GossipPeer, whats: Vec<What>) -> Vec<What> {
    let (mut buckets, mut suspected, mut entries) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for what in whats {
        match what {
            What::Mark(lacking) => {
                buckets.insert((lacking.channel.number(), lacking.bucket as u8));
                suspected.insert((lacking.element, lacking.lacks));
            }
            What::Value(name, entry, _) => entries.push((name, entry)),
        }
    }
    let question = Question {
        roots: Vec::new(),
        buckets: buckets.into_iter().collect(),
        entries: entries.iter().map(|(name, _)| *name).collect(),
    };
    let Some(reply) = ask(node, peer, &question).await else {
        return Vec::new();
    };
    let marks = compared(node, &question, &reply).into_iter();
    let marks = marks.filter(|lacking| suspected.contains(&(lacking.element, lacking.lacks)));
    let mut stand: Vec<What> = marks.map(What::Mark).collect();
    for ((name, entry), theirs) in entries.into_iter().zip(&reply.entries) {
        if let Some(theirs) = theirs
            && differs(node, &name, &entry, theirs)
        {
            stand.push(What::Value(name, entry, *theirs));
        }
    }
    stand
}

impl Suspect {
    pub(super) fn explained(self, node: &Node, watched: u64) -> Finding {
        let wall = node.now().wall;
        let (kind, what, name, channel, age) = match &self.what {
            What::Mark(lacking) => (
                Inconsistency::PeerMarks,
                match lacking.lacks {
                    Lacks::There => "a member lacks a mark that this node holds, and calls itself coherent".to_owned(),
                    Lacks::Here => "this node lacks a mark that a member holds, and calls itself coherent".to_owned(),
                },
                match lacking.known {
                    Some((scope, _)) => hex(scope.as_bytes()),
                    None => hex(lacking.element.digest.as_bytes()),
                },
                lacking.channel,
                lacking.known.map_or(0, |(_, at)| wall.saturating_sub(at)),
            ),
            What::Value(name, entry, theirs) => (
                Inconsistency::PeerValue,
                format!(
                    "this node serves a value filled {} s ago, the member another one filled {} s ago",
                    wall.saturating_sub(entry.seen.filled_at),
                    wall.saturating_sub(theirs.filled_at)
                ),
                hex(name.as_bytes()),
                name.slot().channel,
                apart_for(node, entry, theirs),
            ),
        };
        Finding {
            kind,
            explained: Explained {
                what,
                name,
                channel: channel.number(),
                peer: Some(self.peer.name),
                age_seconds: watched.max(age),
            },
        }
    }
}
