//! How fast a verdict comes from memory, beside a signature check of the same tokens in the same run.
//!
//! ```text
//! cargo bench -p authmesh-tests --bench verify -- [--json FILE] [--quick]
//! ```
//!
//! What is measured and its reference take turns, a batch each, so that a machine that slows down slows both; figures are
//! medians over the batches. Tokens are copied into a small buffer before each batch: they are warm, as they are when they
//! come off a socket. Everything else (entries, verdicts) is as warm as the working set allows.
//!
//! The tokens of the large working set are signed with Ed25519, because 200,000 RSA signatures take minutes. They are as
//! long as the others, and a hit never looks at the signature; the reference is RS256 in every case.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use authmesh::memory::FixedKeys;
use authmesh::{AuthMesh, Outcome, Policy, Rules, Verifier};
use authmesh_tests::bench::issuer::{AUDIENCE, ISSUER, Issuer, TOKEN_BYTES};
use authmesh_tests::bench::{self, Figure, Scatter, median, per_item};
use aws_lc_rs::digest::{SHA256, digest};
use highway::{HighwayHash as _, HighwayHasher, Key};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

/// The hot set.
const HOT: usize = 1_000;
/// Tokens per timed batch of hits: their bytes fit into the caches beside everything else.
const BATCH: usize = 64;
/// Signature checks per timed batch.
const CHECKS: usize = 8;

/// How much is done.
struct Effort {
    /// Tokens of the large working set.
    cached: usize,
    /// Batches per figure.
    rounds: usize,
    /// How long threads hit together.
    together: Duration,
}

const FULL: Effort = Effort {
    cached: 200_000,
    rounds: 3_000,
    together: Duration::from_secs(3),
};
const QUICK: Effort = Effort {
    cached: 20_000,
    rounds: 300,
    together: Duration::from_millis(300),
};

fn main() -> ExitCode {
    bench::run("verify", |options| measure(if options.quick { &QUICK } else { &FULL }))
}

fn measure(effort: &Effort) -> Vec<Figure> {
    let issuer = Issuer::new();
    let hot: Vec<String> = (0..HOT).map(|n| issuer.rs256(n)).collect();
    let many: Vec<String> = (0..effort.cached).map(|n| issuer.ed25519(n)).collect();

    // The node's own tasks sleep while this thread measures: a node without a cluster needs none of them for a hit.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let verifier = runtime.block_on(start(issuer.jwks().to_string().into_bytes(), &hot, &many));

    let mut figures = hits(&verifier, &issuer, &hot, &many, effort);
    figures.extend(together(&verifier, &hot, effort));
    figures.extend(digests(&hot[0], effort));
    figures
}

/// A node that has verified every token once.
async fn start(jwks: Vec<u8>, hot: &[String], many: &[String]) -> Verifier {
    let policy = Policy {
        // Longer than any run: verdicts must not grow too old while others are measured.
        max_verdict_age: Duration::from_secs(7_200),
        ..Policy::default()
    };
    let mesh = AuthMesh::builder()
        .issuer(ISSUER, Arc::new(FixedKeys::new(jwks)), Rules::for_audiences([AUDIENCE]))
        .policy(policy)
        .verdict_bytes(2 << 30)
        .start()
        .await
        .unwrap();
    let verifier = mesh.verifier();
    for token in many.iter().chain(hot) {
        verifier.verify(token).await.unwrap();
    }
    verifier
}

/// A token's bytes in a place that is warm.
struct Warm(Vec<Vec<u8>>);

impl Warm {
    fn new() -> Self {
        Self((0..BATCH).map(|_| Vec::with_capacity(TOKEN_BYTES + 1)).collect())
    }

    fn load<'a>(&mut self, tokens: impl Iterator<Item = &'a String>) -> &[Vec<u8>] {
        let mut count = 0;
        for (place, token) in self.0.iter_mut().zip(tokens) {
            place.clear();
            place.extend_from_slice(token.as_bytes());
            count += 1;
        }
        &self.0[..count]
    }
}

fn hit(verifier: &Verifier, token: &[u8]) {
    let answer = verifier
        .try_hit(black_box(token))
        .expect("the verdict is in memory")
        .expect("the token is valid");
    debug_assert_eq!(answer.outcome, Outcome::Hit);
    black_box(answer);
}

/// What the reference reads of a token. Fewer claims would make it no faster that matters.
#[derive(Deserialize)]
struct Claims {
    #[allow(dead_code)]
    sub: String,
}

