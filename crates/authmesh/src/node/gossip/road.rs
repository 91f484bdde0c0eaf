//! The driver's part: what comes by gossip goes into the machine, and what the machine wants is done.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use authmesh_proto::commit;
use authmesh_proto::follower::{self, Follower};
use authmesh_proto::gossip::{Action, Event, Input, VoidId};
use authmesh_proto::hot::HotQuestion;
use authmesh_proto::ident::ChannelId;
use authmesh_proto::keys::KeyQuestion;
use authmesh_proto::marks::{BUCKETS, Buckets, bucket_of};
use authmesh_proto::observe::Question;
use authmesh_proto::statement::{Body, Statement};
use authmesh_proto::time::Moment;
use tokio::sync::oneshot;
use tokio_stream::StreamExt as _;
use tracing::Instrument as _;

use super::strangers::Strangers;
use super::{Room, Sealing, Told, ToldReceiver, commit_wait, free, peer_of, port_peer};
use crate::cache;
use crate::issuer;
use crate::node::driver::Driver;
use crate::node::jobs::Finished;
use crate::node::{Node, taken};
use crate::observer;
use crate::ports::{GossipEvent, GossipNode, GossipStream};
use crate::telemetry::{Empty, Timing, span, word};

/// The wait before the adapter is opened anew.
const REOPEN: Duration = Duration::from_millis(250);
/// How long a call of the adapter may take, whatever it promises.
const PATIENCE: Duration = Duration::from_secs(6);

/// What the driver keeps of gossip.
pub(crate) struct Road {
    stream: Option<GossipStream>,
    told: ToldReceiver,
    pub(in crate::node) has_log: bool,
    /// What the machine was told last.
    dirty: Vec<ChannelId>,
    proven: Option<Moment>,
    strangers: Strangers,
}

/// What came in by gossip.
pub(in crate::node) enum Came {
    Event(Option<GossipEvent>),
    Told(Told),
}

impl Road {
    pub(crate) fn new(stream: GossipStream, told: ToldReceiver, has_log: bool) -> Self {
        Self {
            stream: Some(stream),
            told,
            has_log,
            dirty: Vec::new(),
            proven: None,
            strangers: Strangers::default(),
        }
    }

    /// The next that came in. Cancel safe.
    pub(in crate::node) async fn next(road: &mut Option<Self>) -> Came {
        let Some(road) = road else {
            return std::future::pending().await;
        };
        let event = async {
            match &mut road.stream {
                Some(stream) => stream.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = event => Came::Event(event),
            Some(told) = road.told.recv() => Came::Told(told),
        }
    }
}

/// What one step of the follower changed, for the machine: it must know all of it before the proof that rests on it.
#[derive(Default)]
pub(in crate::node) struct Fed(Vec<Input>);

impl Fed {
    /// A statement is about to be applied from the log.
    pub(in crate::node) fn applies(&mut self, node: &Node, statement: &Statement) {
        let channel = statement.name.channel;
        match &statement.body {
            _ if statement.name.counter > 0 => self.0.push(Input::Logged(statement.clone())),
            Body::Mark(mark) if !node.marks().covers(mark) => {
                self.0.push(Input::Merged(channel, bucket_of(mark.expires)));
            }
            _ => {}
        }
    }

