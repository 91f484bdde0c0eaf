//! Asks the nodes what they make of a token, many at once, and remembers when.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use authmesh_tests::client::http;
use reqwest::Client;
use tokio::task::JoinSet;

use crate::world::DEADLINE;

/// Between two questions to one node, while it is watched.
const WATCH_EVERY: Duration = Duration::from_millis(150);
/// Between two questions to one node, while it is waited for.
const WAIT_EVERY: Duration = Duration::from_millis(5);

/// Asks the forward-auth listeners of a fleet.
#[derive(Clone)]
pub(crate) struct Asker {
    http: Client,
    listeners: Arc<[SocketAddr]>,
}

impl Asker {
    pub(crate) fn new(listeners: Vec<SocketAddr>) -> Self {
        Self {
            http: http(),
            listeners: listeners.into(),
        }
    }

    /// The status that a node answers; 0 where none comes.
    pub(crate) async fn status(&self, index: usize, path: &str, token: &str) -> u16 {
        let url = format!("http://{}/verify", self.listeners[index]);
        let request = self.http.get(url).header("X-Forwarded-Uri", path).bearer_auth(token);
        request.send().await.map_or(0, |answer| answer.status().as_u16())
    }

    /// Waits until each of some nodes answers so. Returns how long each took.
    pub(crate) async fn all_say(&self, who: &[usize], path: &'static str, token: &str, status: u16) -> Vec<Duration> {
        let started = Instant::now();
        let mut asking = JoinSet::new();
        for &index in who {
            let (asker, token) = (self.clone(), token.to_owned());
            asking.spawn(async move {
                loop {
                    let said = asker.status(index, path, &token).await;
                    if said == status {
                        return started.elapsed();
                    }
                    assert!(
                        started.elapsed() < DEADLINE,
                        "node {index} says {said} of {path} and not {status}"
                    );
                    tokio::time::sleep(WAIT_EVERY).await;
                }
            });
        }
        asking.join_all().await
    }

    /// Asks each of some nodes once.
    pub(crate) async fn each_says(&self, who: &[usize], path: &'static str, token: &str, status: u16, why: &str) {
        let mut asking = JoinSet::new();
        for &index in who {
            let (asker, token) = (self.clone(), token.to_owned());
            asking.spawn(async move { (index, asker.status(index, path, &token).await) });
        }
        for (index, said) in asking.join_all().await {
            assert_eq!(said, status, "node {index}: {why}");
        }
    }

    /// Asks some nodes for a token again and again, until the watch is over.
    pub(crate) fn watch(&self, who: &[usize], path: &'static str, token: &str) -> Watch {
        let samples: Arc<Mutex<Vec<Sample>>> = Arc::default();
        let mut asking = JoinSet::new();
        for &index in who {
            let (asker, token, samples) = (self.clone(), token.to_owned(), Arc::clone(&samples));
            asking.spawn(async move {
                loop {
                    let asked = Instant::now();
                    let status = asker.status(index, path, &token).await;
                    samples.lock().unwrap().push(Sample { index, asked, status });
                    tokio::time::sleep(WATCH_EVERY).await;
                }
            });
        }
        Watch {
            samples,
            _asking: asking,
        }
    }
}

/// What a node said, and when it was asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) index: usize,
    pub(crate) asked: Instant,
    pub(crate) status: u16,
}

/// Nodes that are asked again and again. It ends when this is dropped.
pub(crate) struct Watch {
    samples: Arc<Mutex<Vec<Sample>>>,
    _asking: JoinSet<()>,
}

impl Watch {
    /// What was said so far.
    pub(crate) fn samples(&self) -> Vec<Sample> {
        self.samples.lock().unwrap().clone()
    }

    /// How many answers there were, and how many of them had this status.
    pub(crate) fn count(&self, status: u16) -> (usize, usize) {
        let samples = self.samples();
        let such = samples.iter().filter(|sample| sample.status == status).count();
        (samples.len(), such)
    }

    /// Nobody who was asked at this instant or later gave this answer.
    #[track_caller]
    pub(crate) fn never_since(&self, since: Instant, status: u16, why: &str) {
        let samples = self.samples();
        let late: Vec<_> = samples.iter().filter(|sample| sample.asked >= since).collect();
        assert!(
            !late.is_empty(),
            "nobody was asked since then, so nothing was shown: {why}"
        );
        let wrong = late.iter().find(|sample| sample.status == status);
        assert!(
            wrong.is_none(),
            "{why}: node {} said {status} when it was asked {} ms later",
            wrong.unwrap().index,
            (wrong.unwrap().asked - since).as_millis()
        );
    }
}
