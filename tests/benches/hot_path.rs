//! What a hit costs, part by part; and a probe that counts its instructions.
//!
//! ```text
//! cargo bench -p authmesh-tests --bench hot_path -- [--json FILE] [--quick]
//! ```
//!
//! **Counting instructions.** With `--hits N` it makes N hits and nothing else, on one thread: `--what verify` (the default) on 64 tokens of
//! about 870 bytes, `--what cache` on 64 keys of 64 characters; `--of M` takes M of them. Everything before the hits is the same whatever N is: no random key,
//! no clock in the loop's way. So the difference of two runs is that of the hits:
//!
//! ```text
//! cargo bench -p authmesh-tests --bench hot_path --no-run        # prints the binary's path
//! valgrind --tool=callgrind --callgrind-out-file=/dev/null BINARY --hits 1000     # "Collected : A"
//! valgrind --tool=callgrind --callgrind-out-file=/dev/null BINARY --hits 11000    # "Collected : B"; (B - A) / 10,000 a hit
//! ```
//!
//! Some hundred instructions of difference between two runs of one N are the addresses that the system deals out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::future::Future as _;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use authmesh::clock::SystemClock;
use authmesh::memory::FixedKeys;
use authmesh::ports::Clock as _;
use authmesh::{AuthMesh, Cache, Namespace, Rules, Verifier};
use authmesh_tests::bench::{self, Figure, Scatter, median, per_item};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

const ISSUER: &str = "https://login.example.com";
const AUDIENCE: &str = "orders-api";
/// Length of every token, give or take one.
const TOKEN_BYTES: usize = 870;
/// Tokens, or keys, of the probe, unless it is told otherwise.
const PROBED: usize = 64;
/// Keys of the generic cache.
const KEYS: usize = 1_000;
/// Hits of one timed batch.
const BATCH: usize = 64;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).map(String::as_str)
    };
    match (value("--hits"), value("--what").unwrap_or("verify")) {
        (None, _) => bench::run("hot_path", |options| figures(options.quick)),
        (Some(hits), what) => {
            let of = value("--of").and_then(|of| of.parse().ok()).unwrap_or(PROBED);
            probe(hits, what, of)
        }
    }
}

/// Some hits, and a word about them.
fn probe(hits: &str, what: &str, of: usize) -> ExitCode {
    let Ok(hits) = hits.parse::<usize>() else {
        eprintln!("hot_path: --hits needs a number");
        return ExitCode::from(2);
    };
    let runtime = runtime();
    match what {
        "verify" => {
            let tokens = tokens(of);
            let verifier = runtime.block_on(verifier(&tokens, 64 << 20));
            // The first ones let a token into the front.
            let warm = tokens.iter().cycle().take(4 * of);
            for token in warm.chain(tokens.iter().cycle().take(hits)) {
                verify_hit(&verifier, token);
            }
        }
        "cache" => {
            let keys = keys(of);
            let cache = runtime.block_on(cache(&keys));
            let warm = keys.iter().cycle().take(4 * of);
            for key in warm.chain(keys.iter().cycle().take(hits)) {
                cache_hit(&cache, key);
            }
        }
        _ => {
            eprintln!("hot_path: --what is verify or cache");
            return ExitCode::from(2);
        }
    }
    println!("{hits} hits of {what}");
    ExitCode::SUCCESS
}

/// The node's own tasks sleep while this thread measures.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn key_pair() -> Ed25519KeyPair {
    // Drawn, it would cost another number of instructions each time.
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

fn tokens(count: usize) -> Vec<String> {
    let key = key_pair();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let header = URL_SAFE_NO_PAD.encode(json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "ed"}).to_string());
    let token = |n: usize| {
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": format!("user-{n:08}"), "client_id": "web-frontend",
            "jti": format!("3f2a6c1e-{n:012}"), "sid": format!("session-{n:08}"),
            "scope": "orders:read orders:write profile", "iat": now - 10, "exp": now + 7_200, "ctx": "x".repeat(280),
        });
        let input = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let token = format!("{input}.{}", URL_SAFE_NO_PAD.encode(key.sign(input.as_bytes())));
        assert!(token.len().abs_diff(TOKEN_BYTES) <= 32, "{} bytes", token.len());
        token
    };
    (0..count).map(token).collect()
}

async fn mesh(verdict_bytes: u64) -> AuthMesh {
    let x = URL_SAFE_NO_PAD.encode(key_pair().public_key().as_ref());
    let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "ed", "use": "sig", "x": x}]});
    let keys = Arc::new(FixedKeys::new(set.to_string().into_bytes()));
    let builder = AuthMesh::builder().issuer(ISSUER, keys, Rules::for_audiences([AUDIENCE]));
    builder.verdict_bytes(verdict_bytes).start().await.unwrap()
}

