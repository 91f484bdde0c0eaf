//! The guard: everything that a decision about a request needs, and no framework.
//!
//! The tower layer is one around it, and so is every other middleware. A request passes like this:
//!
//! 1. [`Guard::try_admit`] decides from memory, else [`Guard::admit`] waits for the answer.
//! 2. An [`Admission`] goes with the request: its [`RequestScope`] into the extensions.
//! 3. The response is finished: [`Admission::finish`]. A [`Rejection`] becomes one by [`Guard::respond`].

use std::fmt;
use std::sync::Arc;

use authmesh::possession::RequestProof;
use authmesh::{Answer, Verifier, VerifyError};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, COOKIE, HOST, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use opentelemetry::context::FutureExt as _;

use crate::bearer::{Place, TokenSource};
use crate::explain::explain_headers;
use crate::head::RequestHead;
use crate::policy::{Demands, PolicyError, RoutePolicy};
use crate::possession::{DPOP, DPOP_NONCE, Reached};
use crate::present::Presented;
use crate::rejection::Rejection;
use crate::respond::{self, MapRejection, Standard};
use crate::rollout::{Rollout, RolloutStats, Share};
use crate::scope::RequestScope;
use crate::trace::of_caller;

/// Decides whether a request may pass. Cheap to clone; clones share everything.
///
/// Default: every request needs a valid token in its `Authorization` header.
#[derive(Clone)]
pub struct Guard(Arc<Settings>);

#[derive(Clone)]
struct Settings {
    /// As it was given.
    verifier: Verifier,
    /// As the policy asks it.
    asking: Verifier,
    source: TokenSource,
    demands: Demands,
    optional: bool,
    explain: bool,
    rollout: Option<Arc<Rollout>>,
    reached: Reached,
    map: Arc<dyn MapRejection>,
}

impl Guard {
    /// A guard that asks this verifier.
    #[must_use]
    pub fn new(verifier: Verifier) -> Self {
        Self(Arc::new(Settings {
            asking: verifier.clone(),
            verifier,
            source: TokenSource::header(),
            demands: Demands::authenticated(),
            optional: false,
            explain: false,
            rollout: None,
            reached: Reached::default(),
            map: Arc::new(Standard),
        }))
    }

    fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// What is demanded. Replaces what was demanded before. Default: [`RoutePolicy::authenticated`].
    ///
    /// # Errors
    /// When it contradicts itself, or demands something of a token that is [optional](Self::optional).
    pub fn policy(self, policy: RoutePolicy) -> Result<Self, PolicyError> {
        let demands = policy.build()?;
        if self.0.optional && demands.of_the_token() {
            return Err(PolicyError::OptionalWithDemands);
        }
        Ok(self.with(|settings| {
            settings.asking = demands.verifier(settings.verifier.clone());
            settings.demands = demands;
        }))
    }

    /// Requests without a token pass as well. One that has a token needs a good one: a bad token is never taken for none.
    ///
    /// # Errors
    /// When the [policy](Self::policy) demands something of the token.
    pub fn optional(self) -> Result<Self, PolicyError> {
        if self.0.demands.of_the_token() {
            return Err(PolicyError::OptionalWithDemands);
        }
        Ok(self.with(|settings| settings.optional = true))
    }

    /// Where tokens are looked for. Default: [`TokenSource::header`].
    #[must_use]
    pub fn token_source(self, source: TokenSource) -> Self {
        self.with(|settings| settings.source = source)
    }

    /// What a refusal looks like, of this guard and of extractors behind it. Default: [`Standard`].
    #[must_use]
    pub fn map_rejection(self, map: impl MapRejection) -> Self {
        self.with(|settings| settings.map = Arc::new(map))
    }

    /// Whether responses tell how the answer was reached ([`explain_headers`]). They tell about the cluster, not about the
    /// holder. Default: no.
    #[must_use]
    pub fn explain(self, explain: bool) -> Self {
        self.with(|settings| settings.explain = explain)
    }

