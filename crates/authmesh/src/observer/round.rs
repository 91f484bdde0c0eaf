//! One round: a glance at everything, then looks at what differed until it has gone or has stood for too long.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::report::{Checked, Finding, Inconsistency, Report, by_kind, millis};
use super::{Observation, level2, marks, peers, sample, table};
use crate::node::Node;

/// How long a mark may be in the map before the epoch says so: appliers change the map, then bump, on a machine that may be
/// busy.
const BETWEEN_MAP_AND_BUMP: Duration = Duration::from_secs(1);
/// How long a mark may be known by gossip alone, while Redis answers: its origin may have died, and others wait for up to 6 s
/// before they commit it in its place.
const UNTIL_COMMITTED: Duration = Duration::from_secs(8);
/// How many looks a difference gets until it counts.
const LOOKS: u32 = 4;
/// How many differences of one comparison are followed.
pub(super) const FOLLOWED: usize = 200;

/// Everything that differed, and has not gone yet.
#[derive(Default)]
struct Suspects {
    voided: Vec<marks::Suspect>,
    in_l2: Vec<level2::Suspect>,
    in_table: Vec<table::Suspect>,
    at_peers: Vec<peers::Suspect>,
}

impl Suspects {
    fn len(&self) -> usize {
        self.voided.len() + self.in_l2.len() + self.in_table.len() + self.at_peers.len()
    }

    /// Takes out those that have stood for as long as they must.
    fn convict(&mut self, node: &Node, stood: Duration, settle: Duration, findings: &mut Vec<Finding>) {
        let watched = stood.as_secs();
        if stood >= BETWEEN_MAP_AND_BUMP {
            findings.extend(self.voided.drain(..).map(|suspect| suspect.explained(node, watched)));
        }
        if stood >= settle {
            findings.extend(self.in_l2.drain(..).map(|suspect| suspect.explained(node, watched)));
            findings.extend(self.at_peers.drain(..).map(|suspect| suspect.explained(node, watched)));
        }
        if stood >= settle.max(UNTIL_COMMITTED) {
            findings.extend(self.in_table.drain(..).map(|suspect| suspect.explained(node, watched)));
        }
    }

    /// Keeps what still differs.
    async fn look_again(&mut self, node: &Arc<Node>) {
        self.voided.retain(|suspect| suspect.stands(node));
        if !node.coherence().is_coherent() {
            // It may lack anything now, and says so.
            *self = Self {
                voided: std::mem::take(&mut self.voided),
                ..Self::default()
            };
            return;
        }
        level2::look_again(node, &mut self.in_l2).await;
        table::look_again(node, &mut self.in_table).await;
        peers::look_again(node, &mut self.at_peers).await;
    }
}

pub(super) async fn run(node: &Arc<Node>, observation: Observation) -> Report {
    let (at, began) = (node.now(), Instant::now());
    let coherent = node.coherence_at(at.boot).is_coherent();
    let sample = sample::take(node, observation.sample).await;
    let (mut checked, mut could_not_ask) = (Checked::default(), 0);
    let mut suspects = Suspects {
        voided: marks::look(node, &sample.verdicts, &mut checked),
        ..Suspects::default()
    };
    if coherent {
        suspects.in_l2 = level2::look(node, &sample.entries, &mut checked).await;
        suspects.in_table = table::look(node, observation.channels, &mut checked, &mut could_not_ask).await;
        suspects.at_peers = peers::look(
            node,
            &sample.entries,
            observation.peers,
            &mut checked,
            &mut could_not_ask,
        )
        .await;
    }
    let at_first = suspects.len();
    let (glanced, mut findings) = (Instant::now(), Vec::new());
    while suspects.len() > 0 {
        tokio::time::sleep((observation.settle / LOOKS).max(BETWEEN_MAP_AND_BUMP)).await;
        suspects.look_again(node).await;
        suspects.convict(node, glanced.elapsed(), observation.settle, &mut findings);
    }
    tell(node, &findings);
    let found = by_kind(&findings);
    let oldest_seconds = found.iter().map(|found| found.oldest_seconds).max();
    let watch = &node.observer;
    watch
        .oldest
        .store(oldest_seconds.unwrap_or_default(), Ordering::Relaxed);
    let in_flight = (at_first - findings.len()) as u64;
    node.counters.observations.add();
    (0..in_flight).for_each(|_| node.counters.observed_in_flight.add());
    Report {
        node: node.name.clone(),
        at: at.wall,
        took_ms: millis(began.elapsed()),
        settle_ms: millis(observation.settle),
        coherent,
        checked,
        in_flight,
        could_not_ask,
        inconsistent: findings.len() as u64,
        oldest_seconds,
        found,
    }
}

/// Counts what was found, and tells the first of each kind since the node's start.
fn tell(node: &Node, findings: &[Finding]) {
    let counters = &node.counters;
    for Finding { kind, explained } in findings {
        let counter = match kind {
            Inconsistency::Marks => &counters.inconsistent_marks,
            Inconsistency::Level2 => &counters.inconsistent_level2,
            Inconsistency::Table => &counters.inconsistent_table,
            Inconsistency::PeerMarks => &counters.inconsistent_peer_marks,
            Inconsistency::PeerValue => &counters.inconsistent_peer_values,
        };
        counter.add();
        if node.observer.is_first(*kind) {
            tracing::error!(
                target: "authmesh::audit",
                kind = kind.as_str(),
                name = %explained.name,
                channel = explained.channel,
                peer = explained.peer.as_deref(),
                age_seconds = explained.age_seconds,
                "inconsistent: {}; further ones of this kind are counted and not told", explained.what
            );
        }
    }
}
