//! Verdicts: the immutable results of verifications.

mod signer;
mod text;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use authmesh_proto::marks::TokenScopes;
use authmesh_proto::time::Unix;
use serde::de::DeserializeOwned;

use self::text::{List, Name, Text};
use crate::error::VerifyError;
use crate::issuer::Issuer;
use crate::jose::KeyIdentity;
use crate::policy::WhenBlind;
use crate::possession::Binding;
use crate::upstream::Provider;
use crate::verify::claims::Claims;

pub(crate) use signer::{Signer, Signers};

/// The counters of an [`Arc`].
pub(crate) const ARC_BYTES: usize = 16;

/// The result of one verification of one token under one policy. Shared, never changed.
///
/// `Debug` names the issuer, the key and the times; no claim of the holder.
pub struct Verdict {
    pub(crate) voucher: Voucher,
    text: Text,
    pub(crate) expires_at: Unix,
    /// When it ends: `exp` and the policy's leeway; just `exp` where a provider vouches for it.
    pub(crate) until: Unix,
    /// The scopes in which marks can void it, with `iat`.
    pub(crate) marked_by: TokenScopes,
    /// What has to be proven on every call. Few tokens have one.
    pub(crate) binding: Option<Box<Binding>>,
}

/// What vouches for a verdict, with what it comes from.
pub(crate) enum Voucher {
    Key { issuer: Arc<Issuer>, signer: Arc<Signer> },
    Provider(Arc<Provider>),
}

/// What vouches for a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum VouchedBy<'a> {
    /// A signature, verified here.
    Key {
        /// The key that signed the token.
        key: &'a KeyIdentity,
        /// The generation of the issuer's key set in which the key was found.
        generation: u64,
    },
    /// The provider: it was asked about the token ([`Builder::upstream`](crate::Builder::upstream)).
    Provider,
}

impl Verdict {
    /// The verdict about a token whose claims were checked. `json`: the claims as they were written.
    pub(crate) fn new(
        voucher: Voucher,
        checked: &Claims,
        marked_by: TokenScopes,
        json: &[u8],
    ) -> Result<Self, VerifyError> {
        let names = [&checked.subject, &checked.client, &checked.session, &checked.jwt_id];
        let lists = [&*checked.audiences, &*checked.scopes];
        let text = Text::pack(json, names.map(Option::as_deref), lists)
            .ok_or(VerifyError::Malformed("the claims are not a JSON object"))?;
        Ok(Self {
            voucher,
            text,
            expires_at: checked.expires_at,
            until: checked.until,
            marked_by,
            binding: checked.binding.map(Box::new),
        })
    }

    /// `iss` (RFC 7519 section 4.1.1); of an opaque token, the issuer whose provider was asked.
    #[must_use]
    pub fn issuer(&self) -> &str {
        match &self.voucher {
            Voucher::Key { issuer, .. } => &issuer.url,
            Voucher::Provider(provider) => &provider.issuer,
        }
    }

