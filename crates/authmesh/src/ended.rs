//! The end of a verdict: for streams, sockets and long requests that outlive the check at their beginning.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use authmesh_proto::crypto::ScopeKind;
use tokio::sync::watch;

use crate::issuer::Landed;
use crate::node::{Coherence, Node};
use crate::policy::WhenBlind;
use crate::verdict::{Answer, Verdict, Voucher};

/// The longest sleep between two looks at the clocks: civil time can jump, and the machine can sleep.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// The shortest: what ends at an instant has ended just after it.
const SHORTEST_SLEEP: Duration = Duration::from_millis(5);

/// Why a verdict does not count any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ended {
    /// A mark voids it.
    Revoked(ScopeKind),
    /// The token has expired, leeway included.
    Expired,
    /// Its key left the issuer's set.
    KeyGone,
    /// The issuer's key set could not be renewed for longer than it may be trusted. Not a verdict.
    KeysUntrusted,
    /// The node has been blind for longer than the rule allows. Not a verdict.
    Blind {
        /// For how long; `None` when it was never coherent since its start.
        blind_for: Option<Duration>,
    },
    /// The node shuts down: nobody watches any more. Not a verdict.
    ShutDown,
}

impl Ended {
    /// Whether the token itself is void. If not, nothing could be told any more: let the client connect again, with the
    /// same token.
    #[must_use]
    pub const fn is_verdict(self) -> bool {
        matches!(self, Self::Revoked(_) | Self::Expired | Self::KeyGone)
    }

    /// A stable word for it, in metrics and answers.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Revoked(_) => "revoked",
            Self::Expired => "expired",
            Self::KeyGone => "unknown_key",
            Self::KeysUntrusted => "could_not_ask",
            Self::Blind { .. } => "blind",
            Self::ShutDown => "shut_down",
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revoked(kind) => write!(f, "the {kind} was revoked"),
            Self::Expired => f.write_str("the token has expired"),
            Self::KeyGone => f.write_str("its key left the issuer's set"),
            Self::KeysUntrusted => f.write_str("the issuer's keys could not be renewed for too long"),
            Self::Blind { .. } => f.write_str("the node cannot prove that it knows every revocation"),
            Self::ShutDown => f.write_str("the node shuts down"),
        }
    }
}

impl Answer {
    /// Resolves when the verdict does not count any more, under the rule for blindness of the verifier that was asked.
    ///
    /// ```no_run
    /// # async fn doc(answer: authmesh::Answer, mut socket: impl AsyncFnMut() -> Option<Vec<u8>>) {
    /// loop {
    ///     tokio::select! {
    ///         ended = answer.revoked() => {
    ///             println!("closing: {ended}");
    ///             break;
    ///         }
    ///         Some(message) = socket() => { /* answer it */ }
    ///         else => break,
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// As [`Verdict::revoked_when`].
    pub async fn revoked(&self) -> Ended {
        self.verdict.revoked_when(self.when_blind).await
    }
}

impl Verdict {
    /// Resolves when the verdict does not count any more, on a route that may be served for at most 5 min while the node
    /// is blind. As [`Verdict::revoked_when`].
    pub async fn revoked(&self) -> Ended {
        self.revoked_when(WhenBlind::default()).await
    }

