//! The key ring: the secrets that the nodes of a cluster share.

use alloc::vec::Vec;
use core::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Length of each secret of the ring, in bytes.
pub const SECRET_BYTES: usize = 32;

/// The most sealing keys a ring holds.
const MAX_SEALING_KEYS: usize = 16;

/// Names a sealing key in an envelope: eight bytes derived from the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SealKeyId(pub [u8; 8]);

impl fmt::Display for SealKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SealKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealKeyId({self})")
    }
}

/// Names a naming key, so that rings can be compared without showing it: eight bytes derived from the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamingKeyId(pub [u8; 8]);

impl fmt::Display for NamingKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for NamingKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NamingKeyId({self})")
    }
}

/// Why a ring cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyRingError {
    /// There is no sealing key.
    Empty,
    /// There are more than sixteen sealing keys.
    TooMany,
    /// A sealing key stands twice in the ring, or is also the naming key.
    Repeated,
}

impl fmt::Display for KeyRingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the key ring holds no sealing key; it needs at least one",
            Self::TooMany => "the key ring holds more than 16 sealing keys; retire those that seal nothing live",
            Self::Repeated => "a secret stands twice in the key ring; every key must be its own 32 random bytes",
        })
    }
}

impl core::error::Error for KeyRingError {}

/// The secrets of a cluster. `Debug` tells the keys' IDs only; the bytes are wiped on drop.
#[derive(Clone)]
pub struct KeyRing {
    naming: Zeroizing<[u8; SECRET_BYTES]>,
    sealing: Vec<(SealKeyId, Zeroizing<[u8; SECRET_BYTES]>)>,
}

impl KeyRing {
    /// A ring of one naming key and one or more sealing keys. The first sealing key seals, every one opens.
    ///
    /// # Errors
    /// When there is no sealing key, more than 16, or the same secret twice.
    pub fn new(
        naming: [u8; SECRET_BYTES],
        sealing: impl IntoIterator<Item = [u8; SECRET_BYTES]>,
    ) -> Result<Self, KeyRingError> {
        let mut keys: Vec<(SealKeyId, Zeroizing<[u8; SECRET_BYTES]>)> = Vec::new();
        for secret in sealing {
            let secret = Zeroizing::new(secret);
            if *secret == naming || keys.iter().any(|(_, known)| **known == *secret) {
                return Err(KeyRingError::Repeated);
            }
            keys.push((SealKeyId(id_of(&secret, b"authmesh key id")), secret));
        }
        match keys.len() {
            0 => Err(KeyRingError::Empty),
            n if n > MAX_SEALING_KEYS => Err(KeyRingError::TooMany),
            _ => Ok(Self {
                naming: Zeroizing::new(naming),
                sealing: keys,
            }),
        }
    }

    /// The IDs of the sealing keys; the first one seals.
    pub fn key_ids(&self) -> impl ExactSizeIterator<Item = SealKeyId> + '_ {
        self.sealing.iter().map(|(id, _)| *id)
    }

    /// The ID of the naming key. It is the same for the whole life of a cluster: with another naming key, nodes name
    /// everything differently and find nothing of each other.
    #[must_use]
    pub fn naming_id(&self) -> NamingKeyId {
        NamingKeyId(id_of(&self.naming, b"authmesh naming key id"))
    }

    pub(super) fn naming(&self) -> &[u8; SECRET_BYTES] {
        &self.naming
    }

    pub(super) fn sealing(&self) -> &[(SealKeyId, Zeroizing<[u8; SECRET_BYTES]>)] {
        &self.sealing
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing")
            .field("sealing", &self.sealing.iter().map(|(id, _)| id).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

fn id_of(secret: &[u8; SECRET_BYTES], label: &[u8]) -> [u8; 8] {
    let tag = finish(keyed(secret), &[label]);
    let mut id = [0; 8];
    id.copy_from_slice(&tag[..8]);
    id
}

/// HMAC-SHA256 (RFC 2104), keyed and ready to be cloned per use.
pub(super) fn keyed(key: &[u8; SECRET_BYTES]) -> Hmac<Sha256> {
    // A key shorter than the block is padded with zeros (RFC 2104 section 2): the same MAC, without a fallible constructor.
    let mut block = Zeroizing::new([0u8; 64]);
    block[..SECRET_BYTES].copy_from_slice(key);
    <Hmac<Sha256> as KeyInit>::new(&(*block).into())
}

/// The MAC of length-prefixed parts: no two lists of parts look alike.
pub(super) fn finish(mut mac: Hmac<Sha256>, parts: &[&[u8]]) -> [u8; 32] {
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}
