//! The load, the same for authmesh and for what it is measured beside. Both programs compile this file.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

/// What verifies tokens, by itself or as a member of a cluster.
pub(crate) trait Node: Send + Sync + 'static {
    /// Whether the token is accepted now; why not.
    fn verify(&self, token: &str) -> impl Future<Output = Result<(), String>> + Send;
}

/// What is to be done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Work {
    /// So many callers at each node, all at once, once.
    Burst {
        /// Callers at each node.
        callers: usize,
        /// What they show.
        token: String,
    },
    /// One caller at each node, again and again.
    Load {
        /// What they show, in turns.
        tokens: Vec<String>,
        /// How long.
        millis: u64,
        /// From the begin of one call to that of the next, unless it takes longer.
        every: u64,
        /// A call that takes so long has waited.
        slow: u64,
    },
    /// One caller at each node, until each was accepted once.
    First {
        /// What they show.
        token: String,
        /// When to give up.
        within: u64,
        /// The pause after a refusal.
        every: u64,
    },
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Calls.
    pub(crate) calls: u64,
    /// Calls that were not accepted.
    pub(crate) refused: u64,
    /// Why one of them was not.
    pub(crate) why: Option<String>,
    /// Calls that took as long as `slow`.
    pub(crate) slow: u64,
    /// The longest call, in milliseconds.
    pub(crate) worst: f64,
    /// Of each node: milliseconds until it accepted; none where it never did.
    pub(crate) first: Vec<Option<f64>>,
}

/// Carries out one piece of work on all nodes at the same time.
pub(crate) async fn carry_out<N: Node>(nodes: &[Arc<N>], work: &Work) -> Outcome {
    let mut callers = JoinSet::new();
    let begin = Instant::now();
    for (index, node) in nodes.iter().enumerate() {
        let count = match work {
            Work::Burst { callers, .. } => *callers,
            _ => 1,
        };
        for _ in 0..count {
            let (node, work) = (Arc::clone(node), work.clone());
            callers.spawn(async move { (index, caller(&*node, index, &work, begin).await) });
        }
    }
    let mut sum = Outcome {
        first: vec![None; nodes.len()],
        ..Outcome::default()
    };
    while let Some(ended) = callers.join_next().await {
        let Ok((index, one)) = ended else { continue };
        sum.calls += one.calls;
        sum.refused += one.refused;
        sum.slow += one.slow;
        sum.worst = sum.worst.max(one.worst);
        sum.why = sum.why.or(one.why);
        if let Some(Some(first)) = one.first.first() {
            let known = sum.first[index].unwrap_or(f64::MAX);
            sum.first[index] = Some(known.min(*first));
        }
    }
    sum
}

async fn caller<N: Node>(node: &N, index: usize, work: &Work, begin: Instant) -> Outcome {
    /// Numbers all calls, so that no two of a flood show the same token at the same time.
    static CALL: AtomicU64 = AtomicU64::new(0);
    let mut own = Outcome::default();
    match work {
        Work::Burst { token, .. } => {
            own.call(node, token, None, begin).await;
        }
        Work::Load {
            tokens,
            millis,
            every,
            slow,
        } => {
            let every = Duration::from_millis(*every);
            // Spread over the period: 64 nodes that all call in the same instant would measure the machine.
            tokio::time::sleep(every.mul_f64(index as f64 / 64.0 % 1.0)).await;
            while begin.elapsed() < Duration::from_millis(*millis) {
                let number = CALL.fetch_add(1, Ordering::Relaxed) as usize;
                let from = Instant::now();
                own.call(node, &tokens[number % tokens.len()], Some(*slow), begin).await;
                tokio::time::sleep(every.saturating_sub(from.elapsed())).await;
            }
        }
        Work::First { token, within, every } => {
            while !own.call(node, token, None, begin).await && begin.elapsed() < Duration::from_millis(*within) {
                tokio::time::sleep(Duration::from_millis(*every)).await;
            }
        }
    }
    own
}

impl Outcome {
    async fn call<N: Node>(&mut self, node: &N, token: &str, slow: Option<u64>, begin: Instant) -> bool {
        let from = Instant::now();
        let answer = node.verify(token).await;
        let took = from.elapsed();
        self.calls += 1;
        self.worst = self.worst.max(took.as_secs_f64() * 1e3);
        self.slow += u64::from(slow.is_some_and(|slow| took >= Duration::from_millis(slow)));
        match answer {
            Ok(()) if self.first.is_empty() => self.first.push(Some(begin.elapsed().as_secs_f64() * 1e3)),
            Ok(()) => {}
            Err(why) => {
                self.refused += 1;
                self.why = Some(why);
                return false;
            }
        }
        true
    }
}
