//! What the cache is worth under a realistic load, in virtual time: users as Zipf has them, sessions, verdicts of 5 minutes.
//!
//! ```text
//! cargo bench -p authmesh-tests --bench workload -- [--json FILE] [--quick]
//! ```
//!
//! Four nodes of one cluster share a second level; a balancer sends each call to any of them. The provider is asked about
//! each opaque token (RFC 7662); without a cache it would be asked at every call. Time is the runtime's own and stands still
//! while anybody works, so the figures are counts and the same on every machine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use authmesh::memory::{Cluster, Limits};
use authmesh::ports::{ActiveToken, BoxFuture, Clock, TokenSource, TokenState, UpstreamError};
use authmesh::proto::time::{Moment, Now};
use authmesh::{AuthMesh, KeyRing, Level, UpstreamRules};
use authmesh_tests::bench::{self, Figure, Scatter};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const ISSUER: &str = "https://login.example.com";
const START: u64 = 1_800_000_000;
const NODES: usize = 4;
/// Everybody who could come; how often who comes is Zipf's, with exponent 1.
const USERS: usize = 20_000;
/// From one login or return to the next, over all users.
const BETWEEN_SESSIONS: f64 = 2.0;
/// Mean length of a session, in seconds.
const SESSION: f64 = 600.0;
/// Mean time that a user looks at a page, in seconds.
const PAGE: f64 = 20.0;
/// Calls that a page makes.
const CALLS: usize = 5;
/// A token lives for so long; whoever comes back meanwhile brings the same one.
const TOKEN: u64 = 3_600;
/// How long the provider takes.
const PROVIDER: Duration = Duration::from_millis(40);
/// Who makes so many calls or more is an active user.
const ACTIVE: u64 = 20;

fn main() -> ExitCode {
    bench::run("workload", |options| {
        let minutes = if options.quick { 5 } else { 60 };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(measure(Duration::from_secs(minutes * 60)))
    })
}

/// Both clocks, by the runtime's.
#[derive(Debug)]
struct RuntimeClock(Instant);

impl Clock for RuntimeClock {
    fn now(&self) -> Now {
        let since = self.0.elapsed();
        Now {
            boot: Moment::ORIGIN.plus(Duration::from_secs(5_000) + since),
            wall: START + since.as_secs(),
        }
    }
}

/// A provider that knows every token and counts. A token is its user and the hour of its issue.
#[derive(Debug, Default)]
struct Provider(AtomicU64);

impl TokenSource for Provider {
    fn ask<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<TokenState, UpstreamError>> {
        Box::pin(async move {
            self.0.fetch_add(1, Ordering::Relaxed);
            sleep(PROVIDER).await;
            let (user, issued_at) = token.split_once('@').expect("a token of this bench");
            let issued_at: u64 = issued_at.parse().expect("a time");
            Ok(TokenState::Active(Box::new(ActiveToken {
                subject: Some(user.to_owned()),
                audiences: Some(vec!["orders-api".to_owned()]),
                issued_at: Some(issued_at),
                expires_at: Some(issued_at + TOKEN),
                claims: format!(r#"{{"active":true,"sub":"{user}"}}"#).into_bytes(),
                ..ActiveToken::default()
            })))
        })
    }

    fn identity(&self) -> String {
        "introspection as orders-api".into()
    }
}

/// What a user's calls came to.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    calls: u64,
    l1: u64,
    l2: u64,
}

#[derive(Default)]
struct Users {
    /// The token that a user has, with its time of issue.
    tokens: HashMap<usize, u64>,
    seen: HashMap<usize, Seen>,
}

