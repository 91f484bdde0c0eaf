//! Verification: digest, L1, checks of a hit, and the fresh check behind a miss.
//!
//! ```text
//! size -> digest -> L1 --hit--> time, lease, trust age, fence, marks, key generation --> answer
//!                    |
//!                    miss -> parse -> issuer -> keys -> capture -> signature -> claims -> marks -> insert -> answer
//! ```

pub(crate) mod claims;
mod explain;
mod missed;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use authmesh_proto::crypto::ScopeKind;
use authmesh_proto::ident::{ScopeId, Slot};
use authmesh_proto::marks::TokenScopes;
use authmesh_proto::time::{Moment, Now};

use crate::error::{BuildError, VerifyError};
use crate::issuer::{Issuer, Keys, Template};
use crate::jose::{self, CompactJws, JwsError, KeySet, VerificationKey};
use crate::l1::{Backing, Digester, Domain, Kept, Row as _, RowKey, VerdictEntry};
use crate::node::{Coherence, Node};
use crate::policy::{Compiled, Policy, Rules, WhenBlind};
use crate::possession::{Presentation, Replays};
use crate::upstream::Upstream;
use crate::verdict::{Answer, Level, Outcome, Verdict, Voucher};

pub use explain::{
    Decision, ExplainedBinding, ExplainedIssuer, ExplainedKey, ExplainedMark, ExplainedProvider, ExplainedTime,
    Explanation,
};

/// Verifies tokens under one policy. Cheap to clone; clones share everything.
#[derive(Debug, Clone)]
pub struct Verifier {
    pub(crate) shared: Arc<Shared>,
    pub(crate) policy: Arc<Compiled>,
    /// Of tokens under the policy.
    digester: Arc<Digester>,
    pub(crate) when_blind: WhenBlind,
    /// Whether proof of freshness is demanded.
    pub(crate) sensitive: bool,
    pub(crate) max_age: Duration,
}

/// What the verifiers of a mesh share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) node: Arc<Node>,
    pub(crate) issuers: BTreeMap<Arc<str>, Arc<Issuer>>,
    /// Patterns of issuers that are learned. No string fits two of them.
    pub(crate) templates: Vec<Arc<Template>>,
    /// Issuers whose tokens their providers validate.
    pub(crate) upstreams: BTreeMap<Arc<str>, Arc<Upstream>>,
    /// The proofs of bound tokens that were taken lately.
    pub(crate) replays: Replays,
    /// The tag that every verdict carries: `clear` voids it.
    pub(crate) all_verdicts: ScopeId,
}

