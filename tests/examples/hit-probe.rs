//! So many hits and nothing else, for a tool that counts instructions: `cargo xtask test` runs it under callgrind.
//!
//! ```text
//! hit-probe HITS
//! ```
//!
//! Starting costs the same however many hits follow, so the difference between two runs is what the hits cost.

#![forbid(unsafe_code)]
// It has no caller that could handle an error better.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use authmesh::memory::FixedKeys;
use authmesh::{AuthMesh, Policy, Rules};
use authmesh_tests::bench::issuer::{AUDIENCE, ISSUER, Issuer};

/// Enough that a hit does not always find what the last one left behind, and quickly signed.
const TOKENS: usize = 16;

fn main() {
    let hits: usize = std::env::args()
        .nth(1)
        .and_then(|hits| hits.parse().ok())
        .expect("usage: hit-probe HITS");
    let issuer = Issuer::quick();
    let tokens: Vec<String> = (0..TOKENS).map(|n| issuer.ed25519(n)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let verifier = runtime.block_on(async {
        let mesh = AuthMesh::builder()
            .issuer(
                ISSUER,
                Arc::new(FixedKeys::new(issuer.ed_jwks().to_string())),
                Rules::for_audiences([AUDIENCE]),
            )
            // Longer than the slowest tool takes.
            .policy(Policy {
                max_verdict_age: Duration::from_secs(3_600),
                ..Policy::default()
            })
            .start()
            .await
            .unwrap();
        for token in &tokens {
            mesh.verifier().verify(token).await.unwrap();
        }
        mesh.verifier()
    });
    for n in 0..hits {
        let answer = verifier.try_hit(black_box(&tokens[n % TOKENS]));
        black_box(answer.expect("it is in memory").expect("the token is valid"));
    }
    println!("{hits} hits");
}
