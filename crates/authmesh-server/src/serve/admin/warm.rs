//! Filling a node's memory before somebody waits for it: key sets, and verdicts of tokens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use authmesh::{AuthMesh, Fault, RevokeError, VerifyError};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::problem::{self, Problem};
use super::{App, body};

/// How much longer than others these requests may take: a trip to an issuer has a minute at most.
pub(super) const LONGEST: Duration = Duration::from_secs(60);
/// The most tokens in one request.
const MAX_TOKENS: usize = 1000;
/// Tokens checked, or issuers asked, at the same time.
const AT_ONCE: usize = 32;

/// `POST /v1/keys/refresh`: one issuer, or all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refresh {
    issuer: Option<String>,
}

/// `POST /v1/warm`. No `Debug`: it holds tokens.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Warm {
    tokens: Vec<String>,
}

/// What became of some tokens.
#[derive(Default)]
struct Became {
    accepted: u64,
    refused: BTreeMap<&'static str, u64>,
    unanswered: BTreeMap<&'static str, u64>,
}

impl Became {
    fn add(&mut self, one: Result<(), VerifyError>) {
        let counts = match &one {
            // A bound token's verdict is in memory all the same: this is what was asked for, and lets nobody in.
            Ok(()) | Err(VerifyError::Bound | VerifyError::CertificateMismatch(_)) => {
                self.accepted += 1;
                return;
            }
            Err(error) if error.fault() == Fault::Service => &mut self.unanswered,
            Err(_) => &mut self.refused,
        };
        if let Err(error) = one {
            *counts.entry(error.code()).or_default() += 1;
        }
    }
}

/// Fetches key sets now. Issuers are asked at the same time: one that is slow keeps none of the others.
pub(super) async fn refresh(State(app): State<App>, request: Body) -> Result<Json<Value>, Problem> {
    let order: Refresh = body(request).await?;
    let named = order.issuer.is_some();
    let issuers: Vec<String> = match order.issuer {
        Some(issuer) => vec![issuer],
        None => app.mesh.issuers().map(str::to_owned).collect(),
    };
    let asked = each(issuers, app.mesh, |mesh, issuer| async move {
        let refreshed = mesh.refresh_keys(&issuer).await;
        (issuer, refreshed)
    });
    let mut results = Vec::new();
    for (issuer, refreshed) in asked.await {
        match refreshed {
            None if named => return Err(Problem::from(RevokeError::UnknownIssuer)),
            // Its provider is asked about each token: it has no keys here.
            None => {}
            Some(Ok(())) => results.push(json!({ "issuer": issuer, "refreshed": true })),
            Some(Err(error)) => {
                results.push(json!({ "issuer": issuer, "refreshed": false, "problem": error.to_string() }));
            }
        }
    }
    Ok(Json(json!({ "issuers": results })))
}

/// Verifies tokens, so that their verdicts are in memory. It tells how many, never which.
pub(super) async fn warm(State(app): State<App>, request: Body) -> Result<Json<Value>, Problem> {
    let order: Warm = body(request).await?;
    if order.tokens.len() > MAX_TOKENS {
        let what = format!("at most {MAX_TOKENS} tokens can be given at once; send several requests");
        return Err(Problem::new(problem::BODY, what));
    }
    let verified = each(order.tokens, app.mesh, |mesh, token| async move {
        mesh.verifier().verify(token.as_str()).await.map(drop)
    });
    let mut became = Became::default();
    for one in verified.await {
        became.add(one);
    }
    Ok(Json(json!({
        "accepted": became.accepted,
        "refused": became.refused,
        "unanswered": became.unanswered,
    })))
}

/// Does something with each of a list, a few at a time, in tasks that end with the request. The results have the list's order.
async fn each<I, O, F>(list: Vec<I>, mesh: AuthMesh, work: fn(AuthMesh, I) -> F) -> Vec<O>
where
    I: Clone + Send + Sync + 'static,
    O: Send + 'static,
    F: Future<Output = O> + Send + 'static,
{
    let (list, next) = (Arc::new(list), Arc::new(AtomicUsize::new(0)));
    let mut workers = JoinSet::new();
    for _ in 0..AT_ONCE.min(list.len()) {
        let (list, next, mesh) = (Arc::clone(&list), Arc::clone(&next), mesh.clone());
        workers.spawn(async move {
            let mut done = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(item) = list.get(at) else { return done };
                done.push((at, work(mesh.clone(), item.clone()).await));
            }
        });
    }
    let mut done: Vec<(usize, O)> = workers.join_all().await.into_iter().flatten().collect();
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_counted_apart_from_refusals() {
        let mut became = Became::default();
        became.add(Ok(()));
        became.add(Err(VerifyError::Inactive));
        became.add(Err(VerifyError::CouldNotAsk {
            what: "it is away".into(),
            retry_after: Duration::ZERO,
        }));
        assert_eq!(became.accepted, 1);
        assert_eq!(became.refused, BTreeMap::from([(VerifyError::Inactive.code(), 1)]));
        assert_eq!(became.unanswered, BTreeMap::from([("could_not_ask", 1)]));
    }
}
