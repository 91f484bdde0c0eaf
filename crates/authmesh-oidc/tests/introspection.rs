//! An issuer that is asked about each token: what is sent, and what is taken for an answer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, dead_code)]

mod provider;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use authmesh::clock::ManualClock;
use authmesh::jose::{Algorithm, AlgorithmSet, KeySet, KeySetLimits, verify_jws};
use authmesh::ports::{ActiveToken, TokenSource, TokenState, UpstreamError, UpstreamFault};
use authmesh::proto::time::{Moment, Now};
use authmesh_oidc::{
    AssertionAudience, ClientAuth, HttpClient, HttpClientBuilder, Introspection, PrivateKeyJwt, SigningKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use provider::{Flood, Provider, Reply, Request, answer, json, json_with, status};
use serde_json::Value;

const NOW: u64 = 1_800_000_000;
const TOKEN: &str = "opaque-token.secret+part";
const OPENID: &str = "/.well-known/openid-configuration";

fn local() -> HttpClientBuilder {
    HttpClient::builder().danger_allow_http(true).environment_proxy(false)
}

fn basic() -> ClientAuth {
    ClientAuth::client_secret_basic("orders", "hunter2").unwrap()
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Now {
        boot: Moment::from_nanos(1),
        wall: NOW,
    }))
}

fn at(provider: &Provider, auth: ClientAuth, http: HttpClientBuilder) -> Introspection {
    let url = format!("{}/introspect?key=hidden", provider.url);
    Introspection::at(&url, auth, &http.build().unwrap())
        .unwrap()
        .clock(clock())
}

/// Asks, and sees that no error shows what must stay hidden.
async fn ask(source: &Introspection) -> Result<TokenState, UpstreamError> {
    let answer = source.ask(TOKEN).await;
    if let Err(error) = &answer {
        for hidden in ["hidden", "hunter2", TOKEN, "secret"] {
            let told = error
                .what
                .replace("client_secret_", "")
                .replace("its secret or key", "");
            assert!(!told.contains(hidden), "{}", error.what);
        }
    }
    answer
}

async fn active(source: &Introspection) -> ActiveToken {
    match ask(source).await.unwrap() {
        TokenState::Active(token) => *token,
        TokenState::Inactive => panic!("inactive"),
    }
}

