//! Revocation: marks, and what became of them.

mod collapse;
mod confirm;
mod order;
mod target;

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use authmesh_proto::statement::{Body, Mark};
use authmesh_proto::time::Unix;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::error::{BatchError, RevokeError};
use crate::mesh::AuthMesh;
use crate::node::{Node, Once, Progress, SayError, Ticket};
use crate::ports::BoxFuture;
use crate::telemetry::{Empty, span};

pub(crate) use collapse::Subjects;
pub(crate) use confirm::Wait;
pub use confirm::{Confirm, Confirmer};
pub use order::RevocationOrder;
pub(crate) use target::MAX_VALUE;
pub use target::{Client, JwtId, Session, SigningKey, Subject, Target, Token, WholeIssuer};

/// How long a caller waits for a confirmation. The statement is in force here from the start, and is committed in any case.
/// Default.
const COMMIT_WAIT: Duration = Duration::from_secs(2);
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
    /// Members that have confirmed it by gossip when the wait ended, by name. Empty without gossip.
    pub confirmed_by: Vec<Confirmer>,
    /// Members of this node's view that had not by then, by name. Empty without gossip.
    pub missing: Vec<Confirmer>,
}

/// Whether no coherent node can go on without a statement for longer than one lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CommitState {
    /// It stands in the log, and this node has seen it come back while no other could hold it to be gone; or every member of
    /// its view has applied it.
    Committed,
    /// It is in force on this node, and is being committed; nobody has confirmed it yet. It is never rolled back.
    Unconfirmed,
}

impl CommitState {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Unconfirmed => "unconfirmed",
        }
    }
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
    wait: Wait,
}

impl<'a> Revocation<'a> {
    pub(crate) fn new(mesh: &'a AuthMesh, order: RevocationOrder) -> Self {
        Self {
            mesh,
            order,
            wait: Wait::default(),
        }
    }

    /// What to wait for. Default: [`Confirm::Committed`].
    pub fn confirm(mut self, confirm: Confirm) -> Self {
        self.wait.confirm = confirm;
        self
    }

    /// How long to wait for it, from when the mark is in force here. The receipt then says how far it came; the mark is
    /// committed in any case. Default: 2 s.
    pub fn deadline(mut self, at_most: Duration) -> Self {
        self.wait.at_most = at_most;
        self
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
        let span = span!("authmesh.revoke", authmesh.scope = Empty, authmesh.state = Empty, error.type = Empty);
        let ended = self.carried_out().instrument(span.clone()).await;
        match &ended {
            Ok(receipt) => {
                span.record("authmesh.scope", receipt.scope);
                span.record("authmesh.state", receipt.state.as_str());
            }
            Err(error) => {
                span.record("error.type", error.code());
            }
        }
        ended
    }

    async fn carried_out(self) -> Result<Receipt, RevokeError> {
        let node = self.mesh.node();
        let (receipt, mark) = self.order.mark(self.mesh).await?;
        let ticket = node.say(Body::Mark(mark))?;
        receipt.log();
        let deadline = self.wait.until();
        Ok(receipt.when(node, ticket, &self.wait, deadline).await)
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
/// At most 1,000. They are committed side by side and waited for together, by default 2 s in all.
///
/// Cancel safety: as [`Revocation`]; no mark is in force before every target is known.
#[must_use = "a batch does nothing until it is awaited"]
#[derive(Debug)]
pub struct RevocationBatch<'a> {
    mesh: &'a AuthMesh,
    orders: Vec<RevocationOrder>,
    wait: Wait,
}

impl<'a> RevocationBatch<'a> {
    pub(crate) fn new(mesh: &'a AuthMesh, orders: Vec<RevocationOrder>) -> Self {
        Self {
            mesh,
            orders,
            wait: Wait::default(),
        }
    }

    /// What to wait for, of each. Default: [`Confirm::Committed`].
    pub fn confirm(mut self, confirm: Confirm) -> Self {
        self.wait.confirm = confirm;
        self
    }

    /// How long to wait in all. As [`Revocation::deadline`]. Default: 2 s.
    pub fn deadline(mut self, at_most: Duration) -> Self {
        self.wait.at_most = at_most;
        self
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
        let span = span!("authmesh.revoke", authmesh.count = self.orders.len());
        self.carried_out().instrument(span).await
    }

    async fn carried_out(self) -> Result<Vec<Receipt>, BatchError> {
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
        let node = self.mesh.node();
        let said = node.say_all(bodies).map_err(|error| whole(error.into()))?;
        receipts.iter().for_each(ReceiptOf::log);
        let deadline = self.wait.until();
        let mut out = Vec::with_capacity(receipts.len());
        for (receipt, ticket) in receipts.into_iter().zip(said) {
            out.push(receipt.when(node, ticket, &self.wait, deadline).await);
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

    /// Waits; then says how far it came.
    async fn when(self, node: &Node, mut ticket: Ticket, wait: &Wait, deadline: Instant) -> Receipt {
        let confirm = span!("authmesh.confirm");
        let progress = wait.wait(node, &mut ticket, deadline).instrument(confirm).await;
        let (confirmed_by, missing) = confirm::named(node, &ticket);
        self.with(progress, confirmed_by, missing)
    }

    /// Waits for a mark that somebody else may have said before.
    pub(crate) async fn once(self, node: &Node, said: Once, wait: &Wait) -> Receipt {
        let deadline = wait.until();
        let committed = match said {
            Once::Said(ticket) => return self.when(node, ticket, wait, deadline).await,
            Once::OnItsWay(names) => node.outbox.undone.ended(&names, deadline).await,
            Once::Stands => true,
        };
        // Nobody was asked for a copy.
        let progress = Progress {
            committed,
            ..Progress::default()
        };
        self.with(progress, Vec::new(), Vec::new())
    }

    fn with(self, progress: Progress, confirmed_by: Vec<Confirmer>, missing: Vec<Confirmer>) -> Receipt {
        Receipt {
            state: match progress.committed {
                true => CommitState::Committed,
                false => CommitState::Unconfirmed,
            },
            single_copy: !progress.has_copy(),
            scope: self.scope,
            not_before: self.not_before,
            collapsed: self.collapsed,
            expires: self.expires,
            confirmed_by,
            missing,
        }
    }
}

impl From<SayError> for RevokeError {
    fn from(error: SayError) -> Self {
        match error {
            SayError::Full(full) => Self::Full { cap: full.cap },
            SayError::Busy => Self::Busy,
            SayError::ShutDown => Self::ShutDown,
            SayError::UnknownKind(kind) => Self::UnknownKind { kind },
        }
    }
}

/// Makes a statement and waits for its commit; `false` when the wait was too long.
pub(crate) async fn say_and_wait(node: &Arc<Node>, body: Body) -> Result<bool, RevokeError> {
    let mut ticket = node.say(body)?;
    let deadline = Instant::now() + COMMIT_WAIT;
    let Progress { committed, .. } = ticket.wait(deadline, |progress| progress.committed).await;
    Ok(committed)
}
