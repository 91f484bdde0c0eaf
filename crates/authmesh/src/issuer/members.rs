//! Where there is no L2: the owner of an issuer among the live members asks it, and the others ask the owner.
//!
//! The owner is chosen by rendezvous hashing (Thaler and Ravishankar, 1998) over the members that SWIM holds to be there.
//! Every node asks only members that stand before it in that order, so that no two ever wait for each other. Nodes that
//! disagree about who is there ask different owners: more fetches, and no harm.

use std::sync::Arc;
use std::time::Duration;

use authmesh_proto::ident::{Digest, Origin};
use authmesh_proto::keys::{ErrandConfig, KeyAnswer, KeyQuestion, Told, Why};

use tokio::time::Instant;

use super::{Issuer, Keys, Parsed};
use crate::error::VerifyError;
use crate::jose::KeySet;
use crate::node::{Node, port_peer};
use crate::ports::{Asked, Gossip, GossipPeer, PortError};

/// How often an owner that hangs up is asked.
const TRIES: usize = 6;
/// An owner that answered nothing within this time has hung up; later, it has been thinking.
const HUNG_UP: Duration = Duration::from_millis(500);
/// The least pause between two tries, and a quarter of the longest one.
const PAUSE: Duration = Duration::from_millis(20);
/// How long an owner's answer is waited for.
const PATIENCE: Duration = Duration::from_secs(6);

/// How many questions about one issuer are answered at once: one that hangs keeps nobody from being told about the others.
pub(super) const ANSWERS_OF_ONE: usize = 64;

/// Where a node stands in the order of an issuer.
fn rank(node: &Node, issuer: &Issuer, origin: Origin) -> Digest {
    node.codec
        .namer
        .digest(&[b"key owner", issuer.scope().as_bytes(), origin.as_bytes()])
}

impl Issuer {
    /// The first members in the order of this issuer, as far as they stand before this node.
    pub(super) fn owners(&self, node: &Node) -> Vec<GossipPeer> {
        let Some(room) = node.gossip() else { return Vec::new() };
        let own = rank(node, self, node.origin);
        let machine = room.machine();
        let up = machine.members().filter(|(_, is_up, _)| *is_up);
        let mut before: Vec<_> = up
            .filter(|(peer, ..)| peer.origin != node.origin)
            .map(|(peer, ..)| (rank(node, self, peer.origin), peer))
            .filter(|(rank, _)| *rank < own)
            .collect();
        drop(machine);
        before.sort_by_key(|(rank, _)| *rank);
        before
            .iter()
            .take(ErrandConfig::of(self.machine().policy()).owners)
            .filter_map(|(_, peer)| port_peer(peer))
            .collect()
    }

    /// Asks an owner. `Err(None)`: no usable answer; `Err(Some)`: it may not ask now.
    pub(super) async fn ask(
        &self,
        node: &Node,
        owner: &GossipPeer,
        why: Why,
    ) -> Result<(Told, Parsed), Option<Duration>> {
        let room = node.gossip().ok_or(None)?;
        let have = self.held();
        let wanted = self.wanted().filter(|_| why == Why::UnknownKid);
        let question = KeyQuestion {
            issuer: self.scope(),
            have: have.map_or((0, 0), |keys| match why {
                Why::Cold => (0, 0),
                _ => (keys.generation(), keys.shared.asked),
            }),
            generation: match why {
                Why::Newer(generation) => generation,
                _ => 0,
            },
            kid: wanted.as_deref().map(Into::into),
            afresh: why == Why::Asked,
        };
        let asking = pull(node, &*room.port, owner, question.encode());
        let answer = tokio::time::timeout(PATIENCE, asking).await;
        let answer = answer.ok().flatten().ok_or(None)?;
        match KeyAnswer::decode(&answer) {
            Ok(KeyAnswer::Set { set, proof }) => {
                let holds = |set: &KeySet| wanted.as_ref().is_some_and(|kid| set.names(kid));
                self.acceptable(node, set, proof, &holds).ok_or(None)
            }
            Ok(KeyAnswer::NotNow(millis)) => Err(Some(Duration::from_millis(millis.into()))),
            Ok(KeyAnswer::Nothing) => Err(None),
            Err(_) => {
                node.counters.gossip_malformed.add();
                Err(None)
            }
        }
    }

