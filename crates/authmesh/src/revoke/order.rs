//! What is to be revoked, and how.

use authmesh_proto::crypto::ScopeKind;
use authmesh_proto::ident::ScopeId;
use authmesh_proto::statement::{MAX_NOTE_BYTES, Mark, MarkKey, Note, to_full_hour};
use authmesh_proto::time::Unix;

use super::{FURTHEST_AHEAD, ReceiptOf, Target, Token};
use crate::error::RevokeError;
use crate::mesh::AuthMesh;

/// One revocation of a batch: a target, and how far it reaches. Made from any target; see
/// [`AuthMesh::revoke_all`](crate::AuthMesh::revoke_all).
#[derive(Debug, Clone)]
pub struct RevocationOrder {
    pub(super) target: Target,
    pub(super) by: Option<String>,
    pub(super) why: Option<String>,
    except_session: Option<String>,
    except_token: Option<Token>,
    not_before: Option<Unix>,
}

impl<T: Into<Target>> From<T> for RevocationOrder {
    fn from(target: T) -> Self {
        Self::new(target)
    }
}

impl RevocationOrder {
    /// Voids what the target covers, up to now.
    #[must_use]
    pub fn new(target: impl Into<Target>) -> Self {
        Self {
            target: target.into(),
            by: None,
            why: None,
            except_session: None,
            except_token: None,
            not_before: None,
        }
    }

    /// Why, for people. At most 256 bytes.
    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }

    /// Who, for people. At most 256 bytes.
    #[must_use]
    pub fn by(mut self, by: impl Into<String>) -> Self {
        self.by = Some(by.into());
        self
    }

    /// Spares one session (`sid`) of the same issuer: "sign out my other devices". Not together with
    /// [`RevocationOrder::except_token`].
    #[must_use]
    pub fn except_session(mut self, session: impl Into<String>) -> Self {
        self.except_session = Some(session.into());
        self
    }

    /// Spares one token of the same issuer, where tokens carry no `sid`: the one that the request came with. It is verified
    /// first. What it is refreshed to is issued later, and so is not covered either.
    #[must_use]
    pub fn except_token(mut self, token: impl Into<Vec<u8>>) -> Self {
        self.except_token = Some(Token::new(token));
        self
    }

    /// Voids tokens issued up to this second of the issuer's time, instead of up to now.
    #[must_use]
    pub fn not_before(mut self, at: Unix) -> Self {
        self.not_before = Some(at);
        self
    }

    /// The mark that does it. Verifies tokens where it names some; says nothing to anybody.
    pub(super) async fn mark(self, mesh: &AuthMesh) -> Result<(ReceiptOf, Mark), RevokeError> {
        let note = |text: Option<String>| {
            let text = text.unwrap_or_default();
            if text.len() > MAX_NOTE_BYTES {
                return Err(RevokeError::BadValue("`by` and `why` have at most 256 bytes each"));
            }
            Ok(text)
        };
        let (by, why) = (note(self.by)?, note(self.why)?);
        let scope = self.target.resolve(mesh).await?;
        let except = except(mesh, &scope.issuer, self.except_session, self.except_token).await?;
        let node = mesh.node();
        let now = node.now();
        let latest = now.wall.saturating_add(FURTHEST_AHEAD.as_secs());
        let as_asked = self.not_before.is_none() && except.is_none();
        let not_before = match self.not_before {
            Some(at) if at > latest => {
                return Err(RevokeError::AbsurdTime {
                    max_skew: FURTHEST_AHEAD,
                });
            }
            Some(at) => at,
            None => mesh
                .issuer_time(&scope.issuer, now, latest)
                .ok_or(RevokeError::UnknownIssuer)?,
        };
        let lifetime = mesh.max_token_lifetime() + FURTHEST_AHEAD + node.max_skew;
        // Our clock may be behind the issuer's.
        let expires = to_full_hour(now.wall.max(not_before).saturating_add(lifetime.as_secs()));
        let mut mark = Mark {
            key: MarkKey {
                scope: scope.id,
                except,
            },
            kind: scope.kind,
            not_before,
            expires,
            note: Note { at: now.wall, by, why },
        };
        // What was asked for with bounds of its own is said as it was asked for.
        let collapsed = scope
            .of_subject
            .filter(|_| as_asked)
            .and_then(|of| Some((of, mesh.subjects().count(now.wall, scope.id, of, expires)?)));
        if let Some((of, not_before)) = collapsed {
            mark.key.scope = of.subject;
            mark.kind = ScopeKind::Subject;
            mark.not_before = not_before;
        }
        Ok((ReceiptOf::new(scope.issuer, &mark, collapsed.is_some()), mark))
    }
}

async fn except(
    mesh: &AuthMesh,
    issuer: &str,
    session: Option<String>,
    token: Option<Token>,
) -> Result<Option<ScopeId>, RevokeError> {
    let namer = &mesh.node().codec.namer;
    match (session, token) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(RevokeError::BadValue(
            "a revocation spares one session or one token, not both: name the one",
        )),
        (Some(session), None) => Ok(Some(namer.scope(ScopeKind::Session, issuer, session.as_bytes()))),
        (None, Some(token)) => {
            let (own, input, _) = token.resolve(mesh).await?;
            if own != issuer {
                return Err(RevokeError::BadValue("the token that is spared is of another issuer"));
            }
            Ok(Some(namer.scope(ScopeKind::Token, issuer, &input)))
        }
    }
}
