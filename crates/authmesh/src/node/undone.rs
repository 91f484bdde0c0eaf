//! Marks that are in force here and are not known to be committed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use authmesh_proto::crypto::ScopeKind;
use authmesh_proto::ident::{ChannelId, Origin, StatementName};
use authmesh_proto::statement::{Body, MarkKey};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Marks that were said here, or heard by gossip, and are on their way. Bounded as the outbox and the ring of gossip are.
#[derive(Debug, Default)]
pub(crate) struct Undone {
    marks: Mutex<Marks>,
    ended: Notify,
}

#[derive(Debug, Default)]
struct Marks {
    by_key: BTreeSet<(MarkKey, StatementName)>,
    by_name: BTreeMap<StatementName, MarkKey>,
}

impl Undone {
    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A statement is about to be in force here. Call it before: who finds a mark in force finds out that it is not done.
    pub(super) fn begin(&self, name: StatementName, body: &Body) {
        // Marks of tags say the same again and again, and are never said once.
        if let Body::Mark(mark) = body
            && mark.kind != ScopeKind::Tag
        {
            let mut marks = self.marks();
            marks.by_key.insert((mark.key, name));
            marks.by_name.insert(name, mark.key);
        }
    }

    /// It is committed, or whatever voids it in its place is.
    pub(super) fn end(&self, name: &StatementName) {
        let mut marks = self.marks();
        let Some(key) = marks.by_name.remove(name) else { return };
        marks.by_key.remove(&(key, *name));
        drop(marks);
        self.ended.notify_waiters();
    }

    /// The statements with a mark of this key that are not done.
    pub(super) fn of(&self, key: MarkKey) -> Vec<StatementName> {
        let Some(channel) = ChannelId::new(0) else {
            return Vec::new();
        };
        let first = StatementName {
            origin: Origin([0; 16]),
            channel,
            counter: 0,
        };
        let marks = self.marks();
        let own = marks.by_key.range((key, first)..).take_while(|(own, _)| *own == key);
        own.map(|(_, name)| *name).collect()
    }

    /// Waits until all of these are done. `false`: that takes longer. Cancel safe.
    pub(crate) async fn ended(&self, names: &[StatementName], deadline: Instant) -> bool {
        loop {
            // Registered first, looked at afterwards: no end is missed.
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            let waits = {
                let marks = self.marks();
                names.iter().any(|name| marks.by_name.contains_key(name))
            };
            if !waits {
                return true;
            }
            if timeout_at(deadline, ended).await.is_err() {
                return false;
            }
        }
    }
}