/// The error that a provider with this one answer leads to.
async fn error(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> UpstreamError {
    let provider = Provider::start(reply).await;
    ask(&at(&provider, basic(), local())).await.unwrap_err()
}

#[track_caller]
fn assert_error(error: &UpstreamError, fault: UpstreamFault, words: &[&str]) {
    assert_eq!(error.fault, fault, "{}", error.what);
    for word in words {
        assert!(error.what.contains(word), "{word}: {}", error.what);
    }
}

#[tokio::test]
async fn a_token_is_asked_about_in_a_form_with_the_clients_name_and_secret() {
    let provider =
        Provider::start(|_| json_with("Cache-Control: max-age=20\r\n", r#"{"active":true,"sub":"alice"}"#)).await;
    let token = active(&at(&provider, basic(), local())).await;
    assert_eq!(token.subject.as_deref(), Some("alice"));
    assert_eq!(token.max_age, Some(Duration::from_secs(20)));
    assert_eq!(token.claims, br#"{"active":true,"sub":"alice"}"#);

    let request = provider.requests().remove(0);
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("POST", "/introspect?key=hidden")
    );
    assert_eq!(request.field("token").as_deref(), Some(TOKEN));
    assert_eq!(request.field("token_type_hint").as_deref(), Some("access_token"));
    assert_eq!(
        request.header("content-type"),
        Some("application/x-www-form-urlencoded")
    );
    assert_eq!(request.header("accept"), Some("application/json"));
    let expected = format!("Basic {}", STANDARD.encode("orders:hunter2"));
    assert_eq!(request.header("authorization"), Some(expected.as_str()));
    assert!(!request.body.contains("hunter2"));
}

#[tokio::test]
async fn a_member_that_is_null_is_a_member_that_is_not_there() {
    let body = r#"{"active":true,"exp":null,"sub":null,"aud":null,"scope":null,"ext":{"a":null}}"#;
    let provider = Provider::start(move |_| json(body)).await;
    let token = active(&at(&provider, basic(), local())).await;
    let expected = ActiveToken {
        claims: br#"{"active":true,"ext":{"a":null}}"#.to_vec(),
        ..ActiveToken::default()
    };
    assert!(token == expected, "{}", String::from_utf8_lossy(&token.claims));
    assert_error(
        &error(|_| json(r#"{"active":null}"#)).await,
        UpstreamFault::Answer,
        &["no active"],
    );
}

#[tokio::test]
async fn the_secret_can_go_in_the_body_and_a_bearer_in_the_header() {
    let provider = Provider::start(|_| json(r#"{"active":false}"#)).await;
    let post = ClientAuth::client_secret_post("orders", "h&nter=2").unwrap();
    assert_eq!(ask(&at(&provider, post, local())).await.unwrap(), TokenState::Inactive);
    let bearer = ClientAuth::bearer("orders", "our-token").unwrap();
    ask(&at(&provider, bearer, local())).await.unwrap();

    let requests = provider.requests();
    assert_eq!(requests[0].field("client_id").as_deref(), Some("orders"));
    assert_eq!(requests[0].field("client_secret").as_deref(), Some("h&nter=2"));
    assert_eq!(requests[0].header("authorization"), None);
    assert_eq!(requests[1].header("authorization"), Some("Bearer our-token"));
    assert_eq!(requests[1].field("client_id"), None);
}

/// The claims of a client assertion, whose signature holds under the key `p256`.
fn assertion(request: &Request) -> Value {
    assert_eq!(
        request.field("client_assertion_type").as_deref(),
        Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
    );
    assert_eq!(request.field("client_id").as_deref(), Some("orders"));
    assert_eq!(request.header("authorization"), None);
    let keys = KeySet::parse(include_bytes!("keys/public.json"), &KeySetLimits::default()).unwrap();
    let jws = request.field("client_assertion").unwrap();
    let verified = verify_jws(jws.as_bytes(), &keys, AlgorithmSet::of(&[Algorithm::ES256])).unwrap();
    serde_json::from_slice(verified.payload()).unwrap()
}

#[tokio::test]
async fn each_request_carries_an_assertion_of_its_own_that_lives_a_minute() {
    let provider = Provider::start(|request| match request.path.as_str() {
        OPENID => json(
            r#"{"issuer":"{base}","introspection_endpoint":"{base}/introspect","token_endpoint":"https://sso.example/token"}"#,
        ),
        _ => json(r#"{"active":true}"#),
    })
    .await;
    let key = || SigningKey::from_jwk(include_bytes!("keys/p256.jwk.json")).unwrap();
    let source = |audience| {
        let client = PrivateKeyJwt::new("orders", key()).unwrap().audience(audience);
        let auth = ClientAuth::private_key_jwt(client);
        Introspection::discover(&provider.url, auth, &local().build().unwrap())
            .unwrap()
            .clock(clock())
    };
    let by_issuer = source(AssertionAudience::Issuer);
    ask(&by_issuer).await.unwrap();
    ask(&by_issuer).await.unwrap();
    ask(&source(AssertionAudience::TokenEndpoint)).await.unwrap();
    ask(&source(AssertionAudience::Exactly("https://other.example".to_owned())))
        .await
        .unwrap();

    let requests: Vec<_> = provider
        .requests()
        .into_iter()
        .filter(|request| request.path == "/introspect")
        .collect();
    let claims: Vec<_> = requests.iter().map(assertion).collect();
    for claims in &claims {
        assert_eq!((&claims["iss"], &claims["sub"]), (&"orders".into(), &"orders".into()));
        assert_eq!((&claims["iat"], &claims["exp"]), (&NOW.into(), &(NOW + 60).into()));
        assert!(claims["jti"].as_str().unwrap().len() >= 22);
    }
    assert_ne!(claims[0]["jti"], claims[1]["jti"], "none can be used again");
    let audiences: Vec<_> = claims.iter().map(|claims| claims["aud"].as_str().unwrap()).collect();
    assert_eq!(
        audiences,
        [
            provider.url.as_str(),
            &provider.url,
            "https://sso.example/token",
            "https://other.example"
        ]
    );
}

#[tokio::test]
async fn an_assertion_for_nobody_in_particular_is_refused_before_the_first_request() {
    let key = SigningKey::from_pem(include_bytes!("keys/p256.pem")).unwrap();
    let auth = ClientAuth::private_key_jwt(PrivateKeyJwt::new("orders", key).unwrap());
    let error = Introspection::at("https://a.example/introspect", auth, &HttpClient::new().unwrap()).unwrap_err();
    assert_error(&error, UpstreamFault::Configuration, &["audience"]);
}

#[tokio::test]
async fn text_that_can_be_no_token_is_inactive_and_is_not_sent() {
    let provider = Provider::start(|_| json(r#"{"active":true}"#)).await;
    let source = at(&provider, basic(), local());
    for text in ["", "two words", "line\nbreak", "t\u{f6}ken", "\u{0}"] {
        assert_eq!(source.ask(text).await.unwrap(), TokenState::Inactive, "{text:?}");
    }
    assert_eq!(provider.connections(), 0);
}

#[tokio::test]
async fn answers_that_are_none_are_errors_and_never_inactive() {
    for (body, word) in [
        ("", "not JSON"),
        ("[]", "not a JSON object"),
        ("true", "not a JSON object"),
        ("{}", "no active"),
        (r#"{"active":"false"}"#, "active is not a boolean"),
        (r#"{"active":true,"active":false}"#, "a member twice"),
        (r#"{"active":true,"ext":{"a":1,"a":2}}"#, "a member twice"),
        (r#"{"active":true,"client_id":["secret"]}"#, "client_id is not a string"),
        (r#"{"active":true,"iss":{"secret":1}}"#, "iss is not a string"),
        (r#"{"active":true,"aud":[1]}"#, "aud is a list"),
        (r#"{"active":true,"exp":"soon"}"#, "exp is not a time"),
        (r#"{"active":true} {}"#, "not JSON"),
    ] {
        assert_error(&error(move |_| json(body)).await, UpstreamFault::Answer, &[word]);
    }
    let html = error(|_| answer("200 OK", "text/html", "", "<form>")).await;
    assert_error(&html, UpstreamFault::Answer, &["HTML page"]);
    let jwt = error(|_| answer("200 OK", "application/token-introspection+jwt", "", "a.b.c")).await;
    assert_error(
        &jwt,
        UpstreamFault::Answer,
        &["signed response, which was not asked for"],
    );
    let redirect = error(|_| status("307 Temporary Redirect", "Location: https://other.example/\r\n")).await;
    assert_error(
        &redirect,
        UpstreamFault::Answer,
        &["redirect", "https://other.example/"],
    );
    let down = error(|_| status("500 Internal Server Error", "")).await;
    assert_error(&down, UpstreamFault::Answer, &["500"]);
}

#[tokio::test]
async fn a_token_whose_time_is_over_is_inactive_by_our_clock() {
    let provider = Provider::start(|_| json(&format!(r#"{{"active":true,"exp":{}}}"#, NOW + 10))).await;
    let clock = clock();
    let source = at(&provider, basic(), local()).clock(Arc::clone(&clock) as _);
    assert_eq!(active(&source).await.expires_at, Some(NOW + 10));
    clock.advance(Duration::from_secs(10));
    assert_eq!(ask(&source).await.unwrap(), TokenState::Inactive);
}

#[tokio::test]
async fn a_refusal_of_our_credentials_is_the_operators_to_mend() {
    for (line, content_type, headers, body, words) in [
        (
            "401 Unauthorized",
            "text/html",
            "WWW-Authenticate: Basic realm=\"x\"\r\n",
            "<h1>no</h1>",
            vec!["401"],
        ),
        (
            "401 Unauthorized",
            "application/json",
            "",
            r#"{"error":"invalid_client"}"#,
            vec!["401", "invalid_client"],
        ),
        (
            "400 Bad Request",
            "application/json",
            "",
            r#"{"error":"invalid_client"}"#,
            vec!["400", "invalid_client"],
        ),
        ("403 Forbidden", "application/json", "", "{}", vec!["403"]),
        (
            "401 Unauthorized",
            "application/json",
            "WWW-Authenticate: Bearer error=\"invalid_token\"\r\n",
            "{}",
            vec!["401", "invalid_token"],
        ),
    ] {
        let error = error(move |_| answer(line, content_type, headers, body)).await;
        assert_error(&error, UpstreamFault::Configuration, &words);
        assert_error(
            &error,
            UpstreamFault::Configuration,
            &["credentials of \"orders\"", "client_secret_basic"],
        );
    }
    // A request that it does not understand is not about credentials.
    let other = error(|_| {
        answer(
            "400 Bad Request",
            "application/json",
            "",
            r#"{"error":"invalid_request"}"#,
        )
    })
    .await;
    assert_error(&other, UpstreamFault::Answer, &["invalid_request"]);
    // What is no code of the standards is not repeated.
    let foreign = error(|_| {
        answer(
            "400 Bad Request",
            "application/json",
            "",
            r#"{"error":"the secret is"}"#,
        )
    })
    .await;
    assert_error(&foreign, UpstreamFault::Answer, &["400"]);
    let long = error(|_| answer("400 Bad Request", "application/json", "", &"x".repeat(100_000))).await;
    assert_error(&long, UpstreamFault::Answer, &["400"]);
}

#[tokio::test]
async fn what_the_document_says_of_authentication_explains_a_refusal() {
    let provider = Provider::start(|request| match request.path.as_str() {
        OPENID => json(
            r#"{"issuer":"{base}","introspection_endpoint":"{base}/introspect",
                "introspection_endpoint_auth_methods_supported":["private_key_jwt"]}"#,
        ),
        _ => status("401 Unauthorized", ""),
    })
    .await;
    let source = Introspection::discover(&provider.url, basic(), &local().build().unwrap()).unwrap();
    let error = ask(&source).await.unwrap_err();
    assert_error(&error, UpstreamFault::Configuration, &["does not list"]);
    assert_eq!(
        provider.paths(),
        [OPENID, "/introspect"],
        "a refusal is no reason to discover again"
    );
}

#[tokio::test]
async fn being_asked_to_slow_down_is_handed_on() {
    for line in ["429 Too Many Requests", "503 Service Unavailable"] {
        let error = error(move |_| status(line, "Retry-After: 7\r\n")).await;
        assert_error(&error, UpstreamFault::Answer, &[&line[..3]]);
        assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
    }
}

#[tokio::test]
async fn an_answer_without_end_is_left() {
    let provider = Provider::start(|_| {
        Reply::ThenFlood(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
        )
    })
    .await;
    let error = ask(&at(&provider, basic(), local())).await.unwrap_err();
    assert_error(&error, UpstreamFault::Answer, &["raise token_answer_limit"]);
    assert!(matches!(provider.flood().await, Flood::Stopped(_)));

    let drip = Provider::start(|_| {
        Reply::ThenDrip("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n".to_owned())
    })
    .await;
    let patient = local().request_timeout(Duration::from_millis(300));
    let error = ask(&at(&drip, basic(), patient)).await.unwrap_err();
    assert_error(&error, UpstreamFault::Timeout, &["no complete answer"]);
}

#[tokio::test]
async fn a_ban_on_caching_counts_only_where_it_is_to_be_honoured() {
    let provider = Provider::start(|_| json_with("Cache-Control: no-store\r\n", r#"{"active":true}"#)).await;
    let source = at(&provider, basic(), local());
    assert_eq!(active(&source).await.max_age, None);
    assert_eq!(
        active(&source.honour_no_store(true)).await.max_age,
        Some(Duration::ZERO)
    );
}

#[tokio::test]
async fn the_endpoint_is_found_once_for_many_and_found_again_when_it_moves() {
    let moved = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&moved);
    let provider = Provider::start(move |request| {
        let moved = seen.load(Ordering::SeqCst) > 0;
        match (request.path.as_str(), moved) {
            (OPENID, false) => json(r#"{"issuer":"{base}","introspection_endpoint":"{base}/old"}"#),
            (OPENID, true) => json(r#"{"issuer":"{base}","introspection_endpoint":"{base}/new"}"#),
            ("/old", false) | ("/new", true) => json(r#"{"active":true}"#),
            _ => status("404 Not Found", ""),
        }
    })
    .await;
    let source = Arc::new(Introspection::discover(&provider.url, basic(), &local().build().unwrap()).unwrap());
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let source = Arc::clone(&source);
        all.spawn(async move { active(&source).await });
    }
    all.join_all().await;
    let count = |path: &str| provider.paths().iter().filter(|asked| *asked == path).count();
    assert_eq!((count(OPENID), count("/old")), (1, 16));

    moved.store(1, Ordering::SeqCst);
    active(&source).await;
    assert_eq!((count(OPENID), count("/old"), count("/new")), (2, 17, 1));
    active(&source).await;
    assert_eq!((count(OPENID), count("/new")), (2, 2));
}

#[tokio::test]
async fn many_who_wait_for_a_discovery_that_fails_share_its_failure() {
    let provider = Provider::start(|_| status("500 Internal Server Error", "")).await;
    let source = Arc::new(Introspection::discover(&provider.url, basic(), &local().build().unwrap()).unwrap());
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let source = Arc::clone(&source);
        all.spawn(async move { ask(&source).await.unwrap_err() });
    }
    all.join_all().await;
    assert_eq!(provider.paths(), [OPENID]);
    ask(&source).await.unwrap_err();
    assert_eq!(provider.paths().len(), 2, "who comes later asks again");
}

#[tokio::test]
async fn an_issuer_that_falls_silent_is_still_asked_where_it_was() {
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&calls);
    let provider = Provider::start(move |request| match request.path.as_str() {
        OPENID if seen.fetch_add(1, Ordering::SeqCst) == 0 => {
            json(r#"{"issuer":"{base}","introspection_endpoint":"{base}/introspect"}"#)
        }
        OPENID => Reply::ThenClose(String::new()),
        _ => json(r#"{"active":true}"#),
    })
    .await;
    let source = || {
        Introspection::discover(&provider.url, basic(), &local().build().unwrap())
            .unwrap()
            .rediscover_after(Duration::ZERO)
    };
    let first = source();
    for _ in 0..3 {
        active(&first).await;
    }
    assert_eq!(
        provider.paths(),
        [OPENID, "/introspect", OPENID, "/introspect", "/introspect"],
        "a failed discovery is not repeated at once either"
    );
    // One that never heard where to ask has nothing to go on with.
    assert_eq!(ask(&source()).await.unwrap_err().fault, UpstreamFault::Unreachable);
}

#[test]
fn an_identity_names_the_place_and_the_client_and_no_secret() {
    let http = HttpClient::new().unwrap();
    let at = |url: &str, auth| Introspection::at(url, auth, &http).unwrap();
    let all = [
        at("https://a.example/i", basic()),
        at("https://a.example/i?key=secret", basic()),
        at("https://a.example/i?key=other", basic()),
        at(
            "https://a.example/i",
            ClientAuth::client_secret_post("orders", "hunter2").unwrap(),
        ),
        at(
            "https://a.example/i",
            ClientAuth::client_secret_basic("billing", "hunter2").unwrap(),
        ),
        Introspection::discover("https://a.example/i", basic(), &http).unwrap(),
    ];
    let names: std::collections::BTreeSet<_> = all.iter().map(TokenSource::identity).collect();
    assert_eq!(names.len(), all.len(), "{names:?}");
    for source in &all {
        let shown = format!("{source:?} {}", source.identity()).replace("client_secret_", "");
        assert!(
            !shown.contains("secret") && !shown.contains("hunter2") && !shown.contains("other"),
            "{shown}"
        );
    }
    let again = at(
        "https://a.example/i",
        ClientAuth::client_secret_basic("orders", "rotated").unwrap(),
    );
    assert_eq!(again.identity(), all[0].identity(), "a new secret is the same client");
}
