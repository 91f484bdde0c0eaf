//! Building a node.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use authmesh_proto::crypto::{KeyRing, ScopeKind};
use authmesh_proto::follower::FollowerConfig;
use authmesh_proto::gossip::{self, GossipConfig, Peer, Speaks};
use authmesh_proto::hot::MAX_HOT;
use authmesh_proto::keys::KeyPolicy;
use authmesh_proto::time::Moment;
use authmesh_proto::{statement, wire};
use opentelemetry::metrics::Meter;

use crate::cache::{Declared, Flights};
use crate::clock::{SystemClock, SystemEntropy};
use crate::error::BuildError;
use crate::issuer::{Factory, Issuer, IssuerTemplate, Template};
use crate::keyring::{RingFile, is_open_to_others};
use crate::l1::Stores;
use crate::logout::LogoutRules;
use crate::memory;
use crate::mesh::{AuthMesh, Inner};
use crate::node::{Codec, Driver, Node, Parts, Ports, Road, Room, gossip_node};
use crate::observer;
use crate::policy::{Policy, Rules};
use crate::ports::{Bus, Clock, Entropy, Gossip, KeySource, Log, Members, Store, TokenSource, UpstreamError};
use crate::possession::{ProofMemory, Replays};
use crate::revoke::Subjects;
use crate::snapshot::Snapshot;
use crate::telemetry;
use crate::upstream::{Upstream, UpstreamRules};
use crate::verify::{Shared, VERDICTS, Verifier};

/// How long `start` waits until the node has loaded its marks. Past it the node starts blind, and sees by itself.
const START_WAIT: Duration = Duration::from_secs(2);

/// The least time between two rounds of the observer.
const LEAST_OBSERVE_PERIOD: Duration = Duration::from_secs(1);

/// So many issuers ask for their keys at the start all at once.
const FETCHES_AT_ONCE: usize = 16;
/// Of more, the first fetches that nobody waits for are spread over so much time for each, and over no more than the second.
const SPREAD: (Duration, Duration) = (Duration::from_millis(25), Duration::from_secs(10));

/// One adapter per port of a cluster.
type Adapters = (Arc<dyn Log>, Arc<dyn Bus>, Arc<dyn Store>, Arc<dyn Members>);

/// A step that waits for the start.
type Step = Box<dyn FnOnce(Builder) -> Result<Builder, BuildError> + Send>;

/// Builds an [`AuthMesh`]. Every setter ends with its default.
#[must_use = "a builder does nothing until `start`"]
pub struct Builder {
    name: String,
    address: String,
    cluster: String,
    ring: Option<KeyRing>,
    adapters: Option<Adapters>,
    gossip: Option<Arc<dyn Gossip>>,
    gossip_config: GossipConfig,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    issuers: Vec<(String, Arc<dyn KeySource>, KeyPolicy, Rules)>,
    templates: Vec<(IssuerTemplate, Factory, KeyPolicy, Rules)>,
    upstreams: Vec<(String, Arc<dyn TokenSource>, UpstreamRules)>,
    logouts: BTreeMap<String, LogoutRules>,
    policy: Policy,
    follower: FollowerConfig,
    verdict_bytes: u64,
    entry_bytes: u64,
    mark_cap: usize,
    snapshot: Option<PathBuf>,
    max_token_lifetime: Option<Duration>,
    meter: Option<Meter>,
    observe_every: Option<Duration>,
    warm_from_peers: usize,
    steps: Vec<Step>,
    proof_memory: ProofMemory,
}

