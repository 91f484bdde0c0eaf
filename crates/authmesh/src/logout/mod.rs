//! OpenID Connect Back-Channel Logout 1.0: an issuer tells that a session, or all of a subject's sessions, ended.
//!
//! The mark derives from the logout token alone: its scope from `iss` and `sid` (else `sub`), its times from `iat`. So a
//! token that comes again, to this node or to another, makes the very same mark, which changes nothing. Nothing has to be
//! remembered about tokens that were seen.

mod error;
mod rules;
#[cfg(test)]
mod tests;
mod token;

use std::sync::Arc;

use authmesh_proto::statement::{Mark, MarkKey, Note, to_full_hour};
use authmesh_proto::time::Unix;

use crate::error::{RevokeError, VerifyError};
use crate::issuer::Issuer;
use crate::jose::{self, CompactJws, JwsError};
use crate::mesh::AuthMesh;
use crate::policy::Rules;
use crate::revoke::{CommitState, FURTHEST_AHEAD, MAX_VALUE, Receipt, ReceiptOf, Wait};
use crate::verify::{Known, check_signature, claims};

pub use error::LogoutError;
pub use rules::LogoutRules;

/// Who made the mark, for people.
const BY: &str = "back-channel logout";

/// A logout token that was checked.
struct Order {
    issuer: Arc<Issuer>,
    logout: token::Logout,
}

impl AuthMesh {
    /// Carries out a logout token (OpenID Connect Back-Channel Logout 1.0): the tokens of the session that `sid` names, or
    /// without `sid` those of the subject, issued up to the token's `iat`, are void on every node. Access tokens must carry
    /// the same `sid` for a session's logout to reach them.
    ///
    /// Only issuers that were given to [`Builder::logout`](crate::Builder::logout) are listened to. The same token again
    /// changes nothing and says nothing to the cluster; it is told [`CommitState::Committed`] once the mark that it made
    /// is known to stand in the log, and waits for that as the first one did, at most 2 s. `single_copy` is `true` of a mark
    /// that stood there already: nobody was asked about a second copy.
    ///
    /// Cancel safety: dropped before the token was verified, nothing has happened; afterwards the mark is in force on this
    /// node and is committed.
    ///
    /// # Errors
    /// [`LogoutError`]; its [`fault`](LogoutError::fault) says whether the token is refused or nothing could be told.
    pub async fn back_channel_logout(&self, token: impl AsRef<[u8]>) -> Result<Receipt, LogoutError> {
        let answer = self.log_out(token.as_ref()).await;
        let counters = &self.node().counters;
        match &answer {
            Ok(Receipt {
                state: CommitState::Committed,
                ..
            }) => counters.logouts.add(),
            Ok(_) => counters.logouts_unconfirmed.add(),
            Err(error) => {
                let code = error.code();
                match error.fault() {
                    crate::Fault::Token => counters.logouts_refused.add(),
                    crate::Fault::Service => counters.logouts_failed.add(),
                }
                tracing::info!(target: "authmesh::audit", %code, "a logout token did nothing");
            }
        }
        answer
    }

    async fn log_out(&self, token: &[u8]) -> Result<Receipt, LogoutError> {
        let Order { issuer, logout } = self.check_logout(token).await?;
        let mark = self.logout_mark(&issuer, logout);
        let receipt = ReceiptOf::new(issuer.url.to_string(), &mark, false);
        let said = self.node().say_once(mark).map_err(RevokeError::from)?;
        if said.is_new() {
            receipt.log();
        }
        Ok(receipt.once(self.node(), said, &Wait::default()).await)
    }

    /// The mark of a logout: the same of the same token, whenever it comes and to whichever node.
    fn logout_mark(&self, issuer: &Issuer, logout: token::Logout) -> Mark {
        let node = self.node();
        let lifetime = self.max_token_lifetime() + FURTHEST_AHEAD + node.max_skew;
        let why = match logout.kind {
            authmesh_proto::crypto::ScopeKind::Session => "the issuer ended the session",
            _ => "the issuer ended every session of the subject",
        };
        Mark {
            key: MarkKey {
                scope: node
                    .codec
                    .namer
                    .scope(logout.kind, &issuer.url, logout.value.as_bytes()),
                except: None,
            },
            kind: logout.kind,
            not_before: logout.issued_at,
            expires: to_full_hour(logout.issued_at.saturating_add(lifetime.as_secs())),
            note: Note {
                at: logout.issued_at,
                by: BY.to_owned(),
                why: why.to_owned(),
            },
        }
    }

    /// Verifies a logout token, by the keys and the algorithms that count for the issuer's access tokens.
    async fn check_logout(&self, token: &[u8]) -> Result<Order, LogoutError> {
        let shared = &self.0.shared;
        let policy = self.0.verifier.policy();
        let limit = policy.max_token_bytes;
        if token.len() > limit {
            return Err(VerifyError::TooLarge {
                bytes: token.len(),
                limit,
            }
            .into());
        }
        let jws = CompactJws::parse(token).map_err(VerifyError::from)?;
        let members = jose::json::parse_object(jws.payload())
            .map_err(|_| VerifyError::Malformed("its payload is not a JSON object without duplicate members"))?;
        // Chosen by `iss` before anything is fetched: no other issuer is ever asked.
        let url = claims::issuer(&members)?;
        let rules = |url: &str| -> Option<(&LogoutRules, &Rules, Known<'_>)> {
            let known = shared.known(url)?;
            let name = match &known {
                Known::Issuer(_) => url,
                Known::Template(template) => template.name(),
            };
            Some((self.0.logouts.get(name)?, policy.issuers.get(name)?, known))
        };
        let (logout, rules, known) = rules(url).ok_or(VerifyError::WrongIssuer)?;
        let algorithm = jws.header().algorithm();
        if !rules.algorithms.contains(algorithm) {
            return Err(VerifyError::from(JwsError::AlgorithmNotAllowed(algorithm)).into());
        }
        let now: Unix = self.node().now().wall;
        let issuer = &shared.issuer_for(&known, url, || {
            // What the claims alone refuse costs no fetch.
            token::check(logout, rules, jws.header().typ(), now, &members)?;
            Ok::<_, LogoutError>(())
        })?;
        let keys = shared.keys_for(issuer, &jws).await?;
        let key = check_signature(&keys, &jws, rules)?;
        key.identity(algorithm).ok_or(VerifyError::Unsupported(
            "the key that its kid names is not for its alg",
        ))?;
        let now: Unix = self.node().now().wall;
        let logout = token::check(logout, rules, jws.header().typ(), now, &members)?;
        issuer.has_verified(self.node());
        Ok(Order {
            issuer: Arc::clone(issuer),
            logout,
        })
    }
}
