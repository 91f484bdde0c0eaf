//! A set of public keys (RFC 7517 section 5).

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::key::{KeyIdentity, VerificationKey};
use super::{Header, JwsError, KeySetError, SkipReason, SkippedKey, json, jwk};

/// Most keys that a token without a `kid` is tried against.
///
/// Each try costs a signature check, and a token without a `kid` that fits more keys than an issuer has during a
/// rotation says nothing about who signed it.
pub const MAX_UNNAMED_CANDIDATES: usize = 4;

/// What a key set document may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySetLimits {
    /// Longest document in bytes; a longer one is refused unread. Default: 524,288 (512 KiB).
    pub max_document_bytes: usize,
    /// Most entries of `keys`, usable and skipped together; a document with more is refused. Default: 128.
    pub max_keys: usize,
}

impl Default for KeySetLimits {
    fn default() -> Self {
        Self {
            max_document_bytes: 512 * 1024,
            max_keys: 128,
        }
    }
}

/// The usable public keys of one issuer, and a note of those that were left out.
///
/// Immutable, sorted, the same for every order of the document. Two sets are equal if their usable keys are.
#[derive(Clone)]
pub struct KeySet {
    /// Sorted by [`VerificationKey::order`], so by `kid` first; no two of one `kid` share an algorithm.
    keys: Vec<Arc<VerificationKey>>,
    skipped: Vec<SkippedKey>,
}

impl KeySet {
    /// Reads a JWK set. A key that is not usable is skipped, with its reason, and does not spoil the others; nor do
    /// unknown members, of the set or of a key.
    ///
    /// Keys with equal content count once. Different keys under one `kid` stay only if no two of them could check the
    /// same algorithm; otherwise all that clash are skipped: the document does not say which one is meant, and
    /// guessing would let its order decide.
    ///
    /// # Errors
    /// [`KeySetError`]: too long, not strict JSON, no `keys`, too many keys, or not one usable key.
    pub fn parse(document: &[u8], limits: &KeySetLimits) -> Result<Self, KeySetError> {
        if document.len() > limits.max_document_bytes {
            return Err(KeySetError::DocumentTooLong {
                bytes: document.len(),
                limit: limits.max_document_bytes,
            });
        }
        let members = json::parse_object(document)?;
        let Some(Value::Array(entries)) = members.get("keys") else {
            return Err(KeySetError::NoKeysArray);
        };
        if entries.len() > limits.max_keys {
            return Err(KeySetError::TooManyKeys {
                keys: entries.len(),
                limit: limits.max_keys,
            });
        }

        let mut usable: Vec<(usize, VerificationKey)> = Vec::with_capacity(entries.len());
        let mut skipped = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            match jwk::parse(entry) {
                Ok(key) => usable.push((index, key)),
                Err(reason) => skipped.push(SkippedKey {
                    index,
                    kid: jwk::readable_kid(entry),
                    reason,
                }),
            }
        }
        usable.sort_by(|(_, a), (_, b)| a.order(b));
        usable.dedup_by(|(_, a), (_, b)| a == b);

