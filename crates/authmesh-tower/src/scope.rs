//! The request scope: one authentication for a request, however many layers and extractors ask.
//!
//! What it remembers is gone with the request, and is **judged again at each use**: not revoked meanwhile, not expired, the node
//! coherent. So a token that is revoked between two asks of one request is refused by the second (invariant 1).

use std::any::{Any, TypeId};
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use authmesh::possession::RequestProof;
use authmesh::{Answer, Kept, Verdict, Verifier, VerifyError};
use opentelemetry::context::FutureExt as _;
use serde::de::DeserializeOwned;

use crate::claims::NoClaims;
use crate::guard::Guard;
use crate::head::RequestHead;
use crate::present::Presented;
use crate::rejection::Rejection;
use crate::trace::of_caller;

/// Answers that one request remembers: of several tokens, or under several policies. The oldest goes first.
const MAX_KEPT: usize = 4;
/// Types that the claims of one request were read into and are remembered.
const MAX_CLAIMS: usize = 4;

/// What one request knows of its caller. Lives in the request's extensions; clones share it.
#[derive(Clone)]
pub struct RequestScope(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// One of several who ask at one time asks; the others find what it was told.
    gate: tokio::sync::Mutex<()>,
    asked: AtomicU32,
    verified: AtomicU32,
    /// The proof that the request has shown: one request may show it again.
    proof: RequestProof,
}

#[derive(Default)]
struct State {
    /// The guards that let the request in, outermost first.
    first: Option<Guard>,
    inner: Vec<Guard>,
    /// The answer that counts.
    current: Option<Remembered>,
    others: Vec<Remembered>,
    claims: Vec<Parsed>,
}

/// An answer, and the guard that found its token.
#[derive(Clone)]
struct Remembered {
    kept: Kept,
    by: Guard,
}

struct Parsed {
    verdict: Arc<Verdict>,
    claims: Arc<dyn Any + Send + Sync>,
    kind: TypeId,
}

/// How often a request asked who its caller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RequestStats {
    /// How often layers and extractors asked.
    pub asked: u32,
    /// How many of these went to the verifier; the others were answered by what it had said before.
    pub verified: u32,
}

