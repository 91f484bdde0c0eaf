//! A statement until the last of 16 nodes has applied it, beside a message until the last of 16 subscribers has it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use authmesh::ports::{BoxFuture, Bus, BusEvent, BusStream, PortError};
use authmesh::{AuthMesh, Namespace};
use authmesh_redis::RedisAdapter;
use authmesh_tests::bench::{Figure, quantile};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ProtocolVersion, PushKind};
use tokio::sync::{Notify, mpsc};
use tokio_stream::Stream;

use crate::server::Server;
use crate::{node_on, revoke};

const NODES: usize = 16;
const TOPIC: &str = "bench:{0}:bell";

pub(crate) async fn measure(server: &Server, statements: usize) -> Vec<Figure> {
    let heard = Arc::new(Heard::new());
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        let adapter = server.adapter(server.config()).await;
        let bus = Arc::new(Watched {
            bus: Arc::clone(&adapter),
            heard: Arc::clone(&heard),
        });
        nodes.push(node_on(adapter, bus).await);
    }
    let plain = Arc::new(Heard::new());
    for _ in 0..NODES {
        subscribe(server, Arc::clone(&plain)).await;
    }
    let publisher = server.raw().await;
    let before: Vec<u64> = nodes.iter().map(applied).collect();
    let turns = take_turns(nodes[0].clone(), publisher, Arc::clone(&heard), plain, statements);
    let [marks, drops, messages] = tokio::spawn(turns).await.unwrap();
    for (node, before) in nodes.iter().zip(before) {
        // Else what was timed was not an application.
        assert_eq!(
            applied(node) - before,
            2 * statements as u64 + 2,
            "every node applied everything"
        );
        node.shutdown().await;
    }
    let beside = |name: &str, share: f64, times: &[f64]| {
        Figure::new(name, quantile(times, share), "us").beside("SPUBLISH to 16 subscribers", quantile(&messages, share))
    };
    // Milliseconds, as the goal is stated.
    let slowest = quantile(&marks, 0.99) / 1e3;
    vec![
        beside("revocation to the last of 16 nodes, median", 0.5, &marks).at_most_times(2.0),
        Figure::new("revocation to the last of 16 nodes, p99", slowest, "ms")
            .beside("SPUBLISH to 16 subscribers", quantile(&messages, 0.99) / 1e3)
            .at_most(50.0),
        beside("drop to the last of 16 nodes, median", 0.5, &drops).at_most_times(2.0),
        Figure::new(
            "bytes of the bell of a revocation",
            heard.bytes.load(Ordering::Relaxed) as f64,
            "bytes",
        ),
    ]
}

fn applied(node: &AuthMesh) -> u64 {
    node.stats().counts.statements_applied
}

async fn take_turns(
    origin: AuthMesh,
    mut publisher: MultiplexedConnection,
    heard: Arc<Heard>,
    plain: Arc<Heard>,
    statements: usize,
) -> [Vec<f64>; 3] {
    let cache = origin.cache::<String>(Namespace::new("sessions")).unwrap();
    let mut times = [const { Vec::new() }; 3];
    // The first of each warms up, and tells how long a bell is.
    for n in 0..=statements {
        let mark = heard.time(revoke(&origin, n)).await;
        // That of a mark is the longest.
        let message = vec![7_u8; heard.bytes.load(Ordering::Relaxed)];
        let drop = heard
            .time(async {
                assert!(cache.remove(format!("session-{n:08}")).await.expect("there is room"));
            })
            .await;
        let publish = plain.time(async {
            let mut publish = redis::cmd("SPUBLISH");
            publish.arg(TOPIC).arg(&message[..]);
            let receivers: usize = publish.query_async(&mut publisher).await.unwrap();
            assert_eq!(receivers, NODES);
        });
        let message = publish.await;
        if n > 0 {
            for (times, time) in times.iter_mut().zip([mark, drop, message]) {
                times.push(time);
            }
        }
    }
    times
}

/// Counts who has heard, and notes when the last one had.
struct Heard {
    began: Instant,
    missing: AtomicUsize,
    /// Nanoseconds since `began`.
    last: AtomicU64,
    all: Notify,
    bytes: AtomicUsize,
}

impl Heard {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            missing: AtomicUsize::new(0),
            last: AtomicU64::new(0),
            all: Notify::new(),
            bytes: AtomicUsize::new(0),
        }
    }

    /// Microseconds from before `say` until the last one has heard. Ends when `say` has ended too.
    async fn time(&self, say: impl Future<Output = ()>) -> f64 {
        self.missing.store(NODES, Ordering::Release);
        let begin = self.began.elapsed();
        tokio::join!(say, self.all.notified());
        (self.last.load(Ordering::Acquire) as f64 - begin.as_nanos() as f64) / 1e3
    }

    fn by_one(&self) {
        let now = self.began.elapsed().as_nanos() as u64;
        self.last.fetch_max(now, Ordering::AcqRel);
        let before = self
            .missing
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| n.checked_sub(1));
        if before == Ok(1) {
            self.all.notify_one();
        }
    }
}

/// Tells when a node has taken in what it heard: when it asks for the next bell, it has done everything about the one before.
struct Watched {
    bus: Arc<RedisAdapter>,
    heard: Arc<Heard>,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watched(..)")
    }
}

impl Bus for Watched {
    fn subscribe(&self) -> BoxFuture<'_, Result<BusStream, PortError>> {
        Box::pin(async move {
            let bells = WatchedBells {
                bells: self.bus.subscribe().await?,
                heard: Arc::clone(&self.heard),
                handed_out: false,
            };
            Ok(Box::pin(bells) as BusStream)
        })
    }
}

struct WatchedBells {
    bells: BusStream,
    heard: Arc<Heard>,
    handed_out: bool,
}

impl Stream for WatchedBells {
    type Item = BusEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<BusEvent>> {
        if std::mem::take(&mut self.handed_out) {
            self.heard.by_one();
        }
        let next = self.bells.as_mut().poll_next(context);
        if let Poll::Ready(Some(BusEvent::Bell(bell))) = &next {
            self.heard.bytes.fetch_max(bell.len(), Ordering::Relaxed);
            self.handed_out = true;
        }
        next
    }
}

/// A subscriber as the client library offers it: a connection, and a task that takes what comes.
async fn subscribe(server: &Server, heard: Arc<Heard>) {
    let (messages, mut come) = mpsc::unbounded_channel();
    let info = redis::IntoConnectionInfo::into_connection_info(server.url()).unwrap();
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let client = redis::Client::open(info.set_redis_settings(settings)).unwrap();
    let config = AsyncConnectionConfig::new().set_push_sender(messages);
    let connected = client.get_multiplexed_async_connection_with_config(&config).await;
    let mut connection = connected.expect("the server is up");
    let subscribed = redis::cmd("SSUBSCRIBE").arg(TOPIC).exec_async(&mut connection).await;
    subscribed.expect("the subscription is made");
    tokio::spawn(async move {
        // Held here: the subscription ends with it.
        let _connection = connection;
        while let Some(message) = come.recv().await {
            if message.kind == PushKind::SMessage {
                heard.by_one();
            }
        }
    });
}
