//! What every [`Gossip`] promises.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use authmesh::clock::SystemEntropy;
use authmesh::ports::{
    Asked, BoxFuture, DatagramSeal, Entropy as _, Gossip, GossipEvent, GossipNode, GossipPeer, GossipStream, MAX_LARGE,
    MAX_SMALL, PortError,
};
use authmesh_proto::crypto::{Context, KeyRing, Kind, NONCE_BYTES, OpenError, SECRET_BYTES, Sealer};
use authmesh_proto::ident::Origin;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;

/// How long a check waits for what must happen: far beyond what any adapter needs.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes adapters for the suite.
pub trait Factory: Sync {
    /// The adapters of `nodes` nodes that can reach each other, none of them open.
    fn nodes(&self, nodes: usize) -> BoxFuture<'_, Vec<Arc<dyn Gossip>>>;
}

/// Runs every check of the port.
pub async fn suite(factory: &dyn Factory) {
    macro_rules! checks {
        ($($check:ident),* $(,)?) => {
            $(
                eprintln!("conformance: gossip: {}", stringify!($check));
                $check(factory).await;
            )*
        };
    }
    checks!(
        everyone_finds_everyone,
        an_item_comes_to_every_other_node,
        items_and_requests_keep_their_limits,
        a_request_is_answered,
        a_request_nobody_answers_ends,
        who_leaves_is_gone_and_who_opens_again_is_up,
        another_cluster_is_not_heard,
    );
}

/// Seals under a ring of its own.
pub struct Seal(Sealer);

impl Seal {
    /// The seal of a cluster by this name; the key is the same for all.
    #[must_use]
    pub fn of(cluster: &str) -> Arc<Self> {
        let ring = KeyRing::new([1; SECRET_BYTES], vec![[2; SECRET_BYTES]]).expect("the keys differ");
        Arc::new(Self(Sealer::new(&ring, cluster)))
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

impl DatagramSeal for Seal {
    fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_BYTES];
        self.random(&mut nonce);
        self.0.seal(Kind::Datagram, &Context::new(), nonce, plain)
    }

    fn open(&self, envelope: &[u8]) -> Result<Vec<u8>, OpenError> {
        self.0.open(Kind::Datagram, &Context::new(), envelope)
    }

    fn random(&self, bytes: &mut [u8]) {
        SystemEntropy.fill(bytes);
    }
}

/// An open node.
pub struct Peer {
    /// The adapter.
    pub gossip: Arc<dyn Gossip>,
    /// This start of it.
    pub origin: Origin,
    events: GossipStream,
    /// Requests that no check has taken are answered with their own bytes, reversed.
    answers: bool,
    seen: Arc<Mutex<BTreeSet<GossipPeer>>>,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl Peer {
    /// Opens an adapter under a new origin.
    pub async fn open(gossip: Arc<dyn Gossip>, name: &str, cluster: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let mut origin = Origin([0xab; 16]);
        origin.0[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        let me = GossipNode {
            origin,
            name: name.into(),
            seal: Seal::of(cluster),
        };
        let events = gossip.open(me).await.expect("it opens");
        Self {
            gossip,
            origin,
            events,
            answers: true,
            seen: Arc::default(),
        }
    }

    /// The next event; keeps count of who is there, and answers requests.
    pub async fn event(&mut self) -> GossipEvent {
        loop {
            let event = self.events.next().await.expect("the stream goes on");
            match event {
                GossipEvent::Up(peer) => {
                    let mut seen = self.seen.lock().unwrap();
                    seen.retain(|known| known.origin != peer.origin);
                    seen.insert(peer.clone());
                    return GossipEvent::Up(peer);
                }
                GossipEvent::Down(origin) => {
                    self.seen.lock().unwrap().retain(|known| known.origin != origin);
                    return GossipEvent::Down(origin);
                }
                GossipEvent::Left(origin) => {
                    self.seen.lock().unwrap().retain(|known| known.origin != origin);
                    return GossipEvent::Left(origin);
                }
                GossipEvent::Asked(Asked {
                    mut request, answer, ..
                }) if self.answers => {
                    request.reverse();
                    // Whoever asked may have given up.
                    let _ = answer.send(request);
                }
                event => return event,
            }
        }
    }

    /// Waits for an event.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&GossipEvent) -> bool) -> GossipEvent {
        let waiting = async {
            loop {
                let event = self.event().await;
                if wanted(&event) {
                    return event;
                }
            }
        };
        match timeout(PATIENCE, waiting).await {
            Ok(event) => event,
            Err(_) => panic!("{what}: did not happen within {PATIENCE:?}"),
        }
    }

    /// Waits until so many others are there.
    pub async fn company(&mut self, others: usize) -> BTreeSet<GossipPeer> {
        let waiting = async {
            while self.seen.lock().unwrap().len() != others {
                self.event().await;
            }
        };
        if timeout(PATIENCE, waiting).await.is_err() {
            panic!("{others} others: {:?}", self.seen.lock().unwrap());
        }
        self.seen.lock().unwrap().clone()
    }

    /// Takes what comes in while a future runs.
    pub async fn during<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        loop {
            tokio::select! {
                value = &mut future => return value,
                _ = self.event() => {}
            }
        }
    }
}

