//! What a token is bound to: its confirmation claim (RFC 7800).

use std::fmt;

use serde_json::{Map, Value};

use crate::error::VerifyError;
use crate::jose::base64url;

/// What a token is bound to. One thing at least; where both are there, both have to be proven.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Binding {
    jkt: Option<[u8; 32]>,
    x5t_s256: Option<[u8; 32]>,
}

impl Binding {
    /// The key whose owner may use the token: the SHA-256 thumbprint of its JWK (`jkt`, RFC 9449 section 6.1).
    #[must_use]
    pub const fn jkt(&self) -> Option<&[u8; 32]> {
        self.jkt.as_ref()
    }

    /// The client certificate whose owner may use the token: SHA-256 of its DER (`x5t#S256`, RFC 8705 section 3.1).
    #[must_use]
    pub const fn x5t_s256(&self) -> Option<&[u8; 32]> {
        self.x5t_s256.as_ref()
    }

    /// Reads `cnf`. `None`: there is none, or it is `null`.
    ///
    /// Whatever is not understood binds the token all the same, in a way that nobody here could check.
    pub(crate) fn of(claims: &Map<String, Value>) -> Result<Option<Self>, VerifyError> {
        let members = match claims.get("cnf") {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Object(members)) => members,
            Some(_) => return Err(VerifyError::UnsupportedBinding("cnf is not an object")),
        };
        let mut binding = Self {
            jkt: None,
            x5t_s256: None,
        };
        for (name, value) in members {
            let place = match name.as_str() {
                "jkt" => &mut binding.jkt,
                "x5t#S256" => &mut binding.x5t_s256,
                _ => {
                    return Err(VerifyError::UnsupportedBinding(
                        "cnf has a member that is not supported",
                    ));
                }
            };
            let thumbprint = value.as_str().and_then(|text| base64url::decode(text.as_bytes()));
            let thumbprint = thumbprint.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
            *place = Some(thumbprint.ok_or(VerifyError::UnsupportedBinding("a thumbprint in cnf is not one"))?);
        }
        if binding.jkt.is_none() && binding.x5t_s256.is_none() {
            return Err(VerifyError::UnsupportedBinding("cnf is empty"));
        }
        Ok(Some(binding))
    }

    /// What two sources say of one token, both of which are believed.
    pub(crate) fn both(one: Option<Self>, other: Option<Self>) -> Result<Option<Self>, VerifyError> {
        match (one, other) {
            (Some(one), Some(other)) if one != other => Err(VerifyError::UnsupportedBinding(
                "the provider names another key than the token",
            )),
            (one, other) => Ok(one.or(other)),
        }
    }
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |thumbprint: &[u8; 32]| base64url::encode(thumbprint);
        f.debug_struct("Binding")
            .field("jkt", &self.jkt.as_ref().map(text))
            .field("x5t_s256", &self.x5t_s256.as_ref().map(text))
            .finish()
    }
}
