//! What the driver has done for it: one call of a port each, bounded in time, with its answer.

use std::time::Duration;

use authmesh_proto::crypto::OpenError;
use authmesh_proto::follower::{Input, OpenedPayload, Refused, Slice};
use authmesh_proto::ident::{ChannelId, Digest, Incarnation, Nonce, Position, StatementName};
use authmesh_proto::log::Head;
use authmesh_proto::marks::{BUCKETS, Buckets, Digests, bucket_of};
use authmesh_proto::statement::{Body, Mark, Statement};
use authmesh_proto::time::Moment;

use tracing::{Instrument as _, Span};

use super::codec::Unopened;
use super::{Node, taken};
use crate::ports::{self, BoxFuture, BusStream, Committed, Effect, GossipStream, PortError, StoredMark};
use crate::telemetry::{Empty, Timing, span};

/// How long one call of a port may take.
const PORT_TIMEOUT: Duration = Duration::from_secs(2);
/// The call that is made once a second.
const HEADS: &str = "heads";
/// How many channels are loaded at a time.
pub(super) const LOADS: usize = 8;
/// How many marks are opened or applied before others get their turn.
const AT_ONCE: usize = 256;
/// How many marks an audit reads at once.
const SMALL_TABLE: usize = 2000;
/// Log entries read at once.
const READ_LIMIT: usize = 512;

/// A job that ended.
pub(super) enum Finished {
    Input(Input),
    Subscribed(Option<BusStream>),
    Loaded(ChannelId, Moment, Option<Loaded>),
    Audited(ChannelId, Option<Loaded>),
    Mended,
    Committed(StatementName, Commit),
    GossipOpened(Option<GossipStream>),
    /// A member's answer to an exchange.
    Answered(u64, Option<Vec<u8>>),
}

/// How an attempt to commit ended.
pub(super) enum Commit {
    Done(Committed),
    /// It stands in the log, but not in the table.
    Bare,
    /// Or nobody knows.
    Failed,
}

async fn bounded<T>(node: &Node, what: &'static str, call: BoxFuture<'_, Result<T, PortError>>) -> Option<T> {
    // Heads are read once a second: as spans they would be the noise of every node.
    let span = match node.has_log && what != HEADS {
        true => span!("authmesh.log", otel.kind = "client", authmesh.operation = what, error.type = Empty),
        false => Span::none(),
    };
    let began = node.begins();
    let answer = tokio::time::timeout(PORT_TIMEOUT, call).instrument(span.clone()).await;
    match &answer {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::debug!(%error, what, "a port call failed"),
        Err(_) => tracing::debug!(what, "a port call took longer than {PORT_TIMEOUT:?}"),
    }
    let (value, error) = taken(answer);
    node.call_ended(Timing::Log, what, began, error, &span);
    value
}

pub(super) async fn subscribe(node: &Node) -> Finished {
    Finished::Subscribed(bounded(node, "subscribe", node.ports.bus.subscribe()).await)
}

pub(super) async fn heads(node: &Node, asked: Moment) -> Finished {
    Finished::Input(Input::Heads(asked, bounded(node, HEADS, node.ports.log.heads()).await))
}

pub(super) async fn read(node: &Node, channel: ChannelId, asked: Moment, from: Position) -> Finished {
    let slice = bounded(node, "read", node.ports.log.read(channel, from, READ_LIMIT)).await;
    let slice = slice.map(|slice| Slice {
        head: slice.head,
        first: slice.first,
        entries: slice
            .entries
            .into_iter()
            .filter(|entry| entry.channel == channel)
            .map(|entry| node.codec.open_entry(entry))
            .collect(),
    });
    Finished::Input(Input::Slice(channel, asked, slice))
}

/// What a load found, after its marks were applied.
pub(super) struct Loaded {
    pub(super) head: Option<Head>,
    pub(super) mending: Mending,
    /// Whether the marks together have the root digest of the head, and every bare statement opens. If not, some are
    /// missing.
    pub(super) whole: bool,
    /// The buckets into which it brought marks that were not known here.
    pub(super) news: Buckets,
}

