//! A member, as SWIM knows it.

use std::net::SocketAddr;

use authmesh::ports::GossipPeer;
use authmesh_proto::ident::Origin;

/// The longest name of a member, in bytes.
pub(crate) const MAX_NAME: usize = 64;

/// The origin of whoever is not known yet: a seed.
const UNKNOWN: Origin = Origin([0; 16]);

/// One start of a node at one address.
///
/// Two identities at one address are told apart by their rank, and the greater supersedes the other. It begins as the wall
/// clock of the start. A clock that went back in between costs a node some rounds, not its membership: it hears that it is
/// superseded, and every renewal doubles its step ([`Identity::renew`](foca::Identity::renew)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) origin: Origin,
    pub(crate) address: SocketAddr,
    pub(crate) rank: u64,
    pub(crate) renewals: u8,
    pub(crate) name: String,
}

impl Identity {
    /// Whoever lives at an address.
    pub(crate) const fn unknown(address: SocketAddr) -> Self {
        Self {
            origin: UNKNOWN,
            address,
            rank: 0,
            renewals: 0,
            name: String::new(),
        }
    }

    pub(crate) fn is_unknown(&self) -> bool {
        self.origin == UNKNOWN
    }

    pub(crate) fn peer(&self) -> GossipPeer {
        GossipPeer {
            origin: self.origin,
            address: self.address,
            name: self.name.clone(),
        }
    }
}

impl foca::Identity for Identity {
    type Addr = SocketAddr;

    fn renew(&self) -> Option<Self> {
        let step = 1_u64.checked_shl(u32::from(self.renewals)).unwrap_or(u64::MAX);
        Some(Self {
            rank: self.rank.saturating_add(step),
            // Beyond this the step would leave no room above it. A node that lives on does not double for ever.
            renewals: (self.renewals + 1) % 40,
            ..self.clone()
        })
    }

    fn addr(&self) -> SocketAddr {
        self.address
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        (self.rank, self.origin, self.renewals) > (adversary.rank, adversary.origin, adversary.renewals)
    }
}
