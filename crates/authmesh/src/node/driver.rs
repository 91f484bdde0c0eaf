//! The driver: the one loop that moves bytes between the ports and the pure machines.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use authmesh_proto::commit::{self, Attempt, CommitConfig, Commits};
use authmesh_proto::follower::{Action, Event, Input};
use authmesh_proto::gossip;
use authmesh_proto::ident::{CHANNELS, ChannelId};
use authmesh_proto::log::LogEntry;
use authmesh_proto::statement::Body;
use authmesh_proto::time::Moment;
use tokio::sync::Notify;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_stream::StreamExt as _;
use tracing::Instrument as _;

use super::Node;
use super::gossip::{Answering, Fed, Road};
use super::jobs::{self, Finished, Loaded, Mending};
use super::outbox::SaidReceiver;
use super::progress::Awaiting;
use crate::ports::{BusEvent, BusStream};
use crate::telemetry::span;

/// How often marks that are past are collected: one channel at a time, so that nobody waits long for the map.
const COLLECT_PERIOD: Duration = Duration::from_secs(1);
/// The longest sleep between two looks at the clock; the node's clock need not be the runtime's.
const LONGEST_SLEEP: Duration = Duration::from_millis(250);
/// How long shutdown waits for statements that are not committed yet.
const DRAIN: Duration = Duration::from_secs(2);
/// The wait before a new subscription after a failed one.
const RESUBSCRIBE: Duration = Duration::from_millis(250);

pub(crate) struct Driver {
    pub(super) node: Arc<Node>,
    pub(super) said: SaidReceiver,
    /// Statements that are not done. Its moments are of the runtime's clock, counted from `began`.
    pub(super) commits: Commits,
    pub(super) began: Instant,
    /// Who waits for a statement, and its room in the outbox.
    pub(super) awaiting: Awaiting,
    /// Gossip, where the node has it.
    pub(super) road: Option<Road>,
    /// Takes the answer to the request of a member that is being handled.
    pub(super) answering: Answering,
    pub(super) jobs: JoinSet<Finished>,
    /// What a job stands for, should it end without an answer (an adapter panicked).
    pub(super) if_lost: HashMap<Id, Finished>,
    /// What a channel lacks, found by its last load.
    pub(super) lacking: BTreeMap<ChannelId, Mending>,
    /// Channels whose table was found damaged: what it says of its digests is not believed.
    pub(super) distrusted: BTreeSet<ChannelId>,
    pub(super) bells: Option<BusStream>,
    pub(super) next_collect: Moment,
    /// How many channels were collected.
    pub(super) collected: usize,
    pub(super) audit_period: Duration,
    pub(super) next_audit: Moment,
    /// How many channels were audited; each node begins with another one.
    pub(super) audited: usize,
    /// A channel was soiled.
    pub(super) soiled: Arc<Notify>,
}

impl Driver {
    pub(crate) fn new(node: Arc<Node>, said: SaidReceiver, road: Option<Road>) -> Self {
        let next_collect = node.now().boot.plus(COLLECT_PERIOD);
        let audit_period = node.follower().config().audit_period;
        let next_audit = node.now().boot.plus(audit_period);
        let audited = usize::from(node.origin.as_bytes()[0]);
        let node_soiled = node.outbox.soiled();
        Self {
            node,
            said,
            commits: Commits::new(CommitConfig::default()),
            began: Instant::now(),
            awaiting: Awaiting::default(),
            road,
            answering: None,
            jobs: JoinSet::new(),
            if_lost: HashMap::new(),
            lacking: BTreeMap::new(),
            distrusted: BTreeSet::new(),
            bells: None,
            next_collect,
            collected: 0,
            audit_period,
            next_audit,
            audited,
            soiled: node_soiled,
        }
    }

    /// Runs until the node shuts down, then until what was said is committed, at most two seconds more.
    pub(crate) async fn run(mut self) {
        let shutdown = self.node.shutdown.clone();
        self.subscribe(Duration::ZERO);
        self.tick();
        let mut ending: Option<Instant> = None;
        loop {
            let over = ending.is_some_and(|end| self.is_done() || Instant::now() >= end);
            if over && self.said.is_empty() {
                break;
            }
            let sleep = self.until_next();
            tokio::select! {
                () = shutdown.cancelled(), if ending.is_none() => {
                    ending = Some(Instant::now() + DRAIN);
                }
                Some(said) = self.said.recv() => self.on_said(said),
                () = self.soiled.notified() => self.step(None),
                Some(finished) = self.jobs.join_next_with_id(), if !self.jobs.is_empty() => {
                    let finished = match finished {
                        Ok((id, finished)) => {
                            self.if_lost.remove(&id);
                            Some(finished)
                        }
                        Err(error) => self.if_lost.remove(&error.id()),
                    };
                    if let Some(finished) = finished {
                        self.on_finished(finished);
                    }
                }
                event = next(&mut self.bells), if self.bells.is_some() => self.on_bus(event),
                came = Road::next(&mut self.road), if self.road.is_some() => self.on_gossip(came),
                () = tokio::time::sleep(sleep) => self.tick(),
            }
        }
        self.leave().await;
        self.jobs.shutdown().await;
    }

