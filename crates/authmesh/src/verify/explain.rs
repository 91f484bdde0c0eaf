//! What would happen to a token, and why: for people.

use authmesh_proto::marks::TokenScopes;
use authmesh_proto::time::Unix;
use serde::Serialize;

use super::{Verifier, check_signature, claims, scopes_of};
use crate::error::{Fault, VerifyError};
use crate::jose::{self, CompactJws, base64url};
use crate::possession::Binding;
use crate::upstream::Question;
use crate::verdict::{Outcome, Verdict};

/// What would happen to a token now, and everything that is known of why. Holds no claim of the holder.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// What would happen.
    pub decision: Decision,
    /// The stable word for the refusal.
    pub code: Option<&'static str>,
    /// The refusal in words, or "accepted".
    pub reason: String,
    /// How the answer was reached, of an accepted token.
    pub outcome: Option<&'static str>,
    /// From how far away it came, of an accepted token.
    pub level: Option<&'static str>,
    /// Seconds since the signature was verified, or the provider was asked, of an accepted token.
    pub age_seconds: Option<u64>,
    /// Seconds that the node has been blind; `None` while it is coherent, or when it never was.
    pub blind_for_seconds: Option<u64>,
    /// Its issuer, as the token names it, if that is one of the policy's.
    pub issuer: Option<ExplainedIssuer>,
    /// Its key.
    pub key: Option<ExplainedKey>,
    /// Its times. Believe them only if the signature holds.
    pub time: Option<ExplainedTime>,
    /// What its sender has to prove on every call, of an accepted token that is bound. Nobody proved anything here.
    pub binding: Option<ExplainedBinding>,
    /// The provider that was asked about it.
    pub provider: Option<ExplainedProvider>,
    /// The mark that voids it.
    pub revoked: Option<ExplainedMark>,
}

/// What would happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It is valid.
    Accepted,
    /// It is not.
    Refused,
    /// The issuer could not be asked, or the node is blind.
    CouldNotTell,
}

/// The issuer of an explained token.
#[derive(Debug, Clone, Serialize)]
pub struct ExplainedIssuer {
    /// Its URL.
    pub url: String,
    /// Whether the policy accepts it.
    pub known: bool,
    /// Seconds since its key set was fetched.
    pub keys_age_seconds: Option<u64>,
    /// Generation of its key set.
    pub generation: Option<u64>,
}

/// The key of an explained token.
#[derive(Debug, Clone, Serialize)]
pub struct ExplainedKey {
    /// `kid` of the header.
    pub kid: Option<String>,
    /// `alg` of the header.
    pub alg: &'static str,
    /// Whether the current set holds such a key.
    pub in_current_set: bool,
}

/// What an explained token is bound to (`cnf`, RFC 7800), in base64url.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedBinding {
    /// SHA-256 thumbprint of the holder's key: every call needs a DPoP proof by it (RFC 9449).
    pub jkt: Option<String>,
    /// SHA-256 of the client certificate that the connection must have (RFC 8705).
    #[serde(rename = "x5t#S256")]
    pub x5t_s256: Option<String>,
}

impl ExplainedBinding {
    fn of(binding: &Binding) -> Self {
        let text = |thumbprint: &[u8; 32]| base64url::encode(thumbprint);
        Self {
            jkt: binding.jkt().map(text),
            x5t_s256: binding.x5t_s256().map(text),
        }
    }
}

/// The provider that is asked about an explained token.
#[derive(Debug, Clone, Serialize)]
pub struct ExplainedProvider {
    /// Seconds since it was asked about the token, if this node has its answer.
    pub asked_seconds_ago: Option<u64>,
    /// Calls that failed since the last good one.
    pub failures: u32,
    /// Whether it is left alone, but for one probe at a time.
    pub open: bool,
    /// The last failure.
    pub trouble: Option<String>,
}

/// The times of an explained token, in seconds since the Unix epoch.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ExplainedTime {
    /// `iat`.
    pub issued_at: Option<Unix>,
    /// `exp`.
    pub expires_at: Option<Unix>,
    /// The node's wall clock.
    pub now: Unix,
}

/// The mark that voids a token.
#[derive(Debug, Clone, Serialize)]
pub struct ExplainedMark {
    /// What was revoked: token, jti, session, subject, client, key, issuer.
    pub scope: &'static str,
    /// When, by the wall clock of the node that did.
    pub at: Unix,
    /// Who did.
    pub by: String,
    /// Why.
    pub why: String,
    /// Tokens issued up to this second are void.
    pub not_before: Unix,
}