    /// `sub` (RFC 7519 section 4.1.2).
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.text.name(Name::Subject)
    }

    /// `aud` (RFC 7519 section 4.1.3); a single string is a list of one.
    pub fn audiences(&self) -> impl ExactSizeIterator<Item = &str> {
        self.text.list(List::Audiences)
    }

    /// `client_id` (RFC 8693 section 4.3), else `azp`.
    #[must_use]
    pub fn client(&self) -> Option<&str> {
        self.text.name(Name::Client)
    }

    /// `sid`: the session at the issuer.
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        self.text.name(Name::Session)
    }

    /// `jti` (RFC 7519 section 4.1.7).
    #[must_use]
    pub fn jwt_id(&self) -> Option<&str> {
        self.text.name(Name::JwtId)
    }

    /// `scope` (RFC 8693 section 4.2) split at its spaces, else `scp`.
    pub fn scopes(&self) -> impl ExactSizeIterator<Item = &str> {
        self.text.list(List::Scopes)
    }

    /// Whether a scope is among [`Verdict::scopes`].
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes().any(|own| own == scope)
    }

    /// `iat`, in seconds since the Unix epoch.
    #[must_use]
    pub const fn issued_at(&self) -> Option<Unix> {
        self.marked_by.issued_at()
    }

    /// `exp`, in seconds since the Unix epoch. Where neither a provider nor the token names one, the end of
    /// [`Rules::max_token_lifetime`](crate::Rules::max_token_lifetime) after `iat`.
    #[must_use]
    pub const fn expires_at(&self) -> Unix {
        self.expires_at
    }

    /// What the token is bound to (`cnf`, RFC 7800): the sender has proven that it is his. `None` of a bearer token, and where
    /// [`Rules::danger_bound_as_bearer`](crate::Rules::danger_bound_as_bearer) takes one that is bound in a way that is not
    /// supported.
    #[must_use]
    pub fn binding(&self) -> Option<&Binding> {
        self.binding.as_deref()
    }

    /// All claims, read into a type of your own. Parses at each call; keep the result.
    ///
    /// # Errors
    /// When the claims do not fit the type.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, ClaimsError> {
        // serde_json's own message quotes the value that does not fit.
        serde_json::from_slice(self.text.claims()).map_err(|error| ClaimsError {
            line: error.line(),
            column: error.column(),
        })
    }

    /// The JWT claims set as the issuer wrote it. Where a provider vouches for the token: its answer, over the claims of the
    /// token if that is a JWS.
    #[must_use]
    pub fn claims_json(&self) -> &[u8] {
        self.text.claims()
    }

    /// What vouches for it.
    #[must_use]
    pub fn vouched_by(&self) -> VouchedBy<'_> {
        match &self.voucher {
            Voucher::Key { signer, .. } => VouchedBy::Key {
                key: &signer.key,
                generation: signer.generation,
            },
            Voucher::Provider(_) => VouchedBy::Provider,
        }
    }

    /// The key that signed the token, if it was verified by its signature.
    #[must_use]
    pub fn key(&self) -> Option<&KeyIdentity> {
        match self.vouched_by() {
            VouchedBy::Key { key, .. } => Some(key),
            VouchedBy::Provider => None,
        }
    }

    /// The generation of the issuer's key set in which the key was found, if it was verified by its signature.
    #[must_use]
    pub fn key_generation(&self) -> Option<u64> {
        match self.vouched_by() {
            VouchedBy::Key { generation, .. } => Some(generation),
            VouchedBy::Provider => None,
        }
    }

    /// What it takes in memory, its counters included; not the issuer and the key, which all verdicts of a key share.
    pub(crate) fn bytes(&self) -> usize {
        ARC_BYTES
            + size_of::<Self>()
            + self.text.bytes()
            + self.marked_by.bytes()
            + self.binding.as_ref().map_or(0, |_| size_of::<Binding>())
    }
}

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verdict")
            .field("issuer", &self.issuer())
            .field("issued_at", &self.issued_at())
            .field("expires_at", &self.expires_at)
            .field("vouched_by", &self.vouched_by())
            .finish_non_exhaustive()
    }
}

/// The claims do not fit the type that was asked for. Names the place, not the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the claims do not fit the type (line {line}, column {column} of the claims set)")]
pub struct ClaimsError {
    /// Line in the claims set, from 1.
    pub line: usize,
    /// Column in the line, from 1.
    pub column: usize,
}

/// How an answer was reached. The same words in code, metrics, headers and docs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Outcome {
    /// The signature was verified, or the provider was asked, for this call.
    Verified,
    /// From this node's memory, every check of a hit passed.
    Hit,
    /// From the shared second level.
    L2,
    /// From memory while the provider was slow or away, inside its bound.
    Stale,
    /// The node could not prove that it knows every revocation, and the route allows that for a while.
    Blind,
}

impl Outcome {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Hit => "hit",
            Self::L2 => "l2",
            Self::Stale => "stale",
            Self::Blind => "blind",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A verdict, and how it was reached this time.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The verdict.
    pub verdict: Arc<Verdict>,
    /// How it was reached.
    pub outcome: Outcome,
    /// From how far away it came, blind or not.
    pub level: Level,
    /// How long ago the signature was verified, or the provider was asked.
    pub age: Duration,
    /// How long the node has been blind; `None` while it is coherent.
    pub blind_for: Option<Duration>,
    /// The rule for blindness of the verifier that was asked.
    pub(crate) when_blind: WhenBlind,
}

/// From how far away an answer came. The same words in code, metrics, headers and docs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Level {
    /// From this node's memory.
    L1,
    /// From the store that the nodes share.
    L2,
    /// From the source itself: the signature was verified, or the issuer was asked, for this call.
    Source,
}

impl Level {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::L1 => "l1",
            Self::L2 => "l2",
            Self::Source => "source",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