    /// Whether nobody has to wait for anything that was said here.
    fn is_done(&self) -> bool {
        let by_gossip = self
            .road
            .as_ref()
            .is_none_or(|road| road.has_log || self.awaiting.is_empty());
        self.commits.is_empty() && by_gossip && !self.node.outbox.is_writing()
    }

    fn until_next(&self) -> Duration {
        let now = self.node.now().boot;
        let next = self
            .node
            .follower()
            .poll_timeout()
            .min(self.next_collect)
            .min(self.next_audit);
        let gossip = self
            .node
            .gossip()
            .map_or(Moment::NEVER, |room| room.machine().poll_timeout());
        let commits = self.commits.poll_timeout().since(self.elapsed());
        next.min(gossip).since(now).min(commits).min(LONGEST_SLEEP)
    }

    fn elapsed(&self) -> Moment {
        Moment::ORIGIN.plus(self.began.elapsed())
    }

    pub(super) fn spawn(&mut self, if_lost: Finished, job: impl Future<Output = Finished> + Send + 'static) {
        let handle = self.jobs.spawn(job);
        self.if_lost.insert(handle.id(), if_lost);
    }

    fn subscribe(&mut self, after: Duration) {
        self.bells = None;
        let node = Arc::clone(&self.node);
        self.spawn(Finished::Subscribed(None), async move {
            tokio::time::sleep(after).await;
            jobs::subscribe(&node).await
        });
    }

    fn tick(&mut self) {
        let now = self.node.now();
        let late = now.boot.since(self.next_collect).as_secs();
        if now.boot >= self.next_collect {
            self.next_collect = now.boot.plus(COLLECT_PERIOD);
            // After a sleep all at once.
            for _ in 0..=late.min(CHANNELS as u64) {
                if let Some(channel) = ChannelId::all().nth(self.collected % CHANNELS) {
                    self.collected = self.collected.wrapping_add(1);
                    let namer = &self.node.codec.namer;
                    self.node.marks_mut().collect_channel(channel, now, namer);
                }
            }
        }
        if now.boot >= self.next_audit {
            self.next_audit = now.boot.plus(self.audit_period);
            self.audit();
        }
        self.step(None);
        self.gossip_tick();
        self.sweep_awaited();
        self.commit_step(None);
    }

    fn audit(&mut self) {
        let Some(channel) = ChannelId::all().nth(self.audited % CHANNELS) else {
            return;
        };
        let turn = self.audited / CHANNELS;
        self.audited = self.audited.wrapping_add(1);
        // A channel under repair loads its table anyway.
        if self.node.follower().settled(channel).is_some() {
            let node = Arc::clone(&self.node);
            let lost = Finished::Audited(channel, None);
            self.spawn(lost, async move { jobs::audit(&node, channel, turn).await });
        }
    }

    fn on_bus(&mut self, event: Option<BusEvent>) {
        match event {
            Some(BusEvent::Bell(bytes)) => match LogEntry::decode(&bytes) {
                Ok(entry) => {
                    let opened = self.node.codec.open_entry(entry);
                    self.step(Some(Input::Bell(opened)));
                }
                Err(error) => {
                    self.node.counters.malformed_bells.add();
                    tracing::warn!(%error, "a bell is no log entry of this version; it is ignored");
                    self.step(Some(Input::BellsBroken));
                }
            },
            Some(BusEvent::Broken) => self.step(Some(Input::BellsBroken)),
            None => {
                self.step(Some(Input::BellsBroken));
                self.subscribe(RESUBSCRIBE);
            }
        }
    }

