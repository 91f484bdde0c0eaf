//! Names for everything that passes a port.

use std::fmt;
use std::time::Duration;

use authmesh::ports::{BusEvent, Commit, Effect, GossipEvent, GossipPeer, KeyFetch, StoredMark};
use authmesh::proto::ident::{ChannelId, EntryName, Incarnation, Nonce, Origin, Position};
use authmesh::proto::marks::Digests;

macro_rules! ops {
    ($($port:ident { $($(#[$doc:meta])* $op:ident),* $(,)? })*) => {
        /// What a port is asked, or brings. The name of a [`Call`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Op {
            $($($(#[$doc])* $op,)*)*
        }

        impl Op {
            /// Every one of them.
            pub const ALL: &'static [Self] = &[$($(Self::$op,)*)*];

            /// The port that it is of.
            #[must_use]
            pub const fn port(self) -> Port {
                match self {
                    $($(Self::$op => Port::$port,)*)*
                }
            }
        }
    };
}

ops! {
    Log {
        /// [`Log::commit`](authmesh::ports::Log::commit).
        Commit,
        /// [`Log::heads`](authmesh::ports::Log::heads).
        Heads,
        /// [`Log::read`](authmesh::ports::Log::read).
        ReadLog,
        /// [`Log::load`](authmesh::ports::Log::load).
        Load,
        /// [`Log::mint`](authmesh::ports::Log::mint).
        Mint,
        /// [`Log::purge`](authmesh::ports::Log::purge).
        Purge,
    }
    Bus {
        /// [`Bus::subscribe`](authmesh::ports::Bus::subscribe).
        Subscribe,
        /// A bell that a subscription brings.
        Bell,
    }
    Store {
        /// [`Store::read`](authmesh::ports::Store::read).
        ReadValue,
        /// [`Store::lease`](authmesh::ports::Store::lease).
        Lease,
        /// [`Store::renew`](authmesh::ports::Store::renew).
        Renew,
        /// [`Store::store`](authmesh::ports::Store::store).
        StoreValue,
        /// [`Store::hold`](authmesh::ports::Store::hold).
        Hold,
        /// [`Store::unhold`](authmesh::ports::Store::unhold).
        Unhold,
        /// [`Store::release`](authmesh::ports::Store::release).
        Release,
        /// [`Store::gone`](authmesh::ports::Store::gone).
        Gone,
        /// [`Store::insert_if_absent`](authmesh::ports::Store::insert_if_absent).
        InsertIfAbsent,
        /// [`Store::increment`](authmesh::ports::Store::increment).
        Increment,
    }
    Members {
        /// [`Members::announce`](authmesh::ports::Members::announce).
        Announce,
        /// [`Members::forget`](authmesh::ports::Members::forget).
        Forget,
        /// [`Members::list`](authmesh::ports::Members::list).
        List,
    }
    Gossip {
        /// [`Gossip::open`](authmesh::ports::Gossip::open).
        Open,
        /// [`Gossip::broadcast`](authmesh::ports::Gossip::broadcast).
        Broadcast,
        /// [`Gossip::ask`](authmesh::ports::Gossip::ask).
        Ask,
        /// [`Gossip::pull`](authmesh::ports::Gossip::pull).
        Pull,
        /// [`Gossip::suggest`](authmesh::ports::Gossip::suggest).
        Suggest,
        /// [`Gossip::leave`](authmesh::ports::Gossip::leave).
        Leave,
        /// What an open gossip brings.
        Hear,
    }
    Keys {
        /// [`KeySource::fetch`](authmesh::ports::KeySource::fetch).
        Fetch,
    }
    Tokens {
        /// [`TokenSource::ask`](authmesh::ports::TokenSource::ask).
        AskToken,
    }
}

/// The ports that can be given faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Port {
    /// [`Log`](authmesh::ports::Log).
    Log,
    /// [`Bus`](authmesh::ports::Bus).
    Bus,
    /// [`Store`](authmesh::ports::Store).
    Store,
    /// [`Members`](authmesh::ports::Members).
    Members,
    /// [`Gossip`](authmesh::ports::Gossip).
    Gossip,
    /// [`KeySource`](authmesh::ports::KeySource).
    Keys,
    /// [`TokenSource`](authmesh::ports::TokenSource).
    Tokens,
}

/// What passes a port, with everything that belongs to it.
#[derive(Debug, Clone)]
#[non_exhaustive]
#[allow(
    missing_docs,
    reason = "the fields are the arguments of the port's method of that name"
)]
pub enum Call {
    /// [`Op::Commit`].
    Commit(Commit),
    /// [`Op::Heads`].
    Heads,
    /// [`Op::ReadLog`].
    ReadLog {
        channel: ChannelId,
        from: Position,
        limit: usize,
    },
    /// [`Op::Load`].
    Load {
        channel: ChannelId,
        known: Option<Box<Digests>>,
    },
    /// [`Op::Mint`].
    Mint {
        channel: ChannelId,
        expected: Option<Incarnation>,
        incarnation: Incarnation,
        nonce: Nonce,
    },
    /// [`Op::Purge`].
    Purge {
        channel: ChannelId,
        elements: Vec<StoredMark>,
    },
    /// [`Op::Subscribe`].
    Subscribe,
    /// [`Op::Bell`].
    Bell(BusEvent),
    /// [`Op::ReadValue`].
    ReadValue { name: EntryName },
    /// [`Op::Lease`].
    Lease {
        name: EntryName,
        nonce: Nonce,
        over: Option<Vec<u8>>,
        ttl: Duration,
    },
    /// [`Op::Renew`].
    Renew {
        name: EntryName,
        nonce: Nonce,
        ttl: Duration,
    },
    /// [`Op::StoreValue`].
    StoreValue {
        name: EntryName,
        nonce: Nonce,
        value: Vec<u8>,
        ttl: Duration,
    },
    /// [`Op::Hold`].
    Hold {
        name: EntryName,
        nonce: Nonce,
        ttl: Duration,
    },
    /// [`Op::Unhold`].
    Unhold { name: EntryName, nonce: Nonce },
    /// [`Op::Release`].
    Release { name: EntryName, nonce: Nonce },
    /// [`Op::Gone`].
    Gone { name: EntryName, nonce: Nonce },
    /// [`Op::InsertIfAbsent`].
    InsertIfAbsent {
        name: EntryName,
        value: Vec<u8>,
        over: Option<Vec<u8>>,
        ttl: Duration,
    },
    /// [`Op::Increment`].
    Increment { name: EntryName, by: i64, ttl: Duration },
    /// [`Op::Announce`].
    Announce { id: Vec<u8>, sealed: Vec<u8> },
    /// [`Op::Forget`].
    Forget { id: Vec<u8> },
    /// [`Op::List`].
    List,
    /// [`Op::Open`].
    Open,
    /// [`Op::Broadcast`].
    Broadcast(Vec<u8>),
    /// [`Op::Ask`].
    Ask { to: GossipPeer, request: Vec<u8> },
    /// [`Op::Pull`].
    Pull { to: GossipPeer, request: Vec<u8> },
    /// [`Op::Suggest`].
    Suggest(Vec<GossipPeer>),
    /// [`Op::Leave`].
    Leave,
    /// [`Op::Hear`].
    Hear(Heard),
    /// [`Op::Fetch`].
    Fetch(KeyFetch),
    /// [`Op::AskToken`].
    AskToken(TokenText),
}

impl Call {
    /// Its name.
    #[must_use]
    pub const fn op(&self) -> Op {
        match self {
            Self::Commit(_) => Op::Commit,
            Self::Heads => Op::Heads,
            Self::ReadLog { .. } => Op::ReadLog,
            Self::Load { .. } => Op::Load,
            Self::Mint { .. } => Op::Mint,
            Self::Purge { .. } => Op::Purge,
            Self::Subscribe => Op::Subscribe,
            Self::Bell(_) => Op::Bell,
            Self::ReadValue { .. } => Op::ReadValue,
            Self::Lease { .. } => Op::Lease,
            Self::Renew { .. } => Op::Renew,
            Self::StoreValue { .. } => Op::StoreValue,
            Self::Hold { .. } => Op::Hold,
            Self::Unhold { .. } => Op::Unhold,
            Self::Release { .. } => Op::Release,
            Self::Gone { .. } => Op::Gone,
            Self::InsertIfAbsent { .. } => Op::InsertIfAbsent,
            Self::Increment { .. } => Op::Increment,
            Self::Announce { .. } => Op::Announce,
            Self::Forget { .. } => Op::Forget,
            Self::List => Op::List,
            Self::Open => Op::Open,
            Self::Broadcast(_) => Op::Broadcast,
            Self::Ask { .. } => Op::Ask,
            Self::Pull { .. } => Op::Pull,
            Self::Suggest(_) => Op::Suggest,
            Self::Leave => Op::Leave,
            Self::Hear(_) => Op::Hear,
            Self::Fetch(_) => Op::Fetch,
            Self::AskToken(_) => Op::AskToken,
        }
    }

    /// Every piece of bytes in it that leaves the process for the store or for other members, as it leaves: names, sealed
    /// values, sealed statements. What goes to an identity provider is not among them.
    #[must_use]
    pub fn bytes(&self) -> Vec<&[u8]> {
        match self {
            Self::Commit(commit) => {
                let mut bytes = vec![&commit.statement[..]];
                match &commit.effect {
                    Effect::Drop(name) => bytes.push(name.as_bytes()),
                    Effect::Mark(mark) => bytes.extend([&mark.field[..], &mark.sealed]),
                }
                bytes
            }
            Self::Purge { elements, .. } => elements
                .iter()
                .flat_map(|mark| [&mark.field[..], &mark.sealed])
                .collect(),
            Self::ReadValue { name }
            | Self::Renew { name, .. }
            | Self::Hold { name, .. }
            | Self::Unhold { name, .. }
            | Self::Release { name, .. }
            | Self::Gone { name, .. }
            | Self::Increment { name, .. } => vec![name.as_bytes()],
            Self::StoreValue { name, value, .. } => vec![name.as_bytes(), value],
            Self::Lease { name, over, .. } => pieces(name, over, &[]),
            Self::InsertIfAbsent { name, value, over, .. } => pieces(name, over, value),
            Self::Announce { id, sealed } => vec![id, sealed],
            Self::Forget { id } => vec![id],
            Self::Broadcast(item) => vec![item],
            Self::Ask { request, .. } | Self::Pull { request, .. } => vec![request],
            Self::Heads
            | Self::ReadLog { .. }
            | Self::Load { .. }
            | Self::Mint { .. }
            | Self::Subscribe
            | Self::Bell(_)
            | Self::List
            | Self::Open
            | Self::Suggest(_)
            | Self::Leave
            | Self::Hear(_)
            | Self::Fetch(_)
            | Self::AskToken(_) => Vec::new(),
        }
    }
}

fn pieces<'a>(name: &'a EntryName, over: &'a Option<Vec<u8>>, value: &'a [u8]) -> Vec<&'a [u8]> {
    let mut pieces = vec![&name.as_bytes()[..]];
    pieces.extend(over.as_deref());
    if !value.is_empty() {
        pieces.push(value);
    }
    pieces
}

/// What an open gossip brings: a [`GossipEvent`], without the way to answer a question.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Heard {
    /// A member is there.
    Up(GossipPeer),
    /// A member was given up.
    Down(Origin),
    /// A member said good-bye.
    Left(Origin),
    /// A broadcast item.
    Item(Vec<u8>),
    /// A member asks.
    Asked {
        /// Who.
        from: GossipPeer,
        /// What.
        request: Vec<u8>,
    },
    /// This node is slow.
    Slow(Duration),
}