impl Loaded {
    /// The place of the head. A tag in the table has no position of its own; the head that it was loaded with is not older.
    fn position(&self) -> Option<(Incarnation, Position)> {
        self.head.map(|head| (head.incarnation, head.position))
    }
}

/// A table that was read.
struct Opened {
    head: Option<Head>,
    /// With their digests.
    marks: Vec<(Mark, Digest)>,
    /// The buckets in which the table holds what this node holds.
    same: Buckets,
    /// Those that stand in the log only, perhaps.
    bare: Vec<(Mark, Incarnation, Position)>,
    /// Elements that nobody with the keys can have written.
    garbage: Vec<StoredMark>,
    whole: bool,
}

impl Opened {
    /// Compares it with what this node holds now: the marks in it, and what is to be done about it.
    fn compared(self, node: &Node, channel: ChannelId) -> (Vec<(Mark, Digest)>, Loaded) {
        let marks = self.marks.iter().map(|(mark, _)| mark);
        let lacking = node.marks().lacking_in(channel, marks, self.same, node.now());
        let loaded = Loaded {
            head: self.head,
            mending: Mending::new(lacking, &self.bare, self.garbage),
            whole: self.whole,
            news: Buckets::NONE,
        };
        (self.marks, loaded)
    }
}

/// Loads a channel's marks and applies them; from a table that is trusted not the buckets whose digests are this node's own.
/// They are in force here even if the follower has no use for the answer.
pub(super) async fn load(node: &Node, channel: ChannelId, trusted: bool) -> Finished {
    // A node that joins wants all channels: asked for at once, the last answer would come after its time is out.
    let turn = node.loads.acquire().await;
    let asked = node.now().boot;
    let known = trusted.then(|| node.marks().digests(channel));
    let loaded = match load_table(node, channel, known).await {
        Some(opened) => Some(merge(node, channel, opened).await),
        None => None,
    };
    drop(turn);
    Finished::Loaded(channel, asked, loaded)
}

async fn merge(node: &Node, channel: ChannelId, opened: Opened) -> Loaded {
    let mut news = Buckets::NONE;
    for (mark, incarnation, position) in &opened.bare {
        if !node.marks().covers(mark) {
            news.add(bucket_of(mark.expires));
        }
        node.apply_mark(mark.clone(), Some((*incarnation, *position)));
    }
    let same = opened.same;
    let (marks, mut loaded) = opened.compared(node, channel);
    let position = loaded.position();
    let mut marks = marks.into_iter();
    while !marks.as_slice().is_empty() {
        // Checks wait while it holds the lock.
        node.apply_loaded(marks.by_ref().take(AT_ONCE), position, |_, bucket| news.add(bucket));
        tokio::task::yield_now().await;
    }
    if let (Some(position), true) = (position, loaded.whole) {
        node.marks_mut().position_tags(channel, position, same);
    }
    loaded.news = news;
    loaded
}

/// Compares a channel's table with this node's marks: the whole of a small one, of a large one what the digests of its
/// buckets tell, and one bucket itself. Those digests are Redis' own words, and say nothing of what was altered behind them.
pub(super) async fn audit(node: &Node, channel: ChannelId, turn: usize) -> Finished {
    let known = {
        let marks = node.marks();
        (marks.count_of(channel) > SMALL_TABLE).then(|| {
            let mut known = marks.digests(channel);
            let bucket = &mut known[turn % BUCKETS];
            // Not what it is, so that it comes whole.
            *bucket = bucket.toggled(Digest([0xff; 16]));
            known
        })
    };
    let Some(opened) = load_table(node, channel, known).await else {
        return Finished::Audited(channel, None);
    };
    let (marks, mut loaded) = opened.compared(node, channel);
    let position = loaded.position();
    let mut news = Buckets::NONE;
    for (mark, _) in marks {
        let known = node.marks().covers(&mark);
        // A tag that is known keeps its position.
        if !known {
            news.add(bucket_of(mark.expires));
            node.apply_mark(mark, position);
        }
    }
    loaded.news = news;
    Finished::Audited(channel, Some(loaded))
}