    /// Where clients reach the service: `https://api.example.com`. A DPoP proof names the URI that it is for (RFC 9449 section 4.3), and
    /// what a `Host` header says is whatever the sender wrote, so without an origin **every token that is bound to a key is refused**. Of
    /// several the one counts that the request names as its host.
    ///
    /// With a path, where a proxy or a router takes one away before this guard: `https://api.example.com/v1`. Default: none.
    ///
    /// # Errors
    /// When one of them is no origin, or there is none.
    pub fn origins<S: AsRef<str>>(self, urls: impl IntoIterator<Item = S>) -> Result<Self, PolicyError> {
        let mut reached = self.0.reached.clone();
        reached.set_origins(urls)?;
        Ok(self.with(|settings| settings.reached = reached))
    }

    /// A header in which the proxy before the service tells the client's certificate: `Client-Cert` (RFC 9440), or PEM with
    /// percent-encoding (nginx's `$ssl_client_escaped_cert`). A [`CertificateThumbprint`](crate::CertificateThumbprint) in the request's
    /// extensions wins. Default: none is looked at.
    ///
    /// The proxy **must take the header away from what clients send**, and nothing but the proxy may reach the service: whoever
    /// can send it owns every token that is bound to a certificate.
    #[must_use]
    pub fn client_cert_header(self, name: HeaderName) -> Self {
        self.with(|settings| settings.reached.set_client_cert(name))
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Answers from memory for this share of the requests only; the others verify their token directly, as if there were no
    /// cache. For a careful start with authmesh. Default: 1, all of them.
    ///
    /// # Errors
    /// When it does not lie between 0 and 1.
    pub fn share(self, share: f64) -> Result<Self, PolicyError> {
        let (_, shadow) = self.rollout_settings();
        let rollout = Rollout::new(share, shadow)?;
        Ok(self.with(|settings| settings.rollout = Some(Arc::new(rollout))))
    }

    /// Compares: a request of the [share](Self::share) asks memory, **and** verifies its token directly. The direct answer is the one that
    /// counts, so nothing passes that direct verification refuses. Differences are counted ([`Guard::rollout`]) and logged. Default: no.
    #[must_use]
    pub fn shadow(self) -> Self {
        let (share, _) = self.rollout_settings();
        let rollout = Arc::new(Rollout::of_share(share, true));
        self.with(|settings| settings.rollout = Some(rollout))
    }

    fn rollout_settings(&self) -> (Share, bool) {
        self.0
            .rollout
            .as_ref()
            .map_or((Share::ALL, false), |rollout| rollout.settings())
    }

    /// What became of a gradual rollout so far; `None` where every request may be answered from memory.
    #[must_use]
    pub fn rollout(&self) -> Option<RolloutStats> {
        self.0.rollout.as_ref().map(|rollout| rollout.stats())
    }

    /// The verifier, as the policy asks it.
    pub(crate) fn asking(&self) -> &Verifier {
        &self.0.asking
    }

    pub(crate) fn source(&self) -> &TokenSource {
        &self.0.source
    }

    pub(crate) fn demands(&self) -> &Demands {
        &self.0.demands
    }

    /// Decides from memory, without waiting. `None`: call [`Guard::admit`].
    pub fn try_admit(&self, head: &RequestHead<'_>) -> Option<Result<Admission, Rejection>> {
        let visit = match self.visit(head) {
            Ok(visit) => visit,
            Err(rejection) => return Some(Err(rejection)),
        };
        let answer = match &visit.presented {
            None => match visit.recalled.clone() {
                Some(Err(error)) => return Some(Err(self.refuse(error))),
                Some(Ok(answer)) => Some(answer),
                None => None,
            },
            Some(presented) => match visit.scope.try_ask(self, self.asking(), presented)? {
                Ok(answer) => Some(answer),
                Err(error) => return Some(Err(self.refuse(error))),
            },
        };
        Some(self.enter(head, visit, answer))
    }

    /// Decides, and waits where the token has to be verified.
    ///
    /// Cancel safety: dropping the future loses nothing; a key fetch that it caused goes on for the others.
    ///
    /// # Errors
    /// The refusal.
    pub async fn admit(&self, head: &RequestHead<'_>) -> Result<Admission, Rejection> {
        let visit = self.visit(head)?;
        let answer = match &visit.presented {
            None => visit.recalled.clone().transpose().map_err(|error| self.refuse(error))?,
            Some(presented) => {
                let asking = visit.scope.ask(self, self.asking(), presented);
                let asked = asking.with_context(of_caller(head.headers)).await;
                Some(asked.map_err(|error| self.refuse(error))?)
            }
        };
        self.enter(head, visit, answer)
    }

    /// The refusal of an error, with what a client needs to do better.
    pub(crate) fn refuse(&self, error: VerifyError) -> Rejection {
        Rejection::from(error).with_dpop_algorithms(self.asking().policy().dpop.algorithms)
    }

    /// The response of a refusal. Never to be cached.
    pub fn respond(&self, rejection: &Rejection, head: &RequestHead<'_>) -> Response<Bytes> {
        respond::respond(&*self.0.map, rejection, head)
    }

    /// Marks the headers that may carry a token as sensitive: `Debug` of the headers hides them, and HTTP/2 compression does not remember them
    /// (RFC 7541 section 7.1.3).
    pub fn hide(&self, headers: &mut HeaderMap) {
        let source = &self.0.source;
        let names = [
            (AUTHORIZATION, true),
            (DPOP, true),
            (COOKIE, source.has_cookie()),
            (SEC_WEBSOCKET_PROTOCOL, source.has_websocket()),
        ];
        let client_cert = self.0.reached.client_cert().cloned();
        let names = names
            .into_iter()
            .filter(|(_, looked_at)| *looked_at)
            .map(|(name, _)| name);
        for name in names.chain(client_cert) {
            if let http::header::Entry::Occupied(mut values) = headers.entry(name) {
                values.iter_mut().for_each(|value| value.set_sensitive(true));
            }
        }
    }

    /// The headers that a decision looks at. A framework with header types of its own needs to convert no others.
    pub fn looks_at(&self) -> impl Iterator<Item = HeaderName> + '_ {
        let source = &self.0.source;
        let fixed = [
            (AUTHORIZATION, true),
            (DPOP, true),
            (HOST, true),
            (CONTENT_TYPE, true),
            (COOKIE, source.has_cookie()),
            (SEC_WEBSOCKET_PROTOCOL, source.has_websocket()),
            // The trace of the caller (W3C Trace Context).
            (HeaderName::from_static("traceparent"), true),
            (HeaderName::from_static("tracestate"), true),
        ];
        let fixed = fixed.into_iter().filter(|(_, looked_at)| *looked_at);
        fixed.map(|(name, _)| name).chain(self.0.reached.client_cert().cloned())
    }

