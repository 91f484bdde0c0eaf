//! A gradual rollout: memory answers a share of the requests, and is compared with direct verification.

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use authmesh::possession::RequestProof;
use authmesh::{Answer, Verifier, VerifyError};

use crate::policy::PolicyError;
use crate::possession::Reached;
use crate::present::Presented;

/// A share of the requests, in units of 2^-32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share(u64);

impl Share {
    pub(crate) const ALL: Self = Self(1 << 32);

    fn new(share: f64) -> Result<Self, PolicyError> {
        if !(0.0..=1.0).contains(&share) {
            return Err(PolicyError::NotAShare(share.to_string()));
        }
        // Between 0 and 2^32, so nothing is cut off but a fraction.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Ok(Self((share * 4_294_967_296.0) as u64))
    }

    /// Whether the n-th request belongs to it. Steps of the golden ratio: however few requests there are, their share is
    /// close to this, and no pattern in the traffic meets it.
    const fn holds(self, n: u64) -> bool {
        (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) < self.0
    }
}

/// What became of a gradual rollout. The counts are of the verifications that requests asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RolloutStats {
    /// Those of the share: memory was allowed to answer.
    pub drawn: u64,
    /// Those that were not drawn: verified directly.
    pub direct: u64,
    /// Of those that were drawn in shadow mode: memory had an answer, and it was compared.
    pub compared: u64,
    /// Of those compared: the two did not say the same. A revocation between the two looks like that, too.
    pub differed: u64,
    /// Of those that differed: memory would have let pass what direct verification refused.
    pub would_have_passed: u64,
}

/// The state of a rollout.
#[derive(Debug)]
pub(crate) struct Rollout {
    share: Share,
    shadow: bool,
    next: AtomicU64,
    drawn: AtomicU64,
    direct: AtomicU64,
    compared: AtomicU64,
    differed: AtomicU64,
    would_have_passed: AtomicU64,
}

impl Rollout {
    pub(crate) fn new(share: f64, shadow: bool) -> Result<Self, PolicyError> {
        Ok(Self::of_share(Share::new(share)?, shadow))
    }

    pub(crate) const fn of_share(share: Share, shadow: bool) -> Self {
        Self {
            share,
            shadow,
            next: AtomicU64::new(1),
            drawn: AtomicU64::new(0),
            direct: AtomicU64::new(0),
            compared: AtomicU64::new(0),
            differed: AtomicU64::new(0),
            would_have_passed: AtomicU64::new(0),
        }
    }

    pub(crate) const fn settings(&self) -> (Share, bool) {
        (self.share, self.shadow)
    }

    pub(crate) fn stats(&self) -> RolloutStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RolloutStats {
            drawn: read(&self.drawn),
            direct: read(&self.direct),
            compared: read(&self.compared),
            differed: read(&self.differed),
            would_have_passed: read(&self.would_have_passed),
        }
    }

    pub(crate) async fn answer(
        &self,
        verifier: &Verifier,
        presented: &Presented<'_>,
        reached: &Reached,
        request: &RequestProof,
    ) -> Result<Answer, VerifyError> {
        let drawn = self.share.holds(self.next.fetch_add(1, Ordering::Relaxed));
        let counter = if drawn { &self.drawn } else { &self.direct };
        counter.fetch_add(1, Ordering::Relaxed);
        if drawn && !self.shadow {
            return presented.answer(verifier, reached, request).await;
        }
        // Both are of one request, so that a proof counts for either.
        let remembered = drawn
            .then(|| presented.try_answer(verifier, reached, request))
            .flatten();
        let directly = verifier.clone().max_age(Duration::ZERO);
        let direct = presented.answer(&directly, reached, request).await;
        if let Some(remembered) = remembered {
            self.compare(&remembered, &direct);
        }
        direct
    }

    fn compare(&self, remembered: &Result<Answer, VerifyError>, direct: &Result<Answer, VerifyError>) {
        self.compared.fetch_add(1, Ordering::Relaxed);
        let (one, other) = (word(remembered), word(direct));
        if one == other {
            return;
        }
        self.differed.fetch_add(1, Ordering::Relaxed);
        if remembered.is_ok() {
            self.would_have_passed.fetch_add(1, Ordering::Relaxed);
        }
        tracing::warn!(
            remembered = one,
            direct = other,
            "memory and direct verification differ about a token; the direct answer counts"
        );
    }
}

/// What was said, without a word about the holder.
const fn word(answer: &Result<Answer, VerifyError>) -> &'static str {
    match answer {
        Ok(_) => "accepted",
        Err(error) => error.code(),
    }
}
