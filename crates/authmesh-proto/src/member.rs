//! What a member tells about itself in its registration.

use alloc::string::String;
use alloc::vec::Vec;

use bincode::{Decode, Encode};

use crate::ident::Origin;

/// A member's own record. It is sealed, and bound to the member's ID.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct MemberRecord {
    /// The node's configured name.
    pub name: String,
    /// Where it answers; empty where it listens to nothing.
    pub address: String,
    /// Version of authmesh.
    pub version: String,
    /// The wire versions that it speaks.
    pub wire_versions: Vec<u8>,
    /// The statement kinds that it knows: a new kind is sent only when all members announce it.
    pub statement_kinds: Vec<u16>,
    /// Moves with every announcement: a record's age is told by the reader's clock since it last moved.
    pub sequence: u64,
    /// Where its gossip is reached; empty where it has none.
    pub gossip: String,
    /// The first eight bytes of the origin of each other member of its view, at most [`MAX_VIEW`] of them; empty where it has no
    /// gossip.
    pub view: Vec<[u8; 8]>,
}

/// The most members of a view that a record names.
pub const MAX_VIEW: usize = 1024;

impl MemberRecord {
    /// How a record's view names a member.
    #[must_use]
    pub fn short(origin: &Origin) -> [u8; 8] {
        let mut short = [0; 8];
        short.copy_from_slice(&origin.as_bytes()[..8]);
        short
    }

    /// Whether the member says that `origin` is in its view.
    #[must_use]
    pub fn views(&self, origin: &Origin) -> bool {
        self.view.contains(&Self::short(origin))
    }
}
