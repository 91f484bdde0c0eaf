//! What the road over Redis costs, beside what Redis itself costs, on a `redis-server` of this machine.
//!
//! ```text
//! cargo bench -p authmesh-redis --bench redis -- [--json FILE] [--quick] [--part l2|bells|commits|join]
//! ```
//!
//! Nodes, their reference and the server share the machine: the figures are of one that is as busy as it gets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bells;
mod commits;
mod join;
mod l2;
#[path = "../../tests/redis/server.rs"]
// Shared with the tests, which also ill-treat the server.
#[allow(dead_code)]
mod server;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use authmesh::memory::FixedKeys;
use authmesh::ports::Bus;
use authmesh::{AuthMesh, KeyRing, Rules, Subject};
use authmesh_redis::RedisAdapter;
use authmesh_tests::bench;
use tokio::task::JoinSet;

use server::Server;

const ISSUER: &str = "https://login.example.com";
/// More than any part of this bench makes.
const MARK_CAP: usize = 4_000_000;
/// How long a node may take until it can be measured.
const SOON: Duration = Duration::from_secs(120);

/// How much is done.
struct Effort {
    reads: usize,
    statements: usize,
    commits: usize,
    marks: usize,
    joins: usize,
}

const FULL: Effort = Effort {
    reads: 20_000,
    statements: 3_000,
    commits: 50_000,
    marks: 1_000_000,
    joins: 5,
};
const QUICK: Effort = Effort {
    reads: 1_000,
    statements: 200,
    commits: 4_000,
    marks: 20_000,
    joins: 1,
};

fn main() -> ExitCode {
    bench::run("redis", |options| {
        let effort = if options.quick { &QUICK } else { &FULL };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            // Each on a server of its own: what one part leaves behind is no load for the next.
            let mut figures = Vec::new();
            if options.wants("l2") {
                figures.extend(l2::measure(&Server::start().await, effort.reads).await);
            }
            if options.wants("bells") {
                figures.extend(bells::measure(&Server::start().await, effort.statements).await);
            }
            if options.wants("commits") {
                figures.extend(commits::measure(&Server::start().await, effort.commits).await);
            }
            if options.wants("join") {
                figures.extend(join::measure(&Server::start().await, effort.marks, effort.joins).await);
            }
            figures
        })
    })
}

/// A node that follows everything, with connections of its own.
async fn node(server: &Server) -> AuthMesh {
    let adapter = server.adapter(server.config()).await;
    let bus = Arc::clone(&adapter);
    node_on(adapter, bus).await
}

async fn node_on(adapter: Arc<RedisAdapter>, bus: Arc<dyn Bus>) -> AuthMesh {
    let mesh = start(adapter, bus).await;
    coherent(&mesh).await;
    mesh
}

async fn start(adapter: Arc<RedisAdapter>, bus: Arc<dyn Bus>) -> AuthMesh {
    AuthMesh::builder()
        .key_ring(KeyRing::new([1; 32], [[2; 32]]).unwrap())
        .mark_cap(MARK_CAP)
        // No token is verified here.
        .issuer(
            ISSUER,
            Arc::new(FixedKeys::new(r#"{"keys":[]}"#)),
            Rules::for_audiences(["api"]),
        )
        .join_through(Arc::clone(&adapter) as _, bus, Arc::clone(&adapter) as _, adapter as _)
        .start()
        .await
        .expect("the settings are sound")
}

async fn coherent(mesh: &AuthMesh) {
    let begin = Instant::now();
    while !mesh.health().coherent {
        assert!(begin.elapsed() < SOON, "the node never becomes coherent");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Revokes a subject that nobody else has.
async fn revoke(mesh: &AuthMesh, n: usize) {
    let subject = Subject::new(ISSUER, format!("user-{n:08}"));
    let revocation = mesh.revoke(subject).by("accounts-service").why("password changed");
    revocation.await.expect("there is room");
}

/// Does something for each number, so many at once.
async fn spread<F: Future<Output = ()> + Send + 'static>(
    numbers: std::ops::Range<usize>,
    at_once: usize,
    work: impl Fn(usize) -> F,
) {
    let mut running = JoinSet::new();
    for n in numbers {
        if running.len() == at_once {
            running.join_next().await.unwrap().expect("the work is done");
        }
        running.spawn(work(n));
    }
    while let Some(done) = running.join_next().await {
        done.expect("the work is done");
    }
}
