//! What rows in memory weigh: the bytes by which memory is bounded, and shown in stats, are those that the allocator was asked for.
//! Counted by dhat, which is this binary's allocator and needs it for itself.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use authmesh::memory::FixedKeys;
use authmesh::{AuthMesh, Rules};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const ISSUER: &str = "https://login.example.com/realms/main";
const TOKENS: usize = 900;
/// How far weights may be from what the allocator counts, in percent.
const OFF_BY: u64 = 5;
/// What a verdict of a common token takes on top of its claims, in bytes.
const ON_TOP: u64 = 720;

/// The claims of token `n`, by its shape.
type Shape = fn(usize, u64) -> Value;

fn small(n: usize, now: u64) -> Value {
    json!({"iss": ISSUER, "aud": "orders-api", "sub": format!("{n}"), "iat": now - 10, "exp": now + 7_200})
}

/// An access token as the common servers issue them: some 400 bytes.
fn common(n: usize, now: u64) -> Value {
    json!({
        "iss": ISSUER, "aud": ["orders-api", "account"], "iat": now - 10, "exp": now + 7_200, "typ": "Bearer",
        "sub": format!("7f3a91c0-5d2e-4b6f-9a1d-{n:012x}"), "sid": format!("d4c8e2b1-0f6a-47c9-8e35-{n:012x}"),
        "jti": format!("a1b2c3d4-1111-4222-8333-{n:012x}"), "azp": "shop-web", "scope": "openid orders:read orders:write",
        "email": format!("user-{n}@example.com"), "acr": "1",
    })
}

/// Much of everything, and text that is written with escapes.
fn rich(n: usize, now: u64) -> Value {
    let scopes: Vec<String> = (0..12).map(|scope| format!("service-{scope}:write")).collect();
    json!({
        "iss": ISSUER, "aud": ["orders-api", "b\"i\\lling", "account"], "iat": now - 10, "exp": now + 7_200,
        "sub": format!("Frau \"M\u{fc}ller\"\n{n}"), "sid": format!("\u{1f511}\t{n}"), "jti": format!("{n}"), "azp": "web",
        "scp": scopes, "roles": (0..20).map(|role| format!("role-{role}")).collect::<Vec<_>>(), "ctx": "x".repeat(500),
    })
}

fn tokens(key: &Ed25519KeyPair, shape: Shape) -> (Vec<String>, u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let header = URL_SAFE_NO_PAD.encode(json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "ed"}).to_string());
    let mut claims_bytes = 0;
    let mut token = |n: usize| {
        let claims = shape(n, now).to_string();
        claims_bytes += claims.len() as u64;
        let input = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(key.sign(input.as_bytes()));
        format!("{input}.{signature}")
    };
    ((0..TOKENS).map(&mut token).collect(), claims_bytes)
}

async fn mesh(key: &Ed25519KeyPair) -> AuthMesh {
    let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
    let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "ed", "use": "sig", "x": x}]});
    let keys = Arc::new(FixedKeys::new(set.to_string().into_bytes()));
    let builder = AuthMesh::builder().issuer(ISSUER, keys, Rules::for_audiences(["orders-api"]));
    builder.start().await.unwrap()
}

// One test: what others do at the same time would be counted too. The runtime has one thread, which is this one: the node's own
// tasks stand still meanwhile.
#[tokio::test]
async fn weights_of_verdicts_are_what_the_allocator_counts() {
    let _profiler = dhat::Profiler::builder().testing().trim_backtraces(Some(1)).build();
    let key = Ed25519KeyPair::generate().unwrap();
    let shapes: [(&str, Shape); 3] = [("small", small), ("common", common), ("rich", rich)];
    let mut wrong = Vec::new();
    for (name, shape) in shapes {
        let (tokens, claims) = tokens(&key, shape);
        let mesh = mesh(&key).await;
        let verifier = mesh.verifier();
        // What is there once.
        verifier.verify(&tokens[0]).await.unwrap();
        let weighed = |mesh: &AuthMesh| (mesh.stats().verdicts, mesh.stats().verdict_bytes);
        let (_, weight_before) = weighed(&mesh);
        let before = dhat::HeapStats::get();
        for token in &tokens[1..] {
            verifier.verify(token).await.unwrap();
        }
        let (count, weight) = weighed(&mesh);
        let after = dhat::HeapStats::get();
        assert_eq!(count, TOKENS as u64, "{name}: all are kept");

        let each = |total: u64| total / (TOKENS as u64 - 1);
        let live = (after.curr_bytes - before.curr_bytes) as u64;
        let weight = weight - weight_before;
        let on_top = each(live) - claims / TOKENS as u64;
        println!(
            "{name}: claims {} bytes, live {} in {} blocks, on top {on_top}, weight {}",
            claims / TOKENS as u64,
            each(live),
            (after.curr_blocks - before.curr_blocks) as f64 / (TOKENS - 1) as f64,
            each(weight),
        );
        if weight.abs_diff(live) * 100 > live * OFF_BY {
            wrong.push(format!("{name}: {} bytes are weighed as {}", each(live), each(weight)));
        }
        if name == "common" && on_top > ON_TOP {
            wrong.push(format!("{on_top} bytes on top of the claims"));
        }
        mesh.shutdown().await;
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
