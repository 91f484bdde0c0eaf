//! Revocation: marks, and what became of them.

mod collapse;
mod order;
mod target;

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use authmesh_proto::statement::{Body, Mark};
use authmesh_proto::time::Unix;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::error::{BatchError, RevokeError};
use crate::mesh::AuthMesh;
use crate::node::{Done, Node, SayError};
use crate::ports::BoxFuture;

pub(crate) use collapse::Subjects;
pub use order::RevocationOrder;
pub(crate) use target::MAX_VALUE;
pub use target::{Client, JwtId, Session, SigningKey, Subject, Target, Token, WholeIssuer};

/// How long a caller waits for a commit. The statement is in force here from the start, and is committed in any case.
pub(crate) const COMMIT_WAIT: Duration = Duration::from_secs(2);
/// How far ahead of our wall clock a `not_before` may lie: as far as the `iat` of an accepted token can.
pub(crate) const FURTHEST_AHEAD: Duration = Duration::from_secs(300);
/// The most revocations in one batch.
pub(crate) const MAX_BATCH: usize = 1000;

/// What became of a revocation.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Receipt {
    /// Whether it was committed in time.
    pub state: CommitState,
    /// No second copy was confirmed: one more failure at once could lose it.
    pub single_copy: bool,
    /// The kind of what was revoked.
    pub scope: &'static str,
    /// Tokens issued up to this second (issuer's time) are void, **this second included**: issue a replacement in a later
    /// one. `None` where the time of issue does not matter: one token, one `jti`.
    pub not_before: Option<Unix>,
    /// More than 64 live marks name tokens of one subject, so this one is a mark of the subject: it voids the token, and
    /// every token of the subject that was issued no later than the newest of those. [`Receipt::scope`] and
    /// [`Receipt::not_before`] are the mark's.
    pub collapsed: bool,
    /// Until when the mark is kept: no token that it voids can be valid then.
    pub expires: Unix,
}

/// Whether a statement is known to stand in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CommitState {
    /// It stands in the log, and this node has seen it come back.
    Committed,
    /// It is in force on this node, and is being committed; nobody has confirmed it yet. It is never rolled back.
    Unconfirmed,
}

/// A revocation that is being put together. `.await` carries it out.
///
/// Cancel safety: once polled, the mark is in force on this node and is committed even if the future is dropped. Where a
/// token is named it is verified first, and that may wait for keys; dropped before its end, nothing has happened.
#[must_use = "a revocation does nothing until it is awaited"]
#[derive(Debug)]
pub struct Revocation<'a> {
    mesh: &'a AuthMesh,
    order: RevocationOrder,
}

impl<'a> Revocation<'a> {
    pub(crate) fn new(mesh: &'a AuthMesh, order: RevocationOrder) -> Self {
        Self { mesh, order }
    }

    fn map(mut self, change: impl FnOnce(RevocationOrder) -> RevocationOrder) -> Self {
        self.order = change(self.order);
        self
    }

    /// Why, for people. At most 256 bytes.
    pub fn why(self, why: impl Into<String>) -> Self {
        self.map(|order| order.why(why))
    }

    /// Who, for people. At most 256 bytes.
    pub fn by(self, by: impl Into<String>) -> Self {
        self.map(|order| order.by(by))
    }

    /// As [`RevocationOrder::except_session`].
    pub fn except_session(self, session: impl Into<String>) -> Self {
        self.map(|order| order.except_session(session))
    }

    /// As [`RevocationOrder::except_token`].
    pub fn except_token(self, token: impl Into<Vec<u8>>) -> Self {
        self.map(|order| order.except_token(token))
    }

    /// Voids tokens issued up to this second of the issuer's time, instead of up to now.
    pub fn not_before(self, at: Unix) -> Self {
        self.map(|order| order.not_before(at))
    }

    async fn carry_out(self) -> Result<Receipt, RevokeError> {
        let node = self.mesh.node();
        let (receipt, mark) = self.order.mark(self.mesh).await?;
        let done = node.say(Body::Mark(mark))?;
        receipt.log();
        Ok(receipt.with(done_by(Instant::now() + COMMIT_WAIT, done).await))
    }
}

impl<'a> IntoFuture for Revocation<'a> {
    type Output = Result<Receipt, RevokeError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.carry_out())
    }
}

