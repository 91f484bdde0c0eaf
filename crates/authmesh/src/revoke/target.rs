//! What a revocation voids.

use authmesh_proto::crypto::ScopeKind;
use authmesh_proto::ident::ScopeId;

use super::collapse::OfSubject;
use crate::error::{RevokeError, VerifyError};
use crate::jose::{self, CompactJws, base64url};
use crate::mesh::AuthMesh;
use crate::verify::claims;

/// Longest value of a scope, in bytes.
pub(crate) const MAX_VALUE: usize = 1024;

macro_rules! targets {
    ($($(#[$doc:meta])* $name:ident => $kind:ident;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq, Eq)]
            pub struct $name {
                issuer: String,
                value: String,
            }

            impl $name {
                /// Names it together with its issuer: the same value at another issuer is something else.
                #[must_use]
                pub fn new(issuer: impl Into<String>, value: impl Into<String>) -> Self {
                    Self { issuer: issuer.into(), value: value.into() }
                }
            }

            impl From<$name> for Target {
                fn from(target: $name) -> Self {
                    Self(Kind::Scope(ScopeKind::$kind, target.issuer, target.value))
                }
            }
        )*
    };
}

/// What a revocation voids. Made from [`Subject`], [`Session`], [`JwtId`], [`Client`], [`SigningKey`], [`WholeIssuer`] or
/// [`Token`].
#[derive(Debug, Clone)]
pub struct Target(Kind);

#[derive(Clone)]
enum Kind {
    Scope(ScopeKind, String, String),
    Key(SigningKey),
    Token(Token),
}

impl std::fmt::Debug for Kind {
    // Subjects, sessions and tokens are claim values; none goes into a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Scope(kind, issuer, _) => write!(f, "{kind} of {issuer}"),
            Self::Key(key) => key.fmt(f),
            Self::Token(_) => f.write_str("token"),
        }
    }
}

targets! {
    /// Every token of a subject (`sub`) that was issued up to now.
    Subject => Subject;
    /// Every token of a session (`sid`) that was issued up to now.
    Session => Session;
    /// The tokens with this `jti`, whenever they were issued.
    JwtId => JwtId;
    /// Every token of a client (`client_id`, else `azp`) that was issued up to now.
    Client => Client;
}

/// Every token that a signing key signed and that was issued up to now.
///
/// Like every mark that compares times it spares tokens with a later `iat`: whoever **stole** the key writes any `iat`. So
/// take a stolen key out of the issuer's set first; a key that left the set voids what it signed on every node that has
/// fetched the new set ([`AuthMesh::refresh_keys`]). The mark is for what happens at once and until then, and for a key
/// that comes back by an old set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKey {
    issuer: String,
    by: KeyName,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum KeyName {
    Thumbprint(String),
    Kid(String),
}

impl SigningKey {
    /// The key with this SHA-256 thumbprint (RFC 7638), 43 characters of base64url. It need not be in the issuer's set.
    #[must_use]
    pub fn thumbprint(issuer: impl Into<String>, thumbprint: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            by: KeyName::Thumbprint(thumbprint.into()),
        }
    }

    /// The key that the issuer's present set, as this node holds it, calls so.
    #[must_use]
    pub fn kid(issuer: impl Into<String>, kid: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            by: KeyName::Kid(kid.into()),
        }
    }

    fn resolve(&self, mesh: &AuthMesh) -> Result<Vec<u8>, RevokeError> {
        match &self.by {
            KeyName::Thumbprint(text) => base64url::decode(text.as_bytes())
                .filter(|bytes| bytes.len() == 32)
                .ok_or(RevokeError::BadValue(
                    "a thumbprint has 43 characters of base64url: the SHA-256 of RFC 7638",
                )),
            KeyName::Kid(kid) => {
                let issuer = mesh.issuer(&self.issuer);
                if issuer.is_none() && mesh.0.shared.known(&self.issuer).is_some() {
                    return Err(RevokeError::UnknownKey(
                        "this node has not learned the issuer yet, so it has no key set of it; name the key by its thumbprint",
                    ));
                }
                let issuer = issuer.ok_or(RevokeError::UnknownIssuer)?;
                let keys = issuer.held();
                let named = keys.iter().flat_map(|keys| keys.set.iter());
                let mut named = named.filter(|key| key.kid().is_some_and(|own| **own == **kid));
                match (named.next(), named.next()) {
                    (Some(key), None) => Ok(key.thumbprint().to_vec()),
                    (None, _) => Err(RevokeError::UnknownKey(
                        "the issuer's present key set holds no key with this kid; name it by its thumbprint",
                    )),
                    (Some(_), Some(_)) => Err(RevokeError::UnknownKey(
                        "the issuer's present key set holds several keys with this kid; name the one by its thumbprint",
                    )),
                }
            }
        }
    }
}

