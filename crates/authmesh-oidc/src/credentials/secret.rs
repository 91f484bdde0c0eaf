//! Text that nobody may see.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::{CredentialError, check};

/// A secret. Overwritten in memory when its last copy is dropped; `Debug` shows nothing of it.
#[derive(Clone)]
pub(crate) struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes a secret, named in errors.
    pub(crate) fn new(what: &str, text: String) -> Result<Self, CredentialError> {
        // Before the check, so that a refused one is overwritten, too.
        let text = Zeroizing::new(text);
        check(what, &text)?;
        Ok(Self(Arc::new(text)))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
