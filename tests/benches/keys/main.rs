//! What a rotation, a slow identity provider and a flood of unknown keys cost a fleet of 64 nodes, beside other crates.
//!
//! ```text
//! cargo bench -p authmesh-tests --bench keys -- [--json FILE] [--quick] [--part long]
//! ```
//!
//! Each subject has 64 nodes in one process, each node with its own verifier, and an identity provider of its own on loopback
//! that counts requests (discovery and key set together). All run side by side in the same minutes, under the same load, and
//! as they are shipped: no setting is changed but for the row that says so. In order:
//!
//! 1. *Start*: 64 callers at each node at once.
//! 2. *Slow refresh*: a caller at each node every 100 ms, each with a token that was hardly seen before, while the provider
//!    takes 2 s to answer, and asks with `max-age=30` to be asked again; after a sixth of the time there is a new key, and each
//!    node is shown it. Calls with the known key that took 1 s or more *waited*.
//! 3. *Rotation* with overlap: from that moment each node is shown a token of the new key every 100 ms, until it accepts.
//! 4. *Flood*: 640 calls a second with keys that nobody has, and 10 s later a real rotation.
//!
//! Calls an hour are computed: the refreshes of an hour by the lifetime as shipped, times the calls that one refresh was
//! counted to cost, plus the calls that one rotation was counted to cost. `--part long` watches a rotation for 620 s, since one
//! crate looks for new keys no more often than every 600 s.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod load;
mod own;
mod report;
mod rival;
mod scenes;

use std::process::ExitCode;
use std::time::Duration;

use authmesh_tests::bench::{self, Figure, Options};
use authmesh_tests::redis_server::RedisServer;

use self::scenes::{Seen, Subject};

/// How long the scenes last.
#[derive(Clone, Copy)]
struct Effort {
    refresh: Duration,
    rotation: Duration,
    flood: Duration,
}

const FULL: Effort = Effort {
    refresh: Duration::from_secs(65),
    rotation: Duration::from_secs(65),
    flood: Duration::from_secs(30),
};
const QUICK: Effort = Effort {
    refresh: Duration::from_secs(32),
    rotation: Duration::from_secs(5),
    flood: Duration::from_secs(12),
};

fn main() -> ExitCode {
    bench::run("keys", measure)
}

fn measure(options: &Options) -> Vec<Figure> {
    let mut effort = if options.quick { QUICK } else { FULL };
    if options.part.as_deref() == Some("long") {
        effort.rotation = Duration::from_secs(620);
    }
    let rivals = rival::build();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let seen: Vec<Seen> = runtime.expect("a runtime").block_on(async {
        let redis = RedisServer::start(&[]).await;
        let running: Vec<_> = Subject::all(redis.url(), rivals.as_deref())
            .into_iter()
            .map(|subject| tokio::spawn(scenes::play(subject, effort)))
            .collect();
        let mut seen = Vec::new();
        for one in running {
            seen.push(one.await.expect("a subject plays to its end"));
        }
        seen
    });
    println!("{}", report::table(&seen, effort));
    report::figures(&seen)
}