/// How a channel's table and what this node holds differ.
pub(crate) struct Differences {
    /// Whether the table is what its log says.
    pub(crate) whole: bool,
    /// Marks that this node holds, and neither table nor log.
    pub(crate) lacking_there: Vec<Mark>,
    /// Marks of the table that this node does not hold.
    pub(crate) lacking_here: Vec<Mark>,
}

/// Compares a channel's table with what this node holds, by the digests of the buckets and then by what is in those that differ;
/// changes nothing. `None`: it could not be read.
pub(crate) async fn compare_table(node: &Node, channel: ChannelId) -> Option<Differences> {
    let known = node.marks().digests(channel);
    let (marks, loaded) = load_table(node, channel, Some(known)).await?.compared(node, channel);
    let from = node.now().wall.saturating_add(node.max_skew.as_secs());
    let held = node.marks();
    let here = marks.into_iter().map(|(mark, _)| mark);
    Some(Differences {
        whole: loaded.whole,
        lacking_there: loaded.mending.unannounced().collect(),
        // Each node forgets what is past by its own clocks.
        lacking_here: here.filter(|mark| mark.expires >= from && !held.covers(mark)).collect(),
    })
}

async fn load_table(node: &Node, channel: ChannelId, known: Option<Digests>) -> Option<Opened> {
    let loaded = load_with(node, channel, known).await?;
    if loaded.whole || known.is_none() {
        return Some(loaded);
    }
    // The table may have another idea of its buckets than of its root.
    load_with(node, channel, None).await
}

/// `None`: the table could not be read, or holds what only others can open.
async fn load_with(node: &Node, channel: ChannelId, known: Option<Digests>) -> Option<Opened> {
    let table = bounded(node, "load", node.ports.log.load(channel, known)).await?;
    let mut root = Digest::EMPTY;
    for (bucket, digest) in known.into_iter().flatten().enumerate() {
        if table.same.contains(bucket) {
            root = root.toggled(digest);
        }
    }
    let (mut marks, mut garbage) = (Vec::with_capacity(table.marks.len()), Vec::new());
    for (at, stored) in table.marks.into_iter().enumerate() {
        if at % AT_ONCE == AT_ONCE - 1 {
            tokio::task::yield_now().await;
        }
        match node.codec.open_mark(channel, &stored) {
            Ok(mark) => {
                root = root.toggled(stored.digest);
                marks.push((mark, stored.digest));
            }
            Err(Unopened::Foreign) => {
                node.counters.unopened.add();
                tracing::error!(
                    target: "authmesh::audit", %channel,
                    "a mark is sealed under a key, or in a version, that this node does not have; the load does not count"
                );
                return None;
            }
            Err(Unopened::Garbage) => garbage.push(stored),
        }
    }
    if !garbage.is_empty() {
        node.counters.unopened.add();
        tracing::error!(
            target: "authmesh::audit", %channel, elements = garbage.len(),
            "the table of marks holds what nobody with the keys wrote; it counts for nothing"
        );
    }
    let mut whole = root == table.head.map_or(Digest::EMPTY, |head| head.root);
    let mut bare = Vec::new();
    for entry in table.bare {
        let (incarnation, position) = (entry.head.incarnation, entry.head.position);
        match node.codec.open_entry(entry).payload {
            OpenedPayload::Bare(statement) => {
                if let Body::Mark(mark) = statement.body {
                    bare.push((mark, incarnation, position));
                }
            }
            OpenedPayload::Refused(Refused::Sealed(OpenError::Truncated | OpenError::Kind(_) | OpenError::Forged)) => {
                node.counters.unopened.add();
                // One from before the newest mint was made up for by it.
                whole &= table.head.is_none_or(|head| head.incarnation != incarnation);
            }
            _ => {
                node.counters.unopened.add();
                tracing::error!(
                    target: "authmesh::audit", %channel,
                    "a statement that the table lacks is sealed under a key, or of a version, that this node does not have; \
                     the load does not count"
                );
                return None;
            }
        }
    }
    if !whole && known.is_none() {
        tracing::error!(target: "authmesh::audit", %channel, "marks are missing from the table; it does not count");
    }
    Some(Opened {
        head: table.head,
        marks,
        same: table.same,
        bare,
        garbage,
        whole,
    })
}