/// What stands for an issuer with keys in the mesh.
pub(crate) enum Known<'a> {
    /// It is configured.
    Issuer(&'a Arc<Issuer>),
    /// It fits a template.
    Template(&'a Arc<Template>),
}

/// Namespace of the names of verdicts.
pub(crate) const VERDICTS: &str = "authmesh/verdict";

impl Verifier {
    /// Whether tokens of an issuer may lack `iat` here.
    pub(crate) fn accepts_without_issued_at(&self, issuer: &str) -> bool {
        let known = self.shared.known(issuer).map(|known| self.rules_for(issuer, &known));
        let rules = known.unwrap_or_else(|| self.policy.policy.issuers.get(issuer));
        rules.is_some_and(|rules| rules.without_issued_at)
    }

    pub(crate) fn new(shared: Arc<Shared>, policy: Policy) -> Result<Self, BuildError> {
        let names = |issuer: &str| shared.is_configured(issuer) || shared.template_named(issuer).is_some();
        if let Some(unknown) = policy.issuers.keys().find(|issuer| !names(issuer)) {
            return Err(BuildError::new(
                "issuers",
                format!("{unknown} is not one of the mesh's issuers; add it to the builder first"),
            ));
        }
        let with_keys = |issuer: &&String| !shared.upstreams.contains_key(issuer.as_str());
        let opaque = policy.issuers.iter().filter(|(_, rules)| rules.opaque);
        if let Some(issuer) = opaque.map(|(issuer, _)| issuer).find(with_keys) {
            return Err(BuildError::new(
                "opaque",
                format!(
                    "{issuer} has keys, and an opaque token has no signature; add its provider with `upstream` instead"
                ),
            ));
        }
        let (when_blind, max_age) = (policy.when_blind, policy.max_verdict_age);
        // As long as a proof can count, and the seconds that both clocks round away.
        shared
            .replays
            .keep_for(policy.dpop.window + shared.node.max_skew + Duration::from_secs(2));
        let policy = Compiled::new(policy)?;
        let digester = shared.node.l1.digester.under(Domain::Tokens, &policy.fingerprint);
        Ok(Self {
            shared,
            policy: Arc::new(policy),
            digester: Arc::new(digester),
            when_blind,
            sensitive: false,
            max_age,
        })
    }

    /// The same verifier for routes that demand proof of freshness: it refuses while the node is blind, and gives no stale
    /// answer while a provider is away.
    #[must_use]
    pub fn sensitive(mut self) -> Self {
        self.when_blind = WhenBlind::Deny;
        self.sensitive = true;
        self
    }

    /// The same verifier with another rule for blindness.
    #[must_use]
    pub fn when_blind(mut self, rule: WhenBlind) -> Self {
        self.when_blind = rule;
        self
    }

    /// The same verifier that verifies the signature, or asks the provider, again when that was longer ago than this. Zero does
    /// at every call. Never longer than the policy's `max_verdict_age`.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age.min(self.policy.policy.max_verdict_age);
        self
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy.policy
    }

    /// Verifies a bearer token: the verdict of a valid one, shared. A token that is bound to a key or a certificate is refused:
    /// it takes a [`Presentation`].
    ///
    /// Cancel safety: dropping the future loses nothing; a key fetch that it caused goes on for the others.
    ///
    /// # Errors
    /// [`VerifyError`]; its [`fault`](VerifyError::fault) says whether the token is refused or nothing could be told.
    pub async fn verify(&self, token: impl AsRef<[u8]>) -> Result<Arc<Verdict>, VerifyError> {
        self.answer(token).await.map(|answer| answer.verdict)
    }

    /// Verifies a bearer token and tells how the answer was reached.
    ///
    /// # Errors
    /// As [`Verifier::verify`].
    pub async fn answer(&self, token: impl AsRef<[u8]>) -> Result<Answer, VerifyError> {
        self.answer_presented(&Presentation::bearer(&token)).await
    }

    /// Verifies a token as a request presents it, with the proof that the sender may use it, and tells how the answer was
    /// reached. See [`possession`](crate::possession).
    ///
    /// Cancel safety: as of [`Verifier::verify`]; a proof that was taken already counts as used.
    ///
    /// # Errors
    /// As [`Verifier::verify`].
    pub async fn answer_presented(&self, presentation: &Presentation<'_>) -> Result<Answer, VerifyError> {
        if let Some(answer) = self.try_hit_presented(presentation) {
            return answer;
        }
        let verified = async {
            let answer = self.verify_freshly(presentation.token()).await?;
            self.check_possession(answer, presentation)
        };
        let answer = self.missed(verified).await;
        self.count(&answer);
        answer
    }

    /// The answer about a bearer token from this node's memory, without waiting: `None` when the token has to be verified.
    ///
    /// # Errors
    /// As [`Verifier::verify`], for what memory alone can tell: too large, expired, revoked, blind, bound.
    pub fn try_hit(&self, token: impl AsRef<[u8]>) -> Option<Result<Answer, VerifyError>> {
        self.try_hit_presented(&Presentation::bearer(&token))
    }

    /// [`Verifier::answer_presented`] from this node's memory, without waiting: `None` when the token has to be verified, and
    /// no proof was looked at.
    ///
    /// # Errors
    /// As [`Verifier::try_hit`], and whatever is wrong with the proof.
    pub fn try_hit_presented(&self, presentation: &Presentation<'_>) -> Option<Result<Answer, VerifyError>> {
        self.hit(presentation.token(), |answer| {
            self.check_possession(answer, presentation)
        })
    }

    /// What would be answered to the owner of a token: for whoever only wants to know what it is, and lets nobody in by it.
    pub(crate) async fn answer_to_owner(&self, token: &[u8]) -> Result<Answer, VerifyError> {
        if let Some(answer) = self.hit(token, Ok) {
            return answer;
        }
        let answer = self.missed(self.verify_freshly(token)).await;
        self.count(&answer);
        answer
    }

    /// The answer from this node's memory to whoever may have it, counted.
    fn hit(
        &self,
        token: &[u8],
        admit: impl FnOnce(Answer) -> Result<Answer, VerifyError>,
    ) -> Option<Result<Answer, VerifyError>> {
        if let Err(error) = self.check_size(token) {
            let answer = Err(error);
            self.count(&answer);
            return Some(answer);
        }
        let verdicts = &self.shared.node.l1.verdicts;
        verdicts.hit(&self.digest(token), |entry, _| {
            let answer = self.check_hit(token, entry).transpose()?.and_then(admit);
            self.count(&answer);
            Some(answer)
        })
    }

    /// Forgets the verdict of a token on every node. The token stays valid; it is verified again. `false` when the
    /// statement could not be committed in time; it will be.
    ///
    /// # Errors
    /// When too many statements wait, or the node is shutting down.
    pub async fn invalidate(&self, token: impl AsRef<[u8]>) -> Result<bool, crate::error::RevokeError> {
        let token = token.as_ref();
        let node = &self.shared.node;
        node.l1.verdicts.invalidate(&self.digest(token));
        let name = match self.question(token) {
            Ok(Some(question)) => question.upstream.name(token),
            _ => node.codec.namer.entry(VERDICTS, token),
        };
        crate::revoke::say_and_wait(node, authmesh_proto::statement::Body::Drop(name)).await
    }

    pub(crate) fn digest(&self, token: &[u8]) -> RowKey {
        self.digester.digest(token)
    }

    fn check_size(&self, token: &[u8]) -> Result<(), VerifyError> {
        let limit = self.policy.policy.max_token_bytes;
        if token.len() > limit {
            return Err(VerifyError::TooLarge {
                bytes: token.len(),
                limit,
            });
        }
        Ok(())
    }

    /// Every check that stands between an entry in memory and an answer. Inlined into its one caller, which would move the answer
    /// twice more otherwise. `None`: the entry does not count any more.
    #[inline]
    fn check_hit(&self, token: &[u8], entry: &Arc<VerdictEntry>) -> Result<Option<Answer>, VerifyError> {
        let node = &self.shared.node;
        let now = node.now();
        let age = now.boot.since(entry.verified_at);
        // An answer of a provider may still have to stand in for the next one.
        let of_provider = || matches!(entry.backing, Backing::Provider(_));
        if age >= self.max_age && age >= self.policy.policy.max_verdict_age && !of_provider() {
            node.counters.voided.add();
            node.l1.verdicts.invalidate(entry.kept().key());
            return Ok(None);
        }
        if age >= self.max_age || now.wall < entry.from {
            return Ok(None);
        }
        if now.wall >= entry.until {
            return Err(VerifyError::Expired {
                ago: Duration::from_secs(now.wall.saturating_sub(entry.verdict.expires_at)),
            });
        }
        let fresh = node.fence.all_current(&entry.stamps)
            && match &entry.backing {
                Backing::Keys(issuer) => issuer.is_trusted(now.boot) && self.key_stands(issuer, entry),
                Backing::Provider(backed) if backed.is_fresh(now.boot) => {
                    if backed.claim_refresh(now.boot) {
                        self.refresh_ahead(token, entry);
                    }
                    true
                }
                Backing::Provider(_) => return Ok(None),
            };
        if !fresh {
            node.counters.voided.add();
            node.l1.verdicts.invalidate(entry.kept().key());
            return Ok(None);
        }
        // The epoch is loaded first: a mark that is applied during the check leaves an older stamp behind.
        let epoch = node.epoch.load();
        if entry.mark_epoch.load(Ordering::Acquire) != epoch {
            self.check_marks(&entry.verdict.marked_by)?;
            entry.mark_epoch.store(epoch, Ordering::Release);
        }
        let blind_for = self.admit(now)?;
        Ok(Some(Answer {
            verdict: Arc::clone(&entry.verdict),
            outcome: if blind_for.is_some() {
                Outcome::Blind
            } else {
                Outcome::Hit
            },
            level: Level::L1,
            age,
            blind_for,
            when_blind: self.when_blind,
        }))
    }

    /// Whether the signing key still is in the issuer's set.
    fn key_stands(&self, issuer: &Issuer, entry: &VerdictEntry) -> bool {
        let edition = issuer.edition();
        if entry.key_edition.load(Ordering::Acquire) == edition {
            return true;
        }
        let keys = issuer.trusted(self.shared.node.now().boot);
        let key = entry.verdict.key();
        let stands = keys
            .as_ref()
            .is_some_and(|keys| key.is_some_and(|key| keys.set.contains(key)));
        if let (true, Some(keys)) = (stands, keys) {
            entry.key_edition.store(keys.edition, Ordering::Release);
        }
        stands
    }

    pub(crate) fn check_marks(&self, scopes: &TokenScopes) -> Result<(), VerifyError> {
        match self.shared.node.marks().check(scopes) {
            Some(voided) => Err(VerifyError::Revoked(voided.kind)),
            None => Ok(()),
        }
    }

    /// Whether the node may answer now: it is coherent, or inside the rule for blindness.
    pub(crate) fn admit(&self, now: Now) -> Result<Option<Duration>, VerifyError> {
        match (self.shared.node.coherence_at(now.boot), self.when_blind) {
            (Coherence::Coherent, _) => Ok(None),
            (Coherence::Blind(since), WhenBlind::Serve { at_most }) if since <= at_most => Ok(Some(since)),
            (Coherence::Blind(since), _) => Err(VerifyError::Blind { blind_for: Some(since) }),
            (Coherence::NeverYet, _) => Err(VerifyError::Blind { blind_for: None }),
        }
    }

    async fn verify_freshly(&self, token: &[u8]) -> Result<Answer, VerifyError> {
        if let Some(question) = self.question(token)? {
            return self.ask(question).await;
        }
        let jws = CompactJws::parse(token)?;
        let claims = jose::json::parse_object(jws.payload())
            .map_err(|_| VerifyError::Malformed("its payload is not a JSON object without duplicate members"))?;
        // Chosen by `iss` before anything is fetched: no other issuer is ever asked.
        let issuer_url = claims::issuer(&claims)?;
        let known = self.shared.known(issuer_url).ok_or(VerifyError::WrongIssuer)?;
        let rules = self.rules_for(issuer_url, &known).ok_or(VerifyError::WrongIssuer)?;
        if !rules.algorithms.contains(jws.header().algorithm()) {
            return Err(JwsError::AlgorithmNotAllowed(jws.header().algorithm()).into());
        }

        let node = &self.shared.node;
        let issuer = &self.shared.issuer_for(&known, issuer_url, || {
            // What the claims alone refuse costs no fetch.
            claims::check(rules, jws.header().typ(), node.now().wall, &claims)?;
            Ok::<_, VerifyError>(())
        })?;
        let keys = self.shared.keys_for(issuer, &jws).await?;
        // Captured before the sources of this answer are read: the marks, and the clock.
        let name = node.codec.namer.entry(VERDICTS, token);
        let stamps = [name.slot(), self.shared.all_verdicts.slot()].map(|slot: Slot| node.fence.capture(slot));
        let epoch = node.epoch.load();
        let asked = node.now();

        let key = check_signature(&keys, &jws, rules)?;
        let checked = claims::check(rules, jws.header().typ(), asked.wall, &claims)?;
        let signer = keys
            .signers
            .signer(&key, jws.header().algorithm(), keys.generation())
            .ok_or(VerifyError::Unsupported(
                "the key that its kid names is not for its alg",
            ))?;

        let scopes = scopes_of(node, &issuer.url, &jws, &key, &checked);
        self.check_marks(&scopes)?;

        if let Some(iat) = checked.issued_at {
            issuer.saw_issued_at(iat);
        }
        issuer.has_verified(node);
        let voucher = Voucher::Key {
            issuer: Arc::clone(issuer),
            signer,
        };
        let verdict = Arc::new(Verdict::new(voucher, &checked, scopes, jws.payload())?);
        let entry = VerdictEntry {
            kept: Kept::new(self.digest(token)),
            verdict: Arc::clone(&verdict),
            backing: Backing::Keys(Arc::clone(issuer)),
            stamps,
            mark_epoch: AtomicU64::new(epoch),
            key_edition: AtomicU64::new(keys.edition),
            verified_at: asked.boot,
            from: checked.from,
            until: checked.until,
        };
        // Insertion is harmless whatever happened meanwhile: the stamps are from before.
        node.l1.verdicts.insert(Arc::new(entry));
        let blind_for = self.admit(node.now())?;
        Ok(Answer {
            verdict,
            outcome: if blind_for.is_some() {
                Outcome::Blind
            } else {
                Outcome::Verified
            },
            level: Level::Source,
            age: Duration::ZERO,
            blind_for,
            when_blind: self.when_blind,
        })
    }

    #[inline]
    pub(crate) fn count(&self, answer: &Result<Answer, VerifyError>) {
        let counters = &self.shared.node.counters;
        match answer {
            // The one that is worth a branch of its own.
            Ok(answer) if answer.outcome == Outcome::Hit && answer.level == Level::L1 => counters.hits.add(),
            Ok(answer) if answer.outcome == Outcome::Stale => counters.stale.add(),
            Ok(answer) => match (answer.blind_for.is_some(), answer.level) {
                (false, Level::L2) => counters.l2.add(),
                (false, Level::L1) => counters.hits.add(),
                (false, _) => counters.verified.add(),
                (true, Level::L1) => counters.blind_hits.add(),
                (true, _) => counters.blind_verified.add(),
            },
            Err(VerifyError::Revoked(_)) => counters.revoked.add(),
            Err(VerifyError::CouldNotAsk { .. }) => counters.could_not_ask.add(),
            Err(VerifyError::Blind { .. }) => counters.blind_denied.add(),
            Err(_) => counters.refused.add(),
        }
    }
}

