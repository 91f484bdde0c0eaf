//! What a million revocations cost a node: memory, checks, applying them, and joining a cluster that has them.
//!
//! ```text
//! cargo bench -p authmesh-tests --bench marks -- [--json FILE] [--quick] [--part memory|table|join]
//! ```
//!
//! Memory is what the system counts for a process of its own that holds the marks and nothing else: what the allocator
//! wastes is in it. Names of scopes are keyed, so evenly spread; here they come from a generator.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use authmesh::clock::SystemClock;
use authmesh::memory::{Cluster, FixedKeys};
use authmesh::ports::Clock as _;
use authmesh::{AuthMesh, KeyRing, Rules, Subject};
use authmesh_proto::crypto::{Namer, ScopeKind};
use authmesh_proto::freshness::MarkEpoch;
use authmesh_proto::ident::ScopeId;
use authmesh_proto::marks::{Marks, TokenScopes, element_digest};
use authmesh_proto::statement::{Mark, MarkKey, Note, to_full_hour};
use authmesh_proto::time::Now;
use authmesh_tests::bench::{self, Figure, Scatter, median, per_item};

const ISSUER: &str = "https://login.example.com";
/// Expiries are spread over the longest token lifetime that is the default.
const HOURS: u64 = 24;
/// The hot set.
const HOT: usize = 1_000;
/// Tokens per timed batch of checks.
const BATCH: usize = 64;
/// How often a batch is gone through, of a check that takes a nanosecond.
const PASSES: usize = 16;
/// What the bench calls itself with, to measure memory in a fresh process.
const RESIDENT: &str = "--resident";

/// How much is done.
struct Effort {
    marks: usize,
    /// Tokens that are checked, each with seven scopes.
    tokens: usize,
    rounds: usize,
    joins: usize,
}

const FULL: Effort = Effort {
    marks: 1_000_000,
    tokens: 200_000,
    rounds: 3_000,
    joins: 5,
};
const QUICK: Effort = Effort {
    marks: 50_000,
    tokens: 10_000,
    rounds: 300,
    joins: 1,
};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(RESIDENT) {
        let (count, notes) = (arguments.next().unwrap(), arguments.next().unwrap());
        println!("{}", growth(count.parse().unwrap(), Notes::from_word(&notes)));
        return ExitCode::SUCCESS;
    }
    bench::run("marks", |options| {
        let effort = if options.quick { &QUICK } else { &FULL };
        let mut figures = Vec::new();
        for (name, part) in [("memory", memory as fn(&Effort) -> _), ("table", table), ("join", join)] {
            if options.wants(name) {
                figures.extend(part(effort));
            }
        }
        figures
    })
}

/// Who said it and why, as it stands on each mark.
#[derive(Clone, Copy)]
enum Notes {
    /// One for all: one service revokes, for one reason.
    Shared,
    /// Each its own.
    Own,
}

impl Notes {
    const fn word(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Own => "own",
        }
    }

    fn from_word(word: &str) -> Self {
        match word {
            "own" => Self::Own,
            _ => Self::Shared,
        }
    }
}

fn namer() -> Namer {
    Namer::new(&ring(), "bench")
}

fn ring() -> KeyRing {
    KeyRing::new([1; 32], [[2; 32]]).unwrap()
}

fn some_mark(scatter: &mut Scatter, n: usize, now: Now, notes: Notes) -> Mark {
    let mut scope = [0; 16];
    scope[..8].copy_from_slice(&scatter.next().to_be_bytes());
    scope[8..].copy_from_slice(&scatter.next().to_be_bytes());
    Mark {
        key: MarkKey {
            scope: ScopeId(scope),
            except: None,
        },
        kind: ScopeKind::Subject,
        not_before: now.wall,
        expires: to_full_hour(now.wall + (n as u64 % HOURS + 1) * 3600),
        note: Note {
            at: now.wall,
            by: "accounts-service".into(),
            why: match notes {
                Notes::Shared => "password changed".into(),
                Notes::Own => format!("ticket {n:010}"),
            },
        },
    }
}

/// A table of so many marks, and the nanoseconds that each of them took, by batches.
fn filled(count: usize, notes: Notes, namer: &Namer) -> (Marks, Vec<f64>) {
    let (mut marks, mut scatter) = (Marks::new(count), Scatter::new(0x9e37_79b9_7f4a_7c15));
    let (now, mut times) = (SystemClock.now(), Vec::with_capacity(count / BATCH + 1));
    for first in (0..count).step_by(BATCH) {
        let some = first..count.min(first + BATCH);
        let batch: Vec<Mark> = some.map(|n| some_mark(&mut scatter, n, now, notes)).collect();
        let size = batch.len() as f64;
        let begin = Instant::now();
        for mark in batch {
            black_box(marks.apply(now, mark, None, namer));
        }
        times.push(begin.elapsed().as_nanos() as f64 / size);
    }
    assert_eq!(marks.len(), count);
    (marks, times)
}

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("this system tells what a process holds");
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    // rustix and libc would say so; the page size of every system that authmesh is built for is this one.
    pages * 4096
}

/// How many bytes the process grows by, for so many marks.
fn growth(count: usize, notes: Notes) -> u64 {
    // One of everything first: what code and tables take once is no cost of a mark.
    let namer = namer();
    drop(filled(1, notes, &namer));
    let before = resident();
    let (marks, times) = filled(count, notes, &namer);
    let after = resident();
    black_box(&marks);
    let own = size_of_val(&times[..]) as u64;
    (after - before).saturating_sub(own)
}

