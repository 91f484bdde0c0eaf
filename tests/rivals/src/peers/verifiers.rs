//! The same token, verified by everybody: issuer, audience, algorithm and time window are demanded of all.

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use authmesh::memory::FixedKeys;
use authmesh::{AuthMesh, Policy, Rules, Verifier};
use authmesh_tests::bench::issuer::{AUDIENCE, ISSUER};
use aws_lc_rs::digest::{SHA256, digest};
use http::{Request, Response};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use jwt_authorizer::{Authorizer, JwtAuthorizer, RegisteredClaims};
use serde::Deserialize;
use serde_json::{Value, json};
use tower::util::BoxCloneSyncService;
use tower::{Layer as _, ServiceExt as _};
use tower_oauth2_resource_server::server::OAuth2ResourceServer;
use tower_oauth2_resource_server::tenant::TenantConfiguration;
use tower_oauth2_resource_server::validation::ClaimsValidationSpec;

use crate::workers::{Begin, Spent};

/// The claims that a service reads, as everybody but authmesh keeps them.
#[derive(Debug, Clone, Deserialize)]
#[allow(dead_code)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) aud: String,
    pub(crate) sub: String,
    client_id: String,
    jti: String,
    sid: String,
    scope: String,
    iat: u64,
    exp: u64,
}

/// The value of a future that does not wait.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits for something"),
    }
}

/// A node of authmesh with these keys of the issuer: RSA first. Verdicts may grow older than any run takes.
pub(crate) async fn mesh(keys: &Value) -> AuthMesh {
    let policy = Policy {
        max_verdict_age: Duration::from_secs(7_200),
        ..Policy::default()
    };
    AuthMesh::builder()
        .issuer(
            ISSUER,
            Arc::new(FixedKeys::new(keys.to_string())),
            Rules::for_audiences([AUDIENCE]),
        )
        .policy(policy)
        .verdict_bytes(4 << 30)
        .start()
        .await
        .expect("the settings are sound")
}

pub(crate) fn hit(verifier: &Verifier, token: &[u8]) {
    let answer = verifier.try_hit(black_box(token)).expect("it is in memory");
    black_box(answer.expect("the token is valid"));
}

pub(crate) fn hit_by_future(verifier: &Verifier, token: &[u8]) {
    black_box(at_once(verifier.verify(black_box(token))).expect("the token is valid"));
}

/// `jsonwebtoken` with the key parsed beforehand.
pub(crate) struct Checker {
    rsa: DecodingKey,
    ed: DecodingKey,
    rs256: Validation,
    eddsa: Validation,
}

impl Checker {
    pub(crate) fn new(keys: &Value) -> Self {
        let part = |key: usize, name: &str| keys["keys"][key][name].as_str().expect("a part of a key").to_owned();
        let validation = |algorithm| {
            let mut validation = Validation::new(algorithm);
            validation.set_audience(&[AUDIENCE]);
            validation.set_issuer(&[ISSUER]);
            validation.set_required_spec_claims(&["exp", "iss", "aud"]);
            validation.validate_nbf = true;
            validation
        };
        Self {
            rsa: DecodingKey::from_rsa_components(&part(0, "n"), &part(0, "e")).expect("a key"),
            ed: DecodingKey::from_ed_components(&part(1, "x")).expect("a key"),
            rs256: validation(Algorithm::RS256),
            eddsa: validation(Algorithm::EdDSA),
        }
    }

    pub(crate) fn check(&self, token: &[u8]) -> Claims {
        let data = decode::<Claims>(black_box(token), &self.rsa, &self.rs256);
        data.expect("the token is valid").claims
    }

    /// By the algorithm of the header, which chooses among the two keys.
    fn check_any(&self, token: &[u8]) -> Claims {
        let (key, validation) = match decode_header(token).expect("a header").alg {
            Algorithm::RS256 => (&self.rsa, &self.rs256),
            Algorithm::EdDSA => (&self.ed, &self.eddsa),
            other => panic!("{other:?} is not allowed"),
        };
        decode::<Claims>(token, key, validation)
            .expect("the token is valid")
            .claims
    }
}

/// A cache, as it is used by hand.
pub(crate) trait Store: Send + Sync {
    fn get(&self, key: &[u8; 32]) -> Option<Arc<Claims>>;
    fn put(&self, key: [u8; 32], claims: Arc<Claims>);
}