/// The key whose signature the token bears.
pub(crate) fn check_signature(
    keys: &Keys,
    jws: &CompactJws<'_>,
    rules: &Rules,
) -> Result<Arc<VerificationKey>, VerifyError> {
    let mut refusal = JwsError::UnknownKey;
    for key in keys.set.candidates(jws.header())? {
        match key.verify(jws, rules.algorithms) {
            Ok(_) => return Ok(Arc::clone(key)),
            Err(error) => refusal = error,
        }
    }
    Err(refusal.into())
}

/// The scopes of a token whose signature holds.
fn scopes_of(
    node: &Node,
    issuer: &str,
    jws: &CompactJws<'_>,
    key: &VerificationKey,
    checked: &claims::Claims,
) -> TokenScopes {
    let (input, thumbprint) = (jws.signing_input_sha256(), key.thumbprint());
    let present = [
        (ScopeKind::Token, Some(input.as_slice())),
        (ScopeKind::SigningKey, Some(thumbprint.as_slice())),
        (ScopeKind::Subject, checked.subject.as_deref().map(str::as_bytes)),
        (ScopeKind::Client, checked.client.as_deref().map(str::as_bytes)),
        (ScopeKind::Session, checked.session.as_deref().map(str::as_bytes)),
        (ScopeKind::JwtId, checked.jwt_id.as_deref().map(str::as_bytes)),
    ];
    let values = present.into_iter().filter_map(|(kind, value)| Some((kind, value?)));
    TokenScopes::new(&node.codec.namer, issuer, checked.issued_at, values)
}

