//! Who passes nginx, who does not, and what the service behind learns.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use authmesh_tests::client::{Answer, send};
use authmesh_tests::forge;
use authmesh_tests::idp::Order;
use authmesh_tests::raw;
use authmesh_tests::stack::Stack;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(10);
const IDENTITY: [&str; 7] = [
    "x-auth-subject",
    "x-auth-issuer",
    "x-auth-client",
    "x-auth-scopes",
    "x-auth-session",
    "x-auth-email",
    "x-auth-expires",
];

/// A refusal for a bad token says so to the client, by RFC 6750 section 3, and to no cache.
#[track_caller]
fn expect_invalid_token(answer: &Answer, why: &str) {
    answer.expect(401, why);
    let challenge = answer.header("www-authenticate");
    assert!(challenge.starts_with("Bearer"), "{why}: the challenge is {challenge:?}");
    assert!(
        challenge.contains("error=\"invalid_token\""),
        "{why}: the challenge is {challenge:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_learns_who_calls() {
    let stack = Stack::start().await;
    for alg in ["RS256", "ES256", "EdDSA"] {
        let order = Order {
            alg,
            client: "bob",
            scope: "orders:read orders:write",
            ..Order::default()
        };
        let token = stack.idp.token(order).await;
        // Twice: verified, then out of the cache. The service must not be able to tell.
        for _ in 0..2 {
            let seen = stack.get_path("/orders?page=2", &token).await.seen_upstream();
            assert_eq!(seen.target, "/orders?page=2");
            assert_eq!(seen.all("x-auth-subject"), ["bob"], "{alg}");
            assert_eq!(seen.all("x-auth-issuer"), [stack.idp.issuer()], "{alg}");
            assert_eq!(seen.all("x-auth-client"), ["bob"], "{alg}");
            assert_eq!(seen.all("x-auth-scopes"), ["orders:read orders:write"], "{alg}");
            assert_eq!(seen.all("x-auth-session"), ["session-of-bob"], "{alg}");
            assert_eq!(seen.all("x-auth-email"), ["bob@example.test"], "{alg}");
            assert_eq!(
                seen.all("x-auth-expires"),
                [forge::claims(&token)["exp"].to_string()],
                "{alg}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_explains_itself_and_is_never_cached() {
    let stack = Stack::start().await;
    let token = stack.idp.token(Order::default()).await;
    let (first, second) = (stack.authmesh.verify(&token).await, stack.authmesh.verify(&token).await);
    assert_eq!(
        first.expect(200, "a good token").header("x-authmesh-outcome"),
        "verified"
    );
    assert_eq!(second.expect(200, "the same again").header("x-authmesh-outcome"), "hit");
    for answer in [&first, &second] {
        assert_eq!(answer.header("cache-control"), "no-store");
        for name in IDENTITY {
            assert!(
                answer.has(name),
                "{name} must always be sent, if empty: Caddy passes a placeholder on otherwise"
            );
        }
    }
    let refused = stack.authmesh.verify(&forge::with_broken_signature(&token)).await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.header("cache-control"), "no-store");
    assert_eq!(refused.header("content-type"), "application/problem+json");
    assert_eq!(refused.json()["status"], 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_identity_headers_never_reach_the_service() {
    let stack = Stack::start().await;
    let token = stack
        .idp
        .token(Order {
            scope: "",
            ..Order::default()
        })
        .await;
    let authorization = format!("Authorization: Bearer {token}");
    let mut lines = vec![authorization];
    for name in IDENTITY {
        lines.push(format!("{name}: forged"));
        lines.push(format!("{}: forged", name.to_ascii_uppercase()));
        lines.push(format!("{}: forged", name.replace('-', "_")));
    }
    let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
    let answer = raw::exchange(stack.nginx.address(), &raw::get("/orders", &lines), SOON)
        .await
        .unwrap();
    let seen = answer.seen_upstream();
    assert_eq!(seen.all("x-auth-subject"), ["alice"]);
    assert_eq!(
        seen.all("x-auth-scopes"),
        [""; 0],
        "the token has no scope, so the service sees none"
    );
    let forged: Vec<_> = seen
        .headers
        .iter()
        .filter(|(_, value)| value.contains("forged"))
        .collect();
    assert!(forged.is_empty(), "forged headers got through: {forged:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_is_a_challenge_without_an_error() {
    let stack = Stack::start().await;
    let basic = stack
        .request("/orders")
        .header("authorization", "Basic YWxpY2U6c2VjcmV0");
    for request in [stack.request("/orders"), basic] {
        let answer = send(request).await;
        let challenge = answer.expect(401, "no bearer token").header("www-authenticate");
        assert!(challenge.starts_with("Bearer"), "the challenge is {challenge:?}");
        assert!(
            !challenge.contains("error="),
            "RFC 6750 section 3.1: no error code when no token was sent: {challenge:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tampered_and_misdirected_tokens_are_refused() {
    let stack = Stack::start().await;
    let good = stack.idp.token(Order::default()).await;
    stack
        .get(&good)
        .await
        .expect(200, "the token that the others are made of");

    let elsewhere = stack
        .idp
        .token(Order {
            audience: "billing-api",
            ..Order::default()
        })
        .await;
    let later = forge::claims(&good)["exp"].as_u64().unwrap() + 3_600;
    let tampered = [
        ("another audience", elsewhere),
        ("another subject", forge::with_claim(&good, "sub", "root")),
        ("more scopes", forge::with_claim(&good, "scope", "admin")),
        ("a later end", forge::with_claim(&good, "exp", later)),
        ("no issuer", forge::with_claim(&good, "iss", Value::Null)),
        ("a broken signature", forge::with_broken_signature(&good)),
        ("a short signature", good[..good.len() - 4].to_owned()),
        ("no signature", good[..good.rfind('.').unwrap()].to_owned()),
        ("a second signature", format!("{good}.{}", forge::signature(&good))),
    ];
    for (why, token) in &tampered {
        expect_invalid_token(&stack.get(token).await, why);
        // A refusal must not have become a cached success.
        expect_invalid_token(&stack.get(token).await, why);
    }
    stack.get(&good).await.expect(200, "the good token, after all that");
}

#[tokio::test(flavor = "multi_thread")]
async fn algorithm_confusion_is_refused() {
    let stack = Stack::start().await;
    let good = stack.idp.token(Order::default()).await;
    stack
        .get(&good)
        .await
        .expect(200, "the token that the others are made of");

    for alg in ["none", "None", "NONE", "nOnE", ""] {
        expect_invalid_token(&stack.get(&forge::unsigned(&good, alg)).await, &format!("alg {alg:?}"));
    }
    let kid = forge::header(&good)["kid"].clone();
    let set: Value = serde_json::from_str(&stack.idp.jwks().await).unwrap();
    let jwk = set["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["kid"] == kid)
        .unwrap();
    let pem = stack.idp.first_rsa_pem();
    // Every text of the public key that a careless verifier might hand to HMAC.
    let secrets = [
        ("the PEM", pem.clone()),
        ("the PEM without its last line end", pem.trim_end().to_owned()),
        (
            "the body of the PEM",
            pem.lines().filter(|line| !line.starts_with('-')).collect(),
        ),
        ("the JWK", jwk.to_string()),
        ("the modulus", jwk["n"].as_str().unwrap().to_owned()),
        ("the whole set", set.to_string()),
        ("nothing", String::new()),
    ];
    for (why, secret) in secrets {
        expect_invalid_token(
            &stack.get(&forge::hs256(&good, secret.as_bytes())).await,
            &format!("HS256 with {why}"),
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_at_its_own_exp_even_when_it_is_a_hit() {
    let stack = Stack::start().await;
    let token = stack
        .idp
        .token(Order {
            ttl: 3,
            ..Order::default()
        })
        .await;
    stack.get(&token).await.expect(200, "a fresh token");
    assert_eq!(stack.authmesh.verify(&token).await.header("x-authmesh-outcome"), "hit");

    // Real time has to pass: both sides read the same clock, and the leeway is configured to zero.
    let exp = Duration::from_secs(forge::claims(&token)["exp"].as_u64().unwrap());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    tokio::time::sleep(exp.saturating_sub(now) + Duration::from_millis(20)).await;
    expect_invalid_token(
        &stack.get(&token).await,
        "a token past its exp, cached while it was good",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_scope_is_forbidden_and_named() {
    let stack = Stack::start().await;
    let reader = stack.idp.token(Order::default()).await;
    let admin = stack
        .idp
        .token(Order {
            scope: "orders:read admin",
            ..Order::default()
        })
        .await;

    let answer = stack.get_path("/admin/users", &reader).await;
    let challenge = answer
        .expect(403, "a route that needs a scope")
        .header("www-authenticate");
    assert!(
        challenge.contains("error=\"insufficient_scope\""),
        "the challenge is {challenge:?}"
    );
    assert!(challenge.contains("scope=\"admin\""), "the challenge is {challenge:?}");

    stack
        .get_path("/admin/users", &admin)
        .await
        .expect(200, "a token with the scope");
    stack
        .get_path("/orders", &reader)
        .await
        .expect(200, "a route that needs none");
    let nobody = send(stack.request("/admin/users")).await;
    nobody.expect(401, "nobody at all: who are you comes before what may you");
}

/// The service may well read all of these as `/admin`, so the rule must too.
#[tokio::test(flavor = "multi_thread")]
async fn a_protected_path_cannot_be_disguised() {
    let stack = Stack::start().await;
    let reader = stack.idp.token(Order::default()).await;
    let authorization = format!("Authorization: Bearer {reader}");
    let disguises = [
        "/admin",
        "/admin?x",
        "/%61dmin",
        "/%61%64min/",
        "//admin",
        "/./admin",
        "/orders/../admin",
        "/orders/%2e%2e/admin",
    ];
    for target in disguises {
        let request = raw::get(target, &[authorization.as_bytes()]);
        let answer = raw::exchange(stack.nginx.address(), &request, SOON).await.unwrap();
        assert!(
            [400, 403].contains(&answer.status),
            "{target} reached the service without the scope: {answer:?}"
        );
    }
    // Nor by telling nginx's question another URI.
    for lie in [
        "X-Forwarded-Uri: /orders",
        "X-Original-URI: /orders",
        "X-Original-Url: /orders",
        "X-Rewrite-Url: /orders",
    ] {
        let request = raw::get("/admin", &[authorization.as_bytes(), lie.as_bytes()]);
        let answer = raw::exchange(stack.nginx.address(), &request, SOON).await.unwrap();
        assert_eq!(answer.status, 403, "{lie} opened /admin: {answer:?}");
    }
    stack
        .get_path("/administration", &reader)
        .await
        .expect(200, "a path that only begins with the same letters");
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_and_bodies_pass_unharmed() {
    let stack = Stack::start().await;
    let token = stack.idp.token(Order::default()).await;
    let client = authmesh_tests::client::http();
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let request = client
            .request(method.parse().unwrap(), stack.nginx.url("/orders"))
            .bearer_auth(&token)
            .body(vec![b'x'; 300_000]);
        let seen = send(request).await.seen_upstream();
        assert_eq!((seen.method.as_str(), seen.body_bytes), (method, 300_000));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_shows_a_token() {
    let mut stack = Stack::start().await;
    let good = stack.idp.token(Order::default()).await;
    let bad = forge::with_broken_signature(&good);
    for token in [&good, &good, &bad] {
        stack.get(token).await;
        stack.authmesh.verify(token).await;
    }
    let log = stack.authmesh.process().log();
    assert!(
        !log.is_empty(),
        "the log is at its most talkative level, and empty: this test would prove nothing"
    );
    let metrics = stack.authmesh.get("/metrics").await.expect(200, "metrics").body.clone();
    assert!(metrics.contains("authmesh_"), "the metrics are not ours: {metrics}");
    for (place, text) in [("log", log), ("metrics", metrics)] {
        for token in [&good, &bad] {
            let payload = token.split('.').nth(1).unwrap();
            assert!(!text.contains(payload), "the {place} shows the claims of a token");
            assert!(
                !text.contains(forge::signature(token)),
                "the {place} shows the signature of a token"
            );
        }
        let jti = forge::claims(&good)["jti"].as_str().unwrap().to_owned();
        assert!(!text.contains(&jti), "the {place} shows a claim of a token");
        assert!(
            !text.contains("alice@example.test"),
            "the {place} shows a claim of a token"
        );
    }
}
