//! The marks that a node holds, for people: lists, and what stands against somebody.
//!
//! A mark carries the keyed name of its scope and not the value: who reads Redis, or this list, learns no subject. So a
//! list shows names, and whoever knows a value asks about it ([`AuthMesh::explain_marks`]).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use authmesh_proto::crypto::ScopeKind;
use authmesh_proto::ident::ScopeId;
use authmesh_proto::statement::{Mark, MarkKey};
use authmesh_proto::time::Unix;
use serde::{Serialize, Serializer};

use crate::error::RevokeError;
use crate::mesh::AuthMesh;
use crate::revoke::Target;

/// The most marks on one page.
const MAX_LIMIT: usize = 1000;
/// How many marks are looked at for one page, so that no caller holds up a revocation.
const MAX_LOOKED_AT: usize = 16_384;

/// The name of a mark: its scope, and whom it spares. `Display` and `FromStr`: 32 hexadecimal digits, and for an exception
/// `-` and 32 more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MarkId(MarkKey);

/// The text names no mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a mark is named by 32 hexadecimal digits, or by twice 32 with a hyphen between")]
pub struct BadMarkId;

impl fmt::Display for MarkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(self.0.scope))?;
        self.0.except.map_or(Ok(()), |except| write!(f, "-{}", hex(except)))
    }
}

impl FromStr for MarkId {
    type Err = BadMarkId;

    fn from_str(text: &str) -> Result<Self, BadMarkId> {
        let (scope, except) = match text.split_once('-') {
            Some((scope, except)) => (scope, Some(except)),
            None => (text, None),
        };
        Ok(Self(MarkKey {
            scope: scope_id(scope)?,
            except: except.map(scope_id).transpose()?,
        }))
    }
}

impl Serialize for MarkId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn hex(scope: ScopeId) -> String {
    scope.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn scope_id(text: &str) -> Result<ScopeId, BadMarkId> {
    let digits = text.as_bytes();
    let mut bytes = [0; 16];
    // `from_str_radix` takes a sign.
    if digits.len() != 32 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(BadMarkId);
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| BadMarkId)?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| BadMarkId)?;
    }
    Ok(ScopeId(bytes))
}

/// Which marks to list.
#[derive(Debug, Clone, Copy, Default)]
pub struct MarkQuery {
    /// Only of this kind. Default: all that are about tokens; ask for [`ScopeKind::Tag`] to see those of the cache, and
    /// for [`ScopeKind::KeySet`] to see the generations of key sets.
    pub kind: Option<ScopeKind>,
    /// Only those behind this one: [`MarkPage::next`] of the page before.
    pub after: Option<MarkId>,
    /// At most so many, 1 to 1,000. Default, and for 0: 100.
    pub limit: usize,
}

/// A page of marks, in an order that does not change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MarkPage {
    /// The marks. May be fewer than asked for, or none, although more follow.
    pub marks: Vec<MarkInfo>,
    /// What to give as [`MarkQuery::after`] for the next page; `None` when nothing follows.
    pub next: Option<MarkId>,
}

/// A mark, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MarkInfo {
    /// Its name.
    pub id: MarkId,
    /// What was revoked: token, jti, session, subject, client, key, issuer; or tag.
    pub kind: &'static str,
    /// The keyed name of the scope, in hexadecimal: nobody reads the value from it.
    pub scope: String,
    /// The keyed name of the session or token that is spared.
    pub except: Option<String>,
    /// Tokens issued up to this second of the issuer's time are void, this second included; `None` where the time of issue
    /// does not matter. Of the key sets of an issuer: their newest generation.
    pub not_before: Option<Unix>,
    /// Until when it can be needed. It is kept an hour longer.
    pub expires: Unix,
    /// When it was made, by the wall clock of the node that did.
    pub at: Unix,
    /// Who made it.
    pub by: String,
    /// Why.
    pub why: String,
}

