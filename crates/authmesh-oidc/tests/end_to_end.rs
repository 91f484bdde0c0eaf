//! A provider that validates tokens, through the SDK: from the request that is sent to the verdict.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, dead_code)]

mod provider;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use authmesh::{AuthMesh, Fault, Subject, UpstreamRules};
use authmesh_oidc::{ClientAuth, HttpClient, Introspection};
use provider::{Provider, json, status};

const OPENID: &str = "/.well-known/openid-configuration";

#[tokio::test]
async fn an_opaque_token_is_asked_about_once_and_a_revocation_ends_it() {
    let down = Arc::new(AtomicBool::new(false));
    let is_down = Arc::clone(&down);
    let provider = Provider::start(move |request| {
        if is_down.load(Ordering::SeqCst) {
            return status("401 Unauthorized", "");
        }
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        match (request.path.as_str(), request.field("token").as_deref()) {
            (OPENID, _) => json(r#"{"issuer":"{base}","introspection_endpoint":"{base}/introspect"}"#),
            (_, Some("good")) => json(&format!(
                r#"{{"active":true,"iss":"{{base}}","sub":"alice","aud":"orders","client_id":"app","scope":"read","iat":{now},"exp":{},"sid":null}}"#,
                now + 600
            )),
            (_, Some("other")) => json(&format!(
                r#"{{"active":true,"sub":"alice","aud":"billing","iat":{now},"exp":{}}}"#,
                now + 600
            )),
            _ => json(r#"{"active":false}"#),
        }
    })
    .await;
    let http = HttpClient::builder()
        .danger_allow_http(true)
        .environment_proxy(false)
        .build()
        .unwrap();
    let auth = ClientAuth::client_secret_basic("orders", "hunter2").unwrap();
    let source = Introspection::discover(&provider.url, auth, &http).unwrap();
    let mesh = AuthMesh::builder()
        .upstream(
            &*provider.url,
            Arc::new(source),
            UpstreamRules::for_audiences(["orders"]),
        )
        .start()
        .await
        .unwrap();
    let verifier = mesh.verifier();
    for _ in 0..3 {
        let verdict = verifier.verify("good").await.unwrap();
        assert_eq!(verdict.subject(), Some("alice"));
    }
    assert_eq!(provider.paths(), [OPENID, "/introspect"]);
    assert_eq!(verifier.verify("other").await.unwrap_err().code(), "wrong_audience");
    let unknown = verifier.verify("nobody's").await.unwrap_err();
    assert_eq!(unknown.fault(), Fault::Token, "{unknown}");

    mesh.revoke(Subject::new(&*provider.url, "alice"))
        .why("test")
        .await
        .unwrap();
    assert_eq!(verifier.verify("good").await.unwrap_err().code(), "revoked");

    // Our own credentials are refused now: that says nothing about a token.
    down.store(true, Ordering::SeqCst);
    let outage = verifier.verify("never-seen").await.unwrap_err();
    assert_eq!(outage.fault(), Fault::Service, "{outage}");
    mesh.shutdown().await;
}
