//! The conformance suites over the adapters of this workspace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use authmesh::memory;
use authmesh::ports::{BoxFuture, Gossip, KeySource};
use authmesh_oidc::{HttpClient, HttpKeySource};
use authmesh_tests::conformance::{self, Abilities, Factory, Peer, gossip, key_source};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Clusters in the memory of this process.
struct Memory;

impl Factory for Memory {
    fn cluster(&self) -> BoxFuture<'_, [Peer; 2]> {
        let cluster = memory::Cluster::new();
        let peers = [Peer::of(Arc::new(cluster.clone())), Peer::of(Arc::new(cluster))];
        Box::pin(std::future::ready(peers))
    }

    fn abilities(&self) -> Abilities {
        let limits = memory::Limits::default();
        Abilities {
            log_cap: Some(limits.log_entries),
            member_cap: Some(limits.members),
            ..Abilities::default()
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_in_memory_keeps_its_promises() {
    conformance::log::suite(&Memory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bus_in_memory_keeps_its_promises() {
    conformance::bus::suite(&Memory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_in_memory_keeps_its_promises() {
    conformance::store::suite(&Memory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_members_in_memory_keep_their_promises() {
    conformance::members::suite(&Memory).await;
}

/// Networks in the memory of this process.
struct Hubs;

impl gossip::Factory for Hubs {
    fn nodes(&self, nodes: usize) -> BoxFuture<'_, Vec<Arc<dyn Gossip>>> {
        let hub = memory::Hub::new();
        let nodes = (0..nodes).map(|_| Arc::new(hub.node()) as _).collect();
        Box::pin(std::future::ready(nodes))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gossip_in_memory_keeps_its_promises() {
    conformance::gossip::suite(&Hubs).await;
}

#[tokio::test]
async fn a_cut_in_the_hub_is_seen_at_both_ends_and_heals() {
    let hub = memory::Hub::new();
    let mut peers = Vec::new();
    for name in ["a", "b", "c"] {
        peers.push(gossip::Peer::open(Arc::new(hub.node()), name, "cut").await);
    }
    for peer in &mut peers {
        peer.company(2).await;
    }
    let [a, b] = [0, 1].map(|n: usize| peers[n].gossip.address().unwrap());
    hub.cut(a, b, true);
    let there = [peers[0].company(1).await, peers[1].company(1).await];
    assert!(there.iter().flatten().all(|peer| peer.name == "c"), "{there:?}");
    hub.cut(a, b, false);
    for peer in &mut peers {
        peer.company(2).await;
    }
}

#[tokio::test]
async fn a_fixed_key_source_keeps_its_promises() {
    conformance::key_source::suite(&Fixed).await;
}

#[tokio::test]
async fn a_key_source_over_http_keeps_its_promises() {
    conformance::key_source::suite(&Http { discover: false }).await;
}

#[tokio::test]
async fn a_key_source_by_discovery_keeps_its_promises() {
    conformance::key_source::suite(&Http { discover: true }).await;
}

/// A document that the program supplies.
struct Fixed;

impl key_source::Factory for Fixed {
    fn upstream(&self, document: &[u8]) -> BoxFuture<'_, Box<dyn key_source::Upstream>> {
        let keys = memory::FixedKeys::new(document);
        Box::pin(std::future::ready(Box::new(FixedUpstream(Arc::new(keys))) as _))
    }

    fn abilities(&self) -> key_source::Abilities {
        key_source::Abilities::default()
    }
}

struct FixedUpstream(Arc<memory::FixedKeys>);

impl key_source::Upstream for FixedUpstream {
    fn source(&self) -> Arc<dyn KeySource> {
        Arc::clone(&self.0) as _
    }

    fn publish(&self, document: &[u8]) {
        self.0.set(document);
    }

    fn take_down(&self) {
        self.0.take_down();
    }

    fn requests(&self) -> u64 {
        self.0.fetches()
    }
}

/// A document behind a real socket, its address given or found.
struct Http {
    discover: bool,
}

const MAX_AGE: Duration = Duration::from_secs(300);

impl key_source::Factory for Http {
    fn upstream(&self, document: &[u8]) -> BoxFuture<'_, Box<dyn key_source::Upstream>> {
        let document = document.to_vec();
        Box::pin(async move { Box::new(HttpUpstream::start(document, self.discover).await) as _ })
    }

    fn abilities(&self) -> key_source::Abilities {
        key_source::Abilities {
            entity_tags: true,
            passes_caches: true,
            max_age: Some(MAX_AGE),
            tells_its_time: true,
        }
    }
}

/// A provider in a few lines, so that the test decides what it answers.
struct HttpUpstream {
    published: Arc<Published>,
    source: Arc<HttpKeySource>,
    accepting: JoinHandle<()>,
}

struct Published {
    issuer: String,
    /// The document; `None` while the provider is down.
    document: Mutex<Option<Vec<u8>>>,
    version: AtomicU64,
    requests: AtomicU64,
    past_caches: AtomicBool,
}

impl HttpUpstream {
    async fn start(document: Vec<u8>, discover: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let published = Arc::new(Published {
            issuer: issuer.clone(),
            document: Mutex::new(Some(document)),
            version: AtomicU64::new(1),
            requests: AtomicU64::new(0),
            past_caches: AtomicBool::new(false),
        });
        let accepting = tokio::spawn({
            let published = Arc::clone(&published);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    // A client that hangs up is no failure of the provider.
                    tokio::spawn(serve(stream, Arc::clone(&published)));
                }
            }
        });
        let http = HttpClient::builder()
            .danger_allow_http(true)
            .environment_proxy(false)
            .build()
            .unwrap();
        let source = match discover {
            true => HttpKeySource::discover(&issuer, &http),
            false => HttpKeySource::jwks_url(&format!("{issuer}/jwks"), &http),
        };
        Self {
            published,
            source: Arc::new(source.unwrap()),
            accepting,
        }
    }
}

impl Drop for HttpUpstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl key_source::Upstream for HttpUpstream {
    fn source(&self) -> Arc<dyn KeySource> {
        Arc::clone(&self.source) as _
    }

    fn publish(&self, document: &[u8]) {
        self.published.version.fetch_add(1, Ordering::SeqCst);
        *self.published.document.lock().unwrap() = Some(document.to_vec());
    }

    fn take_down(&self) {
        *self.published.document.lock().unwrap() = None;
    }

    fn requests(&self) -> u64 {
        self.published.requests.load(Ordering::SeqCst)
    }

    fn went_past_caches(&self) -> bool {
        self.published.past_caches.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: TcpStream, published: Arc<Published>) -> io::Result<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).to_lowercase();
        stream.write_all(&published.answer(&head)).await?;
    }
}

impl Published {
    fn answer(&self, head: &str) -> Vec<u8> {
        if !head.starts_with("get /jwks ") {
            let body = format!(r#"{{"issuer":"{0}","jwks_uri":"{0}/jwks"}}"#, self.issuer);
            return answer("200 OK", "", body.as_bytes());
        }
        self.requests.fetch_add(1, Ordering::SeqCst);
        let has = |line: &str| head.lines().any(|own| own == line);
        self.past_caches.store(has("cache-control: no-cache"), Ordering::SeqCst);
        let Some(document) = self.document.lock().unwrap().clone() else {
            return answer("503 Service Unavailable", "", b"");
        };
        let tag = format!("\"v{}\"", self.version.load(Ordering::SeqCst));
        let headers = format!(
            "ETag: {tag}\r\nCache-Control: max-age={}\r\nDate: Fri, 07 Aug 2026 08:49:37 GMT\r\n",
            MAX_AGE.as_secs()
        );
        if has(&format!("if-none-match: {tag}")) {
            return format!("HTTP/1.1 304 Not Modified\r\n{headers}\r\n").into_bytes();
        }
        answer("200 OK", &headers, &document)
    }
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// The same adapters behind decorators that have no faults: they must change nothing.
mod behind_faults {
    use authmesh_testkit::{Faulty, Op, TestIssuer};

    use super::*;

    struct Clusters;

    impl Factory for Clusters {
        fn cluster(&self) -> BoxFuture<'_, [Peer; 2]> {
            let cluster = Arc::new(memory::Cluster::new());
            let peer = || Peer::of(Faulty::new(Faulty::new(Arc::clone(&cluster))));
            Box::pin(std::future::ready([peer(), peer()]))
        }

        fn abilities(&self) -> Abilities {
            Memory.abilities()
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_log_keeps_its_promises() {
        conformance::log::suite(&Clusters).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_bus_keeps_its_promises() {
        conformance::bus::suite(&Clusters).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_store_keeps_its_promises() {
        conformance::store::suite(&Clusters).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_members_keep_their_promises() {
        conformance::members::suite(&Clusters).await;
    }

    struct Networks;

    impl gossip::Factory for Networks {
        fn nodes(&self, nodes: usize) -> BoxFuture<'_, Vec<Arc<dyn Gossip>>> {
            let hub = memory::Hub::new();
            let nodes = (0..nodes).map(|_| Faulty::new(Arc::new(hub.node())) as _).collect();
            Box::pin(std::future::ready(nodes))
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn gossip_keeps_its_promises() {
        conformance::gossip::suite(&Networks).await;
    }

    /// The issuer of the test kit: its source stands behind a decorator anyway.
    struct Issuer;

    impl key_source::Factory for Issuer {
        fn upstream(&self, document: &[u8]) -> BoxFuture<'_, Box<dyn key_source::Upstream>> {
            let issuer = TestIssuer::new();
            issuer.published().set(document);
            issuer.published().tags(true);
            issuer.published().max_age(Some(MAX_AGE));
            issuer.published().date(Some(issuer.now()));
            Box::pin(std::future::ready(Box::new(IssuerUpstream(issuer)) as _))
        }

        fn abilities(&self) -> key_source::Abilities {
            key_source::Abilities {
                entity_tags: true,
                passes_caches: true,
                max_age: Some(MAX_AGE),
                tells_its_time: true,
            }
        }
    }

    struct IssuerUpstream(TestIssuer);

    impl key_source::Upstream for IssuerUpstream {
        fn source(&self) -> Arc<dyn KeySource> {
            self.0.source()
        }

        fn publish(&self, document: &[u8]) {
            self.0.published().set(document);
            self.0.recover();
        }

        fn take_down(&self) {
            self.0.fail();
        }

        fn requests(&self) -> u64 {
            self.0.faults().calls(Op::Fetch)
        }

        fn went_past_caches(&self) -> bool {
            self.0.published().went_past_caches()
        }
    }

    #[tokio::test]
    async fn the_issuer_of_the_test_kit_keeps_the_promises_of_a_key_source() {
        conformance::key_source::suite(&Issuer).await;
    }
}
