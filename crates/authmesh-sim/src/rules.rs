//! Rules of the glue that can be switched off, to see that the checker notices.

/// A rule that a run leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Control {
    /// A bell with a gap before it is applied as if it were the next one.
    GapsApplied,
    /// The fence is not bumped when the follower asks for it: at adoption, reload, mint.
    NoBump,
    /// Marks that the log lacks are not committed again.
    NoRecommit,
    /// L2 stores whatever comes, lease or not.
    NoCompareAndSet,
    /// The coherence lease counts from the answer and not from before the request.
    LeaseFromAnswer,
    /// Heads are taken to be as the node knows them.
    HeadsNeverCompared,
    /// The boot clock stands still while the node is suspended.
    ClockStopsInSuspend,
    /// Entries in memory answer whatever their stamps are.
    NoFence,
    /// A verdict in memory answers whatever the mark epoch is.
    NoEpoch,
    /// L2 is read although a drop of the key has no position yet.
    EarlyDropsReadable,
    /// An L2 record counts whatever its channel's head is.
    L2WithoutHead,
    /// L2 is read although a drop of the key has no position yet when the read is sent.
    L2OlderThanDrop,
    /// An L2 record counts although the channel of one of its tags is being repaired, or its filler had another branch of it.
    TagsUnsettled,
    /// Deposed primaries are followed without end.
    DeposedFollowed,
    /// A commit is tried once.
    NoRetry,
    /// Nobody is told what others have applied: pushes and broadcasts are all there is.
    NoAntiEntropy,
    /// What came by gossip is not applied again when the log brings it, and L2 is read meanwhile.
    DedupAcrossRoads,
    /// Evidence of a majority is a lease, whatever Redis holds.
    PlainMajority,
    /// A majority of the view confirms a statement.
    MajorityConfirms,
    /// Whoever comes trusts its proofs by Redis before others know it.
    JoinerAtOnce,
    /// Statements without a position are forgotten as all others are, and nobody but its origin commits one.
    UnpositionedForgotten,
    /// Evidence counts whomever a member has in its view.
    ViewsNotCompared,
    /// A lease by Redis needs no registration, and nobody's word.
    RedisLeaseUnregistered,
    /// A member is dropped before its registration has lapsed.
    DroppedEarly,
    /// Relayed evidence comes without its age.
    AgesLost,
    /// A proof is told to gossip before what it counts on.
    ProvenBeforeApplied,
}

impl Control {
    /// Those of the road of gossip.
    pub const OF_GOSSIP: [Self; 11] = [
        Self::NoAntiEntropy,
        Self::DedupAcrossRoads,
        Self::PlainMajority,
        Self::MajorityConfirms,
        Self::JoinerAtOnce,
        Self::UnpositionedForgotten,
        Self::ViewsNotCompared,
        Self::RedisLeaseUnregistered,
        Self::DroppedEarly,
        Self::AgesLost,
        Self::ProvenBeforeApplied,
    ];

    /// Those that need more seeds than a test has time for: two primaries must answer by turns while a tag is lost.
    pub const RARELY_SEEN: [Self; 1] = [Self::TagsUnsettled];

    /// Every control.
    pub const ALL: [Self; 15] = [
        Self::GapsApplied,
        Self::NoBump,
        Self::NoRecommit,
        Self::NoCompareAndSet,
        Self::LeaseFromAnswer,
        Self::HeadsNeverCompared,
        Self::ClockStopsInSuspend,
        Self::NoFence,
        Self::NoEpoch,
        Self::EarlyDropsReadable,
        Self::L2WithoutHead,
        Self::L2OlderThanDrop,
        Self::TagsUnsettled,
        Self::DeposedFollowed,
        Self::NoRetry,
    ];
}

/// The rules of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rules {
    /// The one that is left out.
    pub off: Option<Control>,
}

impl Rules {
    /// Whether a rule is left out.
    #[must_use]
    pub fn off(&self, control: Control) -> bool {
        self.off == Some(control)
    }
}
