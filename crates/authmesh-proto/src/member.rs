//! What a member tells about itself in its registration.

use alloc::string::String;
use alloc::vec::Vec;

use bincode::{Decode, Encode};

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
}
