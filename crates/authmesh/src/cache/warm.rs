//! Warming: many entries of L2 into memory at once, by name, and the names from a member that knows which are hot.
//!
//! A member says names alone. Values come from L2, by the rules that every read obeys: whoever names the wrong ones costs this
//! node some reads, and nothing else.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use authmesh_proto::hot::{HotAnswer, HotQuestion};
use authmesh_proto::ident::{EntryName, ScopeId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Cache;
use crate::node::{Node, port_peer};
use crate::observer::reservoir;
use crate::ports::{Asked, GossipPeer};

/// How many reads of L2 are under way at once.
const READS: usize = 32;
/// How many keys one call warms at most.
const MOST: usize = 100_000;
/// How many members are asked before it is given up: one may be busy, or as cold.
const MEMBERS: usize = 3;
/// How long a member's answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a joiner waits until it is coherent and knows a member.
const JOINING: Duration = Duration::from_secs(30);
/// How often what was named is read: a joiner takes over what was dropped lately, and L2 is a miss for such a key until the
/// statement has its position.
const ROUNDS: u32 = 4;
/// The pause before the second round; doubled before each further one.
const PAUSE: Duration = Duration::from_secs(1);
/// How often it looks for one.
const LOOK: Duration = Duration::from_millis(100);

/// What a node asks for and hands over.
#[derive(Debug)]
pub(crate) struct Warmth {
    /// How many names are asked for; 0: nobody is asked.
    most: u16,
    /// The namespaces that a member was asked about.
    asked: Mutex<HashSet<ScopeId>>,
    /// One question of a member at a time: the others are lost.
    answers: Arc<Semaphore>,
}

impl Warmth {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most: u16::try_from(most).unwrap_or(u16::MAX),
            asked: Mutex::default(),
            answers: Arc::new(Semaphore::new(1)),
        }
    }

    fn is_first(&self, space: ScopeId) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        self.most > 0 && asked.insert(space)
    }
}

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Cache<V> {
    /// Reads the entries of these keys from L2 into memory, 32 at once; of the first 100,000. Returns how many of them are in
    /// memory now. What L2 does not have is not loaded, and an L2 that does not answer is no error.
    ///
    /// Cancel safety: dropped early, the rest is not read.
    pub async fn warm<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> usize {
        let names: Vec<_> = keys.into_iter().take(MOST).map(|key| self.name(key.as_ref())).collect();
        self.warm_names(names).await.0
    }

    /// How many are in memory now, and which are not.
    async fn warm_names(&self, names: Vec<EntryName>) -> (usize, Vec<EntryName>) {
        let (mut names, mut reads) = (names.into_iter(), JoinSet::new());
        let (mut warm, mut cold) = (0, Vec::new());
        loop {
            while reads.len() < READS
                && let Some(name) = names.next()
            {
                let cache = self.clone();
                reads.spawn(async move {
                    // Found in L2 is not kept in memory, where a statement came in between.
                    let found = cache.find(&name).await.is_some()
                        && cache.shared.node.l1.entries.get(&(&name).into()).is_some();
                    (name, found)
                });
            }
            match reads.join_next().await {
                Some(Ok((_, true))) => warm += 1,
                Some(Ok((name, false))) => cold.push(name),
                // Its type panicked when it was read: it is not read again.
                Some(Err(_)) => {}
                None => return (warm, cold),
            }
        }
    }

    /// Asks a member for the names of hot entries, and reads them, in a task of its own. Once for each namespace.
    pub(crate) fn warm_from_a_member(&self) {
        let node = &self.shared.node;
        if !self.shared.space.l2 || !node.has_log || node.gossip().is_none() || !node.warmth.is_first(self.shared.whole)
        {
            return;
        }
        let cache = self.clone();
        let shutdown = node.shutdown.clone();
        node.tasks.spawn(async move {
            tokio::select! {
                () = cache.ask_members() => {}
                () = shutdown.cancelled() => {}
            }
        });
    }

    async fn ask_members(&self) {
        let node = &self.shared.node;
        let question = HotQuestion {
            space: self.shared.whole,
            most: node.warmth.most,
        };
        let members = async {
            loop {
                let members = some_members(node);
                if node.coherence().is_coherent() && !members.is_empty() {
                    return members;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        // The first node of a cluster waits in vain.
        for peer in tokio::time::timeout(JOINING, members).await.unwrap_or_default() {
            let Some(answer) = ask(node, &peer, &question)
                .await
                .filter(|answer| !answer.names.is_empty())
            else {
                continue;
            };
            let named = answer.names.len();
            let (mut warm, mut cold) = self.warm_names(answer.names).await;
            for round in 1..ROUNDS {
                if cold.is_empty() {
                    break;
                }
                tokio::time::sleep(PAUSE * (1 << (round - 1))).await;
                let (more, rest) = self.warm_names(cold).await;
                (warm, cold) = (warm + more, rest);
            }
            tracing::info!(namespace = %self.shared.space.name, from = %peer.name, named, warm, "hot entries were taken over");
            return;
        }
    }
}

fn some_members(node: &Node) -> Vec<GossipPeer> {
    let Some(room) = node.gossip() else { return Vec::new() };
    let machine = room.machine();
    let up = machine
        .members()
        .filter(|(peer, is_up, _)| *is_up && peer.origin != node.origin);
    let up = up.filter_map(|(peer, ..)| port_peer(&peer));
    reservoir(MEMBERS, u64::from_le_bytes(node.random()), up)
}

async fn ask(node: &Node, peer: &GossipPeer, question: &HotQuestion) -> Option<HotAnswer> {
    let pull = node.gossip()?.port.pull(peer, question.encode());
    let answer = tokio::time::timeout(PATIENCE, pull).await.ok()?.ok()?;
    let answer = HotAnswer::decode(&answer, question);
    if answer.is_err() {
        node.counters.gossip_malformed.add();
    }
    answer.ok()
}

/// Answers a member's question, on a thread of its own: it looks at everything in memory, about 0.1 s for a million. A question
/// that comes while another is being answered is as if it had been lost, so that no member can make this node work without
/// bound.
pub(crate) fn answer(node: &Arc<Node>, asked: Asked) {
    let Ok(turn) = Arc::clone(&node.warmth.answers).try_acquire_owned() else {
        return;
    };
    let Ok(question) = HotQuestion::decode(&asked.request) else {
        node.counters.gossip_malformed.add();
        tracing::warn!(from = ?asked.from.origin, "a member asked for names that nobody can ask for");
        return;
    };
    let node = Arc::clone(node);
    let tasks = node.tasks.clone();
    tasks.spawn_blocking(move || {
        let bytes = hottest(&node, &question).encode();
        if bytes.len() <= asked.limit {
            // The member may have given up.
            let _ = asked.answer.send(bytes);
        }
        drop(turn);
    });
}

/// The entries of a namespace that were served most often.
fn hottest(node: &Node, question: &HotQuestion) -> HotAnswer {
    let most = usize::from(question.most);
    let now = node.now().boot;
    let mut heap = BinaryHeap::with_capacity(most + 1);
    for entry in node.l1.entries.rows() {
        let counts = entry.seen.whole == question.space && now < entry.until && node.fence.all_current(&entry.stamps);
        if counts {
            let hits = entry.hits.load(std::sync::atomic::Ordering::Relaxed);
            heap.push(Reverse((hits, entry.name)));
            if heap.len() > most {
                heap.pop();
            }
        }
    }
    // Ascending in what is reversed: the hottest first.
    let names = heap.into_sorted_vec().into_iter().map(|Reverse((_, name))| name);
    HotAnswer { names: names.collect() }
}
