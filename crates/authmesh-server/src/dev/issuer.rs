//! The development issuer: an identity provider inside the process, for `serve --dev` and for tests.
//!
//! Its keys are made at start and never leave memory, so its tokens mean nothing after the process ends. It mints a token for
//! whoever asks. **Never let it listen where others can reach it.**
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /` | a few lines of help |
//! | `GET /.well-known/openid-configuration` | OpenID Connect Discovery 1.0 metadata |
//! | `GET /jwks` | the JWK set (RFC 7517 section 5) |
//! | `POST /token` | a fresh access token in the form of RFC 9068 |
//! | `POST /rotate` | new keys; the old ones leave the set at once |

mod form;
mod keys;
mod routes;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use keys::DevKeys;

/// How a development token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DevAlg {
    /// RSASSA-PKCS1-v1_5 with SHA-256, 2048 bits (RFC 7518 section 3.3).
    #[default]
    Rs256,
    /// ECDSA on P-256 with SHA-256 (RFC 7518 section 3.4).
    Es256,
    /// Ed25519 (RFC 8037 section 3.1).
    EdDsa,
}

impl DevAlg {
    /// Every algorithm, in the order of the JWK set.
    pub const ALL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    /// The `alg` value of RFC 7518 section 3.1.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// What a development token says. `DevClaims::default()` is the token that `POST /token` mints without any field.
#[derive(Clone, PartialEq, Eq)]
pub struct DevClaims {
    /// Subject. Default: `alice`.
    pub sub: String,
    /// Audience. Default: `dev-api`.
    pub aud: String,
    /// Lifetime, in whole seconds. Default: 3,600 s. The form allows 1 to 86,400 s; here zero makes a token that is expired from
    /// the start.
    pub ttl: Duration,
    /// Scope, space separated (RFC 8693 section 4.2). Default: `read`.
    pub scope: String,
    /// The `sid` claim, which back-channel logout names. Default: none.
    pub sid: Option<String>,
    /// Token ID. Default: 128 random bits.
    pub jti: Option<String>,
    /// Client. Default: `dev-client`.
    pub client_id: String,
    /// Mail address. Default: none.
    pub email: Option<String>,
}

impl Default for DevClaims {
    fn default() -> Self {
        Self {
            sub: "alice".to_owned(),
            aud: "dev-api".to_owned(),
            ttl: Duration::from_secs(3_600),
            scope: "read".to_owned(),
            sid: None,
            jti: None,
            client_id: "dev-client".to_owned(),
            email: None,
        }
    }
}

impl fmt::Debug for DevClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevClaims")
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

/// The development issuer could not do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DevIssuerError {
    /// The URL that the issuer should go by is none. Nothing was made.
    #[error("the development issuer needs its own URL, http://HOST:PORT or https://HOST:PORT without a path")]
    BadUrl,
    /// A key could not be made. Keys that were in use stay in use.
    #[error("no {0} key could be generated for the development issuer; the machine may lack randomness")]
    KeyGeneration(&'static str),
    /// A token could not be signed. No token was made.
    #[error("a development token could not be signed with {0}")]
    Signing(&'static str),
    /// The operating system gave no random bytes for a `jti`. No token was made.
    #[error("the operating system gave no randomness for a token ID")]
    Randomness,
}

/// An identity provider with throw-away keys. Cloning is cheap; clones are the same issuer.
#[derive(Clone)]
pub struct DevIssuer {
    inner: Arc<Inner>,
}

struct Inner {
    issuer: String,
    keys: RwLock<Arc<DevKeys>>,
    /// One rotation at a time, so that the answer of each names the keys that it put in place.
    rotating: tokio::sync::Mutex<()>,
}

/// RFC 9068 section 2.2, and `sid` of OpenID Connect Front-Channel Logout 1.0 section 3.
#[derive(Serialize)]
struct Payload<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: u64,
    nbf: u64,
    exp: u64,
    jti: &'a str,
    client_id: &'a str,
    scope: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
}

impl DevIssuer {
    /// Makes an issuer that goes by `url_base`, such as `http://127.0.0.1:8600`: the `iss` of its tokens, and where its
    /// [`router`](Self::router) is served. A slash at the end is dropped.
    ///
    /// Generates an RSA 2048, a P-256 and an Ed25519 key, which takes a tenth of a second or so.
    ///
    /// # Errors
    /// [`DevIssuerError::BadUrl`] and [`DevIssuerError::KeyGeneration`].
    pub fn new(url_base: &str) -> Result<Self, DevIssuerError> {
        let issuer = url_base.strip_suffix('/').unwrap_or(url_base);
        let authority = issuer
            .strip_prefix("http://")
            .or_else(|| issuer.strip_prefix("https://"))
            .ok_or(DevIssuerError::BadUrl)?;
        authority
            .parse::<http::uri::Authority>()
            .ok()
            .filter(|authority| !authority.as_str().contains('@'))
            .ok_or(DevIssuerError::BadUrl)?;
        Ok(Self {
            inner: Arc::new(Inner {
                issuer: issuer.to_owned(),
                keys: RwLock::new(Arc::new(DevKeys::generate()?)),
                rotating: tokio::sync::Mutex::new(()),
            }),
        })
    }

    /// The issuer identifier: the `iss` of every token.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.inner.issuer
    }

    /// The IDs of the present keys, in the order of [`DevAlg::ALL`].
    #[must_use]
    pub fn kids(&self) -> [String; 3] {
        self.keys().kids()
    }

    /// Mints a token that is valid from now on.
    ///
    /// # Errors
    /// [`DevIssuerError::Signing`] and [`DevIssuerError::Randomness`]; neither depends on the claims.
    pub fn mint(&self, claims: &DevClaims, alg: DevAlg) -> Result<String, DevIssuerError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.mint_at(claims, alg, now.as_secs())
    }

    /// Mints a token as if the issuer's clock stood at `now`, in seconds since the Unix epoch (UTC): `iat` and `nbf` are `now`,
    /// `exp` is `now` and the lifetime.
    ///
    /// # Errors
    /// As for [`mint`](Self::mint).
    pub fn mint_at(&self, claims: &DevClaims, alg: DevAlg, now: u64) -> Result<String, DevIssuerError> {
        let jti = match &claims.jti {
            Some(jti) => jti.clone(),
            None => random_id()?,
        };
        let payload = Payload {
            iss: &self.inner.issuer,
            sub: &claims.sub,
            aud: &claims.aud,
            iat: now,
            nbf: now,
            exp: now.saturating_add(claims.ttl.as_secs()),
            jti: &jti,
            client_id: &claims.client_id,
            scope: &claims.scope,
            sid: claims.sid.as_deref(),
            email: claims.email.as_deref(),
        };
        self.keys().sign(alg, &payload)
    }

    /// Replaces every key and tells the new IDs, in the order of [`DevAlg::ALL`]. The old keys leave the set at once, so a
    /// cache must drop what it verified with them.
    ///
    /// Blocks for a tenth of a second or so.
    ///
    /// # Errors
    /// [`DevIssuerError::KeyGeneration`]; the old keys stay in use then.
    pub fn rotate(&self) -> Result<[String; 3], DevIssuerError> {
        let fresh = DevKeys::generate()?;
        let kids = fresh.kids();
        // Nothing panics while the lock is held, so a poisoned one holds a whole value.
        *self.inner.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
        Ok(kids)
    }

    fn keys(&self) -> Arc<DevKeys> {
        Arc::clone(&self.inner.keys.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for DevIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevIssuer")
            .field("issuer", &self.inner.issuer)
            .field("kids", &self.kids())
            .finish_non_exhaustive()
    }
}

fn random_id() -> Result<String, DevIssuerError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| DevIssuerError::Randomness)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
