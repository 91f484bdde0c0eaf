//! A constant load of verifications, and what came of it.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use authmesh_tests::client::{http, try_send};
use tokio::task::JoinSet;

/// The pause of a caller after each answer.
const PAUSE: Duration = Duration::from_millis(5);

/// Callers at each of some nodes, who show tokens out of a pool.
pub(crate) struct Load {
    shared: Arc<Shared>,
    callers: JoinSet<()>,
}

struct Shared {
    pool: Mutex<VecDeque<String>>,
    stop: AtomicBool,
    counts: Mutex<Counts>,
}

/// What was counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Answers of each status at each node; status 0: none came.
    pub(crate) answers: BTreeMap<(usize, u16), u64>,
    /// The longest that one waited.
    pub(crate) worst: Duration,
    /// Some answers that were not 200.
    pub(crate) failures: Vec<String>,
}

impl Counts {
    pub(crate) fn total(&self) -> u64 {
        self.answers.values().sum()
    }

    pub(crate) fn failed(&self) -> u64 {
        let failed = self.answers.iter().filter(|((_, status), _)| *status != 200);
        failed.map(|(_, count)| count).sum()
    }

    pub(crate) fn of(&self, node: usize) -> u64 {
        self.answers.get(&(node, 200)).copied().unwrap_or_default()
    }
}

impl Load {
    pub(crate) fn start(nodes: &[SocketAddr], callers: usize, pool: impl IntoIterator<Item = String>) -> Self {
        let shared = Arc::new(Shared {
            pool: Mutex::new(pool.into_iter().collect()),
            stop: AtomicBool::new(false),
            counts: Mutex::default(),
        });
        let mut running = JoinSet::new();
        for (node, address) in nodes.iter().enumerate() {
            for _ in 0..callers {
                running.spawn(call(Arc::clone(&shared), node, format!("http://{address}/verify")));
            }
        }
        Self {
            shared,
            callers: running,
        }
    }

    /// Adds a token, and takes away the oldest where there are more than so many.
    pub(crate) fn add(&self, token: String, most: usize) {
        let mut pool = self.shared.pool.lock().unwrap();
        pool.push_back(token);
        while pool.len() > most {
            pool.pop_front();
        }
    }

    /// Ends the load, and returns what was counted once every call under way has ended.
    pub(crate) async fn stop(mut self) -> Counts {
        self.shared.stop.store(true, Ordering::SeqCst);
        while let Some(caller) = self.callers.join_next().await {
            caller.unwrap();
        }
        self.shared.counts.lock().unwrap().clone()
    }
}

impl Shared {
    fn count(&self, node: usize, status: u16, took: Duration, what: impl FnOnce() -> String) {
        let mut counts = self.counts.lock().unwrap();
        *counts.answers.entry((node, status)).or_default() += 1;
        counts.worst = counts.worst.max(took);
        if status != 200 && counts.failures.len() < 5 {
            counts.failures.push(what());
        }
    }
}

async fn call(shared: Arc<Shared>, node: usize, url: String) {
    let client = http();
    let mut turn = node;
    while !shared.stop.load(Ordering::SeqCst) {
        let token = {
            let pool = shared.pool.lock().unwrap();
            turn += 1;
            pool[turn % pool.len()].clone()
        };
        let request = client.get(&url).header("X-Forwarded-Uri", "/").bearer_auth(token);
        let from = Instant::now();
        let answer = try_send(request).await;
        let took = from.elapsed();
        let status = answer.as_ref().map_or(0, |answer| answer.status);
        shared.count(node, status, took, || format!("node {node}: {answer:?}"));
        tokio::time::sleep(PAUSE).await;
    }
}
