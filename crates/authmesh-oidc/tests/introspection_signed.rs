//! Signed introspection responses (RFC 9701): which signatures count, and for how much.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, dead_code)]

mod provider;
mod signer;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use authmesh::clock::ManualClock;
use authmesh::jose::{Algorithm, AlgorithmSet};
use authmesh::memory::FixedKeys;
use authmesh::ports::{TokenSource, TokenState, UpstreamError, UpstreamFault};
use authmesh::proto::time::{Moment, Now};
use authmesh_oidc::{ClientAuth, HttpClient, HttpKeySource, Introspection, SignedAnswers};
use provider::{Provider, Request, answer, json, status};
use serde_json::{Value, json};

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "https://login.example.com";
const TYPE: &str = "application/token-introspection+jwt";

/// A provider whose answer can be changed, asked by a client that takes signed answers only.
struct World {
    provider: Provider,
    says: Arc<Mutex<String>>,
    keys: Arc<FixedKeys>,
    clock: Arc<ManualClock>,
    source: Introspection,
}

impl World {
    async fn new() -> Self {
        let says = Arc::new(Mutex::new(String::new()));
        let said = Arc::clone(&says);
        let provider = Provider::start(move |request: &Request| {
            assert_eq!(request.header("accept"), Some(TYPE));
            answer("200 OK", TYPE, "", &said.lock().unwrap())
        })
        .await;
        let keys = Arc::new(FixedKeys::new(signer::PUBLIC));
        let clock = Arc::new(ManualClock::new(Now {
            boot: Moment::from_nanos(1),
            wall: NOW,
        }));
        let source = source(&provider.url, SignedAnswers::new(ISSUER, Arc::clone(&keys) as _))
            .unwrap()
            .clock(Arc::clone(&clock) as _);
        Self {
            provider,
            says,
            keys,
            clock,
            source,
        }
    }

    async fn hears(&self, jws: impl Into<String>) -> Result<TokenState, UpstreamError> {
        *self.says.lock().unwrap() = jws.into();
        self.source.ask("opaque").await
    }

    /// The refusal of a response that differs from a good one in this.
    async fn refuses(&self, header: Value, claims: Value, word: &str) {
        let error = self.hears(response(header, claims)).await.unwrap_err();
        assert_eq!(error.fault, UpstreamFault::Answer, "{}", error.what);
        assert!(error.what.contains(word), "{word}: {}", error.what);
    }
}

fn source(url: &str, answers: SignedAnswers) -> Result<Introspection, UpstreamError> {
    let http = HttpClient::builder()
        .danger_allow_http(true)
        .environment_proxy(false)
        .build()
        .unwrap();
    let auth = ClientAuth::client_secret_basic("orders", "hunter2").unwrap();
    Introspection::at(&format!("{url}/introspect"), auth, &http)
        .unwrap()
        .signed(answers)
}

/// A good response, with these members laid over it; `null` removes one.
fn response(header: Value, claims: Value) -> String {
    let lay = |mut base: Value, over: Value| {
        for (name, value) in over.as_object().unwrap() {
            match value {
                Value::Null => drop(base.as_object_mut().unwrap().remove(name)),
                value => base[name] = value.clone(),
            }
        }
        base
    };
    let good = json!({
        "iss": ISSUER, "aud": "orders", "iat": NOW,
        "token_introspection": {"active": true, "sub": "alice", "exp": NOW + 60},
    });
    let header = lay(
        json!({"alg": "ES256", "kid": "p256", "typ": "token-introspection+jwt"}),
        header,
    );
    signer::sign(&header, &lay(good, claims))
}

