//! An identity provider of the tests' own, on loopback: it counts and remembers every request, and misbehaves on demand.
//!
//! [`Idp`](crate::idp::Idp) is a real provider, for what must hold with one. This one is for what a real one cannot be made to
//! do: answer one byte a second, say "not modified" for ever, hide behind an edge cache that is out of date. It lives on a
//! thread of its own, so that nothing that a test does can slow it down.

mod answer;
mod keys;
mod serve;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::watch;

pub use self::answer::{Edge, Manner};
use self::keys::Keys;
use crate::ports::Port;

/// The audience of every token, as in the configuration of every suite.
pub const AUDIENCE: &str = "orders-api";
/// Requests that are remembered. They are counted beyond that.
const REMEMBERED: usize = 200_000;
/// No wait of the double's own takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running identity provider. It ends with this value.
pub struct IdpDouble {
    shared: Arc<Shared>,
    port: Port,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// The key set.
    KeySet,
    /// The discovery document.
    Discovery,
    /// Anything else: 404.
    Other,
}

/// One request, as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// When its head had been read.
    pub at: Instant,
    /// What it asked for.
    pub page: Page,
    /// Whether it said `Cache-Control: no-cache`.
    pub no_cache: bool,
    /// `If-None-Match`, as sent.
    pub if_none_match: Option<String>,
    /// The status of the answer; 0 while none was sent.
    pub status: u16,
}

struct Shared {
    base: String,
    state: Mutex<State>,
    /// Changes whenever the manner does: whoever is held looks again.
    manner: watch::Sender<Manner>,
    /// Whether it is to listen, and whether it does.
    wanted: watch::Sender<Power>,
    listening: watch::Sender<bool>,
    /// Requests for the key set that were read so far.
    key_sets: watch::Sender<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Power {
    On,
    Off,
    /// The value is gone.
    Ended,
}

struct State {
    keys: Keys,
    edge: Edge,
    /// What the edge holds.
    at_edge: String,
    max_age: Option<u32>,
    asked: Vec<Asked>,
    key_sets: u64,
    discoveries: u64,
}

impl IdpDouble {
    /// Starts it with one key, prompt and without an edge.
    pub async fn start() -> Self {
        let port = Port::reserve();
        let keys = Keys::new();
        let at_edge = keys.document();
        let shared = Arc::new(Shared {
            base: port.url(""),
            state: Mutex::new(State {
                keys,
                edge: Edge::None,
                at_edge,
                max_age: None,
                asked: Vec::new(),
                key_sets: 0,
                discoveries: 0,
            }),
            manner: watch::Sender::new(Manner::Prompt),
            wanted: watch::Sender::new(Power::On),
            listening: watch::Sender::new(false),
            key_sets: watch::Sender::new(0),
        });
        let thread = std::thread::Builder::new().name("idp-double".into());
        let (address, for_thread) = (port.address(), Arc::clone(&shared));
        let thread = thread
            .spawn(move || serve::run(address, &for_thread))
            .expect("a thread");
        let double = Self {
            shared,
            port,
            thread: Some(thread),
        };
        double.power(Power::On).await;
        double
    }

    /// The issuer, as it stands in `iss`.
    pub fn issuer(&self) -> String {
        self.shared.base.clone()
    }

    /// Where the key set is.
    pub fn jwks_url(&self) -> String {
        self.port.url("/jwks")
    }

    /// Refuses connections from now on, and cuts those that there are.
    pub async fn down(&self) {
        self.power(Power::Off).await;
    }

    /// Comes back on the same port.
    pub async fn up(&self) {
        self.power(Power::On).await;
    }

    async fn power(&self, wanted: Power) {
        self.shared.wanted.send_replace(wanted);
        let mut listening = self.shared.listening.subscribe();
        let reached = listening.wait_for(|listening| *listening == (wanted == Power::On));
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        assert!(
            matches!(reached, Ok(Ok(_))),
            "the identity provider could not be turned {wanted:?}"
        );
    }

    /// How requests for the key set are answered from now on. Discovery is always answered at once.
    pub fn behave(&self, manner: Manner) {
        self.shared.manner.send_replace(manner);
    }

