//! The verbs: which links, and what happens on them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::lane::{Conditions, Kind, LaneKey, Road, Tally};
use super::state::{Shared, State};
use super::{Node, NodeId};

/// Makes faults between the nodes of a [`Mesh`](super::Mesh), changes them while the nodes run, and heals them.
///
/// The verbs here concern both protocols. For one of them, or for other choices of links, pick [`Links`] first.
#[derive(Clone)]
pub struct Faults {
    shared: Arc<Shared>,
}

/// Some directed links of a mesh. A verb changes what it names and leaves the other faults of these links alone.
#[derive(Clone)]
pub struct Links {
    shared: Arc<Shared>,
    choice: Choice,
    kinds: &'static [Kind],
}

const BOTH: &[Kind] = &[Kind::Udp, Kind::Tcp];

#[derive(Clone, Debug)]
enum Choice {
    All,
    From(NodeId),
    To(NodeId),
    Pairs(Vec<(NodeId, NodeId)>),
}

impl Choice {
    fn has(&self, LaneKey { from, to, .. }: LaneKey) -> bool {
        match self {
            Self::All => true,
            Self::From(node) => from == *node,
            Self::To(node) => to == *node,
            Self::Pairs(pairs) => pairs.contains(&(from, to)),
        }
    }
}

impl Faults {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Every link, also of nodes that join later.
    pub fn everywhere(&self) -> Links {
        self.links(Choice::All)
    }

    /// Both directions between two nodes.
    pub fn between(&self, one: impl Into<NodeId>, other: impl Into<NodeId>) -> Links {
        let (one, other) = (one.into(), other.into());
        self.links(Choice::Pairs(vec![(one, other), (other, one)]))
    }

    /// What `from` sends to `to`.
    pub fn one_way(&self, from: impl Into<NodeId>, to: impl Into<NodeId>) -> Links {
        self.links(Choice::Pairs(vec![(from.into(), to.into())]))
    }

    /// What a node sends to anybody.
    pub fn from(&self, node: impl Into<NodeId>) -> Links {
        self.links(Choice::From(node.into()))
    }

    /// What anybody sends to a node.
    pub fn to(&self, node: impl Into<NodeId>) -> Links {
        self.links(Choice::To(node.into()))
    }

    /// Both directions between every node of one side and every node of the other.
    pub fn across(&self, side: &[Node], other_side: &[Node]) -> Links {
        let pairs = side
            .iter()
            .flat_map(|one| {
                other_side
                    .iter()
                    .flat_map(|other| [(one.id, other.id), (other.id, one.id)])
            })
            .collect();
        self.links(Choice::Pairs(pairs))
    }

    /// Nothing passes between two nodes: see [`Links::cut`].
    pub fn cut(&self, one: impl Into<NodeId>, other: impl Into<NodeId>) {
        self.between(one, other).cut();
    }

    /// Nothing passes from `from` to `to`; the other direction is as before: see [`Links::cut`].
    pub fn cut_one_way(&self, from: impl Into<NodeId>, to: impl Into<NodeId>) {
        self.one_way(from, to).cut();
    }

    /// Nothing passes between the two sides. Within a side everything is as before.
    pub fn partition(&self, side: &[Node], other_side: &[Node]) {
        self.across(side, other_side).cut();
    }

    /// Nothing passes from or to a node, [`OUTSIDE`](super::OUTSIDE) included.
    pub fn isolate(&self, node: impl Into<NodeId>) {
        let node = node.into();
        self.from(node).cut();
        self.to(node).cut();
    }

    /// Everywhere: see [`Links::lose`].
    pub fn lose(&self, probability: f64) {
        self.everywhere().lose(probability);
    }

    /// Everywhere: see [`Links::duplicate`].
    pub fn duplicate(&self, probability: f64) {
        self.everywhere().duplicate(probability);
    }

    /// Everywhere: see [`Links::reorder`].
    pub fn reorder(&self, probability: f64) {
        self.everywhere().reorder(probability);
    }

    /// Everywhere: see [`Links::delay`].
    pub fn delay(&self, delay: Duration) {
        self.everywhere().delay(delay);
    }

    /// Ends every fault on every link. Tallies stay.
    pub fn heal(&self) {
        self.everywhere().heal();
    }

    fn links(&self, choice: Choice) -> Links {
        Links {
            shared: self.shared.clone(),
            choice,
            kinds: BOTH,
        }
    }
}

impl Links {
    /// These links, UDP alone.
    pub fn udp(mut self) -> Self {
        self.kinds = &[Kind::Udp];
        self
    }

    /// These links, TCP alone.
    pub fn tcp(mut self) -> Self {
        self.kinds = &[Kind::Tcp];
        self
    }

    /// Nothing passes, as when a cable is pulled.
    ///
    /// Datagrams are dropped, those under way too. Connections stand still, both ends open; [`Links::heal`] lets them
    /// go on without losing a byte. New connections come about only where both directions are open, and wait until then.
    pub fn cut(&self) -> &Self {
        self.road(BOTH, Road::Cut)
    }

    /// Whatever is sent is taken and thrown away. Datagrams are dropped. Connections come about and stay open, but
    /// their bytes vanish; one that lost bytes is reset when the black hole ends.
    pub fn black_hole(&self) -> &Self {
        self.road(BOTH, Road::BlackHole)
    }

