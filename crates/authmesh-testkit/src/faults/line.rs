//! A stream with faults in front of it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio_stream::{Stream, StreamExt as _};

use super::{Action, Call, Faults, Op, copies, wait_for};

/// How messages of a kind are named, doubled and broken.
pub(super) struct Kind<E> {
    pub(super) op: Op,
    pub(super) call: fn(&E) -> Call,
    /// The message again; `None` where there can be only one.
    pub(super) again: fn(&E) -> Option<E>,
    /// What comes in place of a message that fails; `None`: nothing.
    pub(super) broken: fn() -> Option<E>,
}

/// What the stream behind brings, and what is left of it.
type Step<E> = Pin<Box<dyn Future<Output = (Pump<E>, Option<Vec<E>>)> + Send>>;

/// The stream in front.
pub(super) struct Line<E> {
    ready: VecDeque<E>,
    next: Option<Step<E>>,
}

struct Pump<E> {
    inner: Pin<Box<dyn Stream<Item = E> + Send>>,
    faults: Faults,
    kind: Kind<E>,
    /// It comes after the next one.
    kept: Option<E>,
}

impl<E: Send + 'static> Line<E> {
    pub(super) fn new(inner: Pin<Box<dyn Stream<Item = E> + Send>>, faults: Faults, kind: Kind<E>) -> Self {
        let pump = Pump {
            inner,
            faults,
            kind,
            kept: None,
        };
        Self {
            ready: VecDeque::new(),
            next: Some(Box::pin(pump.step())),
        }
    }
}

impl<E: Send + 'static> Pump<E> {
    /// The next message, and what becomes of it; `None` at the end.
    async fn step(mut self) -> (Self, Option<Vec<E>>) {
        let Some(message) = self.inner.next().await else {
            let last = self.kept.take().map(|kept| vec![kept]);
            return (self, last);
        };
        let (op, call) = (self.kind.op, self.kind.call);
        let actions = self.faults.meet(op, || call(&message)).actions;
        wait_for(&actions).await;
        let mut out = Vec::new();
        match copies(&actions) {
            0 => {
                let fails = actions.iter().any(|(_, action)| matches!(action, Action::Fail(_)));
                out.extend(fails.then(self.kind.broken).flatten());
            }
            count => {
                let again: Vec<E> = (1..count).filter_map(|_| (self.kind.again)(&message)).collect();
                let swaps = actions.iter().any(|(_, action)| matches!(action, Action::Swap));
                match self.kept.take() {
                    None if swaps => self.kept = Some(message),
                    kept => {
                        out.push(message);
                        out.extend(kept);
                    }
                }
                out.extend(again);
            }
        }
        self.faults.ended(op);
        (self, Some(out))
    }
}

impl<E: Send + Unpin + 'static> Stream for Line<E> {
    type Item = E;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<E>> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Poll::Ready(Some(message));
            }
            let Some(step) = self.next.as_mut() else {
                return Poll::Ready(None);
            };
            let Poll::Ready((pump, messages)) = step.as_mut().poll(context) else {
                return Poll::Pending;
            };
            match messages {
                Some(messages) => {
                    self.ready.extend(messages);
                    self.next = Some(Box::pin(pump.step()));
                }
                None => self.next = None,
            }
        }
    }
}