    /// Puts an edge cache in front of the key set, filled with what is published now, or takes it away.
    pub fn edge(&self, edge: Edge) {
        let mut state = self.shared.state();
        state.at_edge = state.keys.document();
        state.edge = edge;
    }

    /// Sends `Cache-Control: max-age` with the key set from now on, or nothing.
    pub fn max_age(&self, seconds: Option<u32>) {
        self.shared.state().max_age = seconds;
    }

    /// Signs with a new key from now on, which is published. The others stay published, or leave the set at once.
    pub fn rotate(&self, keep_old: bool) {
        self.shared.state().keys.rotate(keep_old);
    }

    /// Takes the keys that no longer sign out of the set.
    pub fn retire(&self) {
        self.shared.state().keys.retire();
    }

    /// Publishes these members of `keys` as well, such as one that nobody can use.
    pub fn publish_also(&self, more: &[Value]) {
        self.shared.state().keys.publish_also(more);
    }

    /// The key set, as published at the origin.
    pub fn document(&self) -> String {
        self.shared.state().keys.document()
    }

    /// The `kid` of the key that signs.
    pub fn kid(&self) -> String {
        self.shared.state().keys.kid()
    }

    /// A good token of a subject, signed by the newest key, valid for ten minutes.
    pub fn token(&self, subject: &str) -> String {
        self.token_with(json!({ "sub": subject }))
    }

    /// A token of `alice` with these claims laid over the usual ones.
    pub fn token_with(&self, more: Value) -> String {
        self.shared.state().keys.token(&self.shared.base, more)
    }

    /// A good token of a subject, signed by the key of that name.
    ///
    /// # Panics
    ///
    /// When there is no such key.
    pub fn token_of_kid(&self, subject: &str, kid: &str) -> String {
        let claims = json!({ "sub": subject });
        self.shared.state().keys.token_of_kid(&self.shared.base, kid, claims)
    }

    /// A token of a key that is published nowhere: garbage that costs a look at the key set.
    pub fn token_of_unknown_kid(&self, kid: &str) -> String {
        self.shared.state().keys.token_of(&self.shared.base, kid)
    }

    /// Requests for the key set so far.
    pub fn key_sets(&self) -> u64 {
        self.shared.state().key_sets
    }

    /// Requests for the discovery document so far.
    pub fn discoveries(&self) -> u64 {
        self.shared.state().discoveries
    }

    /// Every request so far, in the order in which they came.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.state().asked.clone()
    }

    /// Waits until so many requests for the key set have come.
    ///
    /// # Panics
    ///
    /// When they do not come within the deadline.
    pub async fn asked_for_keys(&self, count: u64, deadline: Duration) {
        let mut seen = self.shared.key_sets.subscribe();
        let reached = tokio::time::timeout(deadline, seen.wait_for(|seen| *seen >= count)).await;
        assert!(
            matches!(reached, Ok(Ok(_))),
            "not within {} ms: {count} requests for the key set; there were {}",
            deadline.as_millis(),
            self.key_sets()
        );
    }
}

impl Drop for IdpDouble {
    fn drop(&mut self) {
        self.shared.wanted.send_replace(Power::Ended);
        if let Some(thread) = self.thread.take() {
            // Its panic was printed; a second one here would hide the test's own.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for IdpDouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdpDouble({})", self.shared.base)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a request, and returns its number.
    fn came(&self, asked: Asked) -> usize {
        let mut state = self.state();
        let page = asked.page;
        let number = state.asked.len();
        if number < REMEMBERED {
            state.asked.push(asked);
        }
        match page {
            Page::KeySet => state.key_sets += 1,
            Page::Discovery => state.discoveries += 1,
            Page::Other => {}
        }
        let key_sets = state.key_sets;
        drop(state);
        self.key_sets.send_if_modified(|seen| {
            let more = key_sets > *seen;
            *seen = key_sets.max(*seen);
            more
        });
        number
    }

    fn answered(&self, number: usize, status: u16) {
        if let Some(asked) = self.state().asked.get_mut(number) {
            asked.status = status;
        }
    }
}
