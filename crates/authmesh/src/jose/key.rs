//! A public key that checks signatures, and its identity.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use jsonwebtoken::DecodingKey;
use jsonwebtoken::crypto::aws_lc;

use super::{Algorithm, AlgorithmSet, CompactJws, JwsError, base64url};

/// Type of a key: `kty`, and `crv` where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum KeyType {
    /// RSA, modulus of 2048 to 8192 bits.
    Rsa,
    /// Elliptic curve P-256.
    P256,
    /// Elliptic curve P-384.
    P384,
    /// Edwards curve Ed25519.
    Ed25519,
}

impl KeyType {
    /// The algorithms that a key of this type can check (RFC 7518 sections 3.3 to 3.5, RFC 8037 section 3.1).
    #[must_use]
    pub const fn algorithms(self) -> AlgorithmSet {
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        match self {
            Self::Rsa => AlgorithmSet::of(&[RS256, RS384, RS512, PS256, PS384, PS512]),
            Self::P256 => AlgorithmSet::of(&[ES256]),
            Self::P384 => AlgorithmSet::of(&[ES384]),
            Self::Ed25519 => AlgorithmSet::of(&[EdDSA]),
        }
    }
}

/// The operations of `key_ops` (RFC 7517 section 4.3) as bits.
///
/// Operations that are not registered share one bit: they change nothing for a key that verifies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyOps(u16);

impl KeyOps {
    /// The registered operations, each at the place of its bit.
    const NAMES: [&'static str; 8] = [
        "sign",
        "verify",
        "encrypt",
        "decrypt",
        "wrapKey",
        "unwrapKey",
        "deriveKey",
        "deriveBits",
    ];
    const OTHER: u16 = 1 << Self::NAMES.len();
    const ALL: u16 = Self::OTHER | (Self::OTHER - 1);
    const SIGN: u16 = 1 << 0;
    const VERIFY: u16 = 1 << 1;

    pub(crate) fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let bit = |name: &str| {
            Self::NAMES
                .iter()
                .position(|known| *known == name)
                .map_or(Self::OTHER, |at| 1 << at)
        };
        Self(names.into_iter().fold(0, |bits, name| bits | bit(name)))
    }

    /// Whether `verify` is listed.
    #[must_use]
    pub const fn verifies(self) -> bool {
        self.0 & Self::VERIFY != 0
    }

    /// Whether a registered operation is listed that has nothing to do with signatures.
    pub(crate) const fn beyond_signatures(self) -> bool {
        self.0 & !(Self::SIGN | Self::VERIFY | Self::OTHER) != 0
    }

    /// The bits, from the lowest: sign, verify, encrypt, decrypt, wrapKey, unwrapKey, deriveKey, deriveBits, any other.
    /// Stable: they may be stored.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The inverse of [`bits`](Self::bits). `None` if an unknown bit is set.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Option<Self> {
        if bits & !Self::ALL == 0 { Some(Self(bits)) } else { None }
    }
}

impl fmt::Debug for KeyOps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::NAMES
            .iter()
            .enumerate()
            .filter(|(at, _)| self.0 & (1 << at) != 0)
            .map(|(_, name)| *name);
        let other = (self.0 & Self::OTHER != 0).then_some("other");
        f.debug_set().entries(named.chain(other)).finish()
    }
}

/// Which key signed a token, within one issuer. The caller adds the issuer.
///
/// Two keys with one identity are the same key used in the same way. If the issuer changes any of it, say `alg` of a
/// key that keeps its `kid`, then verdicts that were reached with the former identity no longer stand: see
/// [`KeySet::contains`](super::KeySet::contains).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyIdentity {
    /// `kid` of the JWK.
    pub kid: Option<Arc<str>>,
    /// SHA-256 thumbprint of the JWK (RFC 7638): of the public key itself, whatever it is called.
    pub thumbprint: [u8; 32],
    /// The algorithm that the key was used with. Equal to the JWK's `alg` if it has one.
    pub alg: Algorithm,
    /// Whether the JWK says `"use":"sig"`. `false` means that it has no `use`.
    pub use_sig: bool,
    /// `key_ops` of the JWK.
    pub key_ops: Option<KeyOps>,
}

impl fmt::Debug for KeyIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyIdentity")
            .field("kid", &self.kid)
            .field("thumbprint", &base64url::encode(&self.thumbprint))
            .field("alg", &self.alg)
            .field("use_sig", &self.use_sig)
            .field("key_ops", &self.key_ops)
            .finish()
    }
}

