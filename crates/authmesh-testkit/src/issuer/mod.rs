//! An issuer with its keys in hand.

mod keys;
mod mint;
mod opaque;
mod source;

use std::borrow::Borrow;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use authmesh::jose::Algorithm;
use authmesh::ports::{Clock, KeySource, TokenSource};
use authmesh::proto::time::Unix;
use authmesh::{Builder, KeyPolicy, Rules};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::clock::TestClock;
use crate::faults::{Fault, Faults, Faulty, Op};

pub use mint::Mint;
pub use opaque::OpaqueTokens;
pub use source::Published;

use keys::Key;

/// What a [`TestIssuer`] is called by default.
pub const ISSUER: &str = "https://issuer.test";
/// The audience of its tokens by default.
pub const AUDIENCE: &str = "api";

/// Signs whatever it is asked to sign, publishes its keys, and can be away. Clones share it.
///
/// ```
/// use authmesh_testkit::TestIssuer;
///
/// let issuer = TestIssuer::new();
/// let alice = issuer.token("alice");
/// let bob = issuer.mint().subject("bob").scope("orders:read").claim("tenant", 7).sign();
/// # assert_ne!(alice, bob);
/// ```
#[derive(Clone)]
pub struct TestIssuer(Arc<Inner>);

struct Inner {
    url: String,
    audience: String,
    clock: Arc<dyn Clock>,
    keys: Mutex<Keys>,
    source: Arc<Faulty<Published>>,
    opaque: Arc<Faulty<OpaqueTokens>>,
}

struct Keys {
    /// The newest one signs.
    pairs: Vec<Key>,
    made: usize,
}

/// Settings of a [`TestIssuer`].
#[must_use = "an issuer is made by `build`"]
#[derive(Debug)]
pub struct IssuerBuilder {
    url: String,
    audience: String,
    algorithm: Algorithm,
    clock: Option<Arc<dyn Clock>>,
}

impl IssuerBuilder {
    /// Its name: `iss`. Default: [`ISSUER`].
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = url.into();
        self
    }

    /// Whom its tokens are for: `aud`. Default: [`AUDIENCE`].
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = audience.into();
        self
    }

    /// What its first key signs with. Default: EdDSA, which costs a test nothing.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// The clock that its times come from. Default: a [`TestClock`] of its own.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The issuer, with one key, which it publishes.
    #[must_use]
    pub fn build(self) -> TestIssuer {
        let clock = self.clock.unwrap_or_else(|| Arc::new(TestClock::new()));
        let opaque = OpaqueTokens::new(&self.url, Arc::clone(&clock));
        let issuer = TestIssuer(Arc::new(Inner {
            url: self.url,
            audience: self.audience,
            clock,
            keys: Mutex::new(Keys {
                pairs: Vec::new(),
                made: 0,
            }),
            source: Faulty::new(Arc::new(Published::new(""))),
            opaque: Faulty::new(Arc::new(opaque)),
        }));
        issuer.rotate_to(self.algorithm);
        issuer
    }
}

impl fmt::Debug for TestIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestIssuer")
            .field("url", &self.0.url)
            .finish_non_exhaustive()
    }
}

impl Default for TestIssuer {
    fn default() -> Self {
        Self::new()
    }
}

impl TestIssuer {
    /// An issuer with every default.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// The same, by a clock of the test.
    #[must_use]
    pub fn at(clock: Arc<dyn Clock>) -> Self {
        Self::builder().clock(clock).build()
    }

    /// The same, by another name.
    #[must_use]
    pub fn named(url: &str, clock: Arc<dyn Clock>) -> Self {
        Self::builder().url(url).clock(clock).build()
    }

    /// Another issuer by the same clock.
    #[must_use]
    pub fn other(&self) -> Self {
        Self::named("https://other.test", self.clock())
    }

    /// An issuer with settings.
    pub fn builder() -> IssuerBuilder {
        IssuerBuilder {
            url: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            algorithm: Algorithm::EdDSA,
            clock: None,
        }
    }

    /// Its name: `iss` of its tokens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// `aud` of its tokens.
    #[must_use]
    pub fn audience(&self) -> &str {
        &self.0.audience
    }