impl std::fmt::Debug for Builder {
    // Factories and sources say nothing of themselves.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("cluster", &self.cluster)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            name: "node".into(),
            address: String::new(),
            cluster: "authmesh".into(),
            ring: None,
            adapters: None,
            gossip: None,
            gossip_config: GossipConfig::default(),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            issuers: Vec::new(),
            templates: Vec::new(),
            upstreams: Vec::new(),
            logouts: BTreeMap::new(),
            policy: Policy::default(),
            follower: FollowerConfig::default(),
            verdict_bytes: 64 << 20,
            entry_bytes: 64 << 20,
            mark_cap: 1_000_000,
            snapshot: None,
            max_token_lifetime: None,
            meter: None,
            observe_every: None,
            warm_from_peers: 0,
            steps: Vec::new(),
            proof_memory: ProofMemory::default(),
        }
    }

    /// The node's name, for people. Default: `node`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Where the node answers, as members are told. Default: empty.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = address.into();
        self
    }

    /// The cluster's name. Nodes of different clusters read nothing of each other. Default: `authmesh`.
    pub fn cluster(mut self, cluster: impl Into<String>) -> Self {
        self.cluster = cluster.into();
        self
    }

    /// The key ring that the nodes of the cluster share. Default: a random one, good for a single process only.
    pub fn key_ring(mut self, ring: KeyRing) -> Self {
        self.ring = Some(ring);
        self
    }

    /// The same from a file ([`RingFile`]), read when the node starts. Others than its owner must not read it. Default: none.
    pub fn key_ring_file(self, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        self.at_start(move |builder| {
            let refuse = |why: String| BuildError::new("key_ring_file", why);
            if is_open_to_others(&path) {
                let path = path.display();
                tracing::warn!(
                    "key ring {path}: others than its owner may read it; `chmod 600` it, or mount it with 0400"
                );
            }
            let file = RingFile::read(&path).map_err(|error| refuse(error.to_string()))?;
            Ok(builder.key_ring(file.ring().map_err(refuse)?))
        })
    }

    /// Joins a cluster through one adapter of log, bus, store and members. Default: none; the node is a local cache and its
    /// own authority.
    pub fn join<A: Log + Bus + Store + Members + 'static>(mut self, adapter: Arc<A>) -> Self {
        self.adapters = Some((
            Arc::clone(&adapter) as _,
            Arc::clone(&adapter) as _,
            Arc::clone(&adapter) as _,
            adapter as _,
        ));
        self
    }

    /// Joins a cluster through an adapter per port, for instance with faults in front of them.
    pub fn join_through(
        mut self,
        log: Arc<dyn Log>,
        bus: Arc<dyn Bus>,
        store: Arc<dyn Store>,
        members: Arc<dyn Members>,
    ) -> Self {
        self.adapters = Some((log, bus, store, members));
        self
    }

    /// Joins the cluster by gossip: beside Redis, so that the node stays coherent without it, or alone, without any log.
    ///
    /// Every node of a cluster has it, or none. Default: none.
    pub fn gossip(mut self, adapter: Arc<dyn Gossip>) -> Self {
        self.gossip = Some(adapter);
        self
    }

    /// Periods and limits of gossip. What the node itself knows is set by it: the lease (that of the follower), whether there is
    /// a log, the seed, and what it understands. Default: [`GossipConfig::default`].
    pub fn gossip_config(mut self, config: GossipConfig) -> Self {
        self.gossip_config = config;
        self
    }

    /// Adds an issuer: its key source, and what is demanded of its tokens. `url` is compared with `iss` byte by byte.
    pub fn issuer(self, url: impl Into<String>, source: Arc<dyn KeySource>, rules: Rules) -> Self {
        self.issuer_with(url, source, KeyPolicy::default(), rules)
    }

    /// Adds an issuer with settings for its key machine.
    pub fn issuer_with(
        mut self,
        url: impl Into<String>,
        source: Arc<dyn KeySource>,
        keys: KeyPolicy,
        rules: Rules,
    ) -> Self {
        self.issuers.push((url.into(), source, keys, rules));
        self
    }

    /// Adds issuers that are not known beforehand: those whose `iss` fits a pattern ([`IssuerTemplate`]), each with a key set of
    /// its own. `factory` makes the key source of one: it is given the exact `iss`, and must neither block nor ask anybody.
    ///
    /// An issuer that fits is learned from the first token that names it, which the rules must not refuse already for what it
    /// claims. Until it has verified a token it is on trial: see [`IssuerTemplate::first_fetches`]. What cannot be learned now is
    /// [`VerifyError::CouldNotAsk`](crate::VerifyError::CouldNotAsk), never a verdict.
    ///
    /// Policies, and [`Builder::logout`], name a template by its pattern. An issuer that is configured as well is no
    /// template's. Default: none. See `docs/many-issuers.md`.
    pub fn issuer_template(
        mut self,
        template: impl Into<IssuerTemplate>,
        factory: impl Fn(&str) -> Result<Arc<dyn KeySource>, UpstreamError> + Send + Sync + 'static,
        keys: KeyPolicy,
        rules: Rules,
    ) -> Self {
        self.templates.push((template.into(), Box::new(factory), keys, rules));
        self
    }

    /// Adds an issuer whose tokens its provider validates: by introspection, by any call of its own. `issuer` is its name: what
    /// `iss` says, if there is one. A JWS with that `iss` goes to the provider, and opaque tokens if the rules take them. A
    /// verifier handles them like all others. See `docs/upstreams.md`.
    pub fn upstream(mut self, issuer: impl Into<String>, source: Arc<dyn TokenSource>, rules: UpstreamRules) -> Self {
        self.upstreams.push((issuer.into(), source, rules));
        self
    }

    /// Takes the logout tokens of an issuer, which is added with [`Builder::issuer`], or of those of a template, by its pattern. Default: those of none. See
    /// [`AuthMesh::back_channel_logout`].
    pub fn logout(mut self, issuer: impl Into<String>, rules: LogoutRules) -> Self {
        self.logouts.insert(issuer.into(), rules);
        self
    }

    /// Settings of the default policy; its issuers are those added with [`Builder::issuer`], [`Builder::issuer_template`] and [`Builder::upstream`]. Default: [`Policy::default`].
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Periods of the follower. Default: [`FollowerConfig::default`].
    pub fn follower(mut self, follower: FollowerConfig) -> Self {
        self.follower = follower;
        self
    }

    /// Memory for verdicts, in bytes, with all their bookkeeping: what the allocator is asked for. A verdict takes some 600 to 720
    /// bytes on top of its claims. Default: 64 MiB.
    pub fn verdict_bytes(mut self, bytes: u64) -> Self {
        self.verdict_bytes = bytes;
        self
    }

    /// Memory for entries of the generic cache, in bytes, with all their bookkeeping. A value counts as many bytes as it has in
    /// JSON; what it takes in memory is known to its type alone. Default: 64 MiB.
    pub fn entry_bytes(mut self, bytes: u64) -> Self {
        self.entry_bytes = bytes;
        self
    }

    /// How many marks this node may bring the cluster to. Default: 1,000,000.
    pub fn mark_cap(mut self, cap: usize) -> Self {
        self.mark_cap = cap;
        self
    }

    /// A file in which this node keeps the cluster's revocations, sealed, for its next start: they are in force before
    /// anything is answered, and come back to a Redis that was emptied while no node ran. Written a second after they have
    /// changed (with very many of them at most 30 s after), and at shutdown. About 100 bytes for each. Every node needs a file of its own, and a
    /// [`Builder::key_ring`]. Default: none.
    ///
    /// A file that is broken, or of another cluster or key, is set aside under a name with `.refused-` in it.
    pub fn snapshot(mut self, path: impl Into<PathBuf>) -> Self {
        self.snapshot = Some(path.into());
        self
    }

    /// The longest token lifetime that any policy of this mesh will accept: it decides how long marks are kept. Equal on
    /// every node. Default: the longest among the rules of the issuers.
    pub fn max_token_lifetime(mut self, lifetime: Duration) -> Self {
        self.max_token_lifetime = Some(lifetime);
        self
    }

    /// The clocks. Default: [`SystemClock`].
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The random source. Default: [`SystemEntropy`].
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = entropy;
        self
    }

    /// Registers metrics with an OpenTelemetry meter. Default: none.
    pub fn meter(mut self, meter: Meter) -> Self {
        self.meter = Some(meter);
        self
    }

    /// Looks again and again whether what this node would serve agrees with its marks, with L2 and with its members
    /// ([`AuthMesh::observe`] with its defaults), with a jitter of a quarter either way. At least a second. Default: never.
    pub fn observe_every(mut self, every: Duration) -> Self {
        self.observe_every = Some(every);
        self
    }

    /// Asks a member, where there is gossip, for the names of its so many hottest entries of each namespace that this node
    /// declares ([`AuthMesh::cache`]), and reads them from L2, once, in the background. At most 1,000. Default: 0, nobody is asked.
    ///
    /// Verdicts are not handed over: their names are made with a key that never leaves the process.
    pub fn warm_from_peers(mut self, names: usize) -> Self {
        self.warm_from_peers = names;
        self
    }

    /// Does a step when the node starts, before anything is checked, in the order in which steps were given: for extensions whose
    /// settings can be wrong, or need others that come later in the chain ([`Builder::cluster_name`]). Default: none.
    pub fn at_start(mut self, step: impl FnOnce(Self) -> Result<Self, BuildError> + Send + 'static) -> Self {
        self.steps.push(Box::new(step));
        self
    }

    /// The cluster's name as it is set by now.
    #[must_use]
    pub fn cluster_name(&self) -> &str {
        &self.cluster
    }

    /// How many proofs of bound tokens this node remembers, so that none counts twice. Default: [`ProofMemory::default`].
    pub fn proof_memory(mut self, memory: ProofMemory) -> Self {
        self.proof_memory = memory;
        self
    }

    /// Starts the node inside the present tokio runtime. Waits at most 2 s for the marks, and with gossip for the lease; a node
    /// that could not load them starts blind and goes on trying.
    ///
    /// # Errors
    /// When settings are missing or contradict each other, or gossip could not be opened; nothing is running then.
    pub async fn start(mut self) -> Result<AuthMesh, BuildError> {
        for step in std::mem::take(&mut self.steps) {
            self = step(self)?;
        }
        if self.cluster.is_empty() || self.cluster.len() > 64 {
            return Err(BuildError::new("cluster", "its name must have 1 to 64 bytes"));
        }
        if self.issuers.is_empty() && self.upstreams.is_empty() && self.templates.is_empty() {
            return Err(BuildError::new(
                "issuers",
                "there is none: no token could be accepted. Add one",
            ));
        }
        for (issuer, _, rules) in &self.upstreams {
            rules.check(issuer)?;
        }
        if self.warm_from_peers > MAX_HOT {
            return Err(BuildError::new(
                "warm_from_peers",
                "is more than 1,000: a member hands over no more",
            ));
        }
        self.proof_memory.check()?;
        for (issuer, rules) in &self.logouts {
            rules.check(issuer)?;
            let is_template = self.templates.iter().any(|(template, ..)| template.pattern() == issuer);
            if !is_template && !self.issuers.iter().any(|(known, ..)| known == issuer) {
                return Err(BuildError::new(
                    "logout",
                    format!("{issuer} is not one of the mesh's issuers; add it with `issuer` too"),
                ));
            }
        }
        let of_issuers = self.issuers.iter().map(|(.., rules)| rules);
        let longest = of_issuers
            .chain(self.templates.iter().map(|(.., rules)| rules))
            .chain(self.upstreams.iter().map(|(.., rules)| &rules.tokens))
            .map(|rules| rules.max_token_lifetime)
            .max()
            .unwrap_or_default();
        let max_token_lifetime = self.max_token_lifetime.unwrap_or(longest);
        if max_token_lifetime < longest {
            return Err(BuildError::new(
                "max_token_lifetime",
                format!("is shorter than the {longest:?} that an issuer's rules accept"),
            ));
        }
        let has_log = self.adapters.is_some();
        let alone = !has_log && self.gossip.is_none();
        let (log, bus, store, members) = self.adapters.take().unwrap_or_else(|| {
            let own = Arc::new(memory::Cluster::with(
                memory::Limits::default(),
                Arc::clone(&self.clock),
            ));
            (
                Arc::clone(&own) as _,
                Arc::clone(&own) as _,
                Arc::clone(&own) as _,
                own as _,
            )
        });
        let snapshot = self.snapshot.as_deref().map(Snapshot::new).transpose()?;
        let ring = match self.ring.take() {
            None if snapshot.is_some() => {
                return Err(BuildError::new(
                    "key_ring",
                    "a snapshot of marks is sealed, and must open after the next start: give the node a key ring",
                ));
            }
            Some(ring) => ring,
            None if alone => self.random_ring()?,
            None => {
                return Err(BuildError::new(
                    "key_ring",
                    "nodes of a cluster must share one; give each node the same",
                ));
            }
        };
        let now = self.clock.now().boot;
        let lease = self.follower.lease;
        let codec = Codec::new(&ring, &self.cluster, Arc::clone(&self.entropy));
        let l1 = Stores::new(self.verdict_bytes, self.entry_bytes, &*self.entropy);
        let (node, said) = Node::new(Parts {
            name: self.name,
            address: self.address,
            ports: Ports {
                log,
                bus,
                store,
                members,
                clock: self.clock,
                entropy: self.entropy,
            },
            codec,
            follower: self.follower,
            mark_cap: self.mark_cap,
            l1,
            max_skew: Duration::from_secs(30),
            alone,
            has_log,
            warm_from_peers: self.warm_from_peers,
        });
        let gossip = self.gossip.take();
        let config = GossipConfig {
            lease,
            has_log,
            ..self.gossip_config
        };
        let mut issuers = BTreeMap::new();
        for (url, source, keys, rules) in std::mem::take(&mut self.issuers) {
            keys.check()
                .map_err(|conflict| BuildError::new(conflict.setting, format!("{url}: {}", conflict.problem)))?;
            let issuer = Arc::new(Issuer::new(&url, source, keys, now, &node));
            node.issuers.add(&issuer);
            if issuers.insert(Arc::clone(&issuer.url), issuer).is_some() {
                return Err(BuildError::new("issuers", format!("{url} stands there twice")));
            }
            self.policy.issuers.insert(url, rules);
        }
        let templates = build_templates(std::mem::take(&mut self.templates), &mut self.policy, now)?;
        let all_verdicts = node.codec.namer.scope(ScopeKind::Tag, VERDICTS, b"");
        let flights = Arc::new(Flights::default());
        let mut upstreams = BTreeMap::new();
        for (issuer, source, rules) in std::mem::take(&mut self.upstreams) {
            let tokens = rules.tokens.clone();
            let upstream = Arc::new(Upstream::new(&issuer, source, rules, &node, &flights, all_verdicts));
            let name = Arc::clone(&upstream.provider.issuer);
            if issuers.contains_key(&name) || upstreams.insert(name, upstream).is_some() {
                return Err(BuildError::new("upstream", format!("{issuer} stands there twice")));
            }
            self.policy.issuers.insert(issuer, tokens);
        }
        let shared = Arc::new(Shared {
            node: Arc::clone(&node),
            issuers,
            templates,
            upstreams,
            replays: Replays::new(self.proof_memory),
            all_verdicts,
        });
        // Nothing runs before the policy is known to be sound.
        let verifier = Verifier::new(Arc::clone(&shared), self.policy)?;
        if let Some(snapshot) = snapshot {
            snapshot.load(&node).await?;
            node.tasks.spawn(snapshot.keep(Arc::clone(&node)));
        }
        let road = match gossip {
            Some(port) => Some(open_gossip(&node, port, config).await?),
            None => None,
        };
        node.tasks.spawn(Driver::new(Arc::clone(&node), said, road).run());
        node.tasks.spawn(Arc::clone(&node).announce());
        for issuer in shared.issuers.values() {
            let delay = spread(shared.issuers.len(), u32::from_ne_bytes(node.random()));
            node.tasks
                .spawn(Issuer::keep_fresh(Arc::downgrade(issuer), Arc::clone(&node), delay));
        }
        if let Some(every) = self.observe_every {
            let every = every.max(LEAST_OBSERVE_PERIOD);
            node.tasks.spawn(observer::keep_observing(Arc::clone(&node), every));
        }
        if let Some(meter) = &self.meter {
            telemetry::register(meter, &node, shared.upstreams.values());
        }
        let mesh = AuthMesh(Arc::new(Inner {
            shared,
            verifier,
            flights,
            declared: Declared::default(),
            subjects: Subjects::default(),
            max_token_lifetime,
            logouts: self.logouts,
            started: now,
        }));
        mesh.await_marks().await;
        Ok(mesh)
    }

    fn random_ring(&self) -> Result<KeyRing, BuildError> {
        let (mut naming, mut sealing) = ([0; 32], [0; 32]);
        self.entropy.fill(&mut naming);
        self.entropy.fill(&mut sealing);
        KeyRing::new(naming, [sealing]).map_err(|error| BuildError::new("entropy", error.to_string()))
    }
}