/// Opens so many nodes of one cluster, that know each other.
pub async fn open(factory: &dyn Factory, nodes: usize) -> Vec<Peer> {
    let mut peers = Vec::new();
    for (n, gossip) in factory.nodes(nodes).await.into_iter().enumerate() {
        peers.push(Peer::open(gossip, &format!("node-{n}"), "conformance").await);
    }
    for peer in &mut peers {
        peer.company(nodes - 1).await;
    }
    peers
}

fn known(peer: &Peer, of: &Peer) -> GossipPeer {
    let seen = peer.seen.lock().unwrap();
    seen.iter()
        .find(|seen| seen.origin == of.origin)
        .cloned()
        .expect("it is there")
}

async fn everyone_finds_everyone(factory: &dyn Factory) {
    let peers = open(factory, 3).await;
    for (n, peer) in peers.iter().enumerate() {
        for (other, there) in peers.iter().enumerate().filter(|(other, _)| *other != n) {
            let known = known(peer, there);
            assert_eq!(known.name, format!("node-{other}"));
            assert_eq!(Some(known.address), there.gossip.address());
        }
        assert_eq!(peer.gossip.counts().members, 2);
    }
}

async fn an_item_comes_to_every_other_node(factory: &dyn Factory) {
    let mut peers = open(factory, 3).await;
    for length in [1, 100, MAX_SMALL] {
        let item = vec![length as u8; length];
        peers[0].gossip.broadcast(item.clone());
        for peer in &mut peers[1..] {
            let wanted = |event: &GossipEvent| matches!(event, GossipEvent::Item(came) if *came == item);
            peer.until("the item", wanted).await;
        }
    }
}

async fn items_and_requests_keep_their_limits(factory: &dyn Factory) {
    let mut peers = open(factory, 2).await;
    let to = known(&peers[0], &peers[1]);
    peers[0].gossip.broadcast(vec![1; MAX_SMALL + 1]);
    peers[0].gossip.broadcast(b"after it".to_vec());
    let item = peers[1]
        .until("an item", |event| matches!(event, GossipEvent::Item(_)))
        .await;
    assert!(
        matches!(item, GossipEvent::Item(item) if item == b"after it"),
        "the longer one is refused"
    );
    let asked = peers[0].gossip.ask(&to, vec![1; MAX_SMALL + 1]).await;
    assert!(matches!(asked, Err(PortError::Refused(_))), "{asked:?}");
    let pulled = peers[0].gossip.pull(&to, vec![1; MAX_LARGE + 1]).await;
    assert!(matches!(pulled, Err(PortError::Refused(_))), "{pulled:?}");
}