impl Verifier {
    /// What the policy demands of the tokens of an issuer. A policy names a template by its pattern.
    pub(crate) fn rules_for(&self, issuer: &str, known: &Known<'_>) -> Option<&Rules> {
        let name = match known {
            Known::Issuer(_) => issuer,
            Known::Template(template) => template.name(),
        };
        self.policy.policy.issuers.get(name)
    }
}

impl Shared {
    /// Whether an issuer is configured.
    pub(crate) fn is_configured(&self, issuer: &str) -> bool {
        self.issuers.contains_key(issuer) || self.upstreams.contains_key(issuer)
    }

    /// Whether tokens of an issuer can be the mesh's.
    pub(crate) fn knows(&self, issuer: &str) -> bool {
        self.is_configured(issuer) || self.known(issuer).is_some()
    }

    /// What stands for an issuer with keys. One that is configured is no template's, whether it has keys or a provider.
    pub(crate) fn known(&self, issuer: &str) -> Option<Known<'_>> {
        if let Some(issuer) = self.issuers.get(issuer) {
            return Some(Known::Issuer(issuer));
        }
        if self.upstreams.contains_key(issuer) {
            return None;
        }
        self.templates
            .iter()
            .find(|template| template.fits(issuer))
            .map(Known::Template)
    }

    /// An issuer with keys that is configured, or was learned.
    pub(crate) fn issuer(&self, issuer: &str) -> Option<Arc<Issuer>> {
        match self.known(issuer)? {
            Known::Issuer(issuer) => Some(Arc::clone(issuer)),
            Known::Template(template) => template.known(issuer),
        }
    }

    /// The issuer itself; one that fits a template and is not known yet is learned, if `may_learn` says so.
    pub(crate) fn issuer_for<E: From<VerifyError>>(
        &self,
        known: &Known<'_>,
        issuer: &str,
        may_learn: impl FnOnce() -> Result<(), E>,
    ) -> Result<Arc<Issuer>, E> {
        match known {
            Known::Issuer(issuer) => Ok(Arc::clone(issuer)),
            Known::Template(template) => match template.known(issuer) {
                Some(issuer) => Ok(issuer),
                None => {
                    may_learn()?;
                    Ok(template.learn(&self.node, issuer)?)
                }
            },
        }
    }

    /// The template that policies call so.
    pub(crate) fn template_named(&self, name: &str) -> Option<&Arc<Template>> {
        self.templates.iter().find(|template| template.name() == name)
    }

    /// Every issuer with keys: those that are configured, then those that were learned.
    pub(crate) fn all_issuers(&self) -> impl Iterator<Item = Arc<Issuer>> + '_ {
        let learned = self.templates.iter().flat_map(|template| template.all());
        self.issuers.values().cloned().chain(learned)
    }

    /// The issuer's keys, such that the token's key is among them if the issuer has it.
    pub(crate) async fn keys_for(&self, issuer: &Arc<Issuer>, jws: &CompactJws<'_>) -> Result<Arc<Keys>, VerifyError> {
        let node = &self.node;
        let keys = match issuer.trusted(node.now().boot) {
            Some(keys) => keys,
            None => issuer.any_keys(node).await?,
        };
        match keys.set.candidates(jws.header()) {
            Ok(_) => return Ok(keys),
            Err(JwsError::UnknownKey) => {}
            Err(other) => return Err(other.into()),
        }
        let kid = jws.header().kid().map_or("", |kid| kid);
        let holds = |set: &KeySet| !matches!(set.candidates(jws.header()), Err(JwsError::UnknownKey));
        issuer.keys_with(node, kid, true, holds).await
    }

    /// Fetches an issuer's keys now.
    pub(crate) async fn refresh(&self, issuer: &str) -> Option<Result<(), VerifyError>> {
        let issuer = self.issuer(issuer)?;
        Some(issuer.refresh(&self.node).await)
    }

    pub(crate) fn now(&self) -> Moment {
        self.node.now().boot
    }
}