impl From<SigningKey> for Target {
    fn from(target: SigningKey) -> Self {
        Self(Kind::Key(target))
    }
}

/// Every token of an issuer that was issued up to now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WholeIssuer(String);

impl WholeIssuer {
    /// Names the issuer.
    #[must_use]
    pub fn new(issuer: impl Into<String>) -> Self {
        Self(issuer.into())
    }
}

impl From<WholeIssuer> for Target {
    fn from(target: WholeIssuer) -> Self {
        Self(Kind::Scope(ScopeKind::Issuer, target.0, String::new()))
    }
}

/// One token. It is verified first: only verified tokens make marks.
#[derive(Clone)]
pub struct Token(Vec<u8>);

impl Token {
    /// The token, as it would stand in an `Authorization` header.
    #[must_use]
    pub fn new(token: impl Into<Vec<u8>>) -> Self {
        Self(token.into())
    }

    /// Issuer, signing-input hash and subject of a token that verifies; the subject only if a mark of it can do what one of
    /// the token does. One that is revoked already may be revoked again, and a
    /// blind node may revoke: both are found out after the signature and the claims.
    pub(super) async fn resolve(&self, mesh: &AuthMesh) -> Result<(String, Vec<u8>, Option<OfSubject>), RevokeError> {
        let verifier = mesh.verifier();
        // Whoever voids a token need not have its key.
        let verdict = match verifier.answer_to_owner(&self.0).await {
            Ok(answer) => Some(answer.verdict),
            Err(VerifyError::Revoked(_) | VerifyError::Blind { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(question) = verifier.question(&self.0)? {
            let issuer = question.upstream.issuer().to_owned();
            // The provider's words count, which nobody repeats of a token that is void already.
            let said = verdict.and_then(|verdict| Some((verdict.subject()?.to_owned(), verdict.issued_at()?)));
            let of_subject = said.filter(|_| !verifier.accepts_without_issued_at(&issuer));
            let of_subject = of_subject.map(|(subject, issued_at)| OfSubject {
                subject: mesh
                    .node()
                    .codec
                    .namer
                    .scope(ScopeKind::Subject, &issuer, subject.as_bytes()),
                issued_at,
            });
            return Ok((issuer, question.token_scope().to_vec(), of_subject));
        }
        let jws = CompactJws::parse(&self.0).map_err(VerifyError::from)?;
        let claims =
            jose::json::parse_object(jws.payload()).map_err(|_| VerifyError::Malformed("its payload is no object"))?;
        let issuer = claims::issuer(&claims)?.to_owned();
        let of_subject = match (claims::subject(&claims)?, claims::issued_at(&claims)?) {
            // A mark of the subject voids every token without `iat`, however new.
            (Some(subject), Some(issued_at)) if !mesh.verifier().accepts_without_issued_at(&issuer) => {
                Some(OfSubject {
                    subject: mesh
                        .node()
                        .codec
                        .namer
                        .scope(ScopeKind::Subject, &issuer, subject.as_bytes()),
                    issued_at,
                })
            }
            _ => None,
        };
        Ok((issuer, jws.signing_input_sha256().to_vec(), of_subject))
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl From<Token> for Target {
    fn from(target: Token) -> Self {
        Self(Kind::Token(target))
    }
}

/// A target whose cluster-wide name is known.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    pub(crate) kind: ScopeKind,
    pub(crate) issuer: String,
    pub(crate) id: ScopeId,
    /// Of a token that was verified.
    pub(super) of_subject: Option<OfSubject>,
}

impl Target {
    /// Finds the scope. A token is verified for it, and keys are fetched where that needs it.
    pub(crate) async fn resolve(&self, mesh: &AuthMesh) -> Result<Scope, RevokeError> {
        let mut verified = None;
        let (kind, issuer, value) = match &self.0 {
            Kind::Scope(kind, issuer, value) => (*kind, issuer.clone(), value.clone().into_bytes()),
            Kind::Key(key) => (ScopeKind::SigningKey, key.issuer.clone(), key.resolve(mesh)?),
            Kind::Token(token) => {
                let (issuer, input, of_subject) = token.resolve(mesh).await?;
                verified = of_subject;
                (ScopeKind::Token, issuer, input)
            }
        };
        if (value.is_empty() && kind != ScopeKind::Issuer) || value.len() > MAX_VALUE {
            return Err(RevokeError::BadValue("what is revoked must have 1 to 1,024 bytes"));
        }
        if !mesh.0.shared.knows(&issuer) {
            return Err(RevokeError::UnknownIssuer);
        }
        let id = mesh.node().codec.namer.scope(kind, &issuer, &value);
        Ok(Scope {
            kind,
            issuer,
            id,
            of_subject: verified,
        })
    }
}