async fn a_request_is_answered(factory: &dyn Factory) {
    let mut peers = open(factory, 2).await;
    let to = known(&peers[0], &peers[1]);
    let asker = Arc::clone(&peers[0].gossip);
    for length in [0, 1, MAX_SMALL] {
        let request: Vec<u8> = (0..length).map(|n| n as u8).collect();
        let answer = peers[1]
            .during(asker.ask(&to, request.clone()))
            .await
            .expect("an answer");
        assert!(answer.iter().rev().eq(&request), "{length}");
    }
    for length in [0, MAX_SMALL + 1, MAX_LARGE] {
        let request: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
        let answer = peers[1]
            .during(asker.pull(&to, request.clone()))
            .await
            .expect("an answer");
        assert!(answer.iter().rev().eq(&request), "{length}");
    }
    peers[1].answers = false;
    let asks = asker.ask(&to, b"who am I".to_vec());
    let answers = async {
        let event = peers[1]
            .until("a request", |event| matches!(event, GossipEvent::Asked(_)))
            .await;
        let GossipEvent::Asked(asked) = event else {
            unreachable!()
        };
        assert_eq!((asked.limit, asked.request.as_slice()), (MAX_SMALL, &b"who am I"[..]));
        asked.answer.send(asked.from.name.into_bytes()).expect("it waits");
        asked.from.origin
    };
    let (answer, from) = tokio::join!(asks, answers);
    assert_eq!((answer.as_deref(), from), (Ok(&b"node-0"[..]), peers[0].origin));
}

async fn a_request_nobody_answers_ends(factory: &dyn Factory) {
    let mut peers = open(factory, 2).await;
    let to = known(&peers[0], &peers[1]);
    let asker = Arc::clone(&peers[0].gossip);
    peers[1].answers = false;
    let drops = peers[1].during(asker.ask(&to, b"?".to_vec())).await;
    assert!(matches!(drops, Err(PortError::Unknown(_))), "{drops:?}");
    let drops = peers[1].during(asker.pull(&to, b"?".to_vec())).await;
    assert!(matches!(drops, Err(PortError::Unknown(_))), "{drops:?}");
    drop(peers.pop());
    let gone = timeout(PATIENCE, asker.pull(&to, b"?".to_vec()))
        .await
        .expect("it ends");
    assert!(gone.is_err(), "{gone:?}");
}

async fn who_leaves_is_gone_and_who_opens_again_is_up(factory: &dyn Factory) {
    let mut peers = open(factory, 3).await;
    let gone = peers[2].origin;
    peers[2].gossip.leave().await;
    for peer in &mut peers[..2] {
        let wanted = |event: &GossipEvent| matches!(event, GossipEvent::Left(origin) if *origin == gone);
        peer.until("the good-bye", wanted).await;
        assert_eq!(peer.company(1).await.len(), 1);
    }
    let gossip = Arc::clone(&peers[2].gossip);
    let mut again = Peer::open(gossip, "node-2", "conformance").await;
    again.company(2).await;
    for peer in &mut peers[..2] {
        let there = peer.company(2).await;
        assert!(there.iter().any(|peer| peer.origin == again.origin), "{there:?}");
    }
    // And without a good-bye: another start takes the place.
    let gossip = Arc::clone(&again.gossip);
    let before = again.origin;
    let mut again = Peer::open(gossip, "node-2", "conformance").await;
    again.company(2).await;
    for peer in &mut peers[..2] {
        peer.until(
            "the new start",
            |event| matches!(event, GossipEvent::Up(peer) if peer.origin == again.origin),
        )
        .await;
        let there = peer.company(2).await;
        assert!(there.iter().all(|peer| peer.origin != before), "{there:?}");
    }
}

async fn another_cluster_is_not_heard(factory: &dyn Factory) {
    let adapters = factory.nodes(3).await;
    let mut peers = Vec::new();
    for (gossip, cluster) in adapters.into_iter().zip(["one", "one", "another"]) {
        peers.push(Peer::open(gossip, "node", cluster).await);
    }
    let mut stranger = peers.pop().expect("three were opened");
    for peer in &mut peers {
        peer.company(1).await;
    }
    stranger.gossip.broadcast(b"a lie".to_vec());
    peers[0].gossip.broadcast(b"the truth".to_vec());
    let item = peers[1]
        .until("an item", |event| matches!(event, GossipEvent::Item(_)))
        .await;
    assert!(matches!(item, GossipEvent::Item(item) if item == b"the truth"));
    let heard = timeout(Duration::from_millis(300), stranger.event()).await;
    assert!(heard.is_err(), "a stranger hears nothing: {heard:?}");
}
