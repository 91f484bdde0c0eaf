//! What a verdict in memory takes, by the allocator's own count and by the process' resident set.
//!
//! ```text
//! authmesh-memory [--json FILE] [--quick]
//! ```
//!
//! A program of its own, because its allocator counts, which would disturb other measurements. It lies here and not in the
//! workspace because of the crate that counts.

#![forbid(unsafe_code)]
// A benchmark has no caller that could handle an error better.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::alloc::System;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use authmesh::memory::FixedKeys;
use authmesh::{AuthMesh, Policy, Rules};
use authmesh_tests::bench::issuer::{AUDIENCE, ISSUER, Issuer};
use authmesh_tests::bench::{self, Figure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> ExitCode {
    bench::run("memory", |options| {
        measure(if options.quick { 50_000 } else { 1_000_000 })
    })
}

/// Bytes that are in use now: asked for, and resident.
struct Use {
    allocated: f64,
    resident: f64,
}

impl Use {
    fn now() -> Self {
        let stats = ALLOCATOR.stats();
        // Growing and shrinking are counted among both, too.
        let allocated = stats.bytes_allocated as f64 - stats.bytes_deallocated as f64;
        let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux");
        let pages: f64 = pages
            .split(' ')
            .nth(1)
            .and_then(|n| n.parse().ok())
            .expect("a number of pages");
        Self {
            allocated,
            resident: pages * rustix::param::page_size() as f64,
        }
    }

    fn since(&self, before: &Self, verdicts: usize) -> Self {
        Self {
            allocated: (self.allocated - before.allocated) / verdicts as f64,
            resident: (self.resident - before.resident) / verdicts as f64,
        }
    }
}

fn measure(verdicts: usize) -> Vec<Figure> {
    let issuer = Issuer::new();
    let claims = claims_of(&issuer.ed25519(0));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mesh = runtime.block_on(
        AuthMesh::builder()
            .issuer(
                ISSUER,
                Arc::new(FixedKeys::new(issuer.jwks().to_string())),
                Rules::for_audiences([AUDIENCE]),
            )
            .policy(Policy {
                max_verdict_age: Duration::from_secs(7_200),
                ..Policy::default()
            })
            .verdict_bytes(64 << 30)
            .start(),
    );
    let mesh = mesh.expect("the settings are sound");
    // What the first one needs is no matter of the others.
    fill(&runtime, &mesh, &issuer, 0..1_000);
    let before = Use::now();
    fill(&runtime, &mesh, &issuer, 1_000..1_000 + verdicts);
    // What housekeeping is still to do is done when somebody comes by.
    std::thread::sleep(Duration::from_secs(2));
    fill(&runtime, &mesh, &issuer, 0..1_000);
    let each = Use::now().since(&before, verdicts);
    let counts = mesh.stats().counts;
    look_again(&runtime, &mesh, &issuer, verdicts);
    assert_eq!(
        mesh.stats().counts.verified,
        counts.verified,
        "not all are in memory any more"
    );
    println!("memory: {verdicts} verdicts, each of a token with {claims} bytes of claims");
    vec![
        Figure::new("a verdict in L1, by the allocator's count", each.allocated, "bytes")
            .beside("its claims as JSON", claims),
        Figure::new("the same, beyond its claims", each.allocated - claims, "bytes").at_most(200.0),
        Figure::new("a verdict in L1, by the resident set", each.resident, "bytes")
            .beside("its claims as JSON", claims),
        Figure::new(
            "the same by the resident set, beyond its claims",
            each.resident - claims,
            "bytes",
        )
        .at_most(200.0),
    ]
}

/// Verifies tokens on two threads; none of them is kept.
fn fill(runtime: &tokio::runtime::Runtime, mesh: &AuthMesh, issuer: &Issuer, numbers: std::ops::Range<usize>) {
    let middle = numbers.start + numbers.len() / 2;
    let verifier = mesh.verifier();
    let verify = |numbers: std::ops::Range<usize>| {
        runtime.block_on(async {
            for n in numbers {
                verifier.verify(issuer.ed25519(n)).await.expect("the token is valid");
            }
        });
    };
    std::thread::scope(|scope| {
        scope.spawn(|| verify(numbers.start..middle));
        verify(middle..numbers.end);
    });
}

/// Looks for a sample of them.
fn look_again(runtime: &tokio::runtime::Runtime, mesh: &AuthMesh, issuer: &Issuer, verdicts: usize) {
    let verifier = mesh.verifier();
    runtime.block_on(async {
        for n in (1_000..1_000 + verdicts).step_by(997) {
            verifier.verify(issuer.ed25519(n)).await.expect("the token is valid");
        }
    });
}

/// The bytes of a token's claims.
fn claims_of(token: &str) -> f64 {
    let payload = token.split('.').nth(1).expect("a payload");
    URL_SAFE_NO_PAD.decode(payload).expect("base64url").len() as f64
}
