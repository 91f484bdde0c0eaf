//! The verifier's side: from a question to an answer, and what stands in when the provider is slow or away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use authmesh_proto::freshness::Stamp;
use authmesh_proto::ident::{EntryName, Slot};
use authmesh_proto::marks::TokenScopes;
use authmesh_proto::time::{Moment, Now};

use super::ask::{NotSaid, Wanted};
use super::judge::{Judged, judge, scopes_of};
use super::route::Question;
use super::said::{Said, Times};
use crate::error::VerifyError;
use crate::l1::{Backing, Kept, VerdictEntry};
use crate::policy::WhenBlind;
use crate::verdict::{Answer, Level, Outcome, Verdict, Voucher};
use crate::verify::Verifier;

/// What a verdict in L1 needs of its answer.
#[derive(Debug)]
pub(crate) struct Backed {
    times: Times,
    /// Whether it is asked for again already.
    refreshing: AtomicBool,
}

impl Backed {
    /// Whether the answer still counts.
    pub(crate) fn is_fresh(&self, now: Moment) -> bool {
        now < self.times.fresh_until
    }

    /// Whether it may be given while the provider is slow or away.
    pub(crate) fn may_stand_in(&self, now: Moment) -> bool {
        now < self.times.stale_until
    }

    /// Whether it is time to ask again, for one caller.
    pub(crate) fn claim_refresh(&self, now: Moment) -> bool {
        now >= self.times.refresh_at && !self.refreshing.swap(true, Ordering::AcqRel)
    }
}

/// What was captured before anything was read that a verdict comes from.
struct Before {
    name: EntryName,
    stamps: [Stamp; 2],
    epoch: u64,
}

impl Verifier {
    /// Answers a question: by what this node was told, by L2, or by the provider; by a stale verdict if that takes too long.
    pub(crate) async fn ask(&self, question: Question<'_>) -> Result<Answer, VerifyError> {
        let upstream = question.upstream;
        let before = self.before(&question);
        let digest = self.digest(question.token.as_bytes());
        let held = self.shared.node.l1.verdicts.get(&digest);
        let stand_in = held.as_ref().filter(|entry| self.may_stand_in(entry));
        let patience = match stand_in {
            Some(_) => upstream.rules.soft_timeout,
            None => upstream.rules.hard_timeout,
        };
        let wanted = Wanted::Younger(self.max_age);
        let said = tokio::time::timeout(patience, self.said(&question, &before, wanted, held.is_some())).await;
        let refused = match said {
            Ok(Ok((said, level))) => return self.conclude(&question, &before, &said, level),
            Ok(Err(NotSaid::Inactive)) => {
                self.shared.node.l1.verdicts.invalidate(&digest);
                return Err(VerifyError::Inactive);
            }
            Ok(Err(refused)) => refused,
            Err(_) => NotSaid::CouldNotAsk {
                what: format!("no answer within {patience:?}"),
                retry_after: Duration::from_secs(1),
            },
        };
        match stand_in {
            Some(entry) => self.stand_in(entry, refused),
            None => Err(refused.into()),
        }
    }

    /// Asks again about a token whose answer is due, in a task of its own.
    pub(crate) fn refresh_ahead(&self, token: &[u8], entry: &Arc<VerdictEntry>) {
        let Some(upstream) = self.shared.upstreams.get(entry.verdict.issuer()) else {
            return;
        };
        let (verifier, token, entry) = (self.clone(), token.to_vec(), Arc::clone(entry));
        self.shared.node.counters.upstream_refreshes.add();
        let node = Arc::clone(&self.shared.node);
        let tasks = node.tasks.clone();
        let refresh = async move {
            let Ok(Some(question)) = verifier.question(&token) else {
                return;
            };
            let before = verifier.before(&question);
            let most = question.upstream.rules.hard_timeout;
            let said = tokio::select! {
                said = tokio::time::timeout(most, verifier.said(&question, &before, Wanted::NotDue, true)) => said,
                () = node.shutdown.cancelled() => return,
            };
            match said {
                // What it says to callers, they find out.
                Ok(Ok((said, level))) => drop(verifier.conclude(&question, &before, &said, level)),
                // The next caller after a failure tries again.
                Ok(Err(NotSaid::CouldNotAsk { .. })) | Err(_) => {
                    if let Backing::Provider(backed) = &entry.backing {
                        backed.refreshing.store(false, Ordering::Release);
                    }
                }
                Ok(Err(NotSaid::Inactive)) => {}
            }
        };
        tasks.spawn_on(refresh, &upstream.runtime);
    }

    /// What this node knows of a token from its provider, without asking: for explanations.
    pub(crate) fn known(&self, question: &Question<'_>) -> Option<Arc<Said>> {
        let name = question.upstream.name(question.token.as_bytes());
        question.upstream.answers.at_hand(&name)
    }

    /// The scopes of a token by what was said of it.
    pub(crate) fn scopes_by(&self, question: &Question<'_>, said: &Said, now: Now) -> Result<TokenScopes, VerifyError> {
        let Judged { claims, .. } = judge(question, said, now)?;
        Ok(scopes_of(&self.shared.node, question, &claims))
    }

