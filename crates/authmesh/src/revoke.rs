//! Revocation: marks, and what became of them.

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use authmesh_proto::crypto::ScopeKind;
use authmesh_proto::statement::{Body, MAX_NOTE_BYTES, Mark, MarkKey, Note, to_full_hour};
use authmesh_proto::time::Unix;

use crate::error::{RevokeError, VerifyError};
use crate::jose::{self, CompactJws};
use crate::mesh::AuthMesh;
use crate::node::{Done, Node, SayError};
use crate::ports::BoxFuture;
use crate::verify::claims;

/// How long a caller waits for a commit. The statement is in force here from the start, and is committed in any case.
const COMMIT_WAIT: Duration = Duration::from_secs(2);
/// Longest value of a scope, in bytes.
const MAX_VALUE: usize = 1024;
/// How far ahead of our wall clock a `not_before` may lie: as far as the `iat` of an accepted token can.
const FURTHEST_AHEAD: Duration = Duration::from_secs(300);

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

/// What a revocation voids. Made from [`Subject`], [`Session`], [`JwtId`], [`Client`], [`WholeIssuer`] or [`Token`].
#[derive(Debug, Clone)]
pub struct Target(Kind);

#[derive(Clone)]
enum Kind {
    Scope(ScopeKind, String, String),
    Token(Vec<u8>),
}

impl std::fmt::Debug for Kind {
    // Subjects, sessions and tokens are claim values; none goes into a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Scope(kind, issuer, _) => write!(f, "{kind} of {issuer}"),
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
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl From<Token> for Target {
    fn from(target: Token) -> Self {
        Self(Kind::Token(target.0))
    }
}

/// What became of a revocation.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Receipt {
    /// Whether it was committed in time.
    pub state: CommitState,
    /// No second copy was confirmed: one more failure at once could lose it.
    pub single_copy: bool,
    /// The kind of what was revoked.
    pub scope: &'static str,
    /// Tokens issued up to this second (issuer's time) are void; issue a replacement after it. `None` where the time of
    /// issue does not matter: one token, one `jti`.
    pub not_before: Option<Unix>,
    /// Until when the mark is kept: no token that it voids can be valid then.
    pub expires: Unix,
}

/// Whether a statement is known to stand in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CommitState {
    /// It stands in the log, and this node has seen it come back.
    Committed,
    /// It is in force on this node, and is being committed; nobody has confirmed it yet. It is never rolled back.
    Unconfirmed,
}

/// A revocation that is being put together. `.await` carries it out.
///
/// Cancel safety: once polled, the mark is in force on this node and is committed even if the future is dropped.
#[must_use = "a revocation does nothing until it is awaited"]
#[derive(Debug)]
pub struct Revocation<'a> {
    mesh: &'a AuthMesh,
    target: Target,
    by: String,
    why: String,
    except: Option<(ScopeKind, String)>,
    not_before: Option<Unix>,
}

impl<'a> Revocation<'a> {
    pub(crate) fn new(mesh: &'a AuthMesh, target: Target) -> Self {
        Self {
            mesh,
            target,
            by: String::new(),
            why: String::new(),
            except: None,
            not_before: None,
        }
    }

    /// Why, for people. At most 256 bytes.
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    /// Who, for people. At most 256 bytes.
    pub fn by(mut self, by: impl Into<String>) -> Self {
        self.by = by.into();
        self
    }

    /// Spares one session: "sign out my other devices".
    pub fn except_session(mut self, session: impl Into<String>) -> Self {
        self.except = Some((ScopeKind::Session, session.into()));
        self
    }

    /// Voids tokens issued up to this second of the issuer's time, instead of up to now.
    pub fn not_before(mut self, at: Unix) -> Self {
        self.not_before = Some(at);
        self
    }

    async fn carry_out(self) -> Result<Receipt, RevokeError> {
        if self.by.len() > MAX_NOTE_BYTES || self.why.len() > MAX_NOTE_BYTES {
            return Err(RevokeError::BadValue("`by` and `why` have at most 256 bytes each"));
        }
        let (kind, issuer, value) = match self.target.0 {
            Kind::Scope(kind, issuer, value) => (kind, issuer, value.into_bytes()),
            Kind::Token(token) => {
                let (issuer, input) = token_scope(self.mesh, &token).await?;
                (ScopeKind::Token, issuer, input)
            }
        };
        if (value.is_empty() && kind != ScopeKind::Issuer) || value.len() > MAX_VALUE {
            return Err(RevokeError::BadValue("what is revoked must have 1 to 1,024 bytes"));
        }
        let node = self.mesh.node();
        let known = self.mesh.issuer(&issuer).ok_or(RevokeError::UnknownIssuer)?;
        let now = node.now();
        let latest = now.wall.saturating_add(FURTHEST_AHEAD.as_secs());
        let not_before = match self.not_before {
            Some(at) if at > latest => {
                return Err(RevokeError::AbsurdTime {
                    max_skew: FURTHEST_AHEAD,
                });
            }
            Some(at) => at,
            None => known.time(now, latest),
        };
        let namer = &node.codec.namer;
        let except = self
            .except
            .map(|(kind, value)| namer.scope(kind, &issuer, value.as_bytes()));
        let lifetime = self.mesh.max_token_lifetime() + FURTHEST_AHEAD + node.max_skew;
        // Our clock may be behind the issuer's.
        let expires = to_full_hour(now.wall.max(not_before).saturating_add(lifetime.as_secs()));
        let mark = Mark {
            key: MarkKey {
                scope: namer.scope(kind, &issuer, &value),
                except,
            },
            kind,
            not_before,
            expires,
            note: Note {
                at: now.wall,
                by: self.by,
                why: self.why,
            },
        };
        tracing::info!(target: "authmesh::audit", scope = %kind, %issuer, by = %mark.note.by, "revoked");
        let done = say_and_wait(node, Body::Mark(mark)).await?;
        Ok(Receipt {
            state: if done.is_some() {
                CommitState::Committed
            } else {
                CommitState::Unconfirmed
            },
            single_copy: done.is_none_or(|done| done.replicas == 0),
            scope: kind.as_str(),
            not_before: kind.compares_time().then_some(not_before),
            expires,
        })
    }
}

impl<'a> IntoFuture for Revocation<'a> {
    type Output = Result<Receipt, RevokeError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.carry_out())
    }
}

/// Issuer and signing-input hash of a token that verifies. One that is revoked already may be revoked again, and a blind
/// node may revoke: both are found out after the signature and the claims.
async fn token_scope(mesh: &AuthMesh, token: &[u8]) -> Result<(String, Vec<u8>), RevokeError> {
    match mesh.verifier().verify(token).await {
        Ok(_) | Err(VerifyError::Revoked(_) | VerifyError::Blind { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let jws = CompactJws::parse(token).map_err(VerifyError::from)?;
    let claims =
        jose::json::parse_object(jws.payload()).map_err(|_| VerifyError::Malformed("its payload is no object"))?;
    let issuer = claims::issuer(&claims)?.to_owned();
    Ok((issuer, jws.signing_input_sha256().to_vec()))
}

/// Makes a statement and waits for its commit; `None` when the wait was too long.
pub(crate) async fn say_and_wait(node: &Arc<Node>, body: Body) -> Result<Option<Done>, RevokeError> {
    let done = node.say(body).map_err(|error| match error {
        SayError::Full(full) => RevokeError::Full { cap: full.cap },
        SayError::Busy => RevokeError::Busy,
        SayError::ShutDown => RevokeError::ShutDown,
    })?;
    Ok(tokio::time::timeout(COMMIT_WAIT, done).await.ok().and_then(Result::ok))
}
