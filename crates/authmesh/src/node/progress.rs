//! How far a statement of this node has come, and who waits for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use authmesh_proto::gossip;
use authmesh_proto::ident::StatementName;
use authmesh_proto::statement::Body;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tracing::Span;

use super::Node;
use super::driver::Driver;
use super::outbox::Said;
use crate::telemetry::{Began, Timing, span, word};

/// How far a statement has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Progress {
    /// It stands in the log of the cluster, and this node's own follower has passed it; so many replicas confirmed that they
    /// hold it.
    pub(crate) logged: Option<u32>,
    /// A member has confirmed that it applied it.
    pub(crate) confirmed: bool,
    /// Every member of the view has.
    pub(crate) whole: bool,
    /// It is committed: wherever a node is coherent, it is in force, or will be within one lease.
    pub(crate) committed: bool,
}

impl Progress {
    /// Whether a second copy is known to be.
    pub(crate) fn has_copy(&self) -> bool {
        self.confirmed || self.logged.is_some_and(|replicas| replicas > 0)
    }
}

/// Since when a statement is on its way, for whoever wants to know.
#[derive(Debug)]
pub(crate) struct Timed {
    kind: &'static str,
    began: Began,
    /// Until it is committed.
    span: Span,
}

impl Timed {
    /// A statement is made, for the caller whose span is the current one.
    pub(super) fn new(node: &Node, body: &Body) -> Self {
        let kind = match body {
            Body::Drop(_) => "drop",
            Body::Mark(_) => "mark",
        };
        Self {
            kind,
            began: node.begins(),
            span: span!("authmesh.commit", authmesh.kind = kind),
        }
    }

    fn ended(&self, node: &Node, timing: Timing) {
        node.ended(timing, self.began, &[("kind", word(self.kind))]);
    }
}

/// A statement that somebody waits for, or that is not committed.
#[derive(Debug)]
struct Awaited {
    timed: Timed,
    progress: watch::Sender<Progress>,
    /// Its room in the outbox, until the log has it.
    room: Option<OwnedSemaphorePermit>,
}

/// The statements of this node that are not done.
#[derive(Debug, Default)]
pub(super) struct Awaiting(BTreeMap<StatementName, Awaited>);

impl Awaiting {
    /// The span of a statement that is on its way.
    pub(super) fn span_of(&self, name: &StatementName) -> Span {
        let awaited = self.0.get(name);
        awaited.map_or_else(Span::none, |awaited| awaited.timed.span.clone())
    }

    /// Whether somebody waits for a statement that is not committed.
    pub(super) fn is_empty(&self) -> bool {
        !self.0.values().any(|awaited| {
            let waits = !awaited.progress.is_closed();
            waits && !awaited.progress.borrow().committed
        })
    }
}

impl Driver {
    /// A statement was made here: it goes both ways at once.
    pub(super) fn on_said(&mut self, said: Said) {
        let name = said.statement.name;
        let is_awaited = !said.progress.is_closed();
        let awaited = Awaited {
            timed: said.timed,
            progress: said.progress,
            room: Some(said.room),
        };
        self.awaiting.0.insert(name, awaited);
        if self.road.is_some() {
            let await_it = is_awaited.then_some(gossip::Input::Await(name));
            let said = gossip::Input::Said(said.statement.clone());
            self.gossip_step([Some(said), await_it].into_iter().flatten());
        }
        self.commit_step(Some(authmesh_proto::commit::Input::Said(said.statement)));
    }

    /// The log has it, and this node's follower has passed it there.
    pub(super) fn on_logged(&mut self, name: StatementName, replicas: u32) {
        if !self.awaiting.0.contains_key(&name) {
            // Another node's, which this one held; or one that nobody waits for any more.
            self.node.outbox.undone.end(&name);
        }
        let has_log = self.road.as_ref().is_none_or(|road| road.has_log);
        if let Some(awaited) = self.awaiting.0.get_mut(&name) {
            awaited.room = None;
            if has_log {
                awaited
                    .progress
                    .send_modify(|progress| progress.logged = Some(replicas));
            }
        }
        self.judge(name);
    }

    /// Members have applied it; `whole`: every one of the view.
    pub(super) fn on_confirmed(&mut self, name: StatementName, whole: bool) {
        let Some(room) = self.node.gossip() else { return };
        let others = room.machine().members().next().is_some();
        if let Some(awaited) = self.awaiting.0.get(&name) {
            if whole && others && !awaited.progress.borrow().whole {
                awaited.timed.ended(&self.node, Timing::Propagation);
            }
            awaited.progress.send_modify(|progress| {
                // Without a log a node that is alone has nobody whom it could ask.
                progress.confirmed |= others;
                progress.whole |= whole;
            });
        }
        self.judge(name);
    }

    /// Whether a statement is committed. By Redis only where no member may hold this node to be gone: it could say so by a
    /// log that nobody follows any more. Without Redis only by every member of the view: one that did not hear it may hold
    /// a lease by Redis.
    fn judge(&mut self, name: StatementName) {
        let now = self.node.now().boot;
        let vouched = self.node.gossip().is_none_or(|room| room.machine().vouched(now));
        let Some(awaited) = self.awaiting.0.get_mut(&name) else {
            return;
        };
        let news = awaited.progress.send_if_modified(|progress| {
            let committed = progress.whole || (progress.logged.is_some() && vouched);
            committed && !std::mem::replace(&mut progress.committed, true)
        });
        if news {
            awaited.timed.ended(&self.node, Timing::Commit);
            awaited.timed.span = Span::none();
        }
        if awaited.progress.borrow().committed {
            self.node.outbox.undone.end(&name);
        }
        if self.road.is_none() && awaited.room.is_none() {
            // Nothing more will be known.
            self.awaiting.0.remove(&name);
        }
    }

    /// Forgets those that nobody waits for, and looks again at those that are not committed.
    pub(super) fn sweep_awaited(&mut self) {
        let Some(room) = self.node.gossip() else { return };
        let vouched = room.machine().vouched(self.node.now().boot);
        let (mut unawaited, mut judged) = (Vec::new(), Vec::new());
        let node = Arc::clone(&self.node);
        self.awaiting.0.retain(|name, awaited| {
            let is_closed = awaited.progress.is_closed();
            if is_closed {
                unawaited.push(*name);
            } else {
                let progress = *awaited.progress.borrow();
                if vouched && progress.logged.is_some() && !progress.committed {
                    judged.push(*name);
                }
            }
            let keep = !is_closed || awaited.room.is_some();
            if !keep {
                node.outbox.undone.end(name);
            }
            keep
        });
        self.gossip_step(unawaited.into_iter().map(gossip::Input::Unawait));
        for name in judged {
            self.judge(name);
        }
    }
}
