//! Every preset against its provider's documents and tokens of its provider's shape, through the SDK.
//!
//! A server on loopback stands in for all providers: their names lead to it, and its certificate is good for them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

#[path = "../signer/mod.rs"]
mod signer;

mod providers;
mod stand_in;
mod template;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use authmesh::clock::ManualClock;
use authmesh::proto::time::{Moment, Now};
use authmesh::{AuthMesh, Verifier};
use authmesh_oidc::presets::Provider;
use serde_json::{Value, json};

use stand_in::StandIn;

/// A node that takes the tokens of one provider, and that provider.
pub(crate) struct World {
    mesh: AuthMesh,
    verifier: Verifier,
    stand_in: StandIn,
    kid: String,
    now: u64,
}

impl World {
    /// `recorded` is the provider's folder.
    pub(crate) async fn of(recorded: &str, provider: Provider) -> Self {
        let stand_in = StandIn::start(recorded).await;
        let http = stand_in.client(false);
        Self::with(recorded, provider, stand_in, &http).await
    }

    pub(crate) async fn with(
        recorded: &str,
        provider: Provider,
        stand_in: StandIn,
        http: &authmesh_oidc::HttpClient,
    ) -> Self {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let clock = ManualClock::new(Now {
            boot: Moment::from_nanos(1_000_000_000),
            wall: now,
        });
        let keys = Arc::new(provider.key_source(http).unwrap());
        let mesh = AuthMesh::builder()
            .clock(Arc::new(clock))
            .issuer(provider.issuer, keys, provider.rules)
            .start()
            .await
            .unwrap();
        Self {
            verifier: mesh.verifier().clone(),
            mesh,
            stand_in,
            kid: kid_of(recorded),
            now,
        }
    }

    /// What becomes of a token: "accepted", or the word for its refusal.
    pub(crate) async fn verify(&self, token: &Token) -> &'static str {
        let mut header = json!({"alg": "RS256", "kid": self.kid});
        if let Some(typ) = token.typ {
            header["typ"] = typ.into();
        }
        let jws = signer::sign(&header, &token.claims);
        match tokio::time::timeout(Duration::from_secs(20), self.verifier.verify(&jws))
            .await
            .unwrap()
        {
            Ok(_) => "accepted",
            Err(error) => {
                assert!(error.retry_after().is_none(), "{error}");
                error.code()
            }
        }
    }

    pub(crate) async fn end(self) -> Vec<String> {
        self.mesh.shutdown().await;
        self.stand_in.asked()
    }
}

/// The `kid` under which the provider's set holds the key that the tests sign with.
fn kid_of(recorded: &str) -> String {
    let own: Value = serde_json::from_str(signer::PUBLIC).unwrap();
    let set: Value = serde_json::from_str(&stand_in::recorded(recorded, "jwks.json").unwrap()).unwrap();
    let keys = set["keys"].as_array().unwrap();
    let ours = keys.iter().find(|key| key["n"] == own["keys"][0]["n"]).unwrap();
    ours["kid"].as_str().unwrap().to_owned()
}

/// A token: `typ` of its header, and its claims.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) typ: Option<&'static str>,
    pub(crate) claims: Value,
}

impl Token {
    /// The same with members laid over its claims; `null` removes one.
    pub(crate) fn but(&self, over: Value) -> Self {
        let mut other = self.clone();
        for (name, value) in over.as_object().unwrap() {
            match value {
                Value::Null => drop(other.claims.as_object_mut().unwrap().remove(name)),
                value => other.claims[name] = value.clone(),
            }
        }
        other
    }

    pub(crate) fn of_type(&self, typ: &'static str) -> Self {
        Self {
            typ: Some(typ),
            ..self.clone()
        }
    }
}
