//! What must hold in every state.

use std::time::Duration;

use authmesh_proto::gossip::Input;
use authmesh_proto::time::Moment;

use crate::scenarios::Control;
use crate::tamper;
use crate::world::{At, NODES, STATEMENTS, World, moment, tick_of};

impl World {
    /// Until when its own proofs from Redis reach.
    fn follower(&self, at: At, lease: Duration) -> Moment {
        let proven = self.node(at).and_then(|node| node.proven);
        proven.map_or(Moment::ORIGIN, |tick| moment(tick).plus(lease))
    }

    pub(crate) fn really_coherent(&self, at: At) -> bool {
        let now = moment(self.tick);
        self.node(at).is_some_and(|node| {
            let lease = node.machine.config().lease;
            node.machine.coherent_until(now, self.follower(at, lease)) > now
        })
    }

    /// Whether a node answers: by the real rule, or by the wrong one of a control.
    pub(crate) fn coherent(&self, at: At) -> bool {
        let now = moment(self.tick);
        let Some(node) = self.node(at) else { return false };
        let lease = node.machine.config().lease;
        let by_redis = self.follower(at, lease) > now;
        let wrong = match self.control {
            Some(Control::MajorityLease) => {
                let fresh = |at: Option<Moment>| at.is_some_and(|at| at.plus(lease) > now);
                let (mut all, mut of) = (1, 1);
                for (_, _, evidence) in node.machine.members() {
                    all += 1;
                    of += usize::from(fresh(evidence));
                }
                node.machine.joined() && all > 1 && 2 * of > all
            }
            Some(Control::JoinerAtOnce) => by_redis && !node.machine.joined(),
            Some(Control::Unvouched) => by_redis && node.machine.joined(),
            _ => false,
        };
        wrong && !node.machine.forgotten() || self.really_coherent(at)
    }

    /// The digest of a node's view, as it tells it.
    pub(crate) fn view_digest(&self, at: At, to: At) -> Option<u64> {
        let mut copy = self.clone();
        copy.control = None;
        let from = copy.node(to)?.peer.clone();
        let input = Input::Asked {
            token: 0,
            from,
            request: tamper::bare_question(),
            limit: 1200,
        };
        let answer = copy.input(at, input)?;
        tamper::view_in(&answer)
    }

    /// What is wrong here.
    pub(crate) fn wrong(&self) -> Option<String> {
        for at in 0..NODES {
            let Some(node) = self.node(at) else { continue };
            let lease = node.machine.config().lease.as_secs();
            for (said, fate) in self.fates.iter().enumerate() {
                let due = fate.confirmed.is_some_and(|tick| self.tick >= tick + lease);
                if due && node.applied[said].is_none() && self.coherent(at) {
                    return Some(format!(
                        "node {at} is coherent without statement {said}, whose receipt was given {} ticks ago",
                        self.tick - fate.confirmed.unwrap_or(0)
                    ));
                }
            }
            for (peer, _, evidence) in node.machine.members() {
                let Some((of, evidence)) = self.place_of(&peer.origin).zip(evidence) else {
                    continue;
                };
                let Some(other) = self.node(of) else { continue };
                let evidence = tick_of(evidence);
                let is_old = self.tick - evidence > lease;
                for said in 0..STATEMENTS {
                    let had = other.applied[said].is_some_and(|tick| tick < evidence);
                    if !is_old && had && node.applied[said].is_none() {
                        return Some(format!(
                            "node {at} has evidence of node {of}, {} ticks old, but not statement {said}, which that had before",
                            self.tick - evidence
                        ));
                    }
                }
            }
        }
        None
    }
}

impl World {
    /// One line on every node.
    pub(crate) fn describe(&self) -> String {
        let mut line = format!("tick {}:", self.tick);
        for at in 0..NODES {
            let Some(node) = self.node(at) else { continue };
            let members = node.machine.members().map(|(peer, is_up, evidence)| {
                let age = evidence.map(|at| moment(self.tick).since(at).as_secs());
                let up = if is_up { "" } else { "?" };
                format!("{}{up}:{}", peer.name, age.map_or("-".into(), |age| age.to_string()))
            });
            let members: Vec<String> = members.collect();
            let word = match (self.coherent(at), node.machine.joined()) {
                (true, _) => "coherent",
                (false, true) => "blind",
                (false, false) => "outside",
            };
            let vouched = if node.machine.vouched(moment(self.tick)) {
                " vouched"
            } else {
                ""
            };
            let has: Vec<usize> = (0..STATEMENTS).filter(|said| node.applied[*said].is_some()).collect();
            line.push_str(&format!(
                " [{at} {word}{vouched} has {has:?} knows {}]",
                members.join(" ")
            ));
        }
        for (said, fate) in self.fates.iter().enumerate() {
            if fate.name.is_some() {
                let receipt = fate.confirmed.map(|at| self.tick - at);
                line.push_str(&format!(" s{said} logged {} receipt {receipt:?}", fate.logged));
            }
        }
        line
    }
}
