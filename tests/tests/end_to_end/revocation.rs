//! Revoked is never served: not one request later.

use authmesh_tests::authmesh::Authmesh;
use authmesh_tests::client::Answer;
use authmesh_tests::forge;
use authmesh_tests::idp::{Idp, Order};
use authmesh_tests::stack::Stack;
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_subject_is_refused_at_the_very_next_request() {
    let stack = Stack::start().await;
    let alice = stack.idp.token(Order::default()).await;
    let unseen = stack
        .idp
        .token(Order {
            alg: "ES256",
            ..Order::default()
        })
        .await;
    let bob = stack
        .idp
        .token(Order {
            client: "bob",
            ..Order::default()
        })
        .await;
    for _ in 0..2 {
        stack.get(&alice).await.expect(200, "alice, before");
        stack.get(&bob).await.expect(200, "bob, before");
    }

    let receipt = stack
        .authmesh
        .revoke(&json!({ "subject": "alice", "why": "end-to-end test" }))
        .await;
    let refused = stack.get(&alice).await;
    refused.expect(401, "alice, at the very next request");
    assert!(
        refused.header("www-authenticate").contains("error=\"invalid_token\""),
        "{refused:?}"
    );
    stack
        .get(&unseen)
        .await
        .expect(401, "another token of alice, never seen before");
    stack.get(&bob).await.expect(200, "bob, who has nothing to do with it");

    assert!(
        ["committed", "unconfirmed"].contains(&receipt["state"].as_str().unwrap_or_default()),
        "{receipt}"
    );
    assert!(receipt["single_copy"].is_boolean(), "{receipt}");
    let not_before = receipt["not_before"]
        .as_u64()
        .unwrap_or_else(|| panic!("no not_before: {receipt}"));
    let issued = forge::claims(&unseen)["iat"].as_u64().unwrap();
    assert!(
        not_before >= issued,
        "the mark covers tokens before {not_before}, and one of {issued} was refused"
    );

    // The receipt is what tells a caller from when on a replacement counts.
    let replacement = loop {
        let token = stack.idp.token(Order::default()).await;
        if forge::claims(&token)["iat"].as_u64().unwrap() > not_before {
            break token;
        }
        // Waits for the issuer's next second: `iat` counts in whole ones.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    stack
        .get(&replacement)
        .await
        .expect(200, "a token of alice that was issued after not_before");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scope_of_a_revocation_voids_its_tokens_and_no_others() {
    let idp = Idp::start().await;
    let bob = idp
        .token(Order {
            client: "bob",
            ..Order::default()
        })
        .await;
    let claim = |token: &str, name: &str| forge::claims(token)[name].clone();
    type Scope = fn(&str, &dyn Fn(&str, &str) -> Value) -> Value;
    let scopes: [(&str, Scope); 5] = [
        ("token", |token, _| json!({ "token": token })),
        ("jti", |token, claim| json!({ "jti": claim(token, "jti") })),
        ("session", |token, claim| json!({ "session": claim(token, "sid") })),
        ("client", |token, claim| {
            let client = claim(token, "client_id");
            json!({ "client": client, "confirm": client })
        }),
        ("subject", |token, claim| json!({ "subject": claim(token, "sub") })),
    ];
    for (name, scope) in scopes {
        // A node of its own for each scope: marks of one would hide a failure of the next.
        let authmesh = Authmesh::start(&idp.issuer()).await;
        let alice = idp.token(Order::default()).await;
        authmesh.verify(&alice).await.expect(200, name);
        authmesh.verify(&bob).await.expect(200, name);
        let mut revocation = scope(&alice, &claim);
        revocation["why"] = "end-to-end test".into();
        revocation["of_issuer"] = idp.issuer().into();
        authmesh.revoke(&revocation).await;
        authmesh.verify(&alice).await.expect(401, name);
        authmesh.verify(&bob).await.expect(200, name);
    }
    let authmesh = Authmesh::start(&idp.issuer()).await;
    authmesh.verify(&bob).await.expect(200, "before the issuer is revoked");
    authmesh
        .revoke(&json!({
            "whole_issuer": true, "issuer": idp.issuer(), "confirm": idp.issuer(), "why": "end-to-end test",
        }))
        .await;
    authmesh.verify(&bob).await.expect(401, "after the issuer was revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_api_wants_its_credential_and_says_nothing_without() {
    let idp = Idp::start().await;
    let authmesh = Authmesh::start(&idp.issuer()).await;
    let token = idp
        .token(Order {
            scope: "admin",
            ..Order::default()
        })
        .await;
    authmesh.verify(&token).await.expect(200, "before");

    let revocation = json!({ "subject": "alice", "why": "end-to-end test" });
    let calls: [(Method, &str, Option<&Value>); 6] = [
        (Method::POST, "/v1/revocations", Some(&revocation)),
        (Method::POST, "/v1/invalidations", Some(&revocation)),
        (Method::POST, "/v1/clear", None),
        (Method::POST, "/v1/keys/refresh", None),
        (Method::GET, "/v1/stats", None),
        (Method::GET, "/v1/members", None),
    ];
    // A token of the issuer, even one with an `admin` scope, is not the operator's credential.
    for credential in [None, Some(""), Some("wrong"), Some(token.as_str())] {
        for (method, path, body) in &calls {
            let answer: Answer = authmesh.admin_as(credential, method.clone(), path, *body).await;
            assert!(
                [401, 403].contains(&answer.status),
                "{method} {path} without the credential: {answer:?}"
            );
            assert_eq!(
                answer.header("content-type"),
                "application/problem+json",
                "{method} {path}"
            );
        }
    }
    authmesh
        .verify(&token)
        .await
        .expect(200, "after nobody revoked anything");
    for path in ["/v1/stats", "/v1/health", "/v1/members", "/openapi.json"] {
        authmesh.admin(Method::GET, path, None).await.expect(200, path).json();
    }
    let public = authmesh.get("/v1/stats").await;
    assert_eq!(
        public.status, 404,
        "the admin API must not be on the forward-auth listener: {public:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn clearing_the_cache_forgets_verdicts_and_keeps_revocations() {
    let idp = Idp::start().await;
    let authmesh = Authmesh::start(&idp.issuer()).await;
    let alice = idp.token(Order::default()).await;
    let bob = idp
        .token(Order {
            client: "bob",
            ..Order::default()
        })
        .await;
    authmesh.verify(&alice).await.expect(200, "before");
    authmesh.verify(&bob).await.expect(200, "before");
    assert_eq!(authmesh.verify(&bob).await.header("x-authmesh-outcome"), "hit");
    authmesh
        .revoke(&json!({ "subject": "alice", "why": "end-to-end test" }))
        .await;

    let cleared = authmesh
        .admin(Method::POST, "/v1/clear", Some(&json!({ "why": "end-to-end test" })))
        .await;
    assert!((200..300).contains(&cleared.status), "{cleared:?}");
    assert_eq!(
        authmesh
            .verify(&bob)
            .await
            .expect(200, "bob")
            .header("x-authmesh-outcome"),
        "verified"
    );
    authmesh
        .verify(&alice)
        .await
        .expect(401, "a revocation is not a cache entry");
}