async fn verifier(tokens: &[String], verdict_bytes: u64) -> Verifier {
    let verifier = mesh(verdict_bytes).await.verifier();
    for token in tokens {
        verifier.verify(token).await.unwrap();
    }
    verifier
}

fn keys(count: usize) -> Vec<String> {
    (0..count)
        .map(|n| format!("customer:{n:08}:permissions:{}", "k".repeat(34)))
        .collect()
}

async fn cache(keys: &[String]) -> Cache<String> {
    let cache = mesh(64 << 20)
        .await
        .cache(Namespace::new("permissions").l2(false))
        .unwrap();
    for key in keys {
        assert_eq!(key.len(), 64);
        // Not `insert`, which voids the key first, and with it what shares its place in the fence.
        let value = format!("value of {key}");
        let load = || async { Ok::<_, ()>(value) };
        cache.get_or_load(key, load).await.unwrap();
    }
    cache
}

fn verify_hit(verifier: &Verifier, token: &str) {
    let answer = verifier
        .try_hit(black_box(token))
        .expect("it is in memory")
        .expect("it is valid");
    black_box(answer);
}

fn cache_hit(cache: &Cache<String>, key: &str) {
    let get = std::pin::pin!(cache.get(black_box(key)));
    let Poll::Ready(Some(value)) = get.poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("it is in memory");
    };
    black_box(value);
}

fn figures(quick: bool) -> Vec<Figure> {
    let rounds = if quick { 300 } else { 3_000 };
    let together = Duration::from_millis(if quick { 200 } else { 2_000 });
    let runtime = runtime();
    let tokens = tokens(KEYS);
    let roomy = runtime.block_on(verifier(&tokens, 1 << 30));
    // Verdicts take a little more than half of it: mini-moka hears of hits.
    let crowded = runtime.block_on(verifier(&tokens, KEYS as u64 * 3_000));
    let held: Vec<&String> = tokens.iter().filter(|token| crowded.try_hit(token).is_some()).collect();
    assert!(held.len() > KEYS / 2, "{} are held", held.len());
    let keys = keys(KEYS);
    let cache = runtime.block_on(cache(&keys));
    let clock = SystemClock;
    let verdict = roomy.try_hit(&tokens[0]).unwrap().unwrap().verdict;

    let mut scatter = Scatter::new(0x9e37_79b9_7f4a_7c15);
    let mut times: [Vec<f64>; 5] = Default::default();
    for round in 0..rounds + rounds / 10 {
        let some: Vec<usize> = (0..BATCH).map(|_| scatter.below(KEYS)).collect();
        let of_tokens: Vec<String> = some.iter().map(|n| tokens[*n].clone()).collect();
        let of_held: Vec<String> = some.iter().map(|n| held[*n % held.len()].clone()).collect();
        let of_keys: Vec<String> = some.iter().map(|n| keys[*n].clone()).collect();
        let measured = [
            per_item(&of_tokens, |token| verify_hit(&roomy, token)),
            per_item(&of_held, |token| verify_hit(&crowded, token)),
            per_item(&of_keys, |key| cache_hit(&cache, key)),
            per_item(&some, |_| {
                black_box(clock.now());
            }),
            per_item(&some, |_| {
                black_box(Arc::clone(black_box(&verdict)));
            }),
        ];
        if round >= rounds / 10 {
            for (times, time) in times.iter_mut().zip(measured) {
                times.push(time);
            }
        }
    }
    let [hit, full, cached, now, count] = times.map(|times| median(&times));
    let (alone, both) = (
        throughput(&cache, &keys, 1, together),
        throughput(&cache, &keys, 2, together),
    );
    vec![
        Figure::new("hit of a verdict, 1,000 tokens", hit, "ns"),
        Figure::new("the same where memory is more than half full", full, "ns").beside("with room", hit),
        Figure::new("hit of the generic cache, 1,000 keys of 64 characters", cached, "ns"),
        Figure::new("of each hit: both clocks", now, "ns"),
        Figure::new(
            "of each hit: the returned Arc, taken and dropped, by one thread",
            count,
            "ns",
        ),
        Figure::new("hits of the generic cache, 2 threads together", both, "hits/s").beside("1 thread", alone),
    ]
}

fn throughput(cache: &Cache<String>, keys: &[String], threads: usize, time: Duration) -> f64 {
    let begin = Barrier::new(threads);
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                let begin = &begin;
                scope.spawn(move || {
                    let (mut scatter, mut hits) = (Scatter::new(thread as u64 + 1), 0_u64);
                    begin.wait();
                    let from = Instant::now();
                    while from.elapsed() < time {
                        for _ in 0..BATCH {
                            cache_hit(cache, &keys[scatter.below(keys.len())]);
                        }
                        hits += BATCH as u64;
                    }
                    hits as f64 / from.elapsed().as_secs_f64()
                })
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("a thread ends"))
            .sum()
    })
}