async fn measure(time: Duration) -> Vec<Figure> {
    let clock = Arc::new(RuntimeClock(Instant::now()));
    let cluster = Cluster::with(Limits::default(), Arc::clone(&clock) as _);
    let provider = Arc::new(Provider::default());
    let mut nodes = Vec::new();
    for n in 0..NODES {
        let mesh = AuthMesh::builder()
            .name(format!("node-{n}"))
            .key_ring(KeyRing::new([1; 32], [[2; 32]]).unwrap())
            .clock(Arc::clone(&clock) as _)
            .join(Arc::new(cluster.clone()))
            .upstream(
                ISSUER,
                Arc::clone(&provider) as _,
                UpstreamRules::for_audiences(["orders-api"]),
            );
        nodes.push(mesh.start().await.unwrap());
    }
    let nodes: Arc<[AuthMesh]> = nodes.into();
    let users = Arc::new(Mutex::new(Users::default()));

    let (popular, mut scatter) = (Zipf::over(USERS), Scatter::new(20));
    let begin = Instant::now();
    let mut sessions = JoinSet::new();
    while begin.elapsed() < time {
        sleep(exponential(&mut scatter, BETWEEN_SESSIONS)).await;
        let user = popular.pick(&mut scatter);
        let (nodes, users, clock) = (Arc::clone(&nodes), Arc::clone(&users), Arc::clone(&clock));
        sessions.spawn(session(user, nodes, users, clock, Scatter::new(scatter.next() | 1)));
        while sessions.try_join_next().is_some() {}
    }
    sessions.abort_all();

    let users = users.lock().unwrap();
    let sum = |of: fn(&Seen) -> u64, least: u64| {
        let seen = users.seen.values().filter(|seen| seen.calls >= least);
        seen.map(of).sum::<u64>() as f64
    };
    let calls = sum(|seen| seen.calls, 0);
    let asked = provider.0.load(Ordering::Relaxed) as f64;
    let active = sum(|seen| seen.calls, ACTIVE);
    let memory = 100.0 * sum(|seen| seen.l1, ACTIVE) / active;
    let any = 100.0 * sum(|seen| seen.l1 + seen.l2, ACTIVE) / active;
    vec![
        Figure::new("workload: calls in an hour", calls, ""),
        Figure::new("workload: calls of active users, of all", 100.0 * active / calls, "%"),
        Figure::new("workload: active users, answered from memory", memory, "%").at_least(90.0),
        Figure::new("workload: active users, answered from memory or L2", any, "%").at_least(90.0),
        Figure::new("workload: calls of the provider", asked, "calls")
            .faster_than("without a cache", calls)
            .at_least_times(10.0),
    ]
}

/// A session: pages, each with some calls to any of the nodes.
async fn session(
    user: usize,
    nodes: Arc<[AuthMesh]>,
    users: Arc<Mutex<Users>>,
    clock: Arc<RuntimeClock>,
    mut scatter: Scatter,
) {
    let end = Instant::now() + exponential(&mut scatter, SESSION);
    while Instant::now() < end {
        let issued_at = {
            let (mut users, now) = (users.lock().unwrap(), clock.now().wall);
            let token = users.tokens.entry(user).or_insert(now);
            // The client renews it in time.
            if now + 60 > *token + TOKEN {
                *token = now;
            }
            *token
        };
        let token = format!("user-{user}@{issued_at}");
        for _ in 0..CALLS {
            let answer = nodes[scatter.below(NODES)].verifier().answer(&token).await;
            let level = answer.expect("the token is valid").level;
            let mut users = users.lock().unwrap();
            let seen = users.seen.entry(user).or_default();
            seen.calls += 1;
            match level {
                Level::L1 => seen.l1 += 1,
                Level::L2 => seen.l2 += 1,
                _ => {}
            }
        }
        sleep(exponential(&mut scatter, PAGE)).await;
    }
}

/// A time of this mean in seconds, as memoryless arrivals have it.
fn exponential(scatter: &mut Scatter, mean: f64) -> Duration {
    Duration::from_secs_f64(-mean * (1.0 - share(scatter)).ln())
}

/// A number from 0 to below 1.
fn share(scatter: &mut Scatter) -> f64 {
    (scatter.next() >> 11) as f64 / (1_u64 << 53) as f64
}

/// The n-th user comes 1/n as often as the first.
struct Zipf(Vec<f64>);

impl Zipf {
    fn over(users: usize) -> Self {
        let mut sum = 0.0;
        let sums = (1..=users).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        Self(sums.collect())
    }

    fn pick(&self, scatter: &mut Scatter) -> usize {
        let place = share(scatter) * self.0.last().expect("there are users");
        self.0.partition_point(|sum| *sum <= place).min(self.0.len() - 1)
    }
}
