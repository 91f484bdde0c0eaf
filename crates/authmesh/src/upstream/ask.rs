//! One question to a provider: as the loader of its answer, or past every cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use authmesh_proto::ident::EntryName;
use tokio::sync::oneshot;
use tracing::Instrument as _;

use super::Upstream;
use super::gate::{Closed, Turn};
use super::said::Said;
use crate::cache::{Demand, Load, Loader};
use crate::error::{CacheError, VerifyError};
use crate::jose::json::parse_object;
use crate::node::Node;
use crate::ports::{ActiveToken, TokenState, UpstreamError, UpstreamFault};
use crate::telemetry::{Empty, Timing, span, word};

/// The longest answer that is kept, in bytes.
const MAX_CLAIMS: usize = 64 * 1024;
/// When asking makes sense again, where nobody knows better.
const SOON: Duration = Duration::from_secs(1);

/// What an answer must be for its caller.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted {
    /// One that counts, and is younger than this.
    Younger(Duration),
    /// One that is not due to be asked for again.
    NotDue,
}

/// Why there is no "active".
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum NotSaid {
    /// The provider says so.
    #[error("inactive")]
    Inactive,
    /// It could not be asked. Not a verdict.
    #[error("{what}")]
    CouldNotAsk { what: String, retry_after: Duration },
}

impl From<NotSaid> for VerifyError {
    fn from(error: NotSaid) -> Self {
        match error {
            NotSaid::Inactive => Self::Inactive,
            NotSaid::CouldNotAsk { what, retry_after } => Self::CouldNotAsk {
                what,
                retry_after: retry_after.max(SOON),
            },
        }
    }
}

impl From<CacheError<NotSaid>> for NotSaid {
    fn from(error: CacheError<NotSaid>) -> Self {
        match error {
            CacheError::Load(error) => error,
            other => Self::CouldNotAsk {
                what: other.to_string(),
                retry_after: SOON,
            },
        }
    }
}

/// A question. Holds the token until it is answered.
pub(crate) struct Asking {
    upstream: Arc<Upstream>,
    node: Arc<Node>,
    token: String,
    name: EntryName,
    /// Whether the token was active when this node looked last.
    known: bool,
    demand: Option<Demand<Said>>,
    /// Whether L2 had an answer that was not good enough.
    refused: Arc<AtomicBool>,
}

impl Upstream {
    pub(crate) fn asking(self: &Arc<Self>, node: &Arc<Node>, token: &str, name: EntryName, known: bool) -> Asking {
        Asking {
            upstream: Arc::clone(self),
            node: Arc::clone(node),
            token: token.to_owned(),
            name,
            known,
            demand: None,
            refused: Arc::default(),
        }
    }

    /// What the provider said, as L2 or another flight has it, or anew: one call for all who wait in the cluster.
    ///
    /// Cancel safety: the call goes on for the others.
    pub(crate) async fn shared(self: &Arc<Self>, mut asking: Asking, wanted: Wanted) -> Result<Arc<Said>, NotSaid> {
        let (upstream, node, refused) = (Arc::clone(self), Arc::clone(&asking.node), Arc::clone(&asking.refused));
        asking.demand = Some(Arc::new(move |said: &Said| {
            let now = node.now();
            let good = match wanted {
                Wanted::Younger(max_age) => said.counts(&upstream.rules, now, max_age),
                Wanted::NotDue => now.boot < said.times(&upstream.rules, now).refresh_at,
            };
            if !good {
                refused.store(true, Ordering::Release);
            }
            good
        }));
        Ok(self.answers.load_with(asking.name, asking).await?)
    }

    /// What the provider says now, past every cache and every flight.
    ///
    /// Cancel safety: the call goes on, and what it ends is ended.
    pub(crate) async fn now(&self, asking: Asking) -> Result<Arc<Said>, NotSaid> {
        let (sender, receiver) = oneshot::channel();
        let node = Arc::clone(&asking.node);
        let shutdown = node.shutdown.clone();
        let call = async move {
            tokio::select! {
                said = asking.past_caches() => {
                    // Nobody waiting is no error.
                    let _ = sender.send(said);
                }
                () = shutdown.cancelled() => {}
            }
        };
        node.tasks.spawn(call.in_current_span());
        receiver.await.unwrap_or_else(|_| {
            Err(NotSaid::CouldNotAsk {
                what: "the call ended without an answer".to_owned(),
                retry_after: SOON,
            })
        })
    }