/// A public key out of a JWK (RFC 7517), checked and decoded once.
///
/// Two keys are equal if they are the same key with the same `kid`, `alg`, `use` and `key_ops`. `Debug` shows what
/// names the key, and no key material.
#[derive(Clone)]
pub struct VerificationKey {
    pub(crate) kid: Option<Arc<str>>,
    pub(crate) key_type: KeyType,
    pub(crate) alg: Option<Algorithm>,
    pub(crate) use_sig: bool,
    pub(crate) key_ops: Option<KeyOps>,
    pub(crate) thumbprint: [u8; 32],
    pub(crate) decoding: DecodingKey,
}

impl VerificationKey {
    /// `kid`.
    #[must_use]
    pub fn kid(&self) -> Option<&Arc<str>> {
        self.kid.as_ref()
    }

    /// `kty` and `crv`.
    #[must_use]
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// `alg`, if the JWK has one.
    #[must_use]
    pub fn alg(&self) -> Option<Algorithm> {
        self.alg
    }

    /// What the key can check: its `alg`, or else all that its type can.
    #[must_use]
    pub fn algorithms(&self) -> AlgorithmSet {
        self.alg.map_or(self.key_type.algorithms(), AlgorithmSet::from)
    }

    /// SHA-256 thumbprint (RFC 7638).
    #[must_use]
    pub fn thumbprint(&self) -> [u8; 32] {
        self.thumbprint
    }

    /// The key's identity when it is used with `alg`. `None` if it cannot be.
    #[must_use]
    pub fn identity(&self, alg: Algorithm) -> Option<KeyIdentity> {
        self.algorithms().contains(alg).then(|| KeyIdentity {
            kid: self.kid.clone(),
            thumbprint: self.thumbprint,
            alg,
            use_sig: self.use_sig,
            key_ops: self.key_ops,
        })
    }

    /// Checks the signature of `jws` with this key, and returns the algorithm that it was made with.
    ///
    /// Does not pick the key: [`KeySet::candidates`](super::KeySet::candidates) does. It does refuse a key whose `kid`
    /// is not the header's.
    ///
    /// # Errors
    /// In this order: [`JwsError::AlgorithmNotAllowed`] if the header's `alg` is not in `allowed`;
    /// [`JwsError::KeyMismatch`] if the key is not for that `alg` or not of the header's `kid`;
    /// [`JwsError::BadSignature`].
    pub fn verify(&self, jws: &CompactJws<'_>, allowed: AlgorithmSet) -> Result<Algorithm, JwsError> {
        let algorithm = jws.header().algorithm();
        if !allowed.contains(algorithm) {
            return Err(JwsError::AlgorithmNotAllowed(algorithm));
        }
        let other_kid = jws.header().kid().is_some() && jws.header().kid() != self.kid();
        if other_kid || !self.algorithms().contains(algorithm) {
            return Err(JwsError::KeyMismatch);
        }
        if algorithm
            .signature_bytes()
            .is_some_and(|bytes| bytes != jws.signature().len())
        {
            return Err(JwsError::BadSignature);
        }
        // Named directly, not through jsonwebtoken's process-wide default: that one panics as soon as any crate of the
        // build turns on a second back end.
        let verifier = (aws_lc::DEFAULT_PROVIDER.verifier_factory)(&algorithm.backend(), &self.decoding)
            .map_err(|_| JwsError::KeyMismatch)?;
        verifier
            .verify(jws.signing_input(), jws.signature_vec())
            .map_err(|_| JwsError::BadSignature)?;
        Ok(algorithm)
    }

    /// Whether `identity` names this key, used in a way that is still allowed.
    pub(crate) fn is(&self, identity: &KeyIdentity) -> bool {
        self.identity(identity.alg).as_ref() == Some(identity)
    }

    /// A total order that depends on nothing but the keys themselves; by `kid` first.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        let rank = |key: &Self| (key.key_type, key.thumbprint, key.alg, key.use_sig, key.key_ops);
        self.kid.cmp(&other.kid).then_with(|| rank(self).cmp(&rank(other)))
    }
}

impl PartialEq for VerificationKey {
    fn eq(&self, other: &Self) -> bool {
        self.order(other).is_eq()
    }
}

impl Eq for VerificationKey {}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationKey")
            .field("kid", &self.kid)
            .field("key_type", &self.key_type)
            .field("alg", &self.alg)
            .field("use_sig", &self.use_sig)
            .field("key_ops", &self.key_ops)
            .field("thumbprint", &base64url::encode(&self.thumbprint))
            .finish_non_exhaustive()
    }
}