/// Several revocations at once. `.await` carries them out: all of them or none, in the order given, with one receipt each.
///
/// At most 1,000. They are committed side by side and waited for together, 2 s in all.
///
/// Cancel safety: as [`Revocation`]; no mark is in force before every target is known.
#[must_use = "a batch does nothing until it is awaited"]
#[derive(Debug)]
pub struct RevocationBatch<'a> {
    mesh: &'a AuthMesh,
    orders: Vec<RevocationOrder>,
}

impl<'a> RevocationBatch<'a> {
    pub(crate) fn new(mesh: &'a AuthMesh, orders: Vec<RevocationOrder>) -> Self {
        Self { mesh, orders }
    }

    /// Why, for people, of those that give no reason of their own. At most 256 bytes.
    pub fn why(mut self, why: &str) -> Self {
        for order in &mut self.orders {
            order.why.get_or_insert_with(|| why.to_owned());
        }
        self
    }

    /// Who, for people, of those that name nobody. At most 256 bytes.
    pub fn by(mut self, by: &str) -> Self {
        for order in &mut self.orders {
            order.by.get_or_insert_with(|| by.to_owned());
        }
        self
    }

    async fn carry_out(self) -> Result<Vec<Receipt>, BatchError> {
        let whole = |error| BatchError { at: None, error };
        if self.orders.len() > MAX_BATCH {
            return Err(whole(RevokeError::BadValue("a batch has at most 1,000 revocations")));
        }
        let mut marks = Vec::with_capacity(self.orders.len());
        for (at, order) in self.orders.into_iter().enumerate() {
            let mark = order.mark(self.mesh).await;
            let (receipt, mark) = mark.map_err(|error| BatchError { at: Some(at), error })?;
            marks.push((receipt, Body::Mark(mark)));
        }
        let (receipts, bodies): (Vec<_>, Vec<_>) = marks.into_iter().unzip();
        let said = self.mesh.node().say_all(bodies).map_err(|error| whole(error.into()))?;
        receipts.iter().for_each(ReceiptOf::log);
        let deadline = Instant::now() + COMMIT_WAIT;
        let mut out = Vec::with_capacity(receipts.len());
        for (receipt, done) in receipts.into_iter().zip(said) {
            out.push(receipt.with(done_by(deadline, done).await));
        }
        Ok(out)
    }
}

impl<'a> IntoFuture for RevocationBatch<'a> {
    type Output = Result<Vec<Receipt>, BatchError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.carry_out())
    }
}

/// A receipt that lacks what became of it.
pub(crate) struct ReceiptOf {
    issuer: String,
    by: String,
    scope: &'static str,
    not_before: Option<Unix>,
    collapsed: bool,
    expires: Unix,
}

impl ReceiptOf {
    pub(crate) fn new(issuer: String, mark: &Mark, collapsed: bool) -> Self {
        Self {
            issuer,
            by: mark.note.by.clone(),
            scope: mark.kind.as_str(),
            not_before: mark.kind.compares_time().then_some(mark.not_before),
            collapsed,
            expires: mark.expires,
        }
    }

    pub(crate) fn log(&self) {
        let Self {
            issuer,
            by,
            scope,
            collapsed,
            ..
        } = self;
        tracing::info!(target: "authmesh::audit", %scope, %issuer, %by, collapsed, "revoked");
    }

    pub(crate) fn with(self, done: Option<Done>) -> Receipt {
        Receipt {
            state: match done {
                Some(_) => CommitState::Committed,
                None => CommitState::Unconfirmed,
            },
            single_copy: done.is_none_or(|done| done.replicas == 0),
            scope: self.scope,
            not_before: self.not_before,
            collapsed: self.collapsed,
            expires: self.expires,
        }
    }
}

impl From<SayError> for RevokeError {
    fn from(error: SayError) -> Self {
        match error {
            SayError::Full(full) => Self::Full { cap: full.cap },
            SayError::Busy => Self::Busy,
            SayError::ShutDown => Self::ShutDown,
        }
    }
}

/// Makes a statement and waits for its commit; `None` when the wait was too long.
pub(crate) async fn say_and_wait(node: &Arc<Node>, body: Body) -> Result<Option<Done>, RevokeError> {
    let done = node.say(body)?;
    Ok(done_by(Instant::now() + COMMIT_WAIT, done).await)
}

async fn done_by(deadline: Instant, done: oneshot::Receiver<Done>) -> Option<Done> {
    timeout_at(deadline, done).await.ok().and_then(Result::ok)
}