impl Verifier {
    /// Tells what would happen to a token, and why. Verifies it as any call does, keys fetched where needed.
    pub async fn explain(&self, token: impl AsRef<[u8]>) -> Explanation {
        let token = token.as_ref();
        let answer = self.answer_to_owner(token).await;
        let (decision, code, reason, outcome) = match &answer {
            Ok(answer) if answer.outcome == Outcome::Stale => (
                Decision::Accepted,
                None,
                format!(
                    "accepted, by an answer from {} s ago: the provider gives no newer one",
                    answer.age.as_secs()
                ),
                Some(answer.outcome.as_str()),
            ),
            Ok(answer) if answer.verdict.binding().is_some() => (
                Decision::Accepted,
                None,
                "accepted from whoever gives a proof of possession: it is bound, and no bearer token".to_owned(),
                Some(answer.outcome.as_str()),
            ),
            Ok(answer) => (
                Decision::Accepted,
                None,
                "accepted".to_owned(),
                Some(answer.outcome.as_str()),
            ),
            Err(error) => {
                let decision = match error.fault() {
                    Fault::Token => Decision::Refused,
                    Fault::Service => Decision::CouldNotTell,
                };
                (decision, Some(error.code()), error.to_string(), None)
            }
        };
        let accepted = answer.as_ref().ok();
        let blind_for = match &answer {
            Ok(answer) => answer.blind_for,
            Err(VerifyError::Blind { blind_for }) => *blind_for,
            Err(_) => None,
        };
        let mut explanation = Explanation {
            decision,
            code,
            reason,
            outcome,
            level: accepted.map(|answer| answer.level.as_str()),
            age_seconds: accepted.map(|answer| answer.age.as_secs()),
            blind_for_seconds: blind_for.map(|since| since.as_secs()),
            issuer: None,
            key: None,
            time: None,
            binding: accepted
                .and_then(|answer| answer.verdict.binding())
                .map(ExplainedBinding::of),
            provider: None,
            revoked: None,
        };
        if self.check_size(token).is_ok() {
            if let Ok(Some(question)) = self.question(token) {
                let verdict = answer.as_ref().ok().map(|answer| &*answer.verdict);
                self.add_provider(&question, verdict, &mut explanation);
                return explanation;
            }
            self.add_details(token, matches!(answer, Err(VerifyError::Revoked(_))), &mut explanation);
        }
        explanation
    }

    fn add_provider(&self, question: &Question<'_>, verdict: Option<&Verdict>, explanation: &mut Explanation) {
        let now = self.shared.node.now();
        let status = question.upstream.status();
        let said = self.known(question);
        explanation.issuer = Some(ExplainedIssuer {
            url: status.issuer,
            known: true,
            keys_age_seconds: None,
            generation: None,
        });
        explanation.provider = Some(ExplainedProvider {
            asked_seconds_ago: match &said {
                Some(said) => Some(now.boot.since(said.asked(now)).as_secs()),
                None => explanation.age_seconds,
            },
            failures: status.failures,
            open: status.open,
            trouble: status.trouble,
        });
        explanation.time = match (verdict, &said) {
            (Some(verdict), _) => Some((verdict.issued_at(), Some(verdict.expires_at()))),
            (None, Some(said)) => Some((said.issued_at, said.expires_at)),
            (None, None) => None,
        }
        .map(|(issued_at, expires_at)| ExplainedTime {
            issued_at,
            expires_at,
            now: now.wall,
        });
        let scopes = said.and_then(|said| self.scopes_by(question, &said, now).ok());
        if explanation.code == Some("revoked")
            && let Some(scopes) = scopes
        {
            explanation.revoked = self.mark_against(&scopes);
        }
    }

    fn mark_against(&self, scopes: &TokenScopes) -> Option<ExplainedMark> {
        self.shared.node.marks().check(scopes).map(|voided| ExplainedMark {
            scope: voided.kind.as_str(),
            at: voided.note.at,
            by: voided.note.by,
            why: voided.note.why,
            not_before: voided.not_before,
        })
    }

    fn add_details(&self, token: &[u8], revoked: bool, explanation: &mut Explanation) {
        let Ok(jws) = CompactJws::parse(token) else { return };
        let now = self.shared.node.now();
        let mut key = ExplainedKey {
            kid: jws.header().kid().map(ToString::to_string),
            alg: jws.header().algorithm().name(),
            in_current_set: false,
        };
        let Ok(payload) = jose::json::parse_object(jws.payload()) else {
            explanation.key = Some(key);
            return;
        };
        let seconds = |name: &str| {
            payload
                .get(name)
                .and_then(serde_json::Value::as_f64)
                .map(|at| at as Unix)
        };
        explanation.time = Some(ExplainedTime {
            issued_at: seconds("iat"),
            expires_at: seconds("exp"),
            now: now.wall,
        });
        if let Ok(url) = claims::issuer(&payload)
            && let Some(known) = self.shared.known(url)
            && let Some(rules) = self.rules_for(url, &known)
        {
            // One that fits a template may not have been learned.
            let issuer = self.shared.issuer(url);
            let status = issuer.as_ref().map(|issuer| issuer.status(now.boot));
            explanation.issuer = Some(ExplainedIssuer {
                url: url.to_owned(),
                known: true,
                keys_age_seconds: status.as_ref().and_then(|status| status.age_seconds),
                generation: status.map(|status| status.generation),
            });
            if let Some(keys) = issuer.and_then(|issuer| issuer.trusted(now.boot)) {
                key.in_current_set = keys.set.candidates(jws.header()).is_ok();
                if revoked
                    && let Ok(found) = check_signature(&keys, &jws, rules)
                    && let Ok(checked) = claims::check(rules, jws.header().typ(), now.wall, &payload)
                {
                    let scopes = scopes_of(&self.shared.node, url, &jws, &found, &checked);
                    explanation.revoked = self.mark_against(&scopes);
                }
            }
        }
        explanation.key = Some(key);
    }
}