#[tokio::test]
async fn a_signed_answer_is_opened() {
    let world = World::new().await;
    let TokenState::Active(token) = world.hears(response(json!({}), json!({}))).await.unwrap() else {
        panic!("inactive");
    };
    assert_eq!(token.subject.as_deref(), Some("alice"));
    let claims: Value = serde_json::from_slice(&token.claims).unwrap();
    assert_eq!(claims, json!({"active": true, "sub": "alice", "exp": NOW + 60}));

    let listed = json!({"aud": ["other", "orders"], "token_introspection": {"active": false}});
    assert_eq!(
        world.hears(response(json!({}), listed)).await.unwrap(),
        TokenState::Inactive
    );
    let rs256 = json!({"alg": "RS256", "kid": "rsa", "typ": "application/token-introspection+jwt"});
    world.hears(response(rs256, json!({}))).await.unwrap();
    world
        .hears(format!("{}\n", response(json!({}), json!({}))))
        .await
        .unwrap();
    assert_eq!(world.keys.fetches(), 1);
}

#[tokio::test]
async fn what_was_signed_for_another_purpose_client_issuer_or_time_is_refused() {
    let world = World::new().await;
    let none = || json!({});
    world.refuses(json!({"typ": "at+jwt"}), none(), "typ").await;
    world.refuses(json!({"typ": null}), none(), "typ").await;
    world
        .refuses(none(), json!({"iss": "https://other.example.com"}), "iss")
        .await;
    world.refuses(none(), json!({"iss": null}), "iss").await;
    world.refuses(none(), json!({"iss": [ISSUER]}), "iss").await;
    world.refuses(none(), json!({"aud": "billing"}), "aud").await;
    world.refuses(none(), json!({"aud": ["billing"]}), "aud").await;
    world.refuses(none(), json!({"aud": null}), "aud").await;
    world.refuses(none(), json!({"iat": NOW - 61}), "60 s").await;
    world.refuses(none(), json!({"iat": NOW + 61}), "60 s").await;
    world.refuses(none(), json!({"iat": null}), "no iat").await;
    world.refuses(none(), json!({"iat": NOW.to_string()}), "no iat").await;
    world
        .refuses(none(), json!({"token_introspection": null}), "token_introspection")
        .await;
    world
        .refuses(
            none(),
            json!({"token_introspection": "x", "active": true}),
            "token_introspection",
        )
        .await;
    world
        .refuses(none(), json!({"token_introspection": {"sub": "alice"}}), "no active")
        .await;
}

