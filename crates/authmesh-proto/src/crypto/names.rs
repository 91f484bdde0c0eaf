//! Keyed names: what Redis and the network see in place of tokens, users and cache keys.

use core::fmt;

use bincode::{Decode, Encode};
use hkdf::Hkdf;
use hmac::Hmac;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::ring::{KeyRing, finish, keyed};
use crate::ident::{Digest, EntryName, ScopeId};

/// What a mark is about. A value is always taken together with its issuer, so that one issuer can never log out another
/// issuer's users.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode)]
#[repr(u8)]
pub enum ScopeKind {
    /// One token: the SHA-256 of its JWS signing input. (An ES256 signature has a twin; the signing input has none.)
    Token = 1,
    /// The tokens with this `jti` (RFC 7519 section 4.1.7).
    JwtId = 2,
    /// The tokens of a session: `sid` (OpenID Connect Front-Channel Logout 1.0 section 3).
    Session = 3,
    /// The tokens of a subject: `sub` (RFC 7519 section 4.1.2).
    Subject = 4,
    /// The tokens of a client: `client_id` (RFC 8693 section 4.3), else `azp`.
    Client = 5,
    /// The tokens signed by a key: its RFC 7638 thumbprint.
    SigningKey = 6,
    /// Every token of an issuer.
    Issuer = 7,
    /// A cache tag, or a whole namespace of the generic cache. Not about tokens.
    Tag = 8,
    /// The key sets of an issuer: `not_before` is the newest generation that the cluster has. Not about tokens.
    KeySet = 9,
}

impl ScopeKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Token,
        Self::JwtId,
        Self::Session,
        Self::Subject,
        Self::Client,
        Self::SigningKey,
        Self::Issuer,
        Self::Tag,
        Self::KeySet,
    ];

    /// The kind that [`ScopeKind::as_str`] gives this word to.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// Whether such a mark voids by comparing `iat` with `not_before`. Marks of one token void it whatever its times.
    #[must_use]
    pub const fn compares_time(self) -> bool {
        matches!(
            self,
            Self::Session | Self::Subject | Self::Client | Self::SigningKey | Self::Issuer
        )
    }

    /// Whether such a mark voids tokens.
    #[must_use]
    pub const fn is_about_tokens(self) -> bool {
        !matches!(self, Self::Tag | Self::KeySet)
    }

    /// The word for it in logs, metrics and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::JwtId => "jti",
            Self::Session => "session",
            Self::Subject => "subject",
            Self::Client => "client",
            Self::SigningKey => "key",
            Self::Issuer => "issuer",
            Self::Tag => "tag",
            Self::KeySet => "keyset",
        }
    }
}

impl fmt::Display for ScopeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Makes the keyed names of one cluster. Cheap to clone; `Debug` tells nothing.
#[derive(Clone)]
pub struct Namer {
    entries: Hmac<Sha256>,
    scopes: Hmac<Sha256>,
    digests: Hmac<Sha256>,
}

impl Namer {
    /// The names of the cluster `cluster` under the ring's naming key.
    #[must_use]
    pub fn new(ring: &KeyRing, cluster: &str) -> Self {
        let derive = |label: &[u8]| {
            let mut key = Zeroizing::new([0u8; 32]);
            let extracted = Hkdf::<Sha256>::new(Some(b"authmesh/v1 names"), ring.naming());
            // 32 bytes are far below HKDF's limit of 8,160; the call cannot fail.
            let _ = extracted.expand_multi_info(&[label, b"\0", cluster.as_bytes()], &mut *key);
            keyed(&key)
        };
        Self {
            entries: derive(b"entry"),
            scopes: derive(b"scope"),
            digests: derive(b"digest"),
        }
    }

    /// The name of the entry `key` of the namespace `namespace`.
    #[must_use]
    pub fn entry(&self, namespace: &str, key: &[u8]) -> EntryName {
        EntryName(finish(self.entries.clone(), &[namespace.as_bytes(), key]))
    }

    /// The name of a scope: kind, issuer and value, each length-prefixed.
    #[must_use]
    pub fn scope(&self, kind: ScopeKind, issuer: &str, value: &[u8]) -> ScopeId {
        let full = finish(self.scopes.clone(), &[&[kind as u8], issuer.as_bytes(), value]);
        let mut id = [0; 16];
        id.copy_from_slice(&full[..16]);
        ScopeId(id)
    }

    /// The digest of one element of a set of marks.
    #[must_use]
    pub fn digest(&self, parts: &[&[u8]]) -> Digest {
        let full = finish(self.digests.clone(), parts);
        let mut digest = [0; 16];
        digest.copy_from_slice(&full[..16]);
        Digest(digest)
    }
}

impl fmt::Debug for Namer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Namer(..)")
    }
}
