//! authmesh and its peers on the same tokens and keys, in one process and one run.
//!
//! ```text
//! authmesh-peers [--json FILE] [--quick] [--part hits|generic|redis|web|nginx]
//! ```
//!
//! `cargo xtask bench --filter peers` builds and runs it. What a peer does less strictly is said in `docs/benchmarks.md`.

#![forbid(unsafe_code)]
// A benchmark has no caller that could handle an error better.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod generic;
mod hello;
mod hits;
mod load;
mod shared;
mod verifiers;
mod web;
mod workers;

use std::process::ExitCode;
use std::time::Duration;

use authmesh_tests::bench;

/// How much is done.
pub(crate) struct Effort {
    /// Tokens of the large working set.
    tokens: usize,
    /// How often everything is measured.
    cycles: usize,
    /// How long each time.
    slice: Duration,
    /// Keys of the shared level.
    reads: usize,
    /// How often each server is put under load.
    loads: usize,
    /// How long each time.
    load: Duration,
}

const FULL: Effort = Effort {
    tokens: 200_000,
    cycles: 25,
    slice: Duration::from_millis(60),
    reads: 10_000,
    loads: 10,
    load: Duration::from_secs(1),
};
const QUICK: Effort = Effort {
    tokens: 20_000,
    cycles: 3,
    slice: Duration::from_millis(20),
    reads: 500,
    loads: 1,
    load: Duration::from_millis(300),
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [serve, which, keys, processor @ ..] = &arguments[..]
        && serve == "serve"
    {
        if let [processor] = processor {
            load::stay_on(processor.parse().expect("the number of a processor"));
        }
        hello::serve(which, keys);
        return ExitCode::SUCCESS;
    }
    bench::run("peers", |options| {
        let effort = if options.quick { &QUICK } else { &FULL };
        let mut figures = Vec::new();
        if options.wants("hits") {
            figures.extend(hits::measure(effort));
        }
        if options.wants("generic") {
            figures.extend(generic::measure(effort));
        }
        if options.wants("redis") {
            figures.extend(shared::measure(effort));
        }
        if options.wants("web") {
            figures.extend(web::services(effort));
        }
        if options.wants("nginx") {
            figures.extend(web::proxies(effort));
        }
        figures
    })
}
