//! The mesh: the handle that a service holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use authmesh_proto::crypto::KeyRing;
use authmesh_proto::time::{Moment, Now, Unix};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::builder::Builder;
use crate::cache::{self, Cache, Declared, Flights, Namespace};
use crate::error::{BuildError, RevokeError, VerifyError};
use crate::issuer::{Issuer, IssuerStatus};
use crate::logout::LogoutRules;
use crate::node::{Coherence, GossipHealth, GossipStats, Member, Node};
use crate::policy::Policy;
use crate::ports::PortError;
use crate::revoke::{MAX_BATCH, Revocation, RevocationBatch, RevocationOrder, Subjects, Target, say_and_wait};
use crate::telemetry::Counts;
use crate::upstream::{Upstream, UpstreamStatus};
use crate::verify::{Shared, Verifier};

/// A running node. Cheap to clone; clones share it.
///
/// Dropping the last handle does not end the node's tasks; [`AuthMesh::shutdown`] does.
#[derive(Debug, Clone)]
pub struct AuthMesh(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) verifier: Verifier,
    pub(crate) flights: Arc<Flights>,
    pub(crate) declared: Declared,
    pub(crate) subjects: Subjects,
    pub(crate) max_token_lifetime: Duration,
    /// Issuers whose logout tokens are taken.
    pub(crate) logouts: BTreeMap<String, LogoutRules>,
    pub(crate) started: Moment,
}

/// What a node did since its start, and what it holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// The node's name.
    pub node: String,
    /// Version of authmesh.
    pub version: &'static str,
    /// Seconds since its start.
    pub uptime_seconds: u64,
    /// The counters.
    pub counts: Counts,
    /// Answers from memory as a share of all accepted tokens, 0 to 1; `None` before the first.
    pub hit_rate: Option<f64>,
    /// Verdicts in L1, about: eviction runs behind.
    pub verdicts: u64,
    /// What they take in memory, bookkeeping included, about: bytes that the allocator was asked for, within 5 %.
    pub verdict_bytes: u64,
    /// Entries of the generic cache in L1, about.
    pub entries: u64,
    /// What they take in memory, about; values count as many bytes as they have in JSON.
    pub entry_bytes: u64,
    /// Marks held.
    pub marks: usize,
    /// Statements that wait for their commit.
    pub outbox: usize,
    /// What its gossip did and holds; `None` where it has none.
    pub gossip: Option<GossipStats>,
}

/// How a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// One word for it.
    pub status: Status,
    /// Whether it can prove that it knows every revocation.
    pub coherent: bool,
    /// Seconds that it has been blind; `None` while coherent, or never coherent yet.
    pub blind_for_seconds: Option<u64>,
    /// Whether its marks were loaded: it can take traffic. Later blindness does not unready a node.
    pub ready: bool,
    /// Its issuers.
    pub issuers: Vec<IssuerStatus>,
    /// The providers that are asked about tokens.
    pub upstreams: Vec<UpstreamStatus>,
    /// How it stands with the other members; `None` where it has no gossip.
    pub gossip: Option<GossipHealth>,
}

/// One word for a node's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Everything is as it should be.
    Ok,
    /// An issuer has no trusted keys, or its last fetch failed; or a provider is left alone after failures.
    Degraded,
    /// The node is blind.
    Blind,
}