fn hits(verifier: &Verifier, issuer: &Issuer, hot: &[String], many: &[String], effort: &Effort) -> Vec<Figure> {
    let key = DecodingKey::from_rsa_der(issuer.rsa_public());
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[ISSUER]);
    let check = |token: &Vec<u8>| {
        let data = jsonwebtoken::decode::<Claims>(black_box(token), &key, &validation).expect("the token is valid");
        black_box(data.claims);
    };

    let (mut warm, mut scatter) = (Warm::new(), Scatter::new(0x9e37_79b9_7f4a_7c15));
    let (mut of_hot, mut of_many, mut of_checks) = (Vec::new(), Vec::new(), Vec::new());
    // Some rounds before the ones that count: caches, clock speed, and the cache's own housekeeping after the fill.
    for round in 0..effort.rounds + effort.rounds / 10 {
        let mut from = |set: &[String], count: usize| (0..count).map(|_| scatter.below(set.len())).collect::<Vec<_>>();
        let (some_hot, some, few) = (from(hot, BATCH), from(many, BATCH), from(hot, CHECKS));
        let hot_time = per_item(warm.load(some_hot.iter().map(|n| &hot[*n])), |token| {
            hit(verifier, token)
        });
        let check_time = per_item(warm.load(few.iter().map(|n| &hot[*n])), check);
        let many_time = per_item(warm.load(some.iter().map(|n| &many[*n])), |token| hit(verifier, token));
        if round >= effort.rounds / 10 {
            of_hot.push(hot_time);
            of_many.push(many_time);
            of_checks.push(check_time);
        }
    }
    let reference = median(&of_checks);
    const CHECK: &str = "RS256 by jsonwebtoken on aws-lc-rs";
    let hot = format!("hit, {HOT} hot tokens of {TOKEN_BYTES} bytes");
    let uniform = format!("hit, uniform over {} tokens", many.len());
    vec![
        Figure::new(hot, median(&of_hot), "ns")
            .faster_than(CHECK, reference)
            .at_least_times(80.0),
        Figure::new(uniform, median(&of_many), "ns")
            .faster_than(CHECK, reference)
            .at_least_times(15.0),
    ]
}

/// Hits of two threads at once, beside one thread alone.
fn together(verifier: &Verifier, hot: &[String], effort: &Effort) -> Vec<Figure> {
    let alone = throughput(verifier, hot, 1, effort.together);
    let both = throughput(verifier, hot, 2, effort.together);
    vec![Figure::new("hits of 2 threads together", both, "hits/s").beside("1 thread", alone)]
}

fn throughput(verifier: &Verifier, hot: &[String], threads: usize, time: Duration) -> f64 {
    let begin = Barrier::new(threads);
    let rates = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                let begin = &begin;
                scope.spawn(move || {
                    let (mut warm, mut scatter) = (Warm::new(), Scatter::new(thread as u64 + 1));
                    let (mut hits, mut spent) = (0_u64, Duration::ZERO);
                    begin.wait();
                    let end = Instant::now() + time;
                    while Instant::now() < end {
                        let some: Vec<usize> = (0..BATCH).map(|_| scatter.below(hot.len())).collect();
                        let tokens = warm.load(some.iter().map(|n| &hot[*n]));
                        let from = Instant::now();
                        tokens.iter().for_each(|token| hit(verifier, token));
                        spent += from.elapsed();
                        hits += tokens.len() as u64;
                    }
                    hits as f64 / spent.as_secs_f64()
                })
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("a thread ends"))
            .collect::<Vec<f64>>()
    });
    rates.iter().sum()
}

/// The digest that finds a verdict, beside the one that needs no key.
fn digests(token: &str, effort: &Effort) -> Vec<Figure> {
    let keyed = HighwayHasher::new(Key([1, 2, 3, 4]));
    let tokens = vec![token.as_bytes(); BATCH];
    let (mut highway, mut sha) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        highway.push(per_item(&tokens, |token| {
            let mut hasher = keyed.clone();
            hasher.append(black_box(token));
            black_box(hasher.finalize256());
        }));
        sha.push(per_item(&tokens, |token| {
            black_box(digest(&SHA256, black_box(token)));
        }));
    }
    let name = format!("digest of {TOKEN_BYTES} bytes, keyed HighwayHash of 256 bits");
    vec![Figure::new(name, median(&highway), "ns").faster_than("SHA-256 by aws-lc-rs", median(&sha))]
}
