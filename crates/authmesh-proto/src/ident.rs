//! Names of things: channels, incarnations, origins, entries, scopes, positions.

use core::fmt;

use bincode::{Decode, Encode};

/// How many channels a cluster has. Constant: it is part of the wire format.
pub const CHANNELS: usize = 64;
/// How many fence counters a channel has.
pub const STRIPES: usize = 64;

/// One of the 64 fixed shards of keys and statements. A channel is one hash tag in Redis, so one slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(u8);

impl ChannelId {
    /// The channel with this number, or `None` from 64 on.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if (number as usize) < CHANNELS {
            Some(Self(number))
        } else {
            None
        }
    }

    /// Every channel, in order.
    pub fn all() -> impl ExactSizeIterator<Item = Self> + Clone {
        (0..CHANNELS as u8).map(Self)
    }

    /// Its number, 0 to 63.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Its number as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Debug for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}", self.0)
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

macro_rules! opaque {
    ($(#[$meta:meta])* $name:ident, $len:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// The bytes of the name.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            // Four bytes tell two apart in a trace; the rest would only fill it.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "("))?;
                for byte in &self.0[..4] {
                    write!(f, "{byte:02x}")?;
                }
                f.write_str("..)")
            }
        }
    };
}

opaque!(
    /// A random number that a channel's log carries from its birth, and a new one from each mint: a log that was wiped or
    /// that lost writes never looks like its former self.
    Incarnation, 16
);
opaque!(
    /// One start of one node, random. Statements are numbered per origin and channel.
    Origin, 16
);
opaque!(
    /// The random number of one commit attempt. Two primaries may give equal stream IDs to different entries; never equal
    /// nonces.
    Nonce, 16
);
opaque!(
    /// The cluster-wide name of a cache entry: a keyed 256-bit pseudo-random function of what it names. It says nothing to
    /// whoever reads Redis.
    EntryName, 32
);
opaque!(
    /// The cluster-wide name of a scope of marks (RFC 7519 `sub`, `jti`, ... of one issuer), or of a cache tag. Keyed,
    /// 128 bits.
    ScopeId, 16
);
opaque!(
    /// A keyed 128-bit digest of a set of marks: the XOR of the digests of its elements.
    Digest, 16
);

impl Default for Digest {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Digest {
    /// The digest of the empty set.
    pub const EMPTY: Self = Self([0; 16]);

    /// Adds or removes an element: XOR is its own inverse.
    #[must_use]
    pub fn toggled(mut self, element: Self) -> Self {
        for (a, b) in self.0.iter_mut().zip(element.0) {
            *a ^= b;
        }
        self
    }
}

/// Where in the fence a name stands: its channel and its stripe, taken from the first twelve bits of its keyed bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot {
    /// The channel.
    pub channel: ChannelId,
    /// The stripe inside the channel, 0 to 63.
    pub stripe: u8,
}

impl Slot {
    const fn of(first: u8, second: u8) -> Self {
        Self {
            channel: ChannelId(first >> 2),
            stripe: second >> 2,
        }
    }

    /// The slot at a place in the fence array.
    pub(crate) const fn at(index: usize) -> Self {
        Self {
            channel: ChannelId((index / STRIPES % CHANNELS) as u8),
            stripe: (index % STRIPES) as u8,
        }
    }

    /// Its place in the fence array.
    #[must_use]
    pub const fn index(self) -> usize {
        self.channel.index() * STRIPES + self.stripe as usize
    }
}

impl EntryName {
    /// The channel and stripe of this entry.
    #[must_use]
    pub const fn slot(&self) -> Slot {
        Slot::of(self.0[0], self.0[1])
    }
}

impl ScopeId {
    /// The channel and stripe of this scope.
    #[must_use]
    pub const fn slot(&self) -> Slot {
        Slot::of(self.0[0], self.0[1])
    }
}

/// The ID of an entry in a Redis Stream: milliseconds and a sequence. Redis' own word; never used to order anything alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Default)]
pub struct StreamId {
    /// Milliseconds, by the clock of the primary that appended the entry.
    pub millis: u64,
    /// Sequence inside the millisecond.
    pub sequence: u64,
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis, self.sequence)
    }
}

/// A place in a channel's log: the stream ID, and the nonce of the commit that made the entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Position {
    /// Stream ID.
    pub id: StreamId,
    /// Nonce of the commit attempt.
    pub nonce: Nonce,
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{:02x}{:02x}", self.id, self.nonce.0[0], self.nonce.0[1])
    }
}

/// The name of a statement. Counters are contiguous per origin and channel, from 1; a refused statement consumes none, and
/// neither does a restatement.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StatementName {
    /// The node that made the statement, in that start of it.
    pub origin: Origin,
    /// The channel of the statement.
    pub channel: ChannelId,
    /// Its number among what the origin said in that channel for the first time, from 1. [`StatementName::RESTATED`]: a
    /// restatement, known already and not counted.
    pub counter: u64,
}

impl StatementName {
    /// The counter of a restatement: a mark that is in force already, committed again to a log that lacks it. All
    /// restatements of an origin in a channel have one name, so nobody waits for one by its name; and since one that fails
    /// leaves no gap, a gap in the counters always is a statement that was missed.
    pub const RESTATED: u64 = 0;

    /// The name of a restatement.
    #[must_use]
    pub const fn restatement(origin: Origin, channel: ChannelId) -> Self {
        Self {
            origin,
            channel,
            counter: Self::RESTATED,
        }
    }
}
