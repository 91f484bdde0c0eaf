//! Sealing: XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03), whose 192-bit nonce is safe to draw at random.
//!
//! An envelope is
//!
//! ```text
//! version (1) | kind (1) | key ID (8) | nonce (24) | ciphertext | tag (16)
//! ```
//!
//! Associated data binds the header, the cluster, and the [`Context`]: where the value stands. A value that was moved,
//! altered, or sealed for another purpose does not open.

use alloc::vec::Vec;
use core::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::ring::{KeyRing, SealKeyId};
use crate::ident::{ChannelId, EntryName, Incarnation};
use crate::wire::VERSION;

/// Length of the nonce that [`Sealer::seal`] takes. It must be random and is used once.
pub const NONCE_BYTES: usize = 24;
const HEADER: usize = 1 + 1 + 8 + NONCE_BYTES;
const TAG: usize = 16;
/// How much longer an envelope is than what it seals.
pub const ENVELOPE_OVERHEAD: usize = HEADER + TAG;

/// What an envelope is for. Each kind has a subkey of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A statement in a channel's log.
    Statement = 1,
    /// A mark in a channel's table of marks.
    Mark = 2,
    /// A record in L2: the value of a cache entry.
    Record = 3,
    /// A member's registration.
    Member = 4,
    /// An issuer's key set.
    KeySet = 5,
    /// A gossip datagram.
    Datagram = 6,
    /// A part of a snapshot of a node's marks.
    Snapshot = 7,
}

const KINDS: [Kind; 7] = [
    Kind::Statement,
    Kind::Mark,
    Kind::Record,
    Kind::Member,
    Kind::KeySet,
    Kind::Datagram,
    Kind::Snapshot,
];

/// Where a sealed value stands: bound into the seal as associated data.
#[derive(Clone, Debug, Default)]
pub struct Context(Vec<u8>);

impl Context {
    /// An empty context.
    #[must_use]
    pub fn new() -> Self {
        // What any of them binds fits: one is made for each value that is sealed or opened.
        Self(Vec::with_capacity(192))
    }

    fn field(mut self, label: u8, bytes: &[u8]) -> Self {
        self.0.push(label);
        self.0.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        self.0.extend_from_slice(bytes);
        self
    }

    /// Binds the channel.
    #[must_use]
    pub fn channel(self, channel: ChannelId) -> Self {
        self.field(1, &[channel.number()])
    }

    /// Binds the name of an entry.
    #[must_use]
    pub fn entry(self, name: &EntryName) -> Self {
        self.field(2, name.as_bytes())
    }

    /// Binds the incarnation of a channel's log and its L2 generation.
    #[must_use]
    pub fn incarnation(self, incarnation: Incarnation, generation: u64) -> Self {
        self.field(3, incarnation.as_bytes())
            .field(4, &generation.to_be_bytes())
    }

    /// Binds an absolute expiry in seconds since the Unix epoch.
    #[must_use]
    pub fn expires(self, expires: u64) -> Self {
        self.field(5, &expires.to_be_bytes())
    }

    /// Binds a policy fingerprint.
    #[must_use]
    pub fn policy(self, fingerprint: &[u8; 32]) -> Self {
        self.field(6, fingerprint)
    }

    /// Binds any other name: a member's ID, an issuer.
    #[must_use]
    pub fn name(self, name: &[u8]) -> Self {
        self.field(7, name)
    }
}

/// Why an envelope did not open. Counted, audited, and treated as a miss; of a *statement* it makes the channel suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// Shorter than an empty envelope.
    Truncated,
    /// Another wire version.
    Version(u8),
    /// An envelope of another kind.
    Kind(u8),
    /// Sealed under a key that is not in the ring.
    UnknownKey(SealKeyId),
    /// Altered, moved, sealed for another place, or by somebody without the key.
    Forged,
}

impl OpenError {
    /// The word for it in metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Version(_) => "version",
            Self::Kind(_) => "kind",
            Self::UnknownKey(_) => "unknown_key",
            Self::Forged => "forged",
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the sealed value is truncated"),
            Self::Version(v) => write!(f, "the sealed value has wire version {v}; this node speaks {VERSION}"),
            Self::Kind(k) => write!(f, "the sealed value is of kind {k}, which does not belong here"),
            Self::UnknownKey(id) => write!(
                f,
                "the value is sealed under key {id}, which is not in this node's ring"
            ),
            Self::Forged => f.write_str("the sealed value was altered, or moved from another place"),
        }
    }
}

impl core::error::Error for OpenError {}