impl From<Mark> for MarkInfo {
    fn from(mark: Mark) -> Self {
        Self {
            id: MarkId(mark.key),
            kind: mark.kind.as_str(),
            scope: hex(mark.key.scope),
            except: mark.key.except.map(hex),
            not_before: (mark.kind.compares_time() || mark.kind == ScopeKind::KeySet).then_some(mark.not_before),
            expires: mark.expires,
            at: mark.note.at,
            by: mark.note.by,
            why: mark.note.why,
        }
    }
}

impl AuthMesh {
    /// A page of the marks that this node holds. Marks that come and go between two pages may be on neither; no other is
    /// left out, and none comes twice.
    #[must_use]
    pub fn marks(&self, query: MarkQuery) -> MarkPage {
        let limit = match query.limit {
            0 => 100,
            limit => limit.min(MAX_LIMIT),
        };
        let wanted = |kind: ScopeKind| match query.kind {
            Some(only) => kind == only,
            None => kind.is_about_tokens(),
        };
        let after = query.after.map(|id| id.0);
        let page = self.node().marks().page(after, limit, MAX_LOOKED_AT, wanted);
        MarkPage {
            marks: page.marks.into_iter().map(MarkInfo::from).collect(),
            next: page.next.map(MarkId),
        }
    }

    /// The marks that stand against a target: those of its own scope, and those of its whole issuer. What else voids one
    /// certain token, [`Verifier::explain`](crate::Verifier::explain) tells.
    ///
    /// # Errors
    /// When the issuer is unknown, a value is impossible, or a token does not verify.
    pub async fn explain_marks(&self, target: impl Into<Target>) -> Result<Vec<MarkInfo>, RevokeError> {
        let scope = target.into().resolve(self).await?;
        let node = self.node();
        let issuer = node.codec.namer.scope(ScopeKind::Issuer, &scope.issuer, b"");
        let marks = node.marks();
        let mut found: Vec<MarkInfo> = marks.of_scope(scope.id).map(MarkInfo::from).collect();
        if issuer != scope.id {
            found.extend(marks.of_scope(issuer).map(MarkInfo::from));
        }
        Ok(found)
    }

    /// How many verdicts in this node's memory stand in a target's scope: a mark would void so many of them **at least**,
    /// since other nodes hold others. Counts each verdict that has not expired, one that an exception would spare as well.
    ///
    /// Looks at every verdict in memory, on a thread of its own: about 0.1 s for a million.
    ///
    /// Cancel safety: the count goes on to its end if the future is dropped; it changes nothing.
    ///
    /// # Errors
    /// As [`AuthMesh::explain_marks`], and [`RevokeError::ShutDown`] when the runtime is going down.
    pub async fn preview(&self, target: impl Into<Target>) -> Result<u64, RevokeError> {
        let scope = target.into().resolve(self).await?.id;
        let node = Arc::clone(self.node());
        let count = tokio::task::spawn_blocking(move || {
            let now = node.now().wall;
            let covered = node.l1.verdicts.rows().filter(|entry| {
                let verdict = &entry.verdict;
                verdict.until > now && verdict.marked_by.contains(scope)
            });
            covered.count() as u64
        });
        count.await.map_err(|_| RevokeError::ShutDown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_and_nothing_else_does() {
        for except in [None, Some(ScopeId([0xfe; 16]))] {
            let id = MarkId(MarkKey {
                scope: ScopeId([0x0a; 16]),
                except,
            });
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        let good = "0a".repeat(16);
        assert!(good.parse::<MarkId>().is_ok());
        for bad in [
            String::new(),
            good[1..].to_owned(),
            format!("{good}0"),
            format!("{good}-"),
            format!("{good}-{good}-{good}"),
            format!("-{good}"),
            good.replacen('0', "+", 1),
            good.replacen("0a", "\u{f6}", 1),
        ] {
            assert_eq!(bad.parse::<MarkId>(), Err(BadMarkId), "{bad}");
        }
    }
}
