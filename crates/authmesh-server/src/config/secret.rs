//! A value that must never be shown.

use std::fmt;

use super::rules;

/// A secret from a file or the environment. Its `Debug` output is redacted, and it has no `Display`.
///
/// Only visible ASCII characters without spaces, so that it can stand in an `Authorization: Bearer` header (RFC 6750
/// section 2.1). At most 4,096 bytes; the admin credential has at least 16.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The least length, in bytes: shorter credentials can be guessed.
    pub const MIN_BYTES: usize = 16;
    /// The greatest length, in bytes.
    pub const MAX_BYTES: usize = 4096;

    /// Checks a secret. The error never repeats any of it.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        Self::of_length(text, Self::MIN_BYTES)
    }

    /// The same for one that somebody else has chosen, and may have chosen shorter.
    pub(crate) fn of_length(text: &str, least: usize) -> Result<Self, String> {
        if text.is_empty() && least <= 1 {
            return Err("is empty".into());
        }
        if text.is_empty() {
            return Err("is empty: give a random credential, such as the output of `openssl rand -hex 32`".into());
        }
        if text.len() < least {
            return Err(format!(
                "is shorter than {least} bytes and could be guessed: use `openssl rand -hex 32`"
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