impl AuthMesh {
    /// Starts to build a node.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// The verifier of the configured issuers and their rules.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        self.0.verifier.clone()
    }

    /// A verifier under another policy. Verdicts of different policies never answer for each other.
    ///
    /// # Errors
    /// When the policy contradicts itself, names an issuer that the mesh does not have, or accepts tokens that live longer
    /// than marks are kept for.
    pub fn verifier_for(&self, policy: Policy) -> Result<Verifier, BuildError> {
        let longest = policy.issuers.values().map(|rules| rules.max_token_lifetime).max();
        if longest.is_some_and(|longest| longest > self.0.max_token_lifetime) {
            return Err(BuildError::new(
                "max_token_lifetime",
                format!(
                    "is longer than the {:?} for which the mesh keeps revocations; raise it in the builder",
                    self.0.max_token_lifetime
                ),
            ));
        }
        Verifier::new(Arc::clone(&self.0.shared), policy)
    }

    /// Revokes: tokens that the target covers are void on every node. In force on this node at once.
    ///
    /// ```
    /// # async fn doc(mesh: authmesh::AuthMesh) -> Result<(), authmesh::RevokeError> {
    /// use authmesh::Subject;
    ///
    /// let receipt = mesh
    ///     .revoke(Subject::new("https://login.example.com", "alice"))
    ///     .why("password changed")
    ///     .except_session("the one that changed it")
    ///     .await?;
    /// # let _ = receipt; Ok(()) }
    /// ```
    pub fn revoke(&self, target: impl Into<Target>) -> Revocation<'_> {
        Revocation::new(self, RevocationOrder::new(target))
    }

    /// Revokes several targets in one go: all of them or none, in their order, with one receipt each. At most 1,000.
    ///
    /// ```
    /// # async fn doc(mesh: authmesh::AuthMesh) -> Result<(), authmesh::BatchError> {
    /// use authmesh::{RevocationOrder, Subject};
    ///
    /// let issuer = "https://login.example.com";
    /// let receipts = mesh
    ///     .revoke_all([
    ///         RevocationOrder::new(Subject::new(issuer, "alice")),
    ///         RevocationOrder::new(Subject::new(issuer, "bob")).except_session("the present one"),
    ///     ])
    ///     .why("password database leaked")
    ///     .await?;
    /// assert_eq!(receipts.len(), 2);
    /// # Ok(()) }
    /// ```
    pub fn revoke_all<T: Into<RevocationOrder>>(&self, orders: impl IntoIterator<Item = T>) -> RevocationBatch<'_> {
        // One more than a batch may have is enough to refuse it.
        let orders = orders.into_iter().take(MAX_BATCH + 1);
        RevocationBatch::new(self, orders.map(Into::into).collect())
    }

    /// Forgets every cached verdict on every node. Tokens stay valid and are verified again; revocations stand. `false`
    /// when the statement could not be committed in time; it will be, and is in force here.
    ///
    /// # Errors
    /// When the statement was not accepted.
    pub async fn clear(&self) -> Result<bool, RevokeError> {
        let statement = cache::tag_mark(self.node(), self.0.shared.all_verdicts);
        say_and_wait(self.node(), statement).await
    }

    /// A namespace of the generic cache, for values of type `V`.
    ///
    /// # Errors
    /// When the namespace's settings are impossible, or it was declared before with other settings or another type.
    pub fn cache<V>(&self, namespace: Namespace) -> Result<Cache<V>, BuildError>
    where
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        if namespace.is_reserved() {
            return Err(BuildError::new(
                "namespace",
                "names that begin with authmesh/ are the SDK's own; take another",
            ));
        }
        let cache = Cache::new(self.node(), &self.0.flights, &self.0.declared, namespace)?;
        cache.warm_from_a_member();
        Ok(cache)
    }

    /// Fetches an issuer's key set now. `None`: there is no such issuer.
    ///
    /// # Errors
    /// [`VerifyError::CouldNotAsk`] when no usable set came; the last good one is kept.
    pub async fn refresh_keys(&self, issuer: &str) -> Option<Result<(), VerifyError>> {
        self.0.shared.refresh(issuer).await
    }

    /// Takes another key ring over, in place of the one that the node was built with: rotation without a restart. From here
    /// on the first sealing key of `ring` seals, and every one opens; what was sealed under a key that left opens no more.
    ///
    /// Give every node the new key before one of them seals under it: a node that cannot open a statement proves no
    /// coherence until it can.
    ///
    /// # Errors
    /// When `ring` has another naming key: this node would find nothing of what the cluster holds. The old ring stays.
    pub fn set_key_ring(&self, ring: &KeyRing) -> Result<(), BuildError> {
        if self.node().codec.set_ring(ring) {
            return Ok(());
        }
        Err(BuildError::new(
            "key_ring",
            "has another naming key than the ring in use, which goes on: a rotation keeps the naming key",
        ))
    }

    /// Waits until every configured issuer has a trusted key set, at most `at_most`. Returns whether every one has. A node answers
    /// without it too; the first tokens of an issuer then wait for its keys. Of more than 16 issuers the first fetches are spread
    /// over 25 ms for each, at most 10 s.
    pub async fn wait_for_keys(&self, at_most: Duration) -> bool {
        let issuers = self.0.shared.issuers.values();
        let all = async {
            for issuer in issuers {
                issuer.wait_until_trusted(self.node()).await;
            }
        };
        tokio::time::timeout(at_most, all).await.is_ok()
    }

    /// What the node did, and what it holds.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let node = self.node();
        let counts = node.counters.read();
        let from_memory = counts.hits + counts.blind_hits;
        let accepted = from_memory + counts.verified + counts.blind_verified + counts.l2 + counts.stale;
        Stats {
            node: node.name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.0.shared.now().since(self.0.started).as_secs(),
            counts,
            hit_rate: (accepted > 0).then(|| from_memory as f64 / accepted as f64),
            verdicts: node.verdict_count(),
            verdict_bytes: node.verdict_bytes(),
            entries: node.l1.entries.entry_count(),
            entry_bytes: node.l1.entries.weighted_size(),
            marks: node.marks().len(),
            outbox: node.outbox.waiting(),
            gossip: node.gossip_stats(),
        }
    }

    /// How the node is.
    #[must_use]
    pub fn health(&self) -> Health {
        let now = self.0.shared.now();
        let issuers: Vec<_> = self.0.shared.all_issuers().map(|issuer| issuer.status(now)).collect();
        let coherence = self.node().coherence();
        let upstreams: Vec<_> = self.0.shared.upstreams.values().map(|up| up.status()).collect();
        // Whoever can write a token puts an issuer on trial: that says nothing about this node.
        let proven = issuers.iter().filter(|issuer| !issuer.on_trial);
        let degraded = proven.into_iter().any(|issuer| !issuer.trusted || issuer.failures > 0)
            || upstreams.iter().any(|upstream| upstream.open);
        Health {
            status: match coherence {
                Coherence::Coherent if degraded => Status::Degraded,
                Coherence::Coherent => Status::Ok,
                _ => Status::Blind,
            },
            coherent: coherence.is_coherent(),
            blind_for_seconds: match coherence {
                Coherence::Blind(since) => Some(since.as_secs()),
                _ => None,
            },
            ready: self.is_ready(),
            issuers,
            upstreams,
            gossip: self.node().gossip_health(),
        }
    }

    /// Whether the node's marks were loaded. Waits for nothing.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let node = self.node();
        match node.gossip() {
            None => node.follower().loaded(),
            // From Redis, or from a coherent member.
            Some(room) => room.has_log && node.follower().loaded() || room.machine().loaded(),
        }
    }

    /// Whether statements of a kind may be made: every member of the cluster has announced that it knows it. In a rolling
    /// upgrade a new kind is used only when the last node of the old version has gone.
    #[must_use]
    pub fn may_send(&self, kind: u16) -> bool {
        self.node().may_send(kind)
    }

    /// The members of the cluster by name: those that are registered, and, where this node has gossip, those that gossip knows.
    ///
    /// # Errors
    /// When registrations could not be read; not where this node has gossip, which knows the members of its view.
    pub async fn members(&self) -> Result<Vec<Member>, PortError> {
        self.node().list_members().await
    }

    /// Forgets a member for good: this start of it, by its incarnation as [`AuthMesh::members`] tells it. No lease and no
    /// confirmation waits for it any more, and it stays blind until it is started anew. `false`: there is no such member.
    ///
    /// For a member that is known to be dead while nothing but its silence tells the others: one that is merely cut off is
    /// safe to forget, and blind afterwards.
    ///
    /// Cancel safety: dropped early, the member may be forgotten, and its registration may still be there. Call it again.
    ///
    /// # Errors
    /// [`PortError::Refused`] for this node itself. When registrations could not be read or removed; not where this node has
    /// gossip.
    pub async fn forget_member(&self, incarnation: &str) -> Result<bool, PortError> {
        self.node().forget_member(incarnation).await
    }

    /// The configured issuers: those with keys, then those whose providers are asked. What templates have learned is in
    /// [`AuthMesh::health`].
    pub fn issuers(&self) -> impl Iterator<Item = &str> {
        let shared = &self.0.shared;
        let all = shared.issuers.keys().chain(shared.upstreams.keys());
        all.map(|issuer| &**issuer)
    }

    /// Shuts the node down: what was said is committed (for at most 2 s), its registration is taken away, and the future
    /// resolves when every task has ended. Verification goes on from memory for handles that are still held, until the
    /// coherence lease ends.
    ///
    /// Cancel safety: the shutdown goes on if the future is dropped.
    pub async fn shutdown(&self) {
        let node = self.node();
        node.shutdown.cancel();
        node.tasks.close();
        node.tasks.wait().await;
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.0.shared.node
    }

    /// An issuer with keys that is configured, or was learned.
    pub(crate) fn issuer(&self, url: &str) -> Option<Arc<Issuer>> {
        self.0.shared.issuer(url)
    }

    pub(crate) fn upstream(&self, issuer: &str) -> Option<&Arc<Upstream>> {
        let upstreams: &BTreeMap<_, _> = &self.0.shared.upstreams;
        upstreams.get(issuer)
    }

    /// The time of one of the mesh's issuers, as late as it can be; its `Date` counts up to `latest`.
    pub(crate) fn issuer_time(&self, issuer: &str, now: Now, latest: Unix) -> Option<Unix> {
        match (self.issuer(issuer), self.upstream(issuer)) {
            (Some(issuer), _) => Some(issuer.time(now, latest)),
            (None, Some(upstream)) => Some(upstream.provider.time(now)),
            // This node has not met it yet; another may have.
            (None, None) => self.0.shared.known(issuer).map(|_| now.wall),
        }
    }

    pub(crate) fn subjects(&self) -> &Subjects {
        &self.0.subjects
    }

    pub(crate) fn max_token_lifetime(&self) -> Duration {
        self.0.max_token_lifetime
    }
}
