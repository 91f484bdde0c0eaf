//! A provider that says what it is told to, and a clock that goes with the runtime's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use authmesh::memory::{Cluster, Limits};
use authmesh::ports::{ActiveToken, BoxFuture, TokenSource, TokenState, UpstreamError, UpstreamFault};
use authmesh::{Answer, AuthMesh, Builder, UpstreamRules, Verifier, VerifyError};
use authmesh_testkit::TestClock;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::{START, ring, soon};

pub(crate) const ISSUER: &str = "https://idp.test";
pub(crate) const S: Duration = Duration::from_secs(1);
pub(crate) const LIFETIME: Duration = Duration::from_secs(300);

pub(crate) fn clock() -> Arc<TestClock> {
    Arc::new(TestClock::at(START))
}

#[derive(Clone)]
pub(crate) enum Says {
    Active(Box<ActiveToken>),
    Inactive,
    Fails(UpstreamError),
}

/// Says of each token what it is told to.
#[derive(Debug)]
pub(crate) struct Provider {
    identity: String,
    script: Mutex<Script>,
    open: watch::Sender<bool>,
    calls: watch::Sender<u64>,
}

#[derive(Default)]
struct Script {
    tokens: HashMap<String, Says>,
    otherwise: Option<Says>,
    takes: Duration,
    under_way: usize,
    most_at_once: usize,
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Script(..)")
    }
}

impl Provider {
    pub(crate) fn new() -> Arc<Self> {
        Self::named("introspection of idp.test as orders-api")
    }

    pub(crate) fn named(identity: &str) -> Arc<Self> {
        Arc::new(Self {
            identity: identity.to_owned(),
            script: Mutex::default(),
            open: watch::Sender::new(true),
            calls: watch::Sender::new(0),
        })
    }

    pub(crate) fn says(&self, token: &str, says: Says) {
        self.script.lock().unwrap().tokens.insert(token.to_owned(), says);
    }

    /// What it says of every token, whatever it said before.
    pub(crate) fn says_of_all(&self, says: Says) {
        let mut script = self.script.lock().unwrap();
        script.tokens.clear();
        script.otherwise = Some(says);
    }

    pub(crate) fn goes_down(&self) {
        self.says_of_all(Says::Fails(UpstreamError::new(
            UpstreamFault::Unreachable,
            "it is down",
        )));
    }

    pub(crate) fn takes(&self, takes: Duration) {
        self.script.lock().unwrap().takes = takes;
    }

    /// Answers nothing until [`Provider::opens`].
    pub(crate) fn blocks(&self) {
        self.open.send_replace(false);
    }

    pub(crate) fn opens(&self) {
        self.open.send_replace(true);
    }

    pub(crate) fn calls(&self) -> u64 {
        *self.calls.borrow()
    }

    pub(crate) fn most_at_once(&self) -> usize {
        self.script.lock().unwrap().most_at_once
    }

    /// Waits until it was asked so often.
    pub(crate) async fn asked(&self, calls: u64) {
        let mut asked = self.calls.subscribe();
        soon("the provider is asked", asked.wait_for(|n| *n >= calls))
            .await
            .unwrap();
    }
}

struct UnderWay<'a>(&'a Provider);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.script.lock().unwrap().under_way -= 1;
    }
}

impl TokenSource for Provider {
    fn ask<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<TokenState, UpstreamError>> {
        Box::pin(async move {
            let takes = {
                let mut script = self.script.lock().unwrap();
                script.under_way += 1;
                script.most_at_once = script.most_at_once.max(script.under_way);
                script.takes
            };
            let _under_way = UnderWay(self);
            self.calls.send_modify(|n| *n += 1);
            self.open.subscribe().wait_for(|open| *open).await.unwrap();
            if !takes.is_zero() {
                tokio::time::sleep(takes).await;
            }
            let script = self.script.lock().unwrap();
            let says = script.tokens.get(token).or(script.otherwise.as_ref());
            match says.cloned().unwrap_or(Says::Inactive) {
                Says::Active(active) => Ok(TokenState::Active(active)),
                Says::Inactive => Ok(TokenState::Inactive),
                Says::Fails(error) => Err(error),
            }
        })
    }