    /// What the request presents, and its scope.
    fn visit<'a>(&self, head: &RequestHead<'a>) -> Result<Visit<'a>, Rejection> {
        let known = RequestScope::of(head);
        let scope = known.cloned().unwrap_or_else(RequestScope::new);
        let mut visit = Visit {
            scope,
            presented: None,
            recalled: None,
        };
        if self.0.demands.is_public() {
            return Ok(visit);
        }
        visit.presented = Presented::find(head, &self.0.source)?;
        if visit.presented.is_none() {
            visit.recalled = visit.scope.recall_without_token(self);
            if visit.recalled.is_none() && !self.0.optional {
                return Err(Rejection::no_credential());
            }
        }
        Ok(visit)
    }

    fn enter(&self, head: &RequestHead<'_>, visit: Visit<'_>, answer: Option<Answer>) -> Result<Admission, Rejection> {
        if let Some(answer) = &answer {
            self.0.demands.check(&answer.verdict)?;
        }
        visit.scope.enter(self);
        let place = visit.presented.map(|presented| presented.place);
        let offered = (place == Some(Place::WebSocket))
            .then(|| {
                visit
                    .presented
                    .and_then(|presented| HeaderValue::from_bytes(presented.token()).ok())
            })
            .flatten();
        let bound = answer.as_ref().and_then(|answer| answer.verdict.binding());
        let is_dpop = bound.is_some_and(|binding| binding.jkt().is_some());
        let explained = if self.0.explain { answer.clone() } else { None };
        Ok(Admission {
            is_new: RequestScope::of(head).is_none(),
            scope: visit.scope,
            answer,
            finish: Finish {
                explained: explained.map(Box::new),
                in_query: place == Some(Place::Query),
                nonce: is_dpop.then(|| self.asking().dpop_nonce()).flatten(),
                offered,
            },
        })
    }

    /// Asks the verifier, from memory.
    pub(crate) fn try_answer(
        &self,
        verifier: &Verifier,
        presented: &Presented<'_>,
        request: &RequestProof,
    ) -> Option<Result<Answer, VerifyError>> {
        match &self.0.rollout {
            None => presented.try_answer(verifier, &self.0.reached, request),
            // The whole decision is one step, so that a request is drawn once.
            Some(_) => None,
        }
    }

    /// Asks the verifier.
    pub(crate) async fn answer(
        &self,
        verifier: &Verifier,
        presented: &Presented<'_>,
        request: &RequestProof,
    ) -> Result<Answer, VerifyError> {
        let reached = &self.0.reached;
        match &self.0.rollout {
            None => presented.answer(verifier, reached, request).await,
            Some(rollout) => rollout.answer(verifier, presented, reached, request).await,
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("source", &self.0.source)
            .field("demands", &self.0.demands)
            .field("optional", &self.0.optional)
            .finish_non_exhaustive()
    }
}

