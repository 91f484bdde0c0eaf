//! An observer of the node's own consistency, after Meta's Polaris: does anybody still serve the old one, after the time in
//! which it must be gone?
//!
//! A round takes a random sample of what is in memory and compares it with the node's marks, with L2 and with members; and the
//! marks with the table in Redis and with those of members. What differs at one glance is no inconsistency: a statement may be
//! on its way. Only what still differs after `Observation::settle` is counted. Nothing is repaired here: that is the work of
//! the roads, and this is how we know whether they do it.
//!
//! It changes nothing that is served, and what it tells are keyed names: no token, no claim, no value.

mod answer;
mod level2;
mod marks;
mod peers;
mod report;
mod round;
mod sample;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use authmesh_proto::crypto::Namer;
use authmesh_proto::ident::{Digest, EntryName};
use highway::{HighwayHash as _, HighwayHasher, Key};
use tokio::sync::Semaphore;

use crate::mesh::AuthMesh;
use crate::node::Node;

pub(crate) use answer::answer;
pub use report::{Checked, Explained, Findings, Inconsistency, ObserveError, Report};
pub(crate) use sample::reservoir;

/// What a round looks at, and for how long. Every field ends with its default.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Observation {
    /// How many verdicts, and how many entries of the generic cache, are taken from memory. At most 1,000. Default: 100.
    pub sample: usize,
    /// How many members are asked. At most 16. Default: 3.
    pub peers: usize,
    /// The marks of how many channels are compared with the table in Redis. At most 64. Default: 8.
    pub channels: usize,
    /// How long a difference must stand to be one. Default, and never less: the coherence lease and two watermark periods, within
    /// which every coherent node has applied every statement.
    pub settle: Duration,
}

impl Default for Observation {
    fn default() -> Self {
        Self {
            sample: 100,
            peers: 3,
            channels: 8,
            settle: Duration::ZERO,
        }
    }
}

impl Observation {
    /// Takes so many verdicts and so many entries.
    #[must_use]
    pub fn sample(mut self, sample: usize) -> Self {
        self.sample = sample;
        self
    }

    /// Asks so many members.
    #[must_use]
    pub fn peers(mut self, peers: usize) -> Self {
        self.peers = peers;
        self
    }

    /// Compares so many channels with the table in Redis.
    #[must_use]
    pub fn channels(mut self, channels: usize) -> Self {
        self.channels = channels;
        self
    }

    /// Lets a difference stand for so long before it counts.
    #[must_use]
    pub fn settle(mut self, settle: Duration) -> Self {
        self.settle = settle;
        self
    }

    /// Within its limits.
    fn bounded(mut self, node: &Node) -> Self {
        let follower = *node.follower().config();
        self.sample = self.sample.min(1000);
        self.peers = self.peers.min(16);
        self.channels = self.channels.min(64);
        self.settle = self.settle.max(follower.lease + 2 * follower.watermark_period);
        self
    }
}

impl AuthMesh {
    /// Looks whether what this node would serve agrees with its marks, with L2 and with its members; see [`Report`] for what is
    /// compared, and what it proves.
    ///
    /// Takes as long as the longest difference stands, at most `Observation::settle` and the calls around it; where nothing
    /// differs it is done at once. The sample is drawn from everything in memory, on a thread of its own: about 0.1 s for a
    /// million.
    ///
    /// Cancel safety: the round goes on to its end if the future is dropped; what it finds is counted and told all the same.
    ///
    /// # Errors
    /// [`ObserveError::Busy`] while another round of this node runs, and [`ObserveError::ShutDown`].
    pub async fn observe(&self, observation: Observation) -> Result<Report, ObserveError> {
        observe(self.node(), observation).await
    }
}

async fn observe(node: &Arc<Node>, observation: Observation) -> Result<Report, ObserveError> {
    let Ok(turn) = Arc::clone(&node.observer.rounds).try_acquire_owned() else {
        return Err(ObserveError::Busy);
    };
    let observation = observation.bounded(node);
    let shutdown = node.shutdown.clone();
    let room = Arc::clone(node);
    let round = node.tasks.spawn(async move {
        let report = tokio::select! {
            biased;
            () = shutdown.cancelled() => Err(ObserveError::ShutDown),
            report = round::run(&room, observation) => Ok(report),
        };
        drop(turn);
        report
    });
    round.await.unwrap_or(Err(ObserveError::ShutDown))
}

/// Observes again and again until the node shuts down, with a jitter of a quarter either way: the nodes of a cluster do not
/// look at the same time.
pub(crate) async fn keep_observing(node: Arc<Node>, every: Duration) {
    loop {
        let jitter = every.mul_f64(f64::from(u16::from_le_bytes(node.random())) / f64::from(u16::MAX) / 2.0);
        tokio::select! {
            () = node.shutdown.cancelled() => return,
            () = tokio::time::sleep(every.mul_f64(0.75) + jitter) => {}
        }
        // One that an operator asked for runs in its place.
        let _ = observe(&node, Observation::default()).await;
    }
}

/// What a node keeps for its observer, and for those of others.
#[derive(Debug)]
pub(crate) struct Watch {
    values: ValueDigester,
    /// One round at a time.
    rounds: Arc<Semaphore>,
    /// One question of a member at a time: the others are lost.
    answers: Arc<Semaphore>,
    /// The kinds of inconsistencies that were told.
    told: AtomicU8,
    /// How old the oldest inconsistency of the newest round was, in seconds.
    oldest: AtomicU64,
}

impl Watch {
    pub(crate) fn new(namer: &Namer) -> Self {
        Self {
            values: ValueDigester::new(namer),
            rounds: Arc::new(Semaphore::new(1)),
            answers: Arc::new(Semaphore::new(1)),
            told: AtomicU8::new(0),
            oldest: AtomicU64::new(0),
        }
    }

    /// The digest of a value of the generic cache, as it is encoded.
    pub(crate) fn digest(&self, name: &EntryName, encoded: &[u8]) -> Digest {
        self.values.digest(name, encoded)
    }

    /// How old the oldest inconsistency of the newest round was, in seconds; 0 without one.
    pub(crate) fn oldest_seconds(&self) -> u64 {
        self.oldest.load(Ordering::Relaxed)
    }

    /// Whether a kind is found for the first time since the node's start.
    fn is_first(&self, kind: Inconsistency) -> bool {
        let bit = 1 << kind as u8;
        self.told.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }
}

/// Keyed 128-bit HighwayHash, under a key that the nodes of the cluster share: whoever sees a digest on the network learns
/// neither the value nor whether two names have the same one.
struct ValueDigester(HighwayHasher);

impl ValueDigester {
    fn new(namer: &Namer) -> Self {
        let mut words = [0; 4];
        for (pair, label) in words
            .chunks_exact_mut(2)
            .zip([b"observer/value/1", b"observer/value/2"])
        {
            let Digest(half) = namer.digest(&[label]);
            for (word, bytes) in pair.iter_mut().zip(half.chunks_exact(8)) {
                *word = bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
            }
        }
        Self(HighwayHasher::new(Key(words)))
    }

    fn digest(&self, name: &EntryName, encoded: &[u8]) -> Digest {
        let mut hasher = self.0.clone();
        hasher.append(name.as_bytes());
        hasher.append(encoded);
        let [low, high] = hasher.finalize128();
        let mut digest = [0; 16];
        digest[..8].copy_from_slice(&low.to_le_bytes());
        digest[8..].copy_from_slice(&high.to_le_bytes());
        Digest(digest)
    }
}

impl std::fmt::Debug for ValueDigester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ValueDigester(..)")
    }
}