    /// Answers as the owner: from memory where that is enough, else by a trip of its own, which asks no other member.
    async fn answer(self: &Arc<Self>, node: &Arc<Node>, question: &KeyQuestion) -> KeyAnswer {
        let kid = question.kid.as_deref();
        let is_enough = |keys: &Keys| {
            let newer = keys.shared.asked > question.have.1;
            let named = kid.is_none_or(|kid| keys.set.names(kid));
            keys.generation() >= question.generation && named && (newer || kid.is_some() || question.generation > 0)
        };
        let held = |proof| {
            let keys = self.trusted(node.now().boot)?;
            let set = (*keys.shared).clone();
            Some((is_enough(&keys), KeyAnswer::Set { set, proof }))
        };
        if !question.afresh
            && let Some((true, answer)) = held(false)
        {
            return answer;
        }
        // Whether the issuer was asked after the question came; a set that holds what is wanted needs no proof.
        let landed = match kid {
            _ if !self.is_trusted(node.now().boot) => self.any_keys_alone(node).await,
            Some(kid) => match self.keys_with(node, kid, false, |set| set.names(kid)).await {
                Ok(_) => Ok(false),
                Err(VerifyError::UnknownKey) => Ok(true),
                Err(error) => Err(error),
            },
            None => self.refreshed(node, false).await.map(|landed| landed.proof),
        };
        let answer = match landed {
            Ok(proof) => held(proof).map(|(_, answer)| answer),
            Err(VerifyError::CouldNotAsk { retry_after, .. }) => {
                let millis = u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX);
                Some(match held(false) {
                    Some((true, answer)) => answer,
                    _ => KeyAnswer::NotNow(millis),
                })
            }
            Err(_) => None,
        };
        answer.unwrap_or(KeyAnswer::Nothing)
    }

    /// A first set, without asking other members. Returns whether the issuer was asked for it after this call.
    async fn any_keys_alone(self: &Arc<Self>, node: &Arc<Node>) -> Result<bool, VerifyError> {
        let landed = self.next(node, 0, false, |machine, now| machine.want_set(now)).await?;
        Ok(landed.proof)
    }
}

/// Asks a member, again if it hung up: it takes few streams at once from one address, and all nodes come at the same moment.
async fn pull(node: &Node, port: &dyn Gossip, owner: &GossipPeer, question: Vec<u8>) -> Option<Vec<u8>> {
    for _ in 1..TRIES {
        let asked = Instant::now();
        match port.pull(owner, question.clone()).await {
            Ok(answer) => return Some(answer),
            Err(PortError::Unknown(_)) if asked.elapsed() < HUNG_UP => {}
            // Nobody is there.
            Err(_) => return None,
        }
        let [jitter] = node.random();
        tokio::time::sleep(PAUSE + PAUSE * u32::from(jitter) / 64).await;
    }
    port.pull(owner, question).await.ok()
}

/// Answers a member's question, in a task of its own: the driver has other work. Beyond the most questions at once, one is as if
/// it had been lost, so that no member can make this node work without bound.
pub(crate) fn answer(node: &Arc<Node>, asked: Asked) {
    let Some(turn) = node.issuers.turn() else { return };
    let Ok(question) = KeyQuestion::decode(&asked.request) else {
        node.counters.gossip_malformed.add();
        tracing::warn!(from = ?asked.from.origin, "a member asked for keys what nobody can ask");
        return;
    };
    let issuer = node.issuers.find(question.issuer);
    let turn_of_one = issuer
        .as_ref()
        .map(|issuer| Arc::clone(&issuer.answers).try_acquire_owned());
    if let Some(Err(_)) = turn_of_one {
        return;
    }
    let node = Arc::clone(node);
    node.tasks.clone().spawn(async move {
        let answer = match issuer {
            Some(issuer) => issuer.answer(&node, &question).await,
            None => KeyAnswer::Nothing,
        };
        let bytes = answer.encode();
        if bytes.len() <= asked.limit {
            // The member may have given up.
            let _ = asked.answer.send(bytes);
        }
        drop((turn, turn_of_one));
    });
}
