//! The signature algorithms of this crate, and sets of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A signature algorithm (RFC 7518 section 3.1, RFC 8037 section 3.1). All are asymmetric.
///
/// Names are exact and case-sensitive, as RFC 7515 section 4.1.1 demands. Left out on purpose: `none`; `HS256` and its
/// kin, because a verifier that could also sign is a forger in waiting; `ES512` and `ES256K`, which the backend lacks.
/// `Ed25519`, the new name of RFC 9864 for `EdDSA` with that curve, is not read either: one algorithm with two names
/// would make "the key's `alg` equals the header's `alg`" a question of interpretation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RS512,
    /// RSASSA-PSS with SHA-256, MGF1 with SHA-256 and a salt of 32 bytes.
    PS256,
    /// RSASSA-PSS with SHA-384, MGF1 with SHA-384 and a salt of 48 bytes.
    PS384,
    /// RSASSA-PSS with SHA-512, MGF1 with SHA-512 and a salt of 64 bytes.
    PS512,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// ECDSA on P-384 with SHA-384.
    ES384,
    /// EdDSA on Ed25519. Ed448 is not supported.
    EdDSA,
}

impl Algorithm {
    /// Every algorithm of this crate, in the order of [`Ord`].
    pub const ALL: [Self; 9] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];

    /// The name as it stands in `alg`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    /// Length of every signature in bytes, or `None` where the key decides (RSA: as long as the modulus).
    pub(crate) const fn signature_bytes(self) -> Option<usize> {
        match self {
            Self::ES256 | Self::EdDSA => Some(64),
            Self::ES384 => Some(96),
            Self::RS256 | Self::RS384 | Self::RS512 | Self::PS256 | Self::PS384 | Self::PS512 => None,
        }
    }

    pub(crate) const fn backend(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::RS256 => jsonwebtoken::Algorithm::RS256,
            Self::RS384 => jsonwebtoken::Algorithm::RS384,
            Self::RS512 => jsonwebtoken::Algorithm::RS512,
            Self::PS256 => jsonwebtoken::Algorithm::PS256,
            Self::PS384 => jsonwebtoken::Algorithm::PS384,
            Self::PS512 => jsonwebtoken::Algorithm::PS512,
            Self::ES256 => jsonwebtoken::Algorithm::ES256,
            Self::ES384 => jsonwebtoken::Algorithm::ES384,
            Self::EdDSA => jsonwebtoken::Algorithm::EdDSA,
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The name is not one of [`Algorithm`]. The name itself is not repeated: it may come from an unverified token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "unsupported algorithm; names are case-sensitive, use one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA"
)]
pub struct UnsupportedAlgorithm;

impl FromStr for Algorithm {
    type Err = UnsupportedAlgorithm;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
            .ok_or(UnsupportedAlgorithm)
    }
}

impl Serialize for Algorithm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Algorithm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Owned, because a configuration format may have to unescape the name.
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// A set of algorithms: what a policy allows, or what a key can check.
///
/// There is no `Default` on purpose: an allow-list is a decision (RFC 8725 section 3.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AlgorithmSet(u16);

impl AlgorithmSet {
    /// Nothing is allowed.
    pub const EMPTY: Self = Self(0);

    /// All of [`Algorithm`]: every asymmetric algorithm of this crate.
    pub const ALL: Self = Self::of(&Algorithm::ALL);

    /// The set of the given algorithms.
    #[must_use]
    pub const fn of(algorithms: &[Algorithm]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < algorithms.len() {
            bits |= algorithms[at].bit();
            at += 1;
        }
        Self(bits)
    }

    /// Whether `algorithm` is in the set.
    #[must_use]
    pub const fn contains(self, algorithm: Algorithm) -> bool {
        self.0 & algorithm.bit() != 0
    }

    /// Whether the two sets share an algorithm.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many algorithms are in the set.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The algorithms in the set, in the order of [`Algorithm::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Algorithm> {
        Algorithm::ALL
            .into_iter()
            .filter(move |algorithm| self.contains(*algorithm))
    }
}

impl From<&[Algorithm]> for AlgorithmSet {
    fn from(algorithms: &[Algorithm]) -> Self {
        Self::of(algorithms)
    }
}

impl From<Algorithm> for AlgorithmSet {
    fn from(algorithm: Algorithm) -> Self {
        Self(algorithm.bit())
    }
}

impl FromIterator<Algorithm> for AlgorithmSet {
    fn from_iter<I: IntoIterator<Item = Algorithm>>(algorithms: I) -> Self {
        Self(algorithms.into_iter().fold(0, |bits, algorithm| bits | algorithm.bit()))
    }
}

impl fmt::Debug for AlgorithmSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn every_name_round_trips_through_text_and_serde() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
            let json = serde_json::to_string(&algorithm).unwrap();
            assert_eq!(json, format!("\"{algorithm}\""));
            assert_eq!(serde_json::from_str::<Algorithm>(&json).unwrap(), algorithm);
        }
    }

    #[test]
    fn every_other_name_is_unsupported() {
        let others = [
            "", "none", "None", "NONE", "HS256", "HS384", "HS512", "ES512", "ES521", "ES256K", "Ed25519", "Ed448",
            "EDDSA", "eddsa", "rs256", "Rs256", "RS256 ", " RS256", "RS257", "RS256\0", "RSA-OAEP", "dir",
        ];
        for name in others {
            assert_eq!(name.parse::<Algorithm>(), Err(UnsupportedAlgorithm), "{name:?}");
            assert!(serde_json::from_value::<Algorithm>(name.into()).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_set_holds_what_was_put_in() {
        let set = AlgorithmSet::of(&[Algorithm::EdDSA, Algorithm::RS256, Algorithm::EdDSA]);
        assert_eq!(set.len(), 2);
        assert_eq!(set.iter().collect::<Vec<_>>(), [Algorithm::RS256, Algorithm::EdDSA]);
        assert!(set.contains(Algorithm::RS256) && !set.contains(Algorithm::RS384));
        assert!(set.intersects(AlgorithmSet::from(Algorithm::EdDSA)));
        assert!(!set.intersects(AlgorithmSet::from(Algorithm::ES256)));
        assert!(AlgorithmSet::EMPTY.is_empty() && !set.is_empty());
        assert_eq!(AlgorithmSet::ALL.len(), Algorithm::ALL.len());
        assert_eq!(AlgorithmSet::from_iter(set.iter()), set);
        assert_eq!(format!("{set:?}"), "{RS256, EdDSA}");
    }
}
