//! What the driver has done for it: one call of a port each, bounded in time, with its answer.

use std::time::Duration;

use authmesh_proto::follower::{Input, OpenedPayload, Slice};
use authmesh_proto::ident::{ChannelId, Digest, Incarnation, Nonce, Position, StatementName};
use authmesh_proto::log::Head;
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
    /// It stands in the log, but not in the table.
    Partly(StatementName),
}

/// A channel's marks.
pub(super) struct Loaded {
    pub(super) head: Option<Head>,
    /// Those of the table.
    pub(super) marks: Vec<Mark>,
    /// Those that stand in the log only, perhaps.
    pub(super) bare: Vec<(Mark, Incarnation, Position)>,
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

/// Loads a channel's marks. They count only whole: every one opens, and together they have the root digest of the head.
pub(super) async fn load(node: &Node, channel: ChannelId, asked: Moment) -> Finished {
    let whole = async {
        let table = bounded("load", node.ports.log.load(channel)).await?;
        let mut root = Digest::EMPTY;
        let mut marks = Vec::with_capacity(table.marks.len());
        for stored in &table.marks {
            let Some(mark) = node.codec.open_mark(channel, stored) else {
                node.counters.unopened.add();
                tracing::error!(target: "authmesh::audit", %channel, "a mark did not open; the load does not count");
                return None;
            };
            root = root.toggled(stored.digest);
            marks.push(mark);
        }
        let expected = table.head.map_or(Digest::EMPTY, |head| head.root);
        if root != expected {
            tracing::error!(target: "authmesh::audit", %channel, "marks are missing from the table; the load does not count");
            return None;
        }
        let mut bare = Vec::new();
        for entry in table.bare {
            let (incarnation, position) = (entry.head.incarnation, entry.head.position);
            match node.codec.open_entry(entry).payload {
                OpenedPayload::Bare(statement) => {
                    if let Body::Mark(mark) = statement.body {
                        bare.push((mark, incarnation, position));
                    }
                }
                _ => {
                    node.counters.unopened.add();
                    tracing::error!(
                        target: "authmesh::audit", %channel,
                        "a statement that the table lacks did not open; the load does not count"
                    );
                    return None;
                }
            }
        }
        let head = table.head;
        Some(Loaded { head, marks, bare })
    };
    Finished::Loaded(channel, asked, whole.await)
}

/// `bare_done`: it stands in the log already.
pub(super) async fn commit(node: &Node, statement: &Statement, bare_done: bool) -> Finished {
    let effect = match &statement.body {
        Body::Drop(name) => Effect::Drop(*name),
        Body::Mark(mark) => Effect::Mark(node.codec.seal_mark(mark)),
    };
    let commit = Commit {
        channel: statement.name.channel,
        nonce: Nonce(node.random()),
        birth: Incarnation(node.random()),
        effect,
        statement: node.codec.seal_statement(statement),
        bare_done,
    };
    let partly = |answer: Result<Committed, PortError>| match answer {
        Ok(committed) => Ok(Some(committed)),
        Err(PortError::Partly(_)) => Ok(None),
        Err(error) => Err(error),
    };
    let call = node.ports.log.commit(commit);
    match bounded("commit", Box::pin(async move { partly(call.await) })).await {
        Some(Some(committed)) => Finished::Committed(statement.name, Some(committed)),
        Some(None) => Finished::Partly(statement.name),
        None => Finished::Committed(statement.name, None),
    }
}

/// Commits marks that a log lacks, as statements of this node.
pub(super) async fn recommit(node: &Node, channel: ChannelId, lacking: Vec<Mark>) -> Finished {
    let mut all = true;
    for mark in lacking {
        let statement = Statement {
            name: node.next_name(channel),
            body: Body::Mark(mark),
        };
        // No bare entry: those who follow know the mark, and it is the table that lacks it.
        all &= matches!(commit(node, &statement, true).await, Finished::Committed(_, Some(_)));
    }
    Finished::Input(Input::Recommitted(channel, all))
}

pub(super) async fn mint(node: &Node, channel: ChannelId, expected: Option<Incarnation>) -> Finished {
    let (incarnation, nonce) = (Incarnation(node.random()), Nonce(node.random()));
    let call = node.ports.log.mint(channel, expected, incarnation, nonce);
    // Whether this node or another one won is found by reading the log again.
    let _ = bounded("mint", call).await;
    Finished::Input(Input::Minted(channel))
}
