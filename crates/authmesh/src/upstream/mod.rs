//! Tokens that a provider validates: it is asked about each, and what it says is cached.
//!
//! ```text
//! verifier -> verdict in L1 -> what this node was told -> L2 -> turn (budget, breaker) -> fill lease -> provider
//!             (per policy)     (per token, for every policy of every node)
//! ```
//!
//! What is shared is what the provider said, and only "active". Each node applies its own policy to it, and its marks. Names
//! are keyed, records are sealed, and a drop of the token's name voids answer and verdicts alike: both carry its stamp.

mod ask;
mod breaker;
mod gate;
mod inactive;
mod judge;
mod route;
mod rules;
mod said;
mod verifier;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use authmesh_proto::ident::{EntryName, ScopeId};
use authmesh_proto::statement::Body;
use authmesh_proto::time::{Now, Unix};
use serde::Serialize;

use crate::cache::{Cache, Flights, Namespace};
use crate::node::Node;
use crate::policy::WhenBlind;
use crate::ports::TokenSource;
use gate::Gate;
use inactive::Inactive;
use said::Said;

pub(crate) use route::Question;
pub use rules::UpstreamRules;
pub(crate) use verifier::Backed;

/// Namespace of the names of answers. No program can declare it.
const ANSWERS: &str = "authmesh/upstream";

/// One provider that is asked about tokens.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) provider: Arc<Provider>,
    pub(crate) rules: UpstreamRules,
    source: Arc<dyn TokenSource>,
    /// What stands before a token in the key of its answer: sources of another identity have other answers.
    prefix: Vec<u8>,
    answers: Cache<Said>,
    inactive: Inactive,
    gate: Gate,
    /// The last failure, in words.
    trouble: Mutex<Option<String>>,
    /// The background refreshes of hits, which need not come from inside the runtime.
    runtime: tokio::runtime::Handle,
}

/// What a verdict keeps of its provider.
#[derive(Debug)]
pub(crate) struct Provider {
    pub(crate) issuer: Arc<str>,
    home: Weak<Node>,
    highest_iat: AtomicU64,
}

/// The state of a provider that is asked about tokens, for status and health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UpstreamStatus {
    /// The issuer whose tokens it validates.
    pub issuer: String,
    /// Calls that failed since the last good one.
    pub failures: u32,
    /// Whether it is left alone, but for one probe at a time.
    pub open: bool,
    /// The last failure.
    pub trouble: Option<String>,
}

impl Upstream {
    /// `whole`: the tag that every verdict carries.
    pub(crate) fn new(
        issuer: &str,
        source: Arc<dyn TokenSource>,
        rules: UpstreamRules,
        node: &Arc<Node>,
        flights: &Arc<Flights>,
        whole: ScopeId,
    ) -> Self {
        let space = Namespace::new(ANSWERS)
            .lifetime(rules.lifetime)
            .l2(rules.l2)
            // Whether an answer may be given is the verifier's to say.
            .when_blind(WhenBlind::Serve {
                at_most: Duration::MAX,
            })
            .renews();
        let identity = source.identity();
        let mut prefix = (identity.len() as u64).to_be_bytes().to_vec();
        prefix.extend_from_slice(identity.as_bytes());
        Self {
            provider: Arc::new(Provider {
                issuer: issuer.into(),
                home: Arc::downgrade(node),
                highest_iat: AtomicU64::new(0),
            }),
            source,
            prefix,
            answers: Cache::under(node, flights, space, whole),
            inactive: Inactive::new(&rules),
            gate: Gate::new(&rules),
            trouble: Mutex::default(),
            runtime: tokio::runtime::Handle::current(),
            rules,
        }
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.provider.issuer
    }

    /// The cluster's name of the answer about a token.
    pub(crate) fn name(&self, token: &[u8]) -> EntryName {
        let mut key = Vec::with_capacity(self.prefix.len() + token.len());
        key.extend_from_slice(&self.prefix);
        key.extend_from_slice(token);
        self.answers.name(&key)
    }

    pub(crate) fn status(&self) -> UpstreamStatus {
        let (failures, open) = self.gate.trouble();
        UpstreamStatus {
            issuer: self.issuer().to_owned(),
            failures,
            open,
            trouble: self.trouble().clone(),
        }
    }

    /// Voids whatever any node holds of a token: the provider has ended it.
    fn drop_everywhere(node: &Arc<Node>, name: EntryName) {
        node.l1.entries.invalidate(&(&name).into());
        if node.say(Body::Drop(name)).is_err() {
            // Nobody else hears of it; here it is void all the same.
            node.fence.bump(name.slot());
        }
    }

    fn trouble(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Provider {
    /// The node, unless it is gone.
    pub(crate) fn home(&self) -> Option<Arc<Node>> {
        self.home.upgrade()
    }

    fn saw_issued_at(&self, iat: Unix) {
        self.highest_iat.fetch_max(iat, Ordering::AcqRel);
    }

    /// The issuer's time, as late as it can be: the latest of our wall clock and the highest `iat` that was accepted.
    pub(crate) fn time(&self, now: Now) -> Unix {
        now.wall.max(self.highest_iat.load(Ordering::Acquire))
    }
}