    /// One step of the commits: what came in, then everything that they want done.
    pub(super) fn commit_step(&mut self, input: Option<commit::Input>) {
        let now = self.elapsed();
        match input {
            Some(input) => self.commits.handle(now, input),
            None => self.commits.tick(now),
        }
        while let Some(action) = self.commits.poll() {
            match action {
                commit::Action::Commit { statement, announced } => {
                    let (name, node) = (statement.name, Arc::clone(&self.node));
                    let commit =
                        async move { Finished::Committed(name, jobs::commit(&node, &statement, announced).await) };
                    // Another node's statement has no caller here.
                    let span = self.awaiting.span_of(&name);
                    let lost = Finished::Committed(name, jobs::Commit::Failed);
                    self.spawn(lost, commit.instrument(span));
                }
                commit::Action::Positioned(voids) => self.node.unpositioned().positioned(&voids),
                commit::Action::Unpositioned(voids) => self.node.unpositioned().add(voids),
                commit::Action::Soil(channel) => self.node.soil(channel),
                commit::Action::Done(name, replicas) => self.on_logged(name, replicas),
            }
        }
    }

    fn on_finished(&mut self, finished: Finished) {
        self.take_in(finished);
        let follower = self.node.follower();
        let unpassed = self.commits.unpassed();
        let settled: Vec<_> = unpassed
            .filter(|channel| follower.settled(*channel).is_some())
            .collect();
        drop(follower);
        for channel in settled {
            self.commit_step(Some(commit::Input::Settled(channel)));
        }
    }

    fn take_in(&mut self, finished: Finished) {
        match finished {
            Finished::Input(input) => self.step(Some(input)),
            Finished::Subscribed(Some(bells)) => {
                self.bells = Some(bells);
                // Whatever rang before the subscription was missed.
                self.step(Some(Input::BellsBroken));
            }
            Finished::Subscribed(None) => self.subscribe(RESUBSCRIBE),
            Finished::Loaded(channel, asked, None) => self.step(Some(Input::Loaded(channel, asked, None))),
            Finished::Loaded(channel, asked, Some(loaded)) => self.on_loaded(channel, asked, loaded),
            Finished::Audited(channel, loaded) => self.on_audited(channel, loaded),
            Finished::Mended => {}
            Finished::GossipOpened(stream) => self.on_opened(stream),
            Finished::Answered(exchange, answer) => {
                self.gossip_step([gossip::Input::Answered { exchange, answer }]);
            }
            Finished::Committed(name, committed) => {
                let attempt = match committed {
                    jobs::Commit::Done(committed) => {
                        // The answer is as good as the bell, and earlier.
                        let opened = self.node.codec.open_entry(committed.entry);
                        self.step(Some(Input::Bell(opened)));
                        Attempt::Whole {
                            replicas: committed.replicas,
                        }
                    }
                    jobs::Commit::Bare => Attempt::Announced,
                    jobs::Commit::Failed => Attempt::Failed,
                };
                self.commit_step(Some(commit::Input::Answered(name, attempt)));
            }
        }
    }

    fn on_loaded(&mut self, channel: ChannelId, asked: Moment, loaded: Loaded) {
        let Loaded {
            head,
            mending,
            whole,
            news,
        } = loaded;
        self.feed_news(channel, news);
        self.lacking.insert(channel, mending);
        if whole {
            self.distrusted.remove(&channel);
            self.step(Some(Input::Loaded(channel, asked, Some(head))));
        } else {
            self.distrusted.insert(channel);
            self.step(Some(Input::Damaged(channel, head)));
        }
    }

    /// The table of a settled channel was compared with what this node holds.
    fn on_audited(&mut self, channel: ChannelId, loaded: Option<Loaded>) {
        let Some(Loaded {
            mending, whole, news, ..
        }) = loaded
        else {
            return;
        };
        self.feed_news(channel, news);
        if !whole {
            // Nobody may have applied anything wrong, but whoever comes next can load nothing.
            self.distrusted.insert(channel);
            self.node.soil(channel);
        } else if !mending.is_empty() {
            let node = Arc::clone(&self.node);
            let mend = async move {
                jobs::mend(&node, channel, mending).await;
                Finished::Mended
            };
            self.spawn(Finished::Mended, mend.instrument(repair("mend", channel)));
        }
    }

