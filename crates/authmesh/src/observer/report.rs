//! What a round tells.

use std::fmt;
use std::time::Duration;

use authmesh_proto::time::Unix;
use serde::Serialize;

/// A way in which answers can contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Inconsistency {
    /// A verdict in memory would be served without another look at the marks, and a mark that this node holds voids it. This
    /// breaks the first invariant: it must never be.
    Marks,
    /// Memory and L2 hold different values under one key, and this node would serve either.
    Level2,
    /// The table of marks in Redis lacks a mark that this node holds, or holds one that this node lacks.
    Table,
    /// A coherent member lacks a mark that this node holds, or holds one that this node lacks.
    PeerMarks,
    /// A coherent member would serve another value under a key from its memory.
    PeerValue,
}

impl Inconsistency {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Marks, Self::Level2, Self::Table, Self::PeerMarks, Self::PeerValue];

    /// The word for it in reports, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Marks => "marks",
            Self::Level2 => "level2",
            Self::Table => "table",
            Self::PeerMarks => "peer_marks",
            Self::PeerValue => "peer_value",
        }
    }
}

impl fmt::Display for Inconsistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one round found.
///
/// It proves something about the sample, at the time of the round: that what was compared agrees, or was made to agree within
/// the bound. It says nothing of what was not in memory, and nothing of the source: a source that changes without a drop looks
/// like an inconsistency between two nodes that loaded it at different times, and like none where both loaded the old one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The node that looked.
    pub node: String,
    /// When it began to, by its wall clock.
    pub at: Unix,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// How long a difference had to stand to be counted, in milliseconds. Of [`Inconsistency::Marks`] it is a second.
    pub settle_ms: u64,
    /// Whether the node was coherent. One that is not compares nothing but its memory with its own marks: it may lack anything
    /// else, and says so.
    pub coherent: bool,
    /// What was compared.
    pub checked: Checked,
    /// Differences that were gone within the bound: a statement or a fill was on its way.
    pub in_flight: u64,
    /// Comparisons that could not be made: L2, Redis or a member did not answer, or the member is blind.
    pub could_not_ask: u64,
    /// Inconsistencies of all kinds. At least so many: of one round at most 1,000 differences are followed.
    pub inconsistent: u64,
    /// The age of the oldest, in seconds; `None` without one.
    pub oldest_seconds: Option<u64>,
    /// What was found, by kind; kinds of which nothing was found are left out.
    pub found: Vec<Findings>,
}

/// How much was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Checked {
    /// Verdicts in memory, with the marks.
    pub verdicts: u64,
    /// Entries of the generic cache in memory that would be served.
    pub entries: u64,
    /// Those among them under whose key L2 has a value that counts.
    pub in_l2: u64,
    /// Channels whose marks were compared with the table in Redis.
    pub channels: u64,
    /// Members with whose marks and values this node's were compared.
    pub peers: u64,
    /// Values that members serve under the keys of the sample.
    pub at_peers: u64,
}

/// The inconsistencies of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Findings {
    /// The kind.
    pub kind: Inconsistency,
    /// How many.
    pub count: u64,
    /// The age of the oldest, in seconds.
    pub oldest_seconds: u64,
    /// The first of them.
    pub first: Explained,
}

/// One inconsistency, for people. Names are keyed: nobody reads a token, a user or a cache key from them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Explained {
    /// What is wrong, in a sentence.
    pub what: String,
    /// The keyed name of the entry, the scope or the mark, in hexadecimal.
    pub name: String,
    /// The channel.
    pub channel: u8,
    /// The member that it is about.
    pub peer: Option<String>,
    /// How long it has been so, in seconds, as far as is known.
    pub age_seconds: u64,
}

/// Why there is no report. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ObserveError {
    /// A node looks once at a time.
    #[error("this node is looking already; ask again in a few seconds")]
    Busy,
    /// The node is shutting down.
    #[error("the node is shutting down")]
    ShutDown,
}

/// Something that differed at a glance, and has stood for as long as it must.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    pub(super) kind: Inconsistency,
    pub(super) explained: Explained,
}

/// The findings by kind, in the order of the kinds.
pub(super) fn by_kind(findings: &[Finding]) -> Vec<Findings> {
    let of = |kind| {
        let mut of_kind = findings.iter().filter(move |finding| finding.kind == kind);
        let first = of_kind.clone().next()?.explained.clone();
        let count = of_kind.clone().count() as u64;
        let oldest = of_kind.by_ref().map(|finding| finding.explained.age_seconds).max();
        Some(Findings {
            kind,
            count,
            oldest_seconds: oldest.unwrap_or_default(),
            first,
        })
    };
    Inconsistency::ALL.into_iter().filter_map(of).collect()
}

/// Whole milliseconds.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
