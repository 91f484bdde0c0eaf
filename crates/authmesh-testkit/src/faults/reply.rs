//! What comes back, for a fault that changes it; and how a call fails.

use authmesh::ports::{
    BusStream, Committed, Fetched, GossipStream, HoldOutcome, LeaseOutcome, LogSlice, MarkTable, MemberEntry,
    PortError, StoreRead, TokenState, UpstreamError, UpstreamFault,
};
use authmesh::proto::log::Head;

/// The outcome of a call, to be changed on its way back.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reply<'a> {
    /// Of a commit.
    Committed(&'a mut Result<Committed, PortError>),
    /// Of reading the heads.
    Heads(&'a mut Result<Vec<Option<Head>>, PortError>),
    /// Of reading a log.
    Slice(&'a mut Result<LogSlice, PortError>),
    /// Of loading a table of marks.
    Table(&'a mut Result<MarkTable, PortError>),
    /// Of what answers yes or no: a mint, a renewal, a store, an insert.
    Flag(&'a mut Result<bool, PortError>),
    /// Of what answers nothing but that it is done.
    Done(&'a mut Result<(), PortError>),
    /// Of a read of L2.
    Read(&'a mut Result<StoreRead, PortError>),
    /// Of taking a fill lease.
    Lease(&'a mut Result<LeaseOutcome, PortError>),
    /// Of holding a name.
    Hold(&'a mut Result<HoldOutcome, PortError>),
    /// Of an increment.
    Number(&'a mut Result<i64, PortError>),
    /// Of the list of members.
    Members(&'a mut Result<Vec<MemberEntry>, PortError>),
    /// Of a question to a member.
    Bytes(&'a mut Result<Vec<u8>, PortError>),
    /// Of a fetch of keys.
    Keys(&'a mut Result<Fetched, UpstreamError>),
    /// Of a question about a token.
    Token(&'a mut Result<TokenState, UpstreamError>),
    /// Of a subscription, or of opening gossip: what it brings has names of its own.
    Opened,
}

/// An outcome that can be handed to a fault.
pub(crate) trait Outcome {
    fn reply(&mut self) -> Reply<'_>;
}

macro_rules! outcomes {
    ($($variant:ident($value:ty, $error:ty)),* $(,)?) => {
        $(impl Outcome for Result<$value, $error> {
            fn reply(&mut self) -> Reply<'_> {
                Reply::$variant(self)
            }
        })*
    };
}

outcomes!(
    Committed(Committed, PortError),
    Heads(Vec<Option<Head>>, PortError),
    Slice(LogSlice, PortError),
    Table(MarkTable, PortError),
    Flag(bool, PortError),
    Done((), PortError),
    Read(StoreRead, PortError),
    Lease(LeaseOutcome, PortError),
    Hold(HoldOutcome, PortError),
    Number(i64, PortError),
    Members(Vec<MemberEntry>, PortError),
    Bytes(Vec<u8>, PortError),
    Keys(Fetched, UpstreamError),
    Token(TokenState, UpstreamError),
);

impl Outcome for Result<BusStream, PortError> {
    fn reply(&mut self) -> Reply<'_> {
        Reply::Opened
    }
}

impl Outcome for Result<GossipStream, PortError> {
    fn reply(&mut self) -> Reply<'_> {
        Reply::Opened
    }
}

/// How a call fails. An error of the other family becomes the nearest one of the port's own.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// Of log, bus, store, members and gossip.
    Port(PortError),
    /// Of the sources: what an identity provider is asked.
    Upstream(UpstreamError),
}

impl Failure {
    /// Nobody could be reached, and nothing was changed.
    pub(crate) fn unavailable() -> Self {
        Self::Port(PortError::Unavailable("a fault of the test".into()))
    }

    /// It was sent, and no answer came.
    pub(crate) fn lost() -> Self {
        Self::Port(PortError::Unknown("lost on its way, by a fault of the test".into()))
    }
}

impl From<PortError> for Failure {
    fn from(error: PortError) -> Self {
        Self::Port(error)
    }
}

impl From<UpstreamError> for Failure {
    fn from(error: UpstreamError) -> Self {
        Self::Upstream(error)
    }
}

impl From<Failure> for PortError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Port(error) => error,
            Failure::Upstream(error) if error.fault == UpstreamFault::Timeout => Self::Unknown(error.what),
            Failure::Upstream(error) => Self::Unavailable(error.what),
        }
    }
}

impl From<Failure> for UpstreamError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Upstream(error) => error,
            Failure::Port(PortError::Unknown(what)) => Self::new(UpstreamFault::Timeout, what),
            Failure::Port(error) => Self::new(UpstreamFault::Unreachable, error.to_string()),
        }
    }
}