impl RequestScope {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            state: Mutex::default(),
            gate: tokio::sync::Mutex::new(()),
            asked: AtomicU32::new(0),
            verified: AtomicU32::new(0),
            proof: RequestProof::new(),
        }))
    }

    /// The scope of a request; `None` where no layer has seen it.
    #[must_use]
    pub fn of<'a>(head: &RequestHead<'a>) -> Option<&'a Self> {
        head.extensions.get()
    }

    /// As [`RequestScope::of`], for what may only run behind a guard.
    ///
    /// # Errors
    /// [`Rejection::not_protected`], and an error in the log: no guard has seen the request.
    pub fn demanded(head: &RequestHead<'_>) -> Result<Self, Rejection> {
        if let Some(scope) = Self::of(head) {
            return Ok(scope.clone());
        }
        tracing::error!(
            path = head.uri.path(),
            "a handler asks who the caller is, and nothing of authmesh stands before it: every request is refused"
        );
        Err(Rejection::not_protected())
    }

    /// How often it was asked so far.
    #[must_use]
    pub fn stats(&self) -> RequestStats {
        RequestStats {
            asked: self.0.asked.load(Ordering::Relaxed),
            verified: self.0.verified.load(Ordering::Relaxed),
        }
    }

    /// The answer that let the request in, judged again now. `None`: nobody has asked for a token yet, or there is none.
    ///
    /// Does not ask anybody: of a public route, and of a demand for a newer check, extractors know more.
    ///
    /// # Errors
    /// The refusal, where the answer does not count any more.
    pub fn answer(&self) -> Option<Result<Answer, Rejection>> {
        let judged = self.judge()?;
        self.0.asked.fetch_add(1, Ordering::Relaxed);
        Some(judged.map_err(Rejection::from))
    }

    /// Who the caller is, for an extractor: what is remembered, judged again, else by asking. `None`: the request presents nothing.
    ///
    /// `fresh` demands proof of freshness, and a check that is no older than this.
    ///
    /// Cancel safety: dropping the future loses nothing.
    ///
    /// # Errors
    /// The refusal. [`Rejection::not_protected`] where no guard has let the request in.
    pub async fn authenticate(
        &self,
        head: &RequestHead<'_>,
        fresh: Option<Duration>,
    ) -> Result<Option<Answer>, Rejection> {
        if fresh.is_none()
            && let Some(judged) = self.answer()
        {
            return judged.map(Some);
        }
        let (current, guard) = {
            let state = self.state();
            let by = state.current.as_ref().map(|current| current.by.clone());
            let Some(guard) = by.or_else(|| state.innermost().cloned()) else {
                return Err(Rejection::not_protected());
            };
            (state.current.clone(), guard)
        };
        let verifier = match fresh {
            Some(age) => guard.asking().clone().sensitive().max_age(age),
            None => guard.asking().clone(),
        };
        if let Some(judged) = current.and_then(|current| verifier.recall_of_policy(&current.kept)) {
            self.0.asked.fetch_add(1, Ordering::Relaxed);
            return Ok(Some(judged?));
        }
        let Some(presented) = Presented::find(head, guard.source())? else {
            return Ok(None);
        };
        let answer = match self.try_ask(&guard, &verifier, &presented) {
            Some(answer) => answer,
            None => {
                let asking = self.ask(&guard, &verifier, &presented);
                asking.with_context(of_caller(head.headers)).await
            }
        }
        .map_err(|error| guard.refuse(error))?;
        // A newer answer of a provider may carry less than the one that let the request in.
        for guard in self.state().entered() {
            guard.demands().check(&answer.verdict)?;
        }
        Ok(Some(answer))
    }

    /// The answer about what is presented, without waiting: what is remembered, else from the node's memory.
    pub(crate) fn try_ask(
        &self,
        guard: &Guard,
        verifier: &Verifier,
        presented: &Presented<'_>,
    ) -> Option<Result<Answer, VerifyError>> {
        let answer = match self.recall(verifier, presented) {
            Some(judged) => judged,
            None => {
                let answer = guard.try_answer(verifier, presented, &self.0.proof)?;
                self.0.verified.fetch_add(1, Ordering::Relaxed);
                answer.inspect(|answer| self.keep(guard, verifier, presented, answer))
            }
        };
        self.0.asked.fetch_add(1, Ordering::Relaxed);
        Some(answer)
    }

    /// The answer about what is presented.
    ///
    /// Cancel safety: dropping the future loses nothing.
    pub(crate) async fn ask(
        &self,
        guard: &Guard,
        verifier: &Verifier,
        presented: &Presented<'_>,
    ) -> Result<Answer, VerifyError> {
        let _alone = self.0.gate.lock().await;
        self.0.asked.fetch_add(1, Ordering::Relaxed);
        if let Some(judged) = self.recall(verifier, presented) {
            return judged;
        }
        self.0.verified.fetch_add(1, Ordering::Relaxed);
        let answer = guard.answer(verifier, presented, &self.0.proof).await?;
        self.keep(guard, verifier, presented, &answer);
        Ok(answer)
    }

    /// A guard lets the request in.
    pub(crate) fn enter(&self, guard: &Guard) {
        let mut state = self.state();
        if state.first.is_none() {
            state.first = Some(guard.clone());
        } else if !state.entered().any(|own| own.is_same(guard)) {
            // A retry comes through the same guard again.
            state.inner.push(guard.clone());
        }
    }

    /// The guard that let the request in last: it says what a refusal looks like.
    #[must_use]
    pub fn innermost(&self) -> Option<Guard> {
        self.state().innermost().cloned()
    }

    /// The claims of an answer of this request, read into a type: once for a request, and shared. [`NoClaims`] reads nothing.
    ///
    /// # Errors
    /// [`Rejection::unfit_claims`], and a warning in the log that names the place.
    pub fn claims<C>(&self, answer: &Answer) -> Result<Arc<C>, Rejection>
    where
        C: DeserializeOwned + Send + Sync + 'static,
    {
        static NONE: LazyLock<Arc<dyn Any + Send + Sync>> = LazyLock::new(|| Arc::new(NoClaims));
        let kind = TypeId::of::<C>();
        if kind == TypeId::of::<NoClaims>() {
            return Arc::clone(&NONE).downcast().map_err(|_| Rejection::unfit_claims());
        }
        let same = |parsed: &&Parsed| parsed.kind == kind && Arc::ptr_eq(&parsed.verdict, &answer.verdict);
        let known = self
            .state()
            .claims
            .iter()
            .find(same)
            .map(|parsed| Arc::clone(&parsed.claims));
        if let Some(Ok(claims)) = known.map(Arc::downcast) {
            return Ok(claims);
        }
        // Not under the lock: it runs code of the type.
        let claims: Arc<C> = Arc::new(answer.verdict.claims().map_err(|error| {
            let into = std::any::type_name::<C>();
            tracing::warn!(%error, issuer = answer.verdict.issuer(), into, "the claims of a valid token do not fit");
            Rejection::unfit_claims()
        })?);
        let mut state = self.state();
        if state.claims.len() < MAX_CLAIMS {
            state.claims.push(Parsed {
                verdict: Arc::clone(&answer.verdict),
                claims: Arc::clone(&claims) as _,
                kind,
            });
        }
        Ok(claims)
    }

    /// What is remembered, for a guard that finds no token where it looks: an outer one has found it elsewhere, under the same
    /// policy.
    pub(crate) fn recall_without_token(&self, guard: &Guard) -> Option<Result<Answer, VerifyError>> {
        let judged = guard.asking().recall_of_policy(&self.state().current.as_ref()?.kept)?;
        self.0.asked.fetch_add(1, Ordering::Relaxed);
        Some(judged)
    }

    /// The answer that counts, judged again by every guard that let the request in: the strictest rule for blindness decides.
    fn judge(&self) -> Option<Result<Answer, VerifyError>> {
        let state = self.state();
        let kept = &state.current.as_ref()?.kept;
        let mut judged = None;
        for guard in state.entered() {
            match guard.asking().recall_of_policy(kept) {
                Some(Err(error)) => return Some(Err(error)),
                Some(Ok(answer)) => judged = Some(answer),
                // Another policy, or the answer has grown old since it let the request in.
                None => {}
            }
        }
        Some(judged.map_or_else(|| kept.judge(), Ok))
    }

    /// What is remembered of this token under this policy; it counts from now on.
    fn recall(&self, verifier: &Verifier, presented: &Presented<'_>) -> Option<Result<Answer, VerifyError>> {
        let mut state = self.state();
        let state = &mut *state;
        let current = state.current.as_mut()?;
        if let Some(judged) = verifier.recall(presented.token(), &current.kept) {
            return Some(judged);
        }
        for other in &mut state.others {
            if let Some(judged) = verifier.recall(presented.token(), &other.kept) {
                std::mem::swap(current, other);
                return Some(judged);
            }
        }
        None
    }

    fn keep(&self, guard: &Guard, verifier: &Verifier, presented: &Presented<'_>, answer: &Answer) {
        let kept = verifier.keep(presented.token(), answer.clone());
        let by = guard.clone();
        let mut state = self.state();
        if let Some(older) = state.current.replace(Remembered { kept, by }) {
            if state.others.len() == MAX_KEPT - 1 {
                state.others.remove(0);
            }
            state.others.push(older);
        }
    }

    /// Nothing that can panic runs under it, so that a poisoned lock still holds what is true.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn entered(&self) -> impl Iterator<Item = &Guard> {
        self.first.iter().chain(&self.inner)
    }

    fn innermost(&self) -> Option<&Guard> {
        self.inner.last().or(self.first.as_ref())
    }
}

impl fmt::Debug for RequestScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestScope")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