    /// Resolves when the verdict does not count any more: a mark voids it, the token expires, its key leaves the issuer's
    /// set or that set may not be trusted any more, the node is blind for longer than `rule` allows, or the node shuts
    /// down. Resolves at once when one of them is the case already.
    ///
    /// A mark and a new key set are noticed when this node applies them; blindness within 250 ms after the lease ends;
    /// expiry within a second, and within 30 s where civil time jumped. Forgetting a cached verdict
    /// ([`clear`](crate::AuthMesh::clear), [`invalidate`](crate::Verifier::invalidate)) does not end it: the token stays
    /// valid. Neither does the end of `max_verdict_age`: what is signed is signed. Nor does the age of a provider's answer, and
    /// what the provider says to others later: verify the token again for that.
    ///
    /// Waits without polling, holds no lock and needs no task of its own. A waiter keeps about 1.5 KB, and does not keep the
    /// node alive; a mark wakes the waiters of its scope and a five-hundredth of the others.
    ///
    /// Cancel safety: nothing is lost by dropping it; a new call sees what happened meanwhile.
    pub async fn revoked_when(&self, rule: WhenBlind) -> Ended {
        let Some((wakes, shutdown)) = self.home().map(|node| (node.wakes.clone(), node.shutdown.clone())) else {
            return Ended::ShutDown;
        };
        let mut fetches = match &self.voucher {
            Voucher::Key { issuer, .. } => Some(issuer.trips()),
            Voucher::Provider(_) => None,
        };
        let mut coherence = wakes.coherence();
        loop {
            // Registered first, looked afterwards: what changes after the look wakes.
            let mut marks = wakes.listen(&self.marked_by);
            fetches.iter_mut().for_each(watch::Receiver::mark_unchanged);
            coherence.mark_unchanged();
            let Some(node) = self.home() else {
                return Ended::ShutDown;
            };
            let sleep = match self.look(&node, rule) {
                Ok(sleep) => sleep.clamp(SHORTEST_SLEEP, LONGEST_SLEEP),
                Err(ended) => return ended,
            };
            drop(node);
            // Both senders live as long as this future: the one in the issuer, the other in `wakes`.
            tokio::select! {
                () = marks.changed() => {}
                () = fetched(&mut fetches) => {}
                _ = coherence.changed() => {}
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// Whether the verdict does not count any more on a route of this rule, and why: [`Verdict::revoked_when`] without
    /// waiting.
    #[must_use]
    pub fn ended_now(&self, rule: WhenBlind) -> Option<Ended> {
        match self.home() {
            Some(node) => self.look(&node, rule).err(),
            None => Some(Ended::ShutDown),
        }
    }

    pub(crate) fn home(&self) -> Option<Arc<Node>> {
        match &self.voucher {
            Voucher::Key { issuer, .. } => issuer.home(),
            Voucher::Provider(provider) => provider.home(),
        }
    }

    /// Whether the verdict has ended; if not, when to look again though nothing was heard.
    fn look(&self, node: &Node, rule: WhenBlind) -> Result<Duration, Ended> {
        if let Some(voided) = node.marks().check(&self.marked_by) {
            return Err(Ended::Revoked(voided.kind));
        }
        let now = node.now();
        if now.wall >= self.until {
            return Err(Ended::Expired);
        }
        let mut sleep = Duration::from_secs(self.until - now.wall);
        if let Voucher::Key { issuer, signer } = &self.voucher {
            let keys = issuer.trusted(now.boot).ok_or(Ended::KeysUntrusted)?;
            if !keys.set.contains(&signer.key) {
                return Err(Ended::KeyGone);
            }
            sleep = sleep.min(issuer.trusted_until().since(now.boot));
        }
        match (node.coherence_at(now.boot), rule) {
            (Coherence::Coherent, _) => {}
            (Coherence::Blind(since), WhenBlind::Serve { at_most }) if since <= at_most => {
                sleep = sleep.min(at_most - since);
            }
            (Coherence::Blind(since), _) => return Err(Ended::Blind { blind_for: Some(since) }),
            (Coherence::NeverYet, _) => return Err(Ended::Blind { blind_for: None }),
        }
        if node.shutdown.is_cancelled() {
            return Err(Ended::ShutDown);
        }
        Ok(sleep)
    }
}

/// Resolves when a fetch of the issuer's keys has ended; never where there are none.
async fn fetched(fetches: &mut Option<watch::Receiver<Landed>>) {
    match fetches {
        // Its sender lives as long as the issuer, which the verdict holds.
        Some(fetches) => drop(fetches.changed().await),
        None => std::future::pending().await,
    }
}