    /// TCP: the other end of every connection is gone without a word, as after a crash of its machine. Both ends stay
    /// open and hear nothing, new connections too. After [`Links::heal`], the first word on such a connection, or
    /// one that was already said, is answered by a reset. Datagrams pass.
    pub fn half_open(&self) -> &Self {
        self.road(&[Kind::Tcp], Road::HalfOpen)
    }

    /// TCP: connections are reset, those that exist and every new one. Datagrams pass.
    pub fn refuse(&self) -> &Self {
        self.road(&[Kind::Tcp], Road::Refused)
    }

    /// TCP: resets the connections that exist, once. New ones come about.
    pub fn reset(&self) -> &Self {
        self.order(|state| {
            for (_, lane) in state.lanes.iter_mut().filter(|(key, _)| self.has(**key, &[Kind::Tcp])) {
                lane.resets += 1;
            }
        })
    }

    /// Ends what [`Links::cut`], [`Links::black_hole`], [`Links::half_open`] and [`Links::refuse`] began. Loss,
    /// delays and the other faults stay.
    pub fn reopen(&self) -> &Self {
        self.road(BOTH, Road::Open)
    }

    /// UDP: each datagram is lost with this probability. A stream knows no loss: TCP would send again.
    pub fn lose(&self, probability: f64) -> &Self {
        let loss = checked(probability);
        self.change(BOTH, |conditions| conditions.loss = loss)
    }

    /// UDP: each datagram is delivered twice with this probability.
    pub fn duplicate(&self, probability: f64) -> &Self {
        let duplication = checked(probability);
        self.change(BOTH, |conditions| conditions.duplication = duplication)
    }

    /// UDP: each datagram is held back with this probability until the next one on its link has passed, or for 100 ms.
    /// With probability 1, every pair is swapped. For more disorder, [`Links::jitter`].
    pub fn reorder(&self, probability: f64) -> &Self {
        let reordering = checked(probability);
        self.change(BOTH, |conditions| conditions.reordering = reordering)
    }

    /// Everything is under way for this long. A connection takes this long to come about, and so does each byte.
    pub fn delay(&self, delay: Duration) -> &Self {
        self.change(BOTH, |conditions| conditions.delay = delay)
    }

    /// Added to the delay, evenly between nothing and this. Datagrams overtake each other by it; a stream keeps its order.
    pub fn jitter(&self, jitter: Duration) -> &Self {
        self.change(BOTH, |conditions| conditions.jitter = jitter)
    }

    /// At most so many bytes in a second, for each of UDP and TCP. What does not fit waits: datagrams up to
    /// [`MAX_WAITING`](super::MAX_WAITING), streams until the sender feels it.
    pub fn throttle(&self, bytes_per_second: u64) -> &Self {
        self.change(BOTH, |conditions| conditions.rate = Some(bytes_per_second))
    }

    /// Ends every fault of these links. Tallies stay.
    pub fn heal(&self) -> &Self {
        self.change(BOTH, |conditions| *conditions = Conditions::default())
    }

    /// What happened on these links since the mesh began, all together.
    pub fn tally(&self) -> Tally {
        let state = self.shared.lock();
        let mut sum = Tally::default();
        for (_, lane) in state.lanes.iter().filter(|(key, _)| self.has(**key, BOTH)) {
            sum += lane.tally;
        }
        sum
    }

    /// Waits until the tally satisfies `condition`, and returns it.
    ///
    /// # Panics
    ///
    /// When the deadline passes, with the tally as it is then.
    pub async fn until(&self, what: &str, deadline: Duration, condition: impl Fn(&Tally) -> bool) -> Tally {
        let mut counted = self.shared.counted.subscribe();
        let found = tokio::time::timeout(deadline, async {
            loop {
                counted.mark_unchanged();
                let tally = self.tally();
                if condition(&tally) {
                    return tally;
                }
                // The sender lives in `self`.
                let _ = counted.changed().await;
            }
        });
        found
            .await
            .unwrap_or_else(|_| panic!("not within {} ms: {what}. {:?}", deadline.as_millis(), self.tally()))
    }

    fn has(&self, key: LaneKey, concerned: &[Kind]) -> bool {
        self.choice.has(key) && self.kinds.contains(&key.kind) && concerned.contains(&key.kind)
    }

    fn road(&self, concerned: &[Kind], road: Road) -> &Self {
        self.change(concerned, |conditions| conditions.road = road)
    }

    fn change(&self, concerned: &[Kind], change: impl Fn(&mut Conditions)) -> &Self {
        self.order(|state| {
            for (_, lane) in state.lanes.iter_mut().filter(|(key, _)| self.has(**key, concerned)) {
                change(&mut lane.conditions);
            }
            if matches!(self.choice, Choice::All) {
                for kind in BOTH
                    .iter()
                    .filter(|kind| self.kinds.contains(kind) && concerned.contains(kind))
                {
                    change(&mut state.from_now_on[*kind as usize]);
                }
            }
        })
    }

    fn order(&self, order: impl FnOnce(&mut State)) -> &Self {
        order(&mut self.shared.lock());
        self.shared.ordered.send_replace(());
        self
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faults")
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Links({:?}, {:?})", self.choice, self.kinds)
    }
}

/// A probability that is none would make a fault that nobody asked for.
fn checked(probability: f64) -> f64 {
    assert!(
        (0.0..=1.0).contains(&probability),
        "{probability} is no probability: between 0 and 1"
    );
    probability
}