    /// One step of the follower: what came in, then everything that it wants done.
    fn step(&mut self, input: Option<Input>) {
        let node = Arc::clone(&self.node);
        let now = node.now().boot;
        let (mut later, mut passed, mut unmerged) = (Vec::new(), Vec::new(), None);
        let mut fed = Fed::default();
        let gossips = self.road.is_some();
        {
            // Held until everything is applied: nobody sees the watermark ahead of the fence.
            let mut follower = node.follower();
            match input {
                Some(input) => follower.handle(now, input),
                None => follower.tick(now),
            }
            while let Some(action) = follower.poll() {
                match action {
                    Action::Apply(statement, incarnation, position) => {
                        if gossips {
                            fed.applies(&node, &statement);
                        }
                        node.apply(&statement.body, Some((incarnation, position)));
                        if let Body::Drop(name) = &statement.body {
                            node.l1.entries.invalidate(&name.into());
                        }
                        let whole = unmerged.take() != Some(statement.name);
                        if gossips || statement.name.origin == node.origin {
                            passed.push((statement.name, whole));
                        }
                        node.counters.statements_applied.add();
                    }
                    Action::Unmerged(name) => unmerged = Some(name),
                    Action::BumpChannel(channel) => node.fence.bump_channel(channel),
                    other => {
                        if let Action::Tell(event) = &other
                            && gossips
                        {
                            fed.tells(&follower, *event);
                        }
                        later.push(other);
                    }
                }
            }
            if !gossips {
                node.publish_lease(follower.coherent_until());
            }
        }
        // Publishes the lease, too.
        self.feed(fed);
        for (name, whole) in passed {
            self.commit_step(Some(commit::Input::Passed { name, whole }));
        }
        for action in later {
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: Action) {
        let node = Arc::clone(&self.node);
        let asked = node.now().boot;
        match action {
            Action::ReadHeads => {
                let lost = Finished::Input(Input::Heads(asked, None));
                self.spawn(lost, async move { jobs::heads(&node, asked).await });
            }
            Action::ReadLog(channel, from) => {
                let lost = Finished::Input(Input::Slice(channel, asked, None));
                let read = async move { jobs::read(&node, channel, asked, from).await };
                self.spawn(lost, read.instrument(repair("read", channel)));
            }
            Action::Load(channel) => {
                let lost = Finished::Loaded(channel, asked, None);
                let trusted = !self.distrusted.contains(&channel);
                let load = async move { jobs::load(&node, channel, trusted).await };
                self.spawn(lost, load.instrument(repair("load", channel)));
            }
            Action::Recommit(channel) => {
                let mending = self.lacking.remove(&channel).unwrap_or_default();
                if mending.is_empty() {
                    self.step(Some(Input::Recommitted(channel, true)));
                } else {
                    let lost = Finished::Input(Input::Recommitted(channel, false));
                    let recommit = async move { jobs::recommit(&node, channel, mending).await };
                    self.spawn(lost, recommit.instrument(repair("recommit", channel)));
                }
            }
            Action::Mint(channel, expected) => {
                let lost = Finished::Input(Input::Minted(channel, false));
                let mint = async move { jobs::mint(&node, channel, expected).await };
                self.spawn(lost, mint.instrument(repair("mint", channel)));
            }
            Action::Tell(event) => {
                self.tell(event);
                if let Event::Adopted(channel) | Event::Reloaded(channel) = event {
                    self.commit_step(Some(commit::Input::Adopted(channel)));
                }
            }
            Action::Apply(..) | Action::Unmerged(_) | Action::BumpChannel(_) => {}
        }
    }

    fn tell(&self, event: Event) {
        let counters = &self.node.counters;
        match event {
            Event::Suspect(channel) => {
                counters.suspects.add();
                tracing::debug!(%channel, "channel is suspect; reading its log");
            }
            Event::Adopted(channel) => {
                counters.adoptions.add();
                let adopted = || tracing::info!(%channel, "channel follows a new incarnation");
                repair("adopt", channel).in_scope(adopted);
            }
            Event::Reloaded(channel) => tracing::info!(%channel, "log was trimmed past this node; marks loaded anew"),
            Event::LostWrites(channel) => {
                counters.lost_writes.add();
                tracing::warn!(%channel, "the log lost writes that this node had applied; committing marks again");
            }
            Event::Damaged(channel) => tracing::error!(
                target: "authmesh::audit", %channel,
                "the table of marks contradicts its log; this node puts back what it holds"
            ),
            Event::Refused(channel, why) => {
                counters.unopened.add();
                tracing::error!(
                    target: "authmesh::audit", %channel, ?why,
                    "a log entry was refused; this node claims no coherence until the log shows that nothing is missing"
                );
            }
        }
    }
}

async fn next(bells: &mut Option<BusStream>) -> Option<BusEvent> {
    match bells {
        Some(stream) => stream.next().await,
        None => None,
    }
}

/// One step of a repair.
fn repair(step: &'static str, channel: ChannelId) -> tracing::Span {
    span!(
        "authmesh.repair",
        authmesh.step = step,
        authmesh.channel = channel.index()
    )
}
