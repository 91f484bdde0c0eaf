//! What the driver has done for it: one call of a port each, bounded in time, with its answer.

use std::time::Duration;

use authmesh_proto::follower::{Input, Slice};
use authmesh_proto::ident::{ChannelId, Digest, Incarnation, Nonce, Position, StatementName};
use authmesh_proto::log::Head;
use authmesh_proto::marks::{Buckets, Digests};
use authmesh_proto::statement::{Body, Mark, Statement};
use authmesh_proto::time::Moment;

use super::Node;
use crate::ports::{BoxFuture, BusStream, Commit, Committed, Effect, PortError};

/// How long one call of a port may take.
const PORT_TIMEOUT: Duration = Duration::from_secs(2);
/// Log entries read at once.
const READ_LIMIT: usize = 512;

/// Tables of marks that are loaded at the same time: enough that the node opens some while it waits for others, and few
/// enough that their bytes are small beside the marks themselves.
pub(super) const LOADS: usize = 8;
/// Marks that are opened, or applied under one lock, before others have their turn.
const AT_ONCE: usize = 256;

/// A job that ended.
pub(super) enum Finished {
    Input(Input),
    Subscribed(Option<BusStream>),
    Loaded(ChannelId, Moment, Option<Loaded>),
    Committed(StatementName, Option<Committed>),
}

async fn bounded<T>(what: &'static str, call: BoxFuture<'_, Result<T, PortError>>) -> Option<T> {
    match tokio::time::timeout(PORT_TIMEOUT, call).await {
        Ok(Ok(value)) => Some(value),
        Ok(Err(error)) => {
            tracing::debug!(%error, what, "a port call failed");
            None
        }
        Err(_) => {
            tracing::debug!(what, "a port call took longer than {PORT_TIMEOUT:?}");
            None
        }
    }
}

pub(super) async fn subscribe(node: &Node) -> Finished {
    Finished::Subscribed(bounded("subscribe", node.ports.bus.subscribe()).await)
}

pub(super) async fn heads(node: &Node, asked: Moment) -> Finished {
    Finished::Input(Input::Heads(asked, bounded("heads", node.ports.log.heads()).await))
}

pub(super) async fn read(node: &Node, channel: ChannelId, asked: Moment, from: Position) -> Finished {
    let slice = bounded("read", node.ports.log.read(channel, from, READ_LIMIT)).await;
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
    /// The marks that the table lacks.
    pub(super) lacking: Vec<Mark>,
}

/// A table that was read whole, but for what this node had already.
struct Opened {
    head: Option<Head>,
    marks: Vec<(Mark, Digest)>,
    /// The buckets in which the table holds what this node holds.
    same: Buckets,
}

/// Loads a channel's marks, but for the buckets whose digests are this node's own, and applies them. They are in force here
/// even if the follower has no use for the answer.
pub(super) async fn load(node: &Node, channel: ChannelId) -> Finished {
    // A node that joins wants all channels: asked for at once, the last answer would come after its time is out.
    let turn = node.loads.acquire().await;
    let asked = node.now().boot;
    let known = node.marks().digests(channel);
    let opened = match load_with(node, channel, Some(known)).await {
        // The table may have another idea of its buckets than of its root.
        Err(Broken) => load_with(node, channel, None).await,
        opened => opened,
    };
    let loaded = match opened.unwrap_or(None) {
        Some(opened) => Some(merge(node, channel, opened).await),
        None => None,
    };
    drop(turn);
    Finished::Loaded(channel, asked, loaded)
}

/// The table contradicts its head.
struct Broken;

/// Marks count only whole: every one opens, and together they have the root digest of the head.
async fn load_with(node: &Node, channel: ChannelId, known: Option<Digests>) -> Result<Option<Opened>, Broken> {
    let Some(table) = bounded("load", node.ports.log.load(channel, known)).await else {
        return Ok(None);
    };
    let mut root = Digest::EMPTY;
    for (bucket, digest) in known.into_iter().flatten().enumerate() {
        if table.same.contains(bucket) {
            root = root.toggled(digest);
        }
    }
    let mut marks = Vec::with_capacity(table.marks.len());
    for some in table.marks.chunks(AT_ONCE) {
        for stored in some {
            let Some(mark) = node.codec.open_mark(channel, stored) else {
                node.counters.unopened.add();
                tracing::error!(target: "authmesh::audit", %channel, "a mark did not open; the load does not count");
                return Ok(None);
            };
            root = root.toggled(stored.digest);
            marks.push((mark, stored.digest));
        }
        tokio::task::yield_now().await;
    }
    let expected = table.head.map_or(Digest::EMPTY, |head| head.root);
    if root != expected {
        tracing::error!(target: "authmesh::audit", %channel, "marks are missing from the table; the load does not count");
        return Err(Broken);
    }
    Ok(Some(Opened {
        head: table.head,
        marks,
        same: table.same,
    }))
}

async fn merge(node: &Node, channel: ChannelId, opened: Opened) -> Loaded {
    let Opened { head, marks, same } = opened;
    let lacking = node
        .marks()
        .lacking_in(channel, marks.iter().map(|(mark, _)| mark), same);
    // A tag in the table has no position of its own; the head that it was loaded with is not older.
    let position = head.map(|head| (head.incarnation, head.position));
    let mut marks = marks.into_iter();
    while !marks.as_slice().is_empty() {
        // Checks wait while it holds the lock.
        node.apply_loaded(marks.by_ref().take(AT_ONCE), position);
        tokio::task::yield_now().await;
    }
    if let Some(position) = position {
        node.marks_mut().position_tags(channel, position, same);
    }
    Loaded { head, lacking }
}

pub(super) async fn commit(node: &Node, statement: &Statement) -> Option<Committed> {
    let effect = match &statement.body {
        Body::Drop(name) => Effect::Drop(*name),
        Body::Mark(mark) => Effect::Mark(node.codec.seal_mark(mark)),
    };
    let commit = Commit {
        channel: statement.name.channel,
        nonce: Nonce(node.random()),
        birth: Incarnation(node.random()),
        now: node.now().wall,
        effect,
        statement: node.codec.seal_statement(statement),
    };
    bounded("commit", node.ports.log.commit(commit)).await
}

/// Commits marks that a log lacks, as statements of this node.
pub(super) async fn recommit(node: &Node, channel: ChannelId, lacking: Vec<Mark>) -> Finished {
    let mut all = true;
    for mark in lacking {
        let statement = Statement {
            name: node.next_name(channel),
            body: Body::Mark(mark),
        };
        all &= commit(node, &statement).await.is_some();
    }
    Finished::Input(Input::Recommitted(channel, all))
}

pub(super) async fn mint(node: &Node, channel: ChannelId, expected: Option<Incarnation>) -> Finished {
    let (incarnation, nonce) = (Incarnation(node.random()), Nonce(node.random()));
    let call = node.ports.log.mint(channel, expected, incarnation, nonce);
    let won = bounded("mint", call).await.unwrap_or(false);
    Finished::Input(Input::Minted(channel, won))
}