    fn before(&self, question: &Question<'_>) -> Before {
        let node = &self.shared.node;
        let name = question.upstream.name(question.token.as_bytes());
        Before {
            name,
            stamps: [name.slot(), self.shared.all_verdicts.slot()].map(|slot: Slot| node.fence.capture(slot)),
            epoch: node.epoch.load(),
        }
    }

    /// What the provider said, and from how far away it came.
    async fn said(
        &self,
        question: &Question<'_>,
        before: &Before,
        wanted: Wanted,
        known: bool,
    ) -> Result<(Arc<Said>, Level), NotSaid> {
        let (node, upstream, name) = (&self.shared.node, question.upstream, before.name);
        // By another policy perhaps.
        let known = known || node.l1.entries.get(&(&name).into()).is_some();
        let asking = || upstream.asking(node, question.token, name, known);
        if self.max_age.is_zero() && matches!(wanted, Wanted::Younger(_)) {
            return upstream.now(asking()).await.map(|said| (said, Level::Source));
        }
        let now = node.now();
        if upstream.inactive.holds(&name, now.boot, self.max_age, &node.fence) {
            return Err(NotSaid::Inactive);
        }
        let counts = |said: &Arc<Said>| match wanted {
            Wanted::Younger(max_age) => said.counts(&upstream.rules, now, max_age),
            Wanted::NotDue => now.boot < said.times(&upstream.rules, now).refresh_at,
        };
        if let Some(said) = upstream.answers.at_hand(&name).filter(counts) {
            return Ok((said, Level::L1));
        }
        let said = upstream.shared(asking(), wanted).await?;
        let level = if said.first_hand { Level::Source } else { Level::L2 };
        Ok((said, level))
    }

    /// Applies the policy and the marks to what was said, and keeps the verdict.
    fn conclude(
        &self,
        question: &Question<'_>,
        before: &Before,
        said: &Said,
        level: Level,
    ) -> Result<Answer, VerifyError> {
        let (node, upstream) = (&self.shared.node, question.upstream);
        let now = node.now();
        let Judged { claims, json } = judge(question, said, now)?;
        let scopes = scopes_of(node, question, &claims);
        self.check_marks(&scopes)?;
        if let Some(iat) = claims.issued_at {
            upstream.provider.saw_issued_at(iat);
        }
        let voucher = Voucher::Provider(Arc::clone(&upstream.provider));
        let verdict = Arc::new(Verdict::new(voucher, &claims, scopes, &json)?);
        let times = said.times(&upstream.rules, now);
        // What the provider forbids to keep is not kept; nor is what can answer nobody.
        if now.boot < times.stale_until.max(times.fresh_until) {
            let entry = VerdictEntry {
                kept: Kept::new(self.digest(question.token.as_bytes())),
                verdict: Arc::clone(&verdict),
                backing: Backing::Provider(Arc::new(Backed {
                    times,
                    refreshing: AtomicBool::new(false),
                })),
                stamps: before.stamps,
                mark_epoch: AtomicU64::new(before.epoch),
                key_edition: AtomicU64::new(0),
                verified_at: times.asked,
                from: claims.from,
                until: claims.until,
            };
            // Harmless whatever happened meanwhile: the stamps are from before.
            node.l1.verdicts.insert(Arc::new(entry));
        }
        let outcome = match level {
            Level::L1 => Outcome::Hit,
            Level::L2 => Outcome::L2,
            Level::Source => Outcome::Verified,
        };
        self.given(verdict, outcome, level, now.boot.since(times.asked))
    }

    /// Whether a verdict may be given in place of an answer that does not come: inside its cap, and not on a route that
    /// demands proof of freshness.
    fn may_stand_in(&self, entry: &VerdictEntry) -> bool {
        let now = self.shared.node.now().boot;
        let demanded = self.max_age < self.policy.policy.max_verdict_age;
        self.when_blind != WhenBlind::Deny
            && !self.sensitive
            && (!demanded || now.since(entry.verified_at) < self.max_age)
            && matches!(&entry.backing, Backing::Provider(backed) if backed.may_stand_in(now))
    }

    /// Gives a stale verdict, if everything but its age still speaks for it.
    fn stand_in(&self, entry: &VerdictEntry, refused: NotSaid) -> Result<Answer, VerifyError> {
        let node = &self.shared.node;
        let now = node.now();
        if !self.may_stand_in(entry)
            || !(entry.from..entry.verdict.until).contains(&now.wall)
            || !node.fence.all_current(&entry.stamps)
        {
            return Err(refused.into());
        }
        self.check_marks(&entry.verdict.marked_by)?;
        let age = now.boot.since(entry.verified_at);
        self.given(Arc::clone(&entry.verdict), Outcome::Stale, Level::L1, age)
    }

    fn given(
        &self,
        verdict: Arc<Verdict>,
        outcome: Outcome,
        level: Level,
        age: Duration,
    ) -> Result<Answer, VerifyError> {
        let blind_for = self.admit(self.shared.node.now())?;
        Ok(Answer {
            verdict,
            outcome: match (outcome, blind_for) {
                (Outcome::Stale, _) | (_, None) => outcome,
                (_, Some(_)) => Outcome::Blind,
            },
            level,
            age,
            blind_for,
            when_blind: self.when_blind,
        })
    }
}