    fn identity(&self) -> String {
        self.identity.clone()
    }
}

/// "Active", for alice and ten minutes from the start on.
pub(crate) fn active() -> Box<ActiveToken> {
    active_with(json!({}))
}

/// The same with other members of the answer; `null` removes one.
pub(crate) fn active_with(more: Value) -> Box<ActiveToken> {
    let mut answer = json!({"active": true, "aud": "api", "sub": "alice", "client_id": "app", "sid": "s1", "jti": "j1",
        "scope": "read write", "iat": START - 10, "exp": START + 3600});
    for (name, value) in more.as_object().unwrap() {
        if value.is_null() {
            answer.as_object_mut().unwrap().remove(name);
        } else {
            answer[name] = value.clone();
        }
    }
    let text = |name: &str| answer[name].as_str().map(str::to_owned);
    let words = |name: &str| text(name).map(|text| text.split(' ').map(str::to_owned).collect::<Vec<_>>());
    Box::new(ActiveToken {
        issuer: text("iss"),
        subject: text("sub"),
        audiences: words("aud"),
        client: text("client_id"),
        session: text("sid"),
        jwt_id: text("jti"),
        scopes: words("scope").unwrap_or_default(),
        issued_at: answer["iat"].as_u64(),
        not_before: answer["nbf"].as_u64(),
        expires_at: answer["exp"].as_u64(),
        max_age: None,
        claims: answer.to_string().into_bytes(),
    })
}

/// A provider, a cluster, and the clock of both.
pub(crate) struct World {
    pub(crate) clock: Arc<TestClock>,
    pub(crate) cluster: Cluster,
    pub(crate) provider: Arc<Provider>,
}

impl World {
    /// With a provider that calls `good` active.
    pub(crate) fn new() -> Self {
        let clock = clock();
        let provider = Provider::new();
        provider.says("good", Says::Active(active()));
        Self {
            cluster: Cluster::with(Limits::default(), Arc::clone(&clock) as _),
            clock,
            provider,
        }
    }

    pub(crate) fn builder(&self, name: &str) -> Builder {
        AuthMesh::builder()
            .name(name)
            .key_ring(ring())
            .clock(Arc::clone(&self.clock) as _)
            .join(Arc::new(self.cluster.clone()))
    }

    pub(crate) async fn node(&self, name: &str) -> AuthMesh {
        self.node_with(name, rules()).await
    }

    pub(crate) async fn node_with(&self, name: &str, rules: UpstreamRules) -> AuthMesh {
        let builder = self
            .builder(name)
            .upstream(ISSUER, Arc::clone(&self.provider) as _, rules);
        builder.start().await.unwrap()
    }
}

pub(crate) fn rules() -> UpstreamRules {
    UpstreamRules::for_audiences(["api"])
}

pub(crate) fn with(change: impl FnOnce(&mut UpstreamRules)) -> UpstreamRules {
    let mut rules = rules();
    change(&mut rules);
    rules
}

/// Lets so much time pass, whatever the node does in it.
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

pub(crate) async fn answer(mesh: &AuthMesh, token: &str) -> Answer {
    mesh.verifier().answer(token).await.unwrap()
}

/// The outcome, in a word.
pub(crate) async fn outcome(mesh: &AuthMesh, token: &str) -> &'static str {
    outcome_of(&mesh.verifier(), token).await
}

pub(crate) async fn outcome_of(verifier: &Verifier, token: &str) -> &'static str {
    match verifier.answer(token).await {
        Ok(answer) => answer.outcome.as_str(),
        Err(error) => error.code(),
    }
}

pub(crate) async fn refused(mesh: &AuthMesh, token: &str) -> VerifyError {
    mesh.verifier().verify(token).await.unwrap_err()
}