    /// The follower follows another log, or goes on behind a gap.
    pub(in crate::node) fn tells(&mut self, follower: &Follower, event: follower::Event) {
        let void = match event {
            follower::Event::Adopted(channel) => follower
                .watermark(channel)
                .map(|head| (channel, VoidId(*head.incarnation.as_bytes()))),
            follower::Event::Reloaded(channel) => follower
                .watermark(channel)
                .map(|head| (channel, VoidId(*head.position.nonce.as_bytes()))),
            _ => None,
        };
        self.0.extend(void.map(|(channel, id)| Input::Voided(channel, id)));
    }
}

impl Driver {
    /// Tells the machine what a step of the follower changed, then what it proves.
    pub(in crate::node) fn feed(&mut self, fed: Fed) {
        let Some(road) = &mut self.road else { return };
        // What the log of a node without Redis brings, this node has put there itself.
        let mut inputs = if road.has_log { fed.0 } else { Vec::new() };
        for channel in self.node.take_soiled() {
            inputs.push(Input::Voided(channel, VoidId(self.node.random())));
        }
        let follower = self.node.follower();
        // The log of a node without Redis is its own: it proves nothing.
        if road.has_log {
            let dirty: Vec<_> = ChannelId::all().filter(|channel| follower.is_dirty(*channel)).collect();
            if dirty != road.dirty {
                road.dirty.clone_from(&dirty);
                inputs.push(Input::Dirty(dirty));
            }
            let proven = follower.proven().filter(|_| follower.loaded());
            if proven > road.proven {
                road.proven = proven;
                inputs.extend(proven.map(Input::Proven));
            }
        }
        drop(follower);
        self.gossip_step(inputs);
    }

    /// Marks came from a table, in these buckets.
    pub(in crate::node) fn feed_news(&mut self, channel: ChannelId, news: Buckets) {
        let buckets = (0..BUCKETS).filter(|bucket| news.contains(*bucket));
        self.gossip_step(buckets.map(|bucket| Input::Merged(channel, bucket)));
    }

    /// Something came in by gossip.
    pub(in crate::node) fn on_gossip(&mut self, came: Came) {
        let event = match came {
            Came::Told(Told { input, heard }) => {
                self.gossip_step([input]);
                // Whoever told it may have gone.
                let _ = heard.send(());
                return;
            }
            Came::Event(event) => event,
        };
        let input = match event {
            Some(GossipEvent::Up(peer)) => Input::Up(peer_of(peer)),
            Some(GossipEvent::Down(origin)) => Input::Down(origin),
            Some(GossipEvent::Left(origin)) => Input::Gone(origin),
            Some(GossipEvent::Item(item)) => Input::Item(item),
            Some(GossipEvent::Asked(asked)) if KeyQuestion::is_one(&asked.request) => {
                issuer::answer_member(&self.node, asked);
                return;
            }
            Some(GossipEvent::Asked(asked)) if HotQuestion::is_one(&asked.request) => {
                cache::answer_warm(&self.node, asked);
                return;
            }
            Some(GossipEvent::Asked(asked)) if Question::is_one(&asked.request) => {
                observer::answer(&self.node, asked);
                return;
            }
            Some(GossipEvent::Asked(asked)) => {
                self.answering = Some(asked.answer);
                self.gossip_step([Input::Asked {
                    token: 0,
                    from: peer_of(asked.from),
                    request: asked.request,
                    limit: asked.limit,
                }]);
                // A request that is not answered is as if it were lost.
                self.answering = None;
                return;
            }
            Some(GossipEvent::Slow(late)) => {
                tracing::warn!(?late, "this node is so slow that others may hold it to be dead");
                return;
            }
            None => {
                tracing::warn!("gossip has ended; it is opened again");
                if let Some(road) = &mut self.road {
                    road.stream = None;
                }
                self.reopen();
                return;
            }
        };
        self.gossip_step([input]);
    }

    fn reopen(&mut self) {
        let node = Arc::clone(&self.node);
        self.spawn(Finished::GossipOpened(None), async move {
            tokio::time::sleep(REOPEN).await;
            Finished::GossipOpened(open(&node).await)
        });
    }

    pub(in crate::node) fn on_opened(&mut self, stream: Option<GossipStream>) {
        match (stream, &mut self.road) {
            (Some(stream), Some(road)) => road.stream = Some(stream),
            (None, Some(_)) => self.reopen(),
            (_, None) => {}
        }
    }

