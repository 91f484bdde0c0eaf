//! A provider that tells whom a token speaks for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, dead_code)]

mod provider;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use authmesh::ports::{ActiveToken, TokenSource, TokenState, UpstreamError, UpstreamFault};
use authmesh_oidc::{HttpClient, UserInfo};
use provider::{Provider, Reply, Request, answer, json, json_with, status};

const TOKEN: &str = "opaque-secret";
const OPENID: &str = "/.well-known/openid-configuration";

fn http() -> HttpClient {
    HttpClient::builder()
        .danger_allow_http(true)
        .environment_proxy(false)
        .build()
        .unwrap()
}

async fn ask(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Result<TokenState, UpstreamError> {
    let provider = Provider::start(reply).await;
    let source = UserInfo::at(&format!("{}/userinfo", provider.url), &http()).unwrap();
    let answer = source.ask(TOKEN).await;
    if let Err(error) = &answer {
        assert!(!error.what.contains("secret"), "{}", error.what);
    }
    answer
}

#[tokio::test]
async fn the_token_itself_is_the_bearer_and_the_subject_comes_back() {
    let provider = Provider::start(|_| {
        json_with(
            "Cache-Control: max-age=9\r\n",
            r#"{"email":"a@example.com","sub":"alice"}"#,
        )
    })
    .await;
    let source = UserInfo::at(&format!("{}/userinfo", provider.url), &http()).unwrap();
    let expected = ActiveToken {
        subject: Some("alice".to_owned()),
        max_age: Some(Duration::from_secs(9)),
        claims: br#"{"email":"a@example.com","sub":"alice"}"#.to_vec(),
        ..ActiveToken::default()
    };
    assert_eq!(source.ask(TOKEN).await.unwrap(), TokenState::Active(Box::new(expected)));
    let request = provider.requests().remove(0);
    assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/userinfo"));
    assert_eq!(request.header("authorization"), Some("Bearer opaque-secret"));

    for text in ["", "two words", "a\r\nX-Evil: 1"] {
        assert_eq!(source.ask(text).await.unwrap(), TokenState::Inactive);
    }
    assert_eq!(provider.requests().len(), 1);
}

#[tokio::test]
async fn only_the_word_invalid_token_makes_a_token_inactive() {
    let challenge = "WWW-Authenticate: Bearer realm=\"x\", error=\"invalid_token\"\r\n";
    for (content_type, body) in [("application/json", "{}"), ("text/html", "<h1>no</h1>")] {
        let state = ask(move |_| answer("401 Unauthorized", content_type, challenge, body)).await;
        assert_eq!(state.unwrap(), TokenState::Inactive);
    }
    for (line, headers) in [
        ("401 Unauthorized", ""),
        ("401 Unauthorized", "WWW-Authenticate: Bearer\r\n"),
        (
            "401 Unauthorized",
            "WWW-Authenticate: Bearer error=\"invalid_request\"\r\n",
        ),
        ("401 Unauthorized", "WWW-Authenticate: DPoP error=\"invalid_token\"\r\n"),
        ("403 Forbidden", challenge),
        (
            "403 Forbidden",
            "WWW-Authenticate: Bearer error=\"insufficient_scope\"\r\n",
        ),
        ("400 Bad Request", challenge),
        ("500 Internal Server Error", challenge),
    ] {
        let error = ask(move |_| status(line, headers)).await.unwrap_err();
        assert_eq!(error.fault, UpstreamFault::Answer, "{line} {headers}: {}", error.what);
        assert!(error.what.contains(&line[..3]), "{}", error.what);
    }
    let slow = ask(|_| status("429 Too Many Requests", "Retry-After: 3\r\n"))
        .await
        .unwrap_err();
    assert_eq!(slow.retry_after, Some(Duration::from_secs(3)));
}

#[tokio::test]
async fn answers_without_a_subject_are_errors() {
    for (body, word) in [
        ("{}", "no sub"),
        (r#"{"sub":""}"#, "sub is not"),
        (r#"{"sub":7}"#, "sub is not"),
        (r#"{"sub":null}"#, "no sub"),
        (r#"{"sub":"alice","sub":"bob"}"#, "twice"),
        ("[]", "not a JSON object"),
        ("", "not JSON"),
    ] {
        let error = ask(move |_| json(body)).await.unwrap_err();
        assert_eq!(error.fault, UpstreamFault::Answer);
        assert!(error.what.contains(word), "{body}: {}", error.what);
    }
    let html = ask(|_| answer("200 OK", "text/html", "", "<form>")).await.unwrap_err();
    assert!(html.what.contains("HTML page"), "{}", html.what);
    let jwt = ask(|_| answer("200 OK", "application/jwt", "", "a.b.c"))
        .await
        .unwrap_err();
    assert!(jwt.what.contains("application/jwt"), "{}", jwt.what);
    let long = ask(|_| json(&" ".repeat(64 * 1024 + 1))).await.unwrap_err();
    assert!(long.what.contains("token_answer_limit"), "{}", long.what);
}

#[tokio::test]
async fn the_endpoint_is_discovered_and_found_again_when_it_is_gone() {
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&calls);
    let provider = Provider::start(move |request| match request.path.as_str() {
        OPENID if seen.fetch_add(1, Ordering::SeqCst) == 0 => {
            json(r#"{"issuer":"{base}","userinfo_endpoint":"{base}/old"}"#)
        }
        OPENID => json(r#"{"issuer":"{base}","userinfo_endpoint":"{base}/new"}"#),
        "/old" if seen.fetch_add(1, Ordering::SeqCst) == 1 => json(r#"{"sub":"alice"}"#),
        "/new" => json(r#"{"sub":"alice"}"#),
        _ => status("410 Gone", ""),
    })
    .await;
    let source = UserInfo::discover(&provider.url, &http()).unwrap();
    for _ in 0..3 {
        assert!(matches!(source.ask(TOKEN).await.unwrap(), TokenState::Active(_)));
    }
    assert_eq!(provider.paths(), [OPENID, "/old", "/old", OPENID, "/new", "/new"]);

    let without = Provider::start(|_| json(r#"{"issuer":"{base}"}"#)).await;
    let error = UserInfo::discover(&without.url, &http())
        .unwrap()
        .ask(TOKEN)
        .await
        .unwrap_err();
    assert!(error.what.contains("names no userinfo_endpoint"), "{}", error.what);
}
