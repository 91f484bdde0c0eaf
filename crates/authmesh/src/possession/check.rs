//! The check between a verdict and its answer, on every call and from whichever level the verdict came.

use authmesh_proto::time::Now;

use super::error::ProofError;
use super::nonce;
use super::presentation::{Presentation, Proofs, Scheme};
use super::proof::{self, Wanted};
use super::replay::NotTaken;
use crate::error::VerifyError;
use crate::policy::Rules;
use crate::verdict::{Answer, Verdict};
use crate::verify::Verifier;

impl Verifier {
    /// Lets an answer through to whoever may use its token. One comparison for a bearer token that is bound to nothing.
    #[inline]
    pub(crate) fn check_possession(
        &self,
        answer: Answer,
        presentation: &Presentation<'_>,
    ) -> Result<Answer, VerifyError> {
        if answer.verdict.binding.is_some() || presentation.scheme == Scheme::Dpop {
            let proven = self.prove(&answer.verdict, presentation);
            self.count_proof(&proven);
            proven?;
        }
        Ok(answer)
    }

    /// What a client has to put into its next proofs: the nonce of the present period. `None` where none is demanded
    /// ([`DpopRules::require_nonce`](super::DpopRules::require_nonce)). Goes into the header `DPoP-Nonce` of any answer
    /// (RFC 9449 section 8.2).
    #[must_use]
    pub fn dpop_nonce(&self) -> Option<Box<str>> {
        let dpop = &self.policy().dpop;
        let node = &self.shared.node;
        dpop.require_nonce
            .then(|| nonce::make(&node.codec.nonces(), dpop, node.now().wall))
    }

    fn prove(&self, verdict: &Verdict, presentation: &Presentation<'_>) -> Result<(), VerifyError> {
        let is_dpop = presentation.scheme == Scheme::Dpop;
        let Some(binding) = verdict.binding() else {
            // RFC 9449 section 7.1: whoever says DPoP must have a token that is bound to a key.
            return Err(VerifyError::NotBound);
        };
        if !is_dpop && self.rules_of(verdict).is_some_and(|rules| rules.bound_as_bearer) {
            return Ok(());
        }
        let dpop = &self.policy().dpop;
        match binding.jkt() {
            Some(_) if !dpop.accepted || presentation.scheme == Scheme::Bearer => return Err(VerifyError::Bound),
            None if is_dpop => return Err(VerifyError::NotBound),
            _ => {}
        }
        if let Some(certificate) = binding.x5t_s256() {
            let has = presentation.has_certificate(certificate);
            has.map_err(VerifyError::CertificateMismatch)?;
        }
        binding.jkt().map_or(Ok(()), |jkt| self.prove_key(jkt, presentation))
    }

    fn prove_key(&self, jkt: &[u8; 32], presentation: &Presentation<'_>) -> Result<(), VerifyError> {
        let value = match presentation.proofs {
            Proofs::None => return Err(ProofError::Missing.into()),
            Proofs::Several => return Err(ProofError::Several.into()),
            Proofs::One(value) => value,
        };
        let (node, dpop) = (&self.shared.node, &self.policy().dpop);
        let now: Now = node.now();
        let proof = proof::check(
            value,
            &Wanted {
                token: presentation.token,
                request: presentation.request,
                jkt,
                rules: dpop,
                max_skew: node.max_skew,
                now: now.wall,
            },
        )?;
        if dpop.require_nonce {
            let nonces = node.codec.nonces();
            let counts = |said: &str| nonce::counts(&nonces, dpop, said, now.wall, node.max_skew);
            if !proof.nonce.as_deref().is_some_and(counts) {
                return Err(VerifyError::UseDpopNonce {
                    nonce: nonce::make(&nonces, dpop, now.wall),
                });
            }
        }
        // Last of all: what is refused above was not used.
        match self.shared.replays.take(jkt, proof.id, proof.issued_at, now) {
            Ok(()) => {
                if let Some(request) = presentation.within {
                    request.took(proof.id);
                }
                Ok(())
            }
            Err(NotTaken::Replayed) if presentation.within.is_some_and(|request| request.has_taken(&proof.id)) => {
                Ok(())
            }
            Err(NotTaken::Replayed) => Err(ProofError::Replayed.into()),
            Err(NotTaken::Full { retry_after }) => Err(VerifyError::TooManyProofs { retry_after }),
        }
    }

    /// The rules that a verdict was reached under.
    fn rules_of(&self, verdict: &Verdict) -> Option<&Rules> {
        let issuer = verdict.issuer();
        let exact = self.policy().issuers.get(issuer);
        exact.or_else(|| self.rules_for(issuer, &self.shared.known(issuer)?))
    }

    fn count_proof(&self, proven: &Result<(), VerifyError>) {
        let counters = &self.shared.node.counters;
        match proven {
            Ok(()) => counters.possession_proven.add(),
            Err(VerifyError::InvalidDpopProof(ProofError::Replayed)) => counters.possession_replayed.add(),
            Err(VerifyError::UseDpopNonce { .. }) => counters.possession_nonces.add(),
            Err(VerifyError::TooManyProofs { .. }) => counters.possession_full.add(),
            Err(_) => counters.possession_refused.add(),
        }
    }
}
