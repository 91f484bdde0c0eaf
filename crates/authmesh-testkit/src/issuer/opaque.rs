//! Opaque tokens, and what their issuer says of them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use authmesh::clock::SystemEntropy;
use authmesh::ports::{ActiveToken, BoxFuture, Clock, Entropy as _, TokenSource, TokenState, UpstreamError};
use serde_json::Value;

use super::encode;

/// Knows the opaque tokens of a [`TestIssuer`](super::TestIssuer). Answers as introspection does (RFC 7662).
pub struct OpaqueTokens {
    identity: String,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tokens: HashMap<String, Value>,
    max_age: Option<Duration>,
}

impl OpaqueTokens {
    pub(super) fn new(issuer: &str, clock: Arc<dyn Clock>) -> Self {
        Self {
            identity: format!("introspection of {issuer}"),
            clock,
            state: Mutex::default(),
        }
    }

    pub(super) fn issue(&self, claims: Value) -> String {
        let mut random = [0; 24];
        SystemEntropy.fill(&mut random);
        let token = encode(random);
        self.lock().tokens.insert(token.clone(), claims);
        token
    }

    /// Ends a token at its issuer: it is inactive from now on. Nodes are not told; an answer that they have goes on as long as
    /// it may.
    pub fn end(&self, token: &str) {
        self.lock().tokens.remove(token);
    }

    /// How long an answer may be used (`Cache-Control: max-age`). Default: nothing is said.
    pub fn max_age(&self, max_age: Option<Duration>) {
        self.lock().max_age = max_age;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for OpaqueTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpaqueTokens(..)")
    }
}

impl TokenSource for OpaqueTokens {
    fn ask<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<TokenState, UpstreamError>> {
        let now = self.clock.now().wall;
        let state = self.lock();
        let answer = state
            .tokens
            .get(token)
            .map(|claims| active(claims, state.max_age))
            .filter(|token| token.expires_at.is_none_or(|expires| now < expires));
        let answer = answer.map_or(TokenState::Inactive, |token| TokenState::Active(Box::new(token)));
        Box::pin(std::future::ready(Ok(answer)))
    }

    fn identity(&self) -> String {
        self.identity.clone()
    }
}

fn active(claims: &Value, max_age: Option<Duration>) -> ActiveToken {
    let text = |name: &str| claims[name].as_str().map(str::to_owned);
    let time = |name: &str| claims[name].as_u64();
    let audiences = match &claims["aud"] {
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(all) => Some(all.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
        _ => None,
    };
    let scopes = claims["scope"].as_str().unwrap_or_default();
    ActiveToken {
        issuer: text("iss"),
        subject: text("sub"),
        audiences,
        client: text("client_id").or_else(|| text("azp")),
        session: text("sid"),
        jwt_id: text("jti"),
        scopes: scopes.split_ascii_whitespace().map(str::to_owned).collect(),
        issued_at: time("iat"),
        not_before: time("nbf"),
        expires_at: time("exp"),
        max_age,
        claims: claims.to_string().into_bytes(),
    }
}
