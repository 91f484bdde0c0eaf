//! Answers that are kept for a while, and judged again at each use: the request scope.
//!
//! What keeps an answer is a path of its own past the checks of a hit, so it makes them again (invariant 1): a mark that was
//! applied between two uses voids the second.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use authmesh_proto::time::Moment;

use crate::ended::Ended;
use crate::error::VerifyError;
use crate::l1::RowKey;
use crate::node::Coherence;
use crate::policy::Compiled;
use crate::verdict::{Answer, Level, Outcome};
use crate::verify::Verifier;

/// For how long an answer that came from the source itself stands for a check "now" of the same request: two parts of one
/// request that each demand a new check share one.
const SAME_CHECK: Duration = Duration::from_secs(1);

/// An answer that is kept for as long as one request, under a name that only its token and its policy have.
///
/// Holds no token. It is no answer by itself: [`Verifier::recall`] and [`Kept::judge`] check it again, at each use. Made by
/// [`Verifier::keep`].
#[derive(Clone)]
pub struct Kept {
    answer: Answer,
    digest: RowKey,
    policy: Arc<Compiled>,
    at: Moment,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept")
            .field("answer", &self.answer)
            .finish_non_exhaustive()
    }
}

impl Kept {
    /// The answer as it counts now, under the rule for blindness of the verifier that gave it: not revoked meanwhile, not
    /// expired, its key still in the issuer's set, the node coherent or inside the rule.
    ///
    /// That the verdict was forgotten meanwhile ([`Verifier::invalidate`], [`AuthMesh::clear`](crate::AuthMesh::clear)) does not
    /// end it: the token stays valid.
    ///
    /// # Errors
    /// What [`Verifier::verify`] would say of the token now, as far as it can be told without asking anybody.
    pub fn judge(&self) -> Result<Answer, VerifyError> {
        self.as_of_now(self.answer.clone())
    }

    fn as_of_now(&self, mut answer: Answer) -> Result<Answer, VerifyError> {
        match answer.ended_now() {
            // The last thing that is looked at: every other check has passed, and the lease goes on for its while.
            None | Some(Ended::ShutDown) => {}
            Some(Ended::Revoked(kind)) => return Err(VerifyError::Revoked(kind)),
            Some(Ended::Expired) => {
                let wall = answer.verdict.home().map_or(0, |node| node.now().wall);
                return Err(VerifyError::Expired {
                    ago: Duration::from_secs(wall.saturating_sub(answer.verdict.expires_at())),
                });
            }
            Some(Ended::KeyGone) => return Err(VerifyError::UnknownKey),
            Some(Ended::KeysUntrusted) => {
                return Err(VerifyError::CouldNotAsk {
                    what: "the issuer's keys could not be renewed for too long".into(),
                    retry_after: SAME_CHECK,
                });
            }
            Some(Ended::Blind { blind_for }) => return Err(VerifyError::Blind { blind_for }),
        }
        let Some(node) = answer.verdict.home() else {
            // Nobody is left who could know of a revocation.
            return Err(VerifyError::Blind { blind_for: None });
        };
        let now = node.now().boot;
        answer.age = answer.age.saturating_add(now.since(self.at));
        answer.blind_for = match node.coherence_at(now) {
            Coherence::Blind(since) => Some(since),
            Coherence::Coherent | Coherence::NeverYet => None,
        };
        answer.outcome = match (answer.blind_for, answer.outcome, answer.level) {
            (Some(_), _, _) => Outcome::Blind,
            // Coherent again: by how it came.
            (None, Outcome::Blind, Level::L1) => Outcome::Hit,
            (None, Outcome::Blind, Level::L2) => Outcome::L2,
            (None, Outcome::Blind, Level::Source) => Outcome::Verified,
            (None, outcome, _) => outcome,
        };
        Ok(answer)
    }
}

impl Answer {
    /// Whether the verdict does not count any more, and why: [`Answer::revoked`] without waiting.
    #[must_use]
    pub fn ended_now(&self) -> Option<Ended> {
        self.verdict.ended_now(self.when_blind)
    }
}

impl Verifier {
    /// Keeps an answer that this verifier gave for this token a moment ago, to be judged again at each use. For what asks
    /// about one token several times in **one request**: what its sender had to prove ([`possession`](crate::possession)) was proven for that
    /// request, and is not asked again.
    #[must_use]
    pub fn keep(&self, token: impl AsRef<[u8]>, answer: Answer) -> Kept {
        Kept {
            digest: self.digest(token.as_ref()),
            policy: Arc::clone(&self.policy),
            at: self.shared.now(),
            answer,
        }
    }

    /// The answer that was kept, judged again by this verifier. `None`: it is of another token or another policy, or too old for
    /// this verifier; ask anew. Of a bound token: with the proof, which counts again within the same request
    /// ([`Presentation::within`](crate::possession::Presentation::within)).
    ///
    /// A verifier that demands a check at every call ([`Verifier::max_age`]) takes a check that was made for the same
    /// request within the last second.
    ///
    /// # Errors
    /// As [`Kept::judge`], under this verifier's rule for blindness.
    pub fn recall(&self, token: impl AsRef<[u8]>, kept: &Kept) -> Option<Result<Answer, VerifyError>> {
        if kept.digest != self.digest(token.as_ref()) {
            return None;
        }
        self.recall_of_policy(kept)
    }

    /// As [`Verifier::recall`], where the token is not at hand any more: `None` if the answer was given under another policy.
    ///
    /// # Errors
    /// As [`Verifier::recall`].
    pub fn recall_of_policy(&self, kept: &Kept) -> Option<Result<Answer, VerifyError>> {
        if kept.policy.fingerprint != self.policy.fingerprint {
            return None;
        }
        // What was proven under other rules is proven again: they are no part of the fingerprint.
        let same_proof = || kept.policy.policy.dpop == self.policy.policy.dpop;
        if kept.answer.verdict.binding().is_some() && !same_proof() {
            return None;
        }
        let age = kept.answer.age.saturating_add(self.shared.now().since(kept.at));
        let limit = match kept.answer.level {
            Level::Source => self.max_age.max(SAME_CHECK),
            _ => self.max_age,
        };
        let asks_for_age = self.max_age < self.policy.policy.max_verdict_age;
        if kept.answer.outcome == Outcome::Stale {
            // Its age has another limit, which the provider's part keeps. It stands in where no proof of freshness is demanded.
            if self.sensitive || asks_for_age {
                return None;
            }
        } else if age >= limit {
            return None;
        }
        let mine = Answer {
            when_blind: self.when_blind,
            ..kept.answer.clone()
        };
        let judged = kept.as_of_now(mine);
        if judged.is_err() {
            self.count(&judged);
        }
        Some(judged)
    }
}