/// When the first fetch of one of so many issuers begins, where nobody waits for it: one provider may stand behind all of
/// them, and 300 handshakes at one instant serve nobody. `random` is a random number.
fn spread(issuers: usize, random: u32) -> Duration {
    if issuers <= FETCHES_AT_ONCE {
        return Duration::ZERO;
    }
    let (each, most) = SPREAD;
    let window = each
        .saturating_mul(u32::try_from(issuers).unwrap_or(u32::MAX))
        .min(most);
    window.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// Takes the templates apart, and enters their rules into the default policy.
fn build_templates(
    all: Vec<(IssuerTemplate, Factory, KeyPolicy, Rules)>,
    policy: &mut Policy,
    now: Moment,
) -> Result<Vec<Arc<Template>>, BuildError> {
    let mut templates: Vec<Arc<Template>> = Vec::new();
    for (template, factory, keys, rules) in all {
        let template = Template::new(&template, factory, keys, now)?;
        if let Some(other) = templates.iter().find(|other| other.meets(&template)) {
            return Err(BuildError::new(
                "issuer_template",
                format!(
                    "an issuer could be one of {} and one of {}: whose rules hold would be chance",
                    other.name(),
                    template.name()
                ),
            ));
        }
        policy.issuers.insert(template.name().to_owned(), rules);
        templates.push(template);
    }
    Ok(templates)
}

/// Opens gossip, and gives the node its room.
async fn open_gossip(node: &Arc<Node>, port: Arc<dyn Gossip>, config: GossipConfig) -> Result<Road, BuildError> {
    let stream = port.open(gossip_node(node)).await.map_err(|error| {
        BuildError::new(
            "gossip",
            format!("could not be opened: {error}. Is its address free, and one of this machine?"),
        )
    })?;
    let has_log = config.has_log;
    let me = Peer {
        origin: node.origin,
        address: port.address().map(|address| address.to_string()).unwrap_or_default(),
        name: node.name.clone(),
    };
    let config = GossipConfig {
        seed: u64::from_le_bytes(node.random()),
        speaks: Speaks {
            versions: vec![wire::VERSION],
            kinds: statement::KINDS.to_vec(),
        },
        ..config
    };
    let machine = gossip::Gossip::new(config, me, node.now().boot);
    let (room, told) = Room::new(port, machine, has_log);
    node.set_gossip(room);
    Ok(Road::new(stream, told, has_log))
}

impl AuthMesh {
    async fn await_marks(&self) {
        let loaded = async {
            let mut look = tokio::time::interval(Duration::from_millis(5));
            let gossips = self.node().gossip().is_some();
            while !self.is_ready() || (gossips && !self.node().coherence().is_coherent()) {
                look.tick().await;
            }
        };
        if tokio::time::timeout(START_WAIT, loaded).await.is_err() {
            tracing::warn!("the marks could not be loaded yet; this node answers nothing until they are");
        }
    }
}
