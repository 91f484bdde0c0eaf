//! The key ring, sealing, and keyed names.
//!
//! Whoever can read or write Redis or the network learns no claim and no name, and can neither mint nor alter nor move a
//! value (invariant 8). Four kinds of keys, all derived with HKDF-SHA256 (RFC 5869) from the ring's secrets:
//!
//! - **sealing keys**: XChaCha20-Poly1305, one subkey per [`Kind`]. The first key of the ring seals, every key opens; the
//!   key's ID stands in the envelope, so nothing is opened by trial.
//! - the **naming key**, from which entry names and scope names come. Rotation of the ring never changes it.
//! - the **digest key**, from which the digests of marks come;
//! - **nonce keys**, one of each sealing key: nonces that any node hands out and every node knows again.

mod names;
mod nonces;
mod ring;
mod seal;

pub use names::{Namer, ScopeKind};
pub use nonces::{SERVER_NONCE_BYTES, ServerNonces};
pub use ring::{KeyRing, KeyRingError, NamingKeyId, SECRET_BYTES, SealKeyId};
pub use seal::{Context, ENVELOPE_OVERHEAD, Kind, NONCE_BYTES, OpenError, Sealer, key_of};

#[cfg(test)]
mod tests;