/// The key that an envelope says it is sealed under. Nothing is opened, so nothing is proven: it is for counting.
///
/// # Errors
/// When it is no envelope of this version and kind.
pub fn key_of(kind: Kind, envelope: &[u8]) -> Result<SealKeyId, OpenError> {
    if envelope.len() < ENVELOPE_OVERHEAD {
        return Err(OpenError::Truncated);
    }
    if envelope[0] != VERSION {
        return Err(OpenError::Version(envelope[0]));
    }
    if envelope[1] != kind as u8 {
        return Err(OpenError::Kind(envelope[1]));
    }
    let mut id = [0; 8];
    id.copy_from_slice(&envelope[2..10]);
    Ok(SealKeyId(id))
}

/// Seals and opens values of one cluster.
pub struct Sealer {
    cluster: Vec<u8>,
    /// Per key of the ring, in its order: the ID and one cipher per kind.
    keys: Vec<(SealKeyId, [XChaCha20Poly1305; KINDS.len()])>,
}

impl Sealer {
    /// A sealer for the cluster `cluster`.
    #[must_use]
    pub fn new(ring: &KeyRing, cluster: &str) -> Self {
        Self {
            cluster: cluster.as_bytes().to_vec(),
            keys: Self::keys_of(ring),
        }
    }

    /// A sealer of the same cluster with the sealing keys of another ring.
    #[must_use]
    pub fn with_ring(&self, ring: &KeyRing) -> Self {
        Self {
            cluster: self.cluster.clone(),
            keys: Self::keys_of(ring),
        }
    }

    fn keys_of(ring: &KeyRing) -> Vec<(SealKeyId, [XChaCha20Poly1305; KINDS.len()])> {
        ring.sealing()
            .iter()
            .map(|(id, secret)| {
                let extracted = Hkdf::<Sha256>::new(Some(b"authmesh/v1 seal"), &**secret);
                let ciphers = KINDS.map(|kind| {
                    let mut subkey = Zeroizing::new([0u8; 32]);
                    // 32 bytes are far below HKDF's limit of 8,160; the call cannot fail.
                    let _ = extracted.expand(&[kind as u8], &mut *subkey);
                    XChaCha20Poly1305::new(&Key::from(*subkey))
                });
                (*id, ciphers)
            })
            .collect()
    }

    /// Seals `plaintext` under the first key of the ring. `nonce` must come from a cryptographic random source.
    #[must_use]
    pub fn seal(&self, kind: Kind, context: &Context, nonce: [u8; NONCE_BYTES], plaintext: &[u8]) -> Vec<u8> {
        // The ring is never empty: `KeyRing::new` refuses that.
        let (id, ciphers) = &self.keys[0];
        let mut envelope = Vec::with_capacity(plaintext.len() + ENVELOPE_OVERHEAD);
        envelope.push(VERSION);
        envelope.push(kind as u8);
        envelope.extend_from_slice(&id.0);
        envelope.extend_from_slice(&nonce);
        let aad = self.associated_data(&envelope[..HEADER - NONCE_BYTES], context);
        let payload = Payload {
            msg: plaintext,
            aad: &aad,
        };
        // XChaCha20-Poly1305 refuses only messages over 256 GiB; what is sealed here is bounded far below.
        if let Ok(sealed) = ciphers[kind as usize - 1].encrypt(&XNonce::from(nonce), payload) {
            envelope.extend_from_slice(&sealed);
        }
        envelope
    }

    /// Opens an envelope.
    ///
    /// # Errors
    /// [`OpenError`]; nothing is known of the content then.
    pub fn open(&self, kind: Kind, context: &Context, envelope: &[u8]) -> Result<Vec<u8>, OpenError> {
        let id = key_of(kind, envelope)?;
        let Some((_, ciphers)) = self.keys.iter().find(|(known, _)| *known == id) else {
            return Err(OpenError::UnknownKey(id));
        };
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&envelope[10..HEADER]);
        let aad = self.associated_data(&envelope[..HEADER - NONCE_BYTES], context);
        let payload = Payload {
            msg: &envelope[HEADER..],
            aad: &aad,
        };
        ciphers[kind as usize - 1]
            .decrypt(&XNonce::from(nonce), payload)
            .map_err(|_| OpenError::Forged)
    }

    fn associated_data(&self, header: &[u8], context: &Context) -> Vec<u8> {
        let mut aad = Vec::with_capacity(header.len() + 9 + self.cluster.len() + context.0.len());
        aad.extend_from_slice(header);
        aad.extend_from_slice(&(self.cluster.len() as u64).to_be_bytes());
        aad.extend_from_slice(&self.cluster);
        aad.extend_from_slice(&context.0);
        aad
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("keys", &self.keys.iter().map(|(id, _)| id).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