/// What a careful engineer writes: the key is SHA-256 of the whole token, a hit looks at `exp`, entries have an end.
pub(crate) struct ByHand<S> {
    store: S,
    checker: Checker,
}

impl<S: Store> ByHand<S> {
    pub(crate) fn new(store: S, keys: &Value) -> Self {
        Self {
            store,
            checker: Checker::new(keys),
        }
    }

    pub(crate) fn verify(&self, token: &[u8]) -> Arc<Claims> {
        let key: [u8; 32] = digest(&SHA256, black_box(token)).as_ref().try_into().expect("32 bytes");
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs();
        if let Some(claims) = self.store.get(&key).filter(|claims| claims.exp > now) {
            return claims;
        }
        let claims = Arc::new(self.checker.check_any(token));
        self.store.put(key, Arc::clone(&claims));
        claims
    }
}

pub(crate) struct Moka(moka::sync::Cache<[u8; 32], Arc<Claims>>);

impl Moka {
    pub(crate) fn new(capacity: u64) -> Self {
        let lifetime = Duration::from_secs(7_200);
        Self(
            moka::sync::Cache::builder()
                .max_capacity(capacity)
                .time_to_live(lifetime)
                .build(),
        )
    }
}

impl Store for Moka {
    fn get(&self, key: &[u8; 32]) -> Option<Arc<Claims>> {
        self.0.get(key)
    }

    fn put(&self, key: [u8; 32], claims: Arc<Claims>) {
        self.0.insert(key, claims);
    }
}

/// Has no lifetimes: only `exp` ends an entry.
pub(crate) struct Quick(quick_cache::sync::Cache<[u8; 32], Arc<Claims>>);

impl Quick {
    pub(crate) fn new(capacity: usize) -> Self {
        Self(quick_cache::sync::Cache::new(capacity))
    }
}

impl Store for Quick {
    fn get(&self, key: &[u8; 32]) -> Option<Arc<Claims>> {
        self.0.get(key)
    }

    fn put(&self, key: [u8; 32], claims: Arc<Claims>) {
        self.0.insert(key, claims);
    }
}

/// `jwt-authorizer`, with the key set in memory.
pub(crate) async fn jwt_authorizer(keys: &Value) -> Authorizer<RegisteredClaims> {
    let keys = json!({"keys": [keys["keys"][0]]}).to_string();
    let validation = jwt_authorizer::Validation::new()
        .iss(&[ISSUER])
        .aud(&[AUDIENCE])
        .nbf(true);
    let builder: JwtAuthorizer = JwtAuthorizer::from_jwks_text(&keys);
    builder.validation(validation).build().await.expect("a key set")
}

pub(crate) type Guarded = BoxCloneSyncService<Request<String>, Response<String>, std::convert::Infallible>;

/// The configuration of `tower-oauth2-resource-server`, with the key set in memory.
pub(crate) async fn resource_server(keys: &Value) -> OAuth2ResourceServer {
    let keys = json!({"keys": [keys["keys"][0]]}).to_string();
    // `nbf` is not demanded, or it would refuse tokens without one.
    let demands = ClaimsValidationSpec::new()
        .exp(true)
        .iss(ISSUER)
        .aud(&vec![AUDIENCE.to_owned()]);
    let tenant = TenantConfiguration::static_builder(keys)
        .allowed_algorithms(&[Algorithm::RS256])
        .claims_validation(demands);
    let tenant = tenant.build().expect("a key set");
    let server = <OAuth2ResourceServer>::builder().add_tenant(tenant).build().await;
    server.expect("a configuration")
}

/// Its layer around a service that does nothing.
pub(crate) async fn guarded(keys: &Value) -> Guarded {
    let layer = resource_server(keys).await.into_layer();
    let service = tower::service_fn(async |_: Request<String>| Ok(Response::new(String::new())));
    BoxCloneSyncService::new(layer.layer(service))
}

/// Sends a batch through it. The requests are made beforehand: a server has them anyway.
pub(crate) fn through(service: &Guarded, tokens: &[Vec<u8>]) -> Spent {
    let request = |token: &Vec<u8>| {
        let token = std::str::from_utf8(token).expect("a token is text");
        let request = Request::builder().header("Authorization", format!("Bearer {token}"));
        (service.clone(), request.body(String::new()).expect("a request"))
    };
    let requests: Vec<_> = tokens.iter().map(request).collect();
    let begin = Begin::now();
    for (service, request) in requests {
        let answer = at_once(service.oneshot(request)).expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.status());
    }
    begin.elapsed()
}