/// `announced`: it stands in the log already.
pub(super) async fn commit(node: &Node, statement: &Statement, announced: bool) -> Commit {
    let effect = match &statement.body {
        Body::Drop(name) => Effect::Drop(*name),
        Body::Mark(mark) => Effect::Mark(node.codec.seal_mark(mark)),
    };
    let call = node.ports.log.commit(ports::Commit {
        channel: statement.name.channel,
        nonce: Nonce(node.random()),
        birth: Incarnation(node.random()),
        now: node.now().wall,
        effect,
        statement: node.codec.seal_statement(statement),
        bare_done: announced,
    });
    let call = async move {
        match call.await {
            Ok(committed) => Ok(Commit::Done(committed)),
            Err(PortError::Partly(_)) => Ok(Commit::Bare),
            Err(error) => Err(error),
        }
    };
    bounded(node, "commit", Box::pin(call)).await.unwrap_or(Commit::Failed)
}

/// What a channel's table lacks, and what it should not hold.
#[derive(Default)]
pub(super) struct Mending {
    /// With whether the log has it already, by a bare entry.
    lacking: Vec<(Mark, bool)>,
    garbage: Vec<StoredMark>,
}

impl Mending {
    /// While a slot is moving, every node finds the same marks lacking, again and again: what stands in the log must not be
    /// put there once more by each of them.
    pub(super) fn new(lacking: Vec<Mark>, bare: &[(Mark, Incarnation, Position)], garbage: Vec<StoredMark>) -> Self {
        let announced = |mark: &Mark| {
            bare.iter()
                .any(|(bare, ..)| bare.key == mark.key && bare.not_before >= mark.not_before)
        };
        let lacking = lacking.into_iter().map(|mark| {
            let announced = announced(&mark);
            (mark, announced)
        });
        Self {
            lacking: lacking.collect(),
            garbage,
        }
    }

    /// Marks that stand neither in the table nor in the log.
    fn unannounced(self) -> impl Iterator<Item = Mark> {
        let lacking = self.lacking.into_iter();
        lacking.filter_map(|(mark, announced)| (!announced).then_some(mark))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lacking.is_empty() && self.garbage.is_empty()
    }
}

/// Removes garbage, then commits marks that a log lacks, as restatements of this node. Whether all of it was done.
pub(super) async fn mend(node: &Node, channel: ChannelId, mending: Mending) -> bool {
    let Mending { lacking, garbage } = mending;
    let mut all = true;
    if !garbage.is_empty() {
        all = bounded(node, "purge", node.ports.log.purge(channel, garbage))
            .await
            .is_some();
    }
    for (mark, announced) in lacking {
        let statement = Statement {
            name: StatementName::restatement(node.origin, channel),
            body: Body::Mark(mark),
        };
        all &= matches!(commit(node, &statement, announced).await, Commit::Done(_));
    }
    all
}

pub(super) async fn recommit(node: &Node, channel: ChannelId, mending: Mending) -> Finished {
    Finished::Input(Input::Recommitted(channel, mend(node, channel, mending).await))
}

pub(super) async fn mint(node: &Node, channel: ChannelId, expected: Option<Incarnation>) -> Finished {
    let (incarnation, nonce) = (Incarnation(node.random()), Nonce(node.random()));
    let call = node.ports.log.mint(channel, expected, incarnation, nonce);
    let won = bounded(node, "mint", call).await.unwrap_or(false);
    Finished::Input(Input::Minted(channel, won))
}
