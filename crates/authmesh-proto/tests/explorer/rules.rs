//! The rules of the protocol, each of which can be switched off.

/// One rule. Where the model finds nothing without it, `docs/model-check.md` says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rule {
    /// What is in memory is valid by the stamps that its fill captured. Off: a drop removes what is there, and no more.
    Fence,
    /// A bell is applied only where its `previous` is the watermark. Off: any bell is.
    Link,
    /// A fill stores only while the lease in L2 is its own. Off: it stores.
    CompareAndSet,
    /// Before a load the channel's whole fence is raised.
    BumpBeforeLoad,
    /// After a load the channel's whole fence is raised.
    BumpAfterLoad,
    /// L2 is a miss while a statement about the key has no position.
    MissWhileUnpositioned,
    /// .. and for a read that was sent while it had none.
    MissIfAskedUnpositioned,
    /// Both of these for copies that were heard early. Off: L2 stays readable, and the logged copy is taken for a duplicate.
    EarlyCopies,
    /// The logged copy raises the fence although an early copy did.
    LoggedCopyBumps,
    /// Another incarnation is adopted. Off: whoever misses its watermark mints.
    Adopt,
    /// A value counts only in the head's incarnation.
    ValueIncarnation,
    /// A lease counts only in the head's incarnation.
    LeaseIncarnation,
    /// A value counts only if the head that came with it proves the channel current.
    HeadProves,
    /// An older head proves nothing if its successor was applied before the read was sent.
    HeadAsked,
    /// A value counts only while the channel is settled.
    Settled,
    /// A fill stores only in the incarnation that it captured.
    SameIncarnation,
    /// Marks that the table lacks are committed before a mint. Off: never.
    RecommitBeforeMint,
    /// Marks that the table lacks are committed after an adoption. Off: never.
    RecommitAfterAdoption,
    /// A mint is a compare-and-set on the incarnation. Off: it appends.
    MintExpected,
    /// A load never moves a tag back within an incarnation.
    TagKeepsItsPosition,
    /// A record's tag position counts only if the reader has applied that very entry.
    TagLineage,
    /// .. and while the reader's follower of the tag's channel is settled.
    TagSettled,
    /// What was committed and passed over by a load is committed again.
    Overtaken,
    /// A node commits what it heard early, once nobody else will.
    HolderCommits,
    /// A record carries the positions of its tags.
    TagPosition,
    /// A lease is given over what is outdated. Off: that is in the way.
    LeaseReplacesOutdated,
    /// A lease is given over a record that its taker found void by a tag. Off: that is in the way.
    VoidGivesWay,
}

impl Rule {
    pub(crate) const ALL: [Self; 27] = [
        Self::Fence,
        Self::Link,
        Self::CompareAndSet,
        Self::BumpBeforeLoad,
        Self::BumpAfterLoad,
        Self::MissWhileUnpositioned,
        Self::MissIfAskedUnpositioned,
        Self::EarlyCopies,
        Self::LoggedCopyBumps,
        Self::Adopt,
        Self::ValueIncarnation,
        Self::LeaseIncarnation,
        Self::HeadProves,
        Self::HeadAsked,
        Self::Settled,
        Self::SameIncarnation,
        Self::RecommitBeforeMint,
        Self::RecommitAfterAdoption,
        Self::MintExpected,
        Self::TagKeepsItsPosition,
        Self::TagLineage,
        Self::TagSettled,
        Self::Overtaken,
        Self::HolderCommits,
        Self::TagPosition,
        Self::LeaseReplacesOutdated,
        Self::VoidGivesWay,
    ];
}

/// The rules that are on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rules(u32);

impl Rules {
    pub(crate) const ALL: Self = Self(u32::MAX);

    pub(crate) const fn without(self, rule: Rule) -> Self {
        Self(self.0 & !(1 << rule as u32))
    }

    pub(crate) const fn has(self, rule: Rule) -> bool {
        self.0 & (1 << rule as u32) != 0
    }
}