    /// The clock that its times come from.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.0.clock)
    }

    /// Its time.
    #[must_use]
    pub fn now(&self) -> Unix {
        self.0.clock.now().wall
    }

    /// Rules that its tokens satisfy: its audience is asked for, everything else is the default.
    #[must_use]
    pub fn rules(&self) -> Rules {
        Rules::for_audiences([&*self.0.audience])
    }

    /// Adds it to a node, with [`TestIssuer::rules`], and with keys that may be fetched at any time: a test does not wait for
    /// the least time between two fetches.
    pub fn add_to(&self, builder: Builder) -> Builder {
        builder.issuer_with(self.url(), self.source(), Self::eager_keys(), self.rules())
    }

    /// A key policy without a least time between two fetches.
    #[must_use]
    pub fn eager_keys() -> KeyPolicy {
        KeyPolicy {
            min_interval: Duration::ZERO,
            ..KeyPolicy::default()
        }
    }

    /// A good token of a subject: 10 minutes from now, and nothing special.
    #[must_use]
    pub fn token(&self, subject: &str) -> String {
        self.mint().subject(subject).sign()
    }

    /// A good token of `alice` with these claims laid over it; `null` removes one.
    #[must_use]
    pub fn token_with(&self, claims: Value) -> String {
        self.mint().claims(claims).sign()
    }

    /// A token about to be made. Default: one of `alice`.
    pub fn mint(&self) -> Mint<'_> {
        Mint::new(self)
    }

    /// The claims of [`TestIssuer::token_with`].
    #[must_use]
    pub fn claims(&self, more: Value) -> Value {
        let now = self.now();
        let mut claims =
            json!({"iss": self.0.url, "aud": self.0.audience, "sub": "alice", "iat": now, "exp": now + 600});
        overlay(&mut claims, more);
        claims
    }

    /// Signs these claims and nothing else, with `header` laid over `alg`, `typ` and `kid`: for tokens that no issuer in its
    /// right mind would sign.
    #[must_use]
    pub fn sign(&self, header: Value, claims: impl Borrow<Value>) -> String {
        let keys = self.keys();
        let key = keys.pairs.last().expect("there is always one");
        let mut full = json!({"alg": key.algorithm.name(), "typ": "JWT", "kid": key.kid});
        overlay(&mut full, header);
        let input = format!("{}.{}", encode(full.to_string()), encode(claims.borrow().to_string()));
        format!("{input}.{}", encode(key.sign(input.as_bytes())))
    }

    /// Its keys as a node is given them. See [`Builder::issuer`].
    #[must_use]
    pub fn source(&self) -> Arc<dyn KeySource> {
        Arc::clone(&self.0.source) as _
    }

    /// What it says of opaque tokens, as a node is given it. See [`Builder::upstream`] and [`Mint::opaque`].
    #[must_use]
    pub fn introspection(&self) -> Arc<dyn TokenSource> {
        Arc::clone(&self.0.opaque) as _
    }

    /// The document that it publishes, and what it says beside it.
    #[must_use]
    pub fn published(&self) -> &Published {
        self.0.source.inner()
    }

    /// Its opaque tokens.
    #[must_use]
    pub fn opaque_tokens(&self) -> &OpaqueTokens {
        self.0.opaque.inner()
    }

    /// What becomes of fetches of its keys: [`Op::Fetch`].
    #[must_use]
    pub fn faults(&self) -> &Faults {
        self.0.source.faults()
    }

    /// What becomes of questions about its opaque tokens: [`Op::AskToken`].
    #[must_use]
    pub fn introspection_faults(&self) -> &Faults {
        self.0.opaque.faults()
    }

    /// An outage: every fetch and every question fails as unreachable, until [`TestIssuer::recover`].
    pub fn fail(&self) {
        self.faults().all().fail();
        self.introspection_faults().all().fail();
    }

    /// The worse outage: nothing is answered, until [`TestIssuer::recover`]. The fault of the fetches is handed back: it tells
    /// how many wait.
    pub fn hang(&self) -> Fault {
        self.introspection_faults().all().hang();
        self.faults().all().hang()
    }

    /// Ends every fault.
    pub fn recover(&self) {
        self.faults().clear();
        self.introspection_faults().clear();
    }

    /// How often its keys were asked for, in vain or not.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.faults().calls(Op::Fetch)
    }

    /// Waits until its keys were asked for so often.
    pub async fn asked(&self, times: u64) {
        self.faults().called(Op::Fetch, times).await;
    }

    /// Signs with a new key from now on, and publishes it beside the old ones.
    pub fn rotate(&self) {
        self.new_key();
        self.publish();
    }

    /// [`TestIssuer::rotate`] to another algorithm.
    pub fn rotate_to(&self, algorithm: Algorithm) {
        self.add_key(algorithm);
        self.publish();
    }

    /// Signs with a new key from now on. The old ones stay; nothing is published.
    pub fn new_key(&self) {
        let algorithm = self.keys().pairs.last().map(|key| key.algorithm);
        self.add_key(algorithm.unwrap_or(Algorithm::EdDSA));
    }

    /// Publishes the present keys.
    pub fn publish(&self) {
        self.published().set(self.document());
    }

    /// Publishes the newest key alone: what the old ones signed is void.
    pub fn retire_old_keys(&self) {
        {
            let mut keys = self.keys();
            let old = keys.pairs.len() - 1;
            keys.pairs.drain(..old);
        }
        self.publish();
    }

    /// The JWK set of its keys, published or not.
    #[must_use]
    pub fn document(&self) -> Vec<u8> {
        let keys: Vec<Value> = self.keys().pairs.iter().map(Key::jwk).collect();
        json!({ "keys": keys }).to_string().into_bytes()
    }

    fn add_key(&self, algorithm: Algorithm) {
        let mut keys = self.keys();
        keys.made += 1;
        let key = Key::generate(format!("k{}", keys.made), algorithm);
        keys.pairs.push(key);
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.0.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lays members over an object; `null` removes one.
fn overlay(onto: &mut Value, more: Value) {
    let (Some(onto), Value::Object(more)) = (onto.as_object_mut(), more) else {
        panic!("claims and headers are JSON objects");
    };
    for (name, value) in more {
        if value.is_null() {
            onto.remove(&name);
        } else {
            onto.insert(name, value);
        }
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
