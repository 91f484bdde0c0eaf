//! A mesh, its issuer, and a client that sends what it is told to, byte by byte.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use authmesh::memory::FixedKeys;
use authmesh::{AuthMesh, Rules};
use authmesh_tests::guesses;
pub(crate) use authmesh_tests::guesses::Reply;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const ISSUER: &str = "https://issuer.test";
/// Far more than anything here needs, on a busy machine too.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A node and the issuer whose tokens it takes.
pub(crate) struct World {
    pub(crate) mesh: AuthMesh,
    /// Where the node gets its keys, unless they come from elsewhere.
    pub(crate) keys: Arc<FixedKeys>,
    pair: Ed25519KeyPair,
}

impl World {
    pub(crate) async fn new() -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let keys = Arc::new(FixedKeys::new(document(&pair)));
        let mesh = mesh(Arc::clone(&keys) as _).await;
        Self::of(mesh, pair, keys)
    }

    /// Keys come from elsewhere.
    pub(crate) async fn with(pair: Ed25519KeyPair, keys: Arc<dyn authmesh::ports::KeySource>) -> Self {
        Self::of(mesh(keys).await, pair, Arc::new(FixedKeys::new("")))
    }

    /// A node that takes the tokens that this key signs.
    pub(crate) const fn of(mesh: AuthMesh, pair: Ed25519KeyPair, keys: Arc<FixedKeys>) -> Self {
        Self { mesh, keys, pair }
    }

    /// The issuer takes its key out of its set.
    pub(crate) fn publish_no_keys(&self) {
        let other = Ed25519KeyPair::generate().unwrap();
        self.keys.set(document(&other).replace("k1", "k2"));
    }

    /// A good token of alice. `more` adds and replaces claims.
    pub(crate) fn token(&self, more: Value) -> String {
        let now = now();
        let mut claims = json!({"iss": ISSUER, "aud": "api", "sub": "alice", "iat": now, "exp": now + 600});
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", part(&json!({"alg": "EdDSA", "kid": "k1"})), part(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(input.as_bytes()));
        format!("{input}.{signature}")
    }

    /// A token whose signature does not match.
    pub(crate) fn forged(&self) -> String {
        let (one, other) = (
            self.token(json!({"sub": "alice"})),
            self.token(json!({"sub": "mallory"})),
        );
        let (input, _) = one.rsplit_once('.').unwrap();
        let (_, signature) = other.rsplit_once('.').unwrap();
        format!("{input}.{signature}")
    }
}

async fn mesh(keys: Arc<dyn authmesh::ports::KeySource>) -> AuthMesh {
    let builder = AuthMesh::builder().issuer(ISSUER, keys, Rules::for_audiences(["api"]));
    builder.start().await.unwrap()
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Looks again and again until `holds`; fails the test at the deadline.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let looking = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    soon(what, looking).await;
}

/// The key set of a key.
pub(crate) fn document(pair: &Ed25519KeyPair) -> String {
    let x = URL_SAFE_NO_PAD.encode(pair.public_key());
    json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": x}]}).to_string()
}

/// Waits, but not for ever.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {DEADLINE:?}: {what}"),
    }
}

/// A running server; it ends with this.
pub(crate) struct Server {
    pub(crate) address: std::net::SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Serves an app over loopback.
    pub(crate) async fn start(app: axum::Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, task }
    }

    /// A connection on which a request was sent and nothing read.
    pub(crate) async fn send(&self, line: &str, headers: &[(&str, &str)]) -> TcpStream {
        guesses::send(self.address, line, &owned(headers)).await
    }

    /// Sends a request, `headers` as they are, and reads the whole answer.
    pub(crate) async fn ask(&self, line: &str, headers: &[(&str, &str)]) -> Reply {
        guesses::ask(self.address, line, &owned(headers)).await
    }

    /// Gets a path with a bearer token.
    pub(crate) async fn get(&self, path: &str, token: &str) -> Reply {
        let bearer = format!("Bearer {token}");
        self.ask(&format!("GET {path}"), &[("authorization", &bearer)]).await
    }
}

fn owned(headers: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    headers.iter().map(own).collect()
}
