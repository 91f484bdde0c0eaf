//! What a hit does not pay for: a span and a time for each answer that memory could not give.

use tracing::Instrument as _;

use super::Verifier;
use crate::error::VerifyError;
use crate::telemetry::{Empty, Timing, span, word};
use crate::verdict::Answer;

impl Verifier {
    /// Awaits the answer about a token that memory has none for.
    pub(super) async fn missed(
        &self,
        verified: impl Future<Output = Result<Answer, VerifyError>>,
    ) -> Result<Answer, VerifyError> {
        let span = span!(
            "authmesh.verify",
            authmesh.outcome = Empty,
            authmesh.level = Empty,
            authmesh.issuer = Empty,
            error.type = Empty
        );
        let node = &self.shared.node;
        let began = node.begins();
        let answer = verified.instrument(span.clone()).await;
        let outcome = outcome_of(&answer);
        let level = answer.as_ref().ok().map(|answer| answer.level.as_str());
        if !span.is_disabled() {
            span.record("authmesh.outcome", outcome);
            level.map(|level| span.record("authmesh.level", level));
            match &answer {
                Ok(answer) => span.record("authmesh.issuer", answer.verdict.issuer()),
                Err(error) => span.record("error.type", error.code()),
            };
        }
        let attributes = [("outcome", word(outcome)), ("level", level.and_then(word))];
        node.ended(Timing::Verify, began, &attributes);
        answer
    }
}

/// The word under which an answer is counted.
fn outcome_of(answer: &Result<Answer, VerifyError>) -> &'static str {
    match answer {
        Ok(answer) => answer.outcome.as_str(),
        Err(VerifyError::Revoked(_)) => "revoked",
        Err(VerifyError::CouldNotAsk { .. }) => "could_not_ask",
        Err(VerifyError::Blind { .. }) => "blind_denied",
        Err(_) => "refused",
    }
}