    /// One step of the machine for each input, with everything that it wants done; then the lease.
    pub(in crate::node) fn gossip_step(&mut self, inputs: impl IntoIterator<Item = Input>) {
        let node = Arc::clone(&self.node);
        let Some(room) = node.gossip() else { return };
        let mut inputs: VecDeque<Input> = inputs.into_iter().collect();
        while let Some(input) = inputs.pop_front() {
            self.one_step(&node, room, Some(input), &mut inputs);
        }
        self.publish();
    }

    /// Time has passed.
    pub(in crate::node) fn gossip_tick(&mut self) {
        let node = Arc::clone(&self.node);
        let Some(room) = node.gossip() else { return };
        let mut inputs = VecDeque::new();
        self.one_step(&node, room, None, &mut inputs);
        self.gossip_step(inputs);
        if let Some(road) = &mut self.road {
            road.strangers.look(node.now().boot, &room.port.counts());
        }
    }

    fn one_step(&mut self, node: &Arc<Node>, room: &Room, input: Option<Input>, more: &mut VecDeque<Input>) {
        let actions: Vec<Action> = {
            let mut machine = room.machine();
            let now = node.now();
            match input {
                Some(input) => machine.handle(now, input, &node.marks()),
                None => machine.tick(now),
            }
            std::iter::from_fn(|| machine.poll()).collect()
        };
        // Before the next input: what the machine grants rests on it.
        for action in actions {
            self.do_for_gossip(node, room, action, more);
        }
    }

    fn publish(&self) {
        let node = &self.node;
        let Some(room) = node.gossip() else { return };
        let follower = match room.has_log {
            true => node.follower().coherent_until(),
            false => Moment::ORIGIN,
        };
        let machine = room.machine();
        let until = machine.coherent_until(node.now().boot, follower);
        node.publish_longest_lease(until, machine.forgotten());
    }

    fn do_for_gossip(&mut self, node: &Arc<Node>, room: &Room, action: Action, more: &mut VecDeque<Input>) {
        match action {
            Action::Broadcast(item) => room.port.broadcast(item),
            Action::Ask { exchange, to, request } => self.exchange(exchange, &to, request, false),
            Action::Pull { exchange, to, request } => self.exchange(exchange, &to, request, true),
            Action::Answer { answer, .. } => {
                if let Some(answering) = self.answering.take() {
                    // The member may have given up.
                    let _ = answering.send(answer);
                }
            }
            Action::Apply(statement) => {
                if let Some(voids) = commit::Voids::of(&statement.body) {
                    node.unpositioned().add(voids);
                }
                if room.has_log {
                    node.outbox.undone.begin(statement.name, &statement.body);
                }
                node.apply(&statement.body, None);
                free(node, &statement.body);
                node.counters.gossip_applied.add();
                let wait = commit_wait(room.has_log, node.random());
                self.commit_step(Some(commit::Input::Held(statement, wait)));
            }
            Action::Merge(marks) => {
                let news = node.merge(marks);
                more.extend(news.into_iter().map(|(channel, bucket)| Input::Merged(channel, bucket)));
            }
            Action::BumpChannel(channel) => node.fence.bump_channel(channel),
            Action::Soil(channel) => {
                node.soil_untold(channel);
                more.push_back(Input::Voided(channel, VoidId(node.random())));
            }
            Action::Forget(name) => {
                node.outbox.undone.end(&name);
                self.commit_step(Some(commit::Input::Forgotten(name)));
            }
            Action::Confirmed { name, whole } => self.on_confirmed(name, whole),
            Action::Tell(event) => tell(node, room, &event),
        }
    }

