//! A value that must never be shown.

use std::fmt;

use super::rules;

/// A secret from a file or the environment. Its `Debug` output is redacted, and it has no `Display`.
///
/// Only visible ASCII characters without spaces, so that it can stand in an `Authorization: Bearer` header (RFC 6750
/// section 2.1). At least 16 bytes, at most 4,096.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The least length, in bytes: shorter credentials can be guessed.
    pub const MIN_BYTES: usize = 16;
    /// The greatest length, in bytes.
    pub const MAX_BYTES: usize = 4096;

    /// Checks a secret. The error never repeats any of it.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty: give a random credential, such as the output of `openssl rand -hex 32`".into());
        }
        if text.len() < Self::MIN_BYTES {
            return Err(format!(
                "is shorter than {} bytes and could be guessed: use `openssl rand -hex 32`",
                Self::MIN_BYTES
            ));
        }
        if text.len() > Self::MAX_BYTES {
            return Err(format!("is longer than {} bytes", Self::MAX_BYTES));
        }
        if !rules::is_visible_ascii(text) {
            return Err(
                "has a space, a control character or a character beyond ASCII, and could not be sent in an \
                 Authorization header: use letters and digits"
                    .into(),
            );
        }
        Ok(Self(text.to_owned()))
    }

    /// The secret itself. Hand it to a comparison in constant time and to nothing else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}