#[tokio::test]
async fn a_signature_that_does_not_hold_makes_nothing_active() {
    let world = World::new().await;
    let good = response(json!({}), json!({}));
    let (input, signature) = good.rsplit_once('.').unwrap();
    let other = response(json!({}), json!({"token_introspection": {"active": false}}));
    let (other_input, _) = other.rsplit_once('.').unwrap();
    for (jws, word) in [
        (format!("{other_input}.{signature}"), "signature"),
        (format!("{input}."), "refused"),
        ("eyJhbGciOiJub25lIn0.e30.".to_owned(), "refused"),
        (String::new(), "refused"),
        ("a.b.c.d.e".to_owned(), "encrypted"),
        (r#"{"active":true}"#.to_owned(), "refused"),
    ] {
        let error = world.hears(jws.as_str()).await.unwrap_err();
        assert_eq!(error.fault, UpstreamFault::Answer, "{jws}");
        assert!(error.what.contains(word), "{jws}: {}", error.what);
    }
    let strict =
        SignedAnswers::new(ISSUER, Arc::clone(&world.keys) as _).algorithms(AlgorithmSet::of(&[Algorithm::RS256]));
    let strict = source(&world.provider.url, strict)
        .unwrap()
        .clock(Arc::clone(&world.clock) as _);
    *world.says.lock().unwrap() = good;
    assert!(strict.ask("opaque").await.unwrap_err().what.contains("ES256"));
}

#[tokio::test]
async fn a_plain_answer_is_no_answer_where_signed_ones_were_asked_for() {
    let provider = Provider::start(|_| json(r#"{"active":true}"#)).await;
    let keys = Arc::new(FixedKeys::new(signer::PUBLIC));
    let source = source(&provider.url, SignedAnswers::new(ISSUER, keys)).unwrap();
    let error = source.ask("opaque").await.unwrap_err();
    assert_eq!(error.fault, UpstreamFault::Answer);
    assert!(error.what.contains("plain JSON"), "{}", error.what);
}

#[tokio::test]
async fn a_new_key_is_fetched_at_most_every_ten_seconds_and_an_old_set_is_trusted_for_a_day() {
    let world = World::new().await;
    let jws = |now: u64| response(json!({}), json!({"iat": now, "token_introspection": {"active": true}}));
    world.hears(jws(NOW)).await.unwrap();
    assert_eq!(world.keys.fetches(), 1);

    // Signed with a key that nobody has.
    let unknown = response(json!({"kid": "other"}), json!({}));
    for _ in 0..5 {
        assert!(world.hears(unknown.as_str()).await.is_err());
    }
    assert_eq!(world.keys.fetches(), 1, "the set is only just here");
    world.clock.advance(Duration::from_secs(10));
    for _ in 0..5 {
        assert!(world.hears(unknown.as_str()).await.is_err());
    }
    assert_eq!(world.keys.fetches(), 2);

    world.keys.take_down();
    world.clock.advance(Duration::from_secs(23 * 3_600));
    let later = NOW + 10 + 23 * 3_600;
    world.hears(jws(later)).await.unwrap();
    assert_eq!(world.keys.fetches(), 3, "it was tried");
    world.clock.advance(Duration::from_secs(3_601));
    let error = world.hears(jws(later + 3_601)).await.unwrap_err();
    assert_eq!(error.fault, UpstreamFault::Unreachable, "{}", error.what);
    world.keys.set(signer::PUBLIC);
    world.clock.advance(Duration::from_secs(10));
    world.hears(jws(later + 3_611)).await.unwrap();
}

#[tokio::test]
async fn the_keys_may_come_from_the_issuer_that_was_discovered_and_from_no_other() {
    let provider = Provider::start(|request| match request.path.as_str() {
        "/.well-known/openid-configuration" => json(
            r#"{"issuer":"{base}","jwks_uri":"{base}/jwks","introspection_endpoint":"{base}/introspect",
                "introspection_signing_alg_values_supported":["ES256"]}"#,
        ),
        "/jwks" => json(signer::PUBLIC),
        "/introspect" => {
            let issuer = format!("http://{}", request.header("host").unwrap());
            answer("200 OK", TYPE, "", &response(json!({}), json!({"iss": issuer})))
        }
        _ => status("404 Not Found", ""),
    })
    .await;
    let http = HttpClient::builder()
        .danger_allow_http(true)
        .environment_proxy(false)
        .build()
        .unwrap();
    let auth = || ClientAuth::client_secret_basic("orders", "hunter2").unwrap();
    let keys = || Arc::new(HttpKeySource::discover(&provider.url, &http).unwrap());
    let source = || Introspection::discover(&provider.url, auth(), &http).unwrap();
    let clock = Arc::new(ManualClock::new(Now {
        boot: Moment::from_nanos(1),
        wall: NOW,
    }));
    let signed = source()
        .clock(clock)
        .signed(SignedAnswers::new(&*provider.url, keys()))
        .unwrap();
    assert!(matches!(signed.ask("opaque").await.unwrap(), TokenState::Active(_)));
    assert_ne!(
        signed.identity(),
        source().identity(),
        "a signed answer is worth more than a plain one"
    );

    let other = source().signed(SignedAnswers::new(ISSUER, keys())).unwrap_err();
    assert_eq!(other.fault, UpstreamFault::Configuration);

    let bearer = ClientAuth::bearer("orders", "token").unwrap();
    let nobody = Introspection::discover(&provider.url, bearer, &http).unwrap();
    let nobody = nobody.signed(SignedAnswers::new(&*provider.url, keys())).unwrap_err();
    assert!(nobody.what.contains("audience"), "{}", nobody.what);
}
