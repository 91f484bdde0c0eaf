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

/// The marks of a channel that this node did not have, or not surely; and what they were loaded with.
pub(super) struct Loaded {
    pub(super) head: Option<Head>,
    pub(super) marks: Vec<Mark>,
    /// The buckets in which the table holds what this node holds.
    pub(super) same: Buckets,
}

/// Loads a channel's marks, but for the buckets whose digests are this node's own.
pub(super) async fn load(node: &Node, channel: ChannelId, asked: Moment) -> Finished {
    let known = node.marks().digests(channel);
    let loaded = match load_with(node, channel, Some(known)).await {
        // The table may have another idea of its buckets than of its root.
        Err(Broken) => load_with(node, channel, None).await,
        loaded => loaded,
    };
    Finished::Loaded(channel, asked, loaded.unwrap_or(None))
}

/// The table contradicts its head.
struct Broken;

/// Marks count only whole: every one opens, and together they have the root digest of the head.
async fn load_with(node: &Node, channel: ChannelId, known: Option<Digests>) -> Result<Option<Loaded>, Broken> {
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
    for stored in &table.marks {
        let Some(mark) = node.codec.open_mark(channel, stored) else {
            node.counters.unopened.add();
            tracing::error!(target: "authmesh::audit", %channel, "a mark did not open; the load does not count");
            return Ok(None);
        };
        root = root.toggled(stored.digest);
        marks.push(mark);
    }
    let expected = table.head.map_or(Digest::EMPTY, |head| head.root);
    if root != expected {
        tracing::error!(target: "authmesh::audit", %channel, "marks are missing from the table; the load does not count");
        return Err(Broken);
    }
    Ok(Some(Loaded {
        head: table.head,
        marks,
        same: table.same,
    }))
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