struct Visit<'a> {
    scope: RequestScope,
    presented: Option<Presented<'a>>,
    /// What an outer guard was told, where this one finds no token.
    recalled: Option<Result<Answer, VerifyError>>,
}

/// A request may pass.
#[derive(Debug)]
pub struct Admission {
    /// Goes into the request's extensions, where it is not yet.
    pub scope: RequestScope,
    /// Whether the scope is new: no guard has seen the request before.
    pub is_new: bool,
    /// The answer; `None` where nobody was asked for a token, or none was needed and none is there.
    pub answer: Option<Answer>,
    /// What is left to do with the response.
    pub finish: Finish,
}

/// What is left to do with the response of a request that passed. Most have nothing left.
#[derive(Debug, Default)]
pub struct Finish {
    explained: Option<Box<Answer>>,
    in_query: bool,
    /// What the client's next proofs must hold.
    nonce: Option<Box<str>>,
    /// The token that was offered as a WebSocket sub-protocol. Sensitive.
    offered: Option<HeaderValue>,
}

impl Finish {
    /// Whether there is nothing to do.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        self.explained.is_none() && !self.in_query && self.nonce.is_none() && self.offered.is_none()
    }

    /// Writes it into the headers of the response.
    pub fn write(self, headers: &mut HeaderMap) {
        if let Some(answer) = self.explained {
            explain_headers(&answer, headers);
        }
        if self.in_query {
            // What a cache keeps under this address, it would give to whoever finds the address (RFC 6750 section 2.3).
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        if let Some(nonce) = self.nonce.and_then(|nonce| HeaderValue::try_from(&*nonce).ok()) {
            headers.insert(DPOP_NONCE, nonce);
        }
        if let Some(token) = self.offered
            && headers
                .get_all(SEC_WEBSOCKET_PROTOCOL)
                .iter()
                .any(|chosen| names(chosen, &token))
        {
            tracing::error!(
                "a handler chose the token as the WebSocket protocol; the choice was taken out of its answer"
            );
            headers.remove(SEC_WEBSOCKET_PROTOCOL);
        }
    }
}

fn names(chosen: &HeaderValue, token: &HeaderValue) -> bool {
    let mut elements = chosen.as_bytes().split(|byte| *byte == b',');
    elements.any(|element| element.trim_ascii() == token.as_bytes())
}