fn memory(effort: &Effort) -> Vec<Figure> {
    let each = |notes: Notes| {
        let this = std::env::current_exe().expect("path of this program");
        let child = Command::new(this)
            .args([RESIDENT, &effort.marks.to_string(), notes.word()])
            .output();
        let output = child.expect("this program runs again");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let bytes: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
        bytes / effort.marks as f64
    };
    let marks = effort.marks;
    vec![
        Figure::new(
            format!("memory per mark, {marks} marks, one note"),
            each(Notes::Shared),
            "bytes",
        )
        .at_most(64.0),
        Figure::new(
            format!("memory per mark, {marks} marks, a note each"),
            each(Notes::Own),
            "bytes",
        ),
    ]
}

/// A verdict's scopes, and the epoch at which they were checked.
struct Checked {
    scopes: TokenScopes,
    epoch: AtomicU64,
}

fn table(effort: &Effort) -> Vec<Figure> {
    let namer = namer();
    let (marks, applied) = filled(effort.marks, Notes::Shared, &namer);
    let epoch = MarkEpoch::new();
    let token = |n: usize| {
        let value = |kind: &str| format!("{kind}-{n:08}");
        let values = [
            (ScopeKind::Token, value("input")),
            (ScopeKind::JwtId, value("jti")),
            (ScopeKind::Session, value("sid")),
            (ScopeKind::Subject, value("sub")),
            (ScopeKind::Client, value("client")),
            (ScopeKind::SigningKey, value("key")),
        ];
        let values = values.iter().map(|(kind, value)| (*kind, value.as_bytes()));
        Checked {
            scopes: TokenScopes::new(&namer, ISSUER, Some(0), values),
            epoch: AtomicU64::new(epoch.load()),
        }
    };
    let tokens: Vec<Checked> = (0..effort.tokens).map(token).collect();
    let scopes = tokens[0].scopes.iter().len() as f64;
    let now = SystemClock.now();
    let mut scatter = Scatter::new(7);
    let digested: Vec<Mark> = (0..BATCH)
        .map(|n| some_mark(&mut scatter, n, now, Notes::Shared))
        .collect();

    let (mut unchanged, mut full, mut hot, mut digests) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        let some: Vec<&Checked> = (0..BATCH).map(|_| &tokens[scatter.below(tokens.len())]).collect();
        let check = |token: &&Checked| {
            assert!(marks.check(black_box(&token.scopes)).is_none());
        };
        full.push(per_item(&some, check) / scopes);
        let few: Vec<&Checked> = (0..BATCH).map(|_| &tokens[scatter.below(HOT)]).collect();
        hot.push(per_item(&few, check) / scopes);
        // Many times over: reading the clock takes longer than a few of them.
        let again = [(); PASSES];
        unchanged.push(
            per_item(&again, |()| {
                for token in &some {
                    let same = token.epoch.load(Ordering::Acquire) == black_box(&epoch).load();
                    assert!(black_box(same));
                }
            }) / BATCH as f64,
        );
        digests.push(per_item(&digested, |mark| {
            black_box(element_digest(&namer, black_box(mark)));
        }));
    }
    let (full, hot) = (median(&full), median(&hot));
    let (among, all) = (effort.marks, effort.tokens);
    vec![
        Figure::new("check that finds nothing changed", median(&unchanged), "ns").at_most(5.0),
        Figure::new(
            format!("check of a scope among {among} marks, uniform over {all} tokens"),
            full,
            "ns",
        )
        .at_most(60.0),
        Figure::new(
            format!("check of a scope among {among} marks, {HOT} hot tokens"),
            hot,
            "ns",
        )
        .at_most(60.0),
        Figure::new("apply a mark", median(&applied), "ns").beside("its digest, keyed SHA-256", median(&digests)),
    ]
}

async fn node(cluster: &Arc<Cluster>) -> AuthMesh {
    AuthMesh::builder()
        .key_ring(ring())
        .mark_cap(2 * FULL.marks)
        .issuer(
            ISSUER,
            Arc::new(FixedKeys::new(r#"{"keys":[]}"#)),
            Rules::for_audiences(["api"]),
        )
        .join(Arc::clone(cluster))
        .start()
        .await
        .expect("the settings are sound")
}

/// How long a node takes from its start until it has loaded every mark of its cluster, the cluster being in this process:
/// what the node itself has to do.
fn join(effort: &Effort) -> Vec<Figure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let times: Vec<f64> = runtime.block_on(async {
        let cluster = Arc::new(Cluster::new());
        let first = node(&cluster).await;
        fill(&first, effort.marks).await;
        first.shutdown().await;
        let mut times = Vec::new();
        for _ in 0..effort.joins {
            let begin = Instant::now();
            let joined = node(&cluster).await;
            while !joined.health().coherent {
                assert!(begin.elapsed() < Duration::from_secs(60), "the node never joins");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            times.push(begin.elapsed().as_secs_f64());
            assert_eq!(joined.stats().marks, effort.marks);
            joined.shutdown().await;
        }
        times
    });
    vec![
        Figure::new(
            format!("join with {} marks, log in the same process", effort.marks),
            median(&times),
            "s",
        )
        .at_most(2.0),
    ]
}

/// Revokes so many subjects.
async fn fill(mesh: &AuthMesh, marks: usize) {
    const AT_ONCE: usize = 256;
    let mut running = tokio::task::JoinSet::new();
    for n in 0..marks {
        if running.len() == AT_ONCE {
            running.join_next().await.unwrap().unwrap();
        }
        let mesh = mesh.clone();
        running.spawn(async move {
            let subject = Subject::new(ISSUER, format!("user-{n:08}"));
            mesh.revoke(subject)
                .by("accounts-service")
                .why("password changed")
                .await
                .expect("there is room");
        });
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
}