    fn exchange(&mut self, exchange: u64, to: &authmesh_proto::gossip::Peer, request: Vec<u8>, by_stream: bool) {
        let to = port_peer(to);
        let node = Arc::clone(&self.node);
        let transport = match by_stream {
            true => "stream",
            false => "datagram",
        };
        let span = span!("authmesh.gossip.exchange", authmesh.transport = transport, error.type = Empty);
        let ended = span.clone();
        let ask = async move {
            let (Some(to), Some(room)) = (to, node.gossip()) else {
                return Finished::Answered(exchange, None);
            };
            let call = match by_stream {
                true => room.port.pull(&to, request),
                false => room.port.ask(&to, request),
            };
            let began = node.begins();
            let (answer, error) = taken(tokio::time::timeout(PATIENCE, call).await);
            error.map(|error| ended.record("error.type", error));
            let error = error.and_then(word);
            node.ended(
                Timing::GossipExchange,
                began,
                &[("transport", word(transport)), ("error.type", error)],
            );
            Finished::Answered(exchange, answer)
        };
        self.spawn(Finished::Answered(exchange, None), ask.instrument(span));
    }

    /// Says good-bye: what is not sent yet is sent first.
    pub(in crate::node) async fn leave(&mut self) {
        let node = Arc::clone(&self.node);
        let Some(room) = node.gossip() else { return };
        let actions: Vec<Action> = {
            let mut machine = room.machine();
            machine.leave(node.now().boot);
            std::iter::from_fn(|| machine.poll()).collect()
        };
        for action in actions {
            self.do_for_gossip(&node, room, action, &mut VecDeque::new());
        }
        let good_bye = tokio::time::timeout(PATIENCE, room.port.leave());
        if good_bye.await.is_err() {
            tracing::debug!("gossip did not end in time");
        }
    }
}

/// What the adapter is told of this node.
pub(crate) fn gossip_node(node: &Node) -> GossipNode {
    GossipNode {
        origin: node.origin,
        name: node.name.clone(),
        seal: Arc::new(Sealing(Arc::clone(&node.codec))),
    }
}

/// Opens the adapter for this start of the node. `None`: it could not.
async fn open(node: &Node) -> Option<GossipStream> {
    match node.gossip()?.port.open(gossip_node(node)).await {
        Ok(stream) => Some(stream),
        Err(error) => {
            tracing::error!(%error, "gossip could not be opened; it is tried again");
            None
        }
    }
}

fn tell(node: &Node, room: &Room, event: &Event) {
    let counters = &node.counters;
    match event {
        Event::Joined(peer) => {
            room.moved.notify_one();
            tracing::info!(name = %peer.name, address = %peer.address, "a member came into the view");
        }
        Event::Left(origin) => {
            room.moved.notify_one();
            tracing::info!(?origin, "a member left the view");
        }
        Event::TakenIn => tracing::info!("every member knows this node: it may be coherent"),
        Event::Forgotten => tracing::error!(
            target: "authmesh::audit",
            "this node was forgotten by an operator, or another start of it has its place; it stays blind: start it anew"
        ),
        Event::TakenOver(from) => tracing::info!(?from, "everything was compared with a member"),
        Event::LostStatement(name) => {
            counters.gossip_lost.add();
            tracing::error!(target: "authmesh::audit", ?name, "a statement is lost: no member has it; its channel is voided");
        }
        Event::Malformed(from) => {
            counters.gossip_malformed.add();
            tracing::warn!(target: "authmesh::audit", ?from, "a member said what cannot be");
        }
        Event::UnknownKind(from, kind) => {
            counters.gossip_malformed.add();
            tracing::error!(
                target: "authmesh::audit", ?from, kind,
                "a member has applied a statement of a kind that this version does not know"
            );
        }
        Event::Absurd(name) => {
            counters.gossip_malformed.add();
            tracing::error!(target: "authmesh::audit", ?name, "a statement was refused: its times are absurd");
        }
        Event::Lied(from) => {
            counters.gossip_malformed.add();
            tracing::error!(target: "authmesh::audit", ?from, "members count statements of one that it never said");
        }
        Event::Overflow(channel) => {
            counters.soiled.add();
            tracing::warn!(%channel, "too many statements wait for the log; the whole channel is voided in their place");
        }
    }
}

/// The answer to the request that is being handled.
pub(in crate::node) type Answering = Option<oneshot::Sender<Vec<u8>>>;