        let mut keys = Vec::with_capacity(usable.len());
        for same_kid in usable.chunk_by(|(_, a), (_, b)| a.kid.is_some() && a.kid == b.kid) {
            for (at, (index, key)) in same_kid.iter().enumerate() {
                let clashes = same_kid
                    .iter()
                    .enumerate()
                    .any(|(other_at, (_, other))| other_at != at && key.algorithms().intersects(other.algorithms()));
                if clashes {
                    skipped.push(SkippedKey {
                        index: *index,
                        kid: key.kid.clone(),
                        reason: SkipReason::DuplicateKid,
                    });
                } else {
                    keys.push(Arc::new(key.clone()));
                }
            }
        }
        skipped.sort_by_key(|key| key.index);
        if keys.is_empty() {
            return Err(KeySetError::NoUsableKey { skipped });
        }
        Ok(Self { keys, skipped })
    }

    /// The keys that may have signed a token with this header: at most one if the header has a `kid`, else at most
    /// [`MAX_UNNAMED_CANDIDATES`]. Never a key with another `kid`, and for a header with a `kid` never a key without.
    ///
    /// # Errors
    /// [`JwsError::UnknownKey`], [`JwsError::KeyMismatch`], [`JwsError::AmbiguousKey`]; see there. Never an empty answer.
    pub fn candidates(&self, header: &Header) -> Result<Candidates<'_>, JwsError> {
        let algorithm = header.algorithm();
        let (range, if_none) = match header.kid() {
            Some(kid) => {
                let named = self.named(kid);
                if named.is_empty() {
                    return Err(JwsError::UnknownKey);
                }
                (named, JwsError::KeyMismatch)
            }
            None => (self.keys.as_slice(), JwsError::UnknownKey),
        };
        let mut fitting = range.iter().filter(|key| key.algorithms().contains(algorithm));
        let mut keys = [None; MAX_UNNAMED_CANDIDATES];
        for (place, key) in keys.iter_mut().zip(fitting.by_ref()) {
            *place = Some(key);
        }
        if keys[0].is_none() {
            return Err(if_none);
        }
        if fitting.next().is_some() {
            return Err(JwsError::AmbiguousKey);
        }
        Ok(Candidates { keys, next: 0 })
    }

    /// Whether the key of `identity` is in the set, and may still be used as it was. If not, what it signed no longer
    /// stands.
    #[must_use]
    pub fn contains(&self, identity: &KeyIdentity) -> bool {
        match &identity.kid {
            Some(kid) => self.named(kid),
            None => &self.keys,
        }
        .iter()
        .any(|key| key.is(identity))
    }

    /// Whether a key has this `kid`.
    #[must_use]
    pub fn names(&self, kid: &str) -> bool {
        !self.named(kid).is_empty()
    }

    /// The keys of this set that `other` does not have.
    pub fn added_to<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Arc<VerificationKey>> {
        self.keys
            .iter()
            .filter(|key| !other.keys.iter().any(|known| known == *key))
    }

    /// This set, but for keys that have the name of another key of `known`: those stay what they were. Also their names.
    #[must_use]
    pub(crate) fn keeping(self, known: &Self) -> (Self, Vec<Arc<str>>) {
        let mut refused = Vec::new();
        let mut keys = Vec::with_capacity(self.keys.len());
        for same_kid in self.keys.chunk_by(|a, b| a.kid.is_some() && a.kid == b.kid) {
            let kid = same_kid.first().and_then(|key| key.kid.as_ref());
            let old = kid.map_or([].as_slice(), |kid| known.named(kid));
            let is_known = |key: &Arc<VerificationKey>| old.iter().any(|known| known.thumbprint == key.thumbprint);
            match kid {
                Some(kid) if !old.is_empty() && !same_kid.iter().all(is_known) => {
                    refused.push(Arc::clone(kid));
                    keys.extend_from_slice(old);
                }
                _ => keys.extend_from_slice(same_kid),
            }
        }
        let skipped = self.skipped;
        (Self { keys, skipped }, refused)
    }

    /// How many keys are usable. At least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a set without a usable key cannot be made")]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The usable keys, sorted by `kid`.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<VerificationKey>> {
        self.keys.iter()
    }

    /// The keys that were left out, in the order of the document.
    #[must_use]
    pub fn skipped(&self) -> &[SkippedKey] {
        &self.skipped
    }

    /// The keys with this `kid`.
    fn named(&self, kid: &str) -> &[Arc<VerificationKey>] {
        let start = self.keys.partition_point(|key| key.kid.as_deref() < Some(kid));
        let rest = &self.keys[start..];
        &rest[..rest.partition_point(|key| key.kid.as_deref() == Some(kid))]
    }
}

impl PartialEq for KeySet {
    fn eq(&self, other: &Self) -> bool {
        self.keys == other.keys
    }
}

impl Eq for KeySet {}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet")
            .field("keys", &self.keys)
            .field("skipped", &self.skipped)
            .finish()
    }
}

/// The keys that may have signed one token, from [`KeySet::candidates`]. Allocates nothing.
#[derive(Debug, Clone)]
pub struct Candidates<'a> {
    keys: [Option<&'a Arc<VerificationKey>>; MAX_UNNAMED_CANDIDATES],
    next: usize,
}

impl<'a> Iterator for Candidates<'a> {
    type Item = &'a Arc<VerificationKey>;

    fn next(&mut self) -> Option<Self::Item> {
        let key = (*self.keys.get(self.next)?)?;
        self.next += 1;
        Some(key)
    }
}