impl Heard {
    pub(crate) fn of(event: &GossipEvent) -> Self {
        match event {
            GossipEvent::Up(peer) => Self::Up(peer.clone()),
            GossipEvent::Down(origin) => Self::Down(*origin),
            GossipEvent::Left(origin) => Self::Left(*origin),
            GossipEvent::Item(item) => Self::Item(item.clone()),
            GossipEvent::Asked(asked) => Self::Asked {
                from: asked.from.clone(),
                request: asked.request.clone(),
            },
            GossipEvent::Slow(by) => Self::Slow(*by),
        }
    }

    /// The event again; a question cannot be asked twice, since it is answered once.
    pub(crate) fn again(event: &GossipEvent) -> Option<GossipEvent> {
        Some(match event {
            GossipEvent::Up(peer) => GossipEvent::Up(peer.clone()),
            GossipEvent::Down(origin) => GossipEvent::Down(*origin),
            GossipEvent::Left(origin) => GossipEvent::Left(*origin),
            GossipEvent::Item(item) => GossipEvent::Item(item.clone()),
            GossipEvent::Slow(by) => GossipEvent::Slow(*by),
            GossipEvent::Asked(_) => return None,
        })
    }
}

/// A token on its way to a provider. `Debug` does not show it: a failing test prints what was recorded.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText(String);

impl TokenText {
    pub(crate) fn new(token: &str) -> Self {
        Self(token.to_owned())
    }

    /// The token.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText(..)")
    }
}