    /// Asks once. `turn` hears how it went.
    async fn ask(&self, node: &Node, token: &str, turn: Turn) -> Result<Said, NotSaid> {
        let asked = node.now();
        let most = self.rules.hard_timeout;
        let span = span!(
            "authmesh.upstream", authmesh.issuer = self.issuer(), authmesh.result = Empty, error.type = Empty
        );
        let began = node.begins();
        let call = tokio::time::timeout(most, self.source.ask(token));
        let answer = call.instrument(span.clone()).await;
        let answer = answer.unwrap_or_else(|_| {
            Err(UpstreamError::new(
                UpstreamFault::Timeout,
                format!("no answer within {most:?}"),
            ))
        });
        let answer = answer.and_then(|state| match state {
            TokenState::Active(token) => claims(&token).map(|claims| Some(Said::new(*token, claims, asked))),
            TokenState::Inactive => Ok(None),
        });
        let result = match &answer {
            Ok(Some(_)) => "active",
            Ok(None) => "inactive",
            Err(_) => "failed",
        };
        let fault = answer.as_ref().err().map(|error| error.fault.code());
        span.record("authmesh.result", result);
        fault.map(|fault| span.record("error.type", fault));
        let issuer = Some(opentelemetry::Value::from(self.issuer().to_owned()));
        let fault = fault.and_then(word);
        let attributes = [("issuer", issuer), ("result", word(result)), ("error.type", fault)];
        node.ended(Timing::Upstream, began, &attributes);
        match answer {
            Ok(said) => {
                turn.succeeded();
                *self.trouble() = None;
                let counters = &node.counters;
                match said {
                    Some(said) => {
                        counters.upstream_active.add();
                        Ok(said)
                    }
                    None => {
                        counters.upstream_inactive.add();
                        Err(NotSaid::Inactive)
                    }
                }
            }
            Err(error) => {
                let was_open = self.gate.trouble().1;
                let jitter = u32::from_ne_bytes(node.random());
                turn.failed(&error, node.now().boot, jitter);
                node.counters.upstream_failed.add();
                if self.gate.trouble().1 && !was_open {
                    tracing::warn!(issuer = self.issuer(), %error, "the provider fails; it is left alone for a while");
                } else {
                    tracing::debug!(issuer = self.issuer(), %error, "the provider gave no usable answer about a token");
                }
                *self.trouble() = Some(error.what.clone());
                Err(NotSaid::CouldNotAsk {
                    what: error.what,
                    retry_after: error.retry_after.unwrap_or(SOON),
                })
            }
        }
    }
}

/// The claims of an answer, which must be a JSON object of bounded size.
fn claims(token: &ActiveToken) -> Result<String, UpstreamError> {
    let refuse = |what: &str| UpstreamError::new(UpstreamFault::Answer, format!("the answer is refused: {what}"));
    if token.claims.len() > MAX_CLAIMS {
        return Err(refuse("it has more than 64 KiB"));
    }
    parse_object(&token.claims).map_err(|_| refuse("it is not a JSON object without duplicate members"))?;
    String::from_utf8(token.claims.clone()).map_err(|_| refuse("it is not UTF-8"))
}

impl Asking {
    async fn past_caches(mut self) -> Result<Arc<Said>, NotSaid> {
        let turn = self.admit().await?;
        let said = self.upstream.ask(&self.node, &self.token, turn).await;
        if let Err(NotSaid::Inactive) = said {
            // Nobody has looked yet whether somebody was told otherwise.
            let held = self.held() || self.upstream.answers.find(&self.name).await.is_some();
            self.ended(held);
        }
        said.map(|said| {
            self.upstream.inactive.remove(&self.name);
            Arc::new(said)
        })
    }

    /// Whether this node, or L2 as far as it was looked at, has an answer that calls it active.
    fn held(&self) -> bool {
        self.known || self.refused.load(Ordering::Acquire) || self.node.l1.entries.get(&(&self.name).into()).is_some()
    }

    /// The provider calls it inactive. What was never active makes no statement: that would be a flood for free.
    fn ended(&self, held: bool) {
        if held {
            Upstream::drop_everywhere(&self.node, self.name);
        }
        let stamp = self.node.fence.capture(self.name.slot());
        self.upstream.inactive.add(self.name, self.node.now().boot, stamp);
    }
}

impl Loader<Said, NotSaid> for Asking {
    type Turn = Turn;

    fn demand(&self) -> Option<Demand<Said>> {
        self.demand.clone()
    }

    /// A call that goes on is renewed by its node; one whose node died is not. So nothing is lost by waiting as long as a call
    /// may take.
    fn patience(&self) -> Duration {
        self.upstream.rules.hard_timeout
    }

    async fn admit(&mut self) -> Result<Turn, NotSaid> {
        let node = &self.node;
        let turn = self.upstream.gate.enter(self.known, || node.now().boot);
        // No call is made for callers who have all gone.
        let turn = tokio::time::timeout(self.upstream.rules.hard_timeout, turn).await;
        let closed = match turn.unwrap_or(Err(Closed::Full)) {
            Ok(turn) => return Ok(turn),
            Err(closed) => closed,
        };
        node.counters.upstream_not_asked.add();
        Err(match closed {
            Closed::Full => NotSaid::CouldNotAsk {
                what: "too many calls are under way".to_owned(),
                retry_after: SOON,
            },
            Closed::Open { retry_after } => {
                let trouble = self.upstream.trouble().clone().unwrap_or_default();
                NotSaid::CouldNotAsk {
                    what: format!("it is left alone after failures: {trouble}"),
                    retry_after,
                }
            }
        })
    }

    async fn load(self, turn: Turn) -> Result<Load<Said>, NotSaid> {
        let said = self.upstream.ask(&self.node, &self.token, turn).await;
        if let Err(NotSaid::Inactive) = said {
            self.ended(self.held());
        }
        let said = said?;
        self.upstream.inactive.remove(&self.name);
        let lifetime = said.lifetime(&self.upstream.rules);
        Ok(Load::new(said).lifetime(lifetime))
    }
}
