//! A hit takes no memory from the allocator: counted by dhat, which is this binary's allocator and needs it for itself.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{SystemTime, UNIX_EPOCH};

use authmesh::memory::FixedKeys;
use authmesh::{AuthMesh, Cache, Namespace, Outcome, Rules, Verifier};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const ISSUER: &str = "https://login.example.com";
const TOKENS: usize = 200;
/// Times that each is hit.
const TIMES: usize = 50;

fn tokens(key: &Ed25519KeyPair) -> Vec<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let encode = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = encode(json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "ed"}));
    let token = |n: usize| {
        let claims = encode(json!({
            "iss": ISSUER, "aud": "orders-api", "sub": format!("user-{n}"), "iat": now - 10, "exp": now + 7_200,
            "scope": "orders:read orders:write", "ctx": "x".repeat(400),
        }));
        let input = format!("{header}.{claims}");
        let signature = URL_SAFE_NO_PAD.encode(key.sign(input.as_bytes()));
        format!("{input}.{signature}")
    };
    (0..TOKENS).map(token).collect()
}

async fn mesh(key: &Ed25519KeyPair, verdict_bytes: u64) -> AuthMesh {
    let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
    let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "ed", "use": "sig", "x": x}]});
    let keys = Arc::new(FixedKeys::new(set.to_string().into_bytes()));
    let builder = AuthMesh::builder().issuer(ISSUER, keys, Rules::for_audiences(["orders-api"]));
    builder.verdict_bytes(verdict_bytes).start().await.unwrap()
}

/// What a future gives without waiting.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a hit waits for nothing"),
    }
}

/// Blocks that the allocator gave while `work` ran.
fn blocks(work: impl FnOnce()) -> u64 {
    let before = dhat::HeapStats::get().total_blocks;
    work();
    dhat::HeapStats::get().total_blocks - before
}

fn hit(verifier: &Verifier, token: &str) {
    let answer = verifier.try_hit(token).expect("it is in memory").unwrap();
    assert_eq!(answer.outcome, Outcome::Hit);
}

// One test: what others do at the same time would be counted too. The runtime has one thread, which is this one: the node's own
// tasks stand still meanwhile.
#[tokio::test]
async fn a_hit_allocates_nothing() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let key = Ed25519KeyPair::generate().unwrap();
    let tokens = tokens(&key);
    let roomy = mesh(&key, 64 << 20).await;
    let verifier = roomy.verifier();
    // Little more than its verdicts weigh: mini-moka hears of hits.
    let crowded = mesh(&key, TOKENS as u64 * 1_300).await.verifier();
    for token in &tokens {
        verifier.verify(token).await.unwrap();
        crowded.verify(token).await.unwrap();
    }
    let held: Vec<&String> = tokens.iter().filter(|token| crowded.try_hit(token).is_some()).collect();
    assert!(held.len() > TOKENS / 2);
    let cache: Cache<String> = roomy.cache(Namespace::new("permissions").l2(false)).unwrap();
    let keys: Vec<String> = (0..TOKENS)
        .map(|n| format!("customer:{n:08}:{}", "k".repeat(46)))
        .collect();
    for key in &keys {
        // Not `insert`, which voids the key first, and with it what shares its place in the fence.
        let value = format!("value of {key}");
        cache.get_or_load(key, || async { Ok::<_, ()>(value) }).await.unwrap();
    }

    let of_tokens = || tokens.iter().cycle().take(TOKENS * TIMES);
    let of_held = || held.iter().cycle().take(TOKENS * TIMES);
    let of_keys = || keys.iter().cycle().take(TOKENS * TIMES);
    let load = || async { Err::<String, ()>(()) };
    let rounds = || {
        [
            (
                "try_hit",
                blocks(|| of_tokens().for_each(|token| hit(&verifier, token))),
            ),
            (
                "where memory is full",
                blocks(|| of_held().for_each(|token| hit(&crowded, token))),
            ),
            (
                "verify",
                blocks(|| of_tokens().for_each(|token| drop(at_once(verifier.verify(token)).unwrap()))),
            ),
            (
                "get",
                blocks(|| of_keys().for_each(|key| drop(at_once(cache.get(key)).unwrap()))),
            ),
            (
                "get_or_load",
                blocks(|| of_keys().for_each(|key| drop(at_once(cache.get_or_load(key, load)).unwrap()))),
            ),
        ]
    };
    // The thread's front is made when it is first used, and entries get their second name.
    let _first = rounds();
    for (what, blocks) in rounds() {
        assert_eq!(blocks, 0, "{what}");
    }
    // That it can count at all.
    assert!(blocks(|| drop(tokens.clone())) > TOKENS as u64);
}
