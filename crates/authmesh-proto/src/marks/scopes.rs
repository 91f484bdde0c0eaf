//! The scopes of one token.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::crypto::{Namer, ScopeKind};
use crate::ident::ScopeId;
use crate::time::Unix;

/// The scopes that a token stands in, named once at verification and checked on every hit whose mark epoch moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenScopes {
    /// `u64::MAX` for none.
    issued_at: Unix,
    scopes: Box<[(ScopeKind, ScopeId)]>,
}

impl TokenScopes {
    /// The scopes of a token of `issuer`. Every value is named together with the issuer.
    #[must_use]
    pub fn new<'a>(
        namer: &Namer,
        issuer: &str,
        issued_at: Option<Unix>,
        values: impl IntoIterator<Item = (ScopeKind, &'a [u8])>,
    ) -> Self {
        let mut scopes: Vec<_> = values
            .into_iter()
            .map(|(kind, value)| (kind, namer.scope(kind, issuer, value)))
            .collect();
        scopes.push((ScopeKind::Issuer, namer.scope(ScopeKind::Issuer, issuer, b"")));
        Self {
            issued_at: issued_at.unwrap_or(Unix::MAX),
            scopes: scopes.into_boxed_slice(),
        }
    }

    /// `iat` of the token, if it has one.
    #[must_use]
    pub const fn issued_at(&self) -> Option<Unix> {
        match self.issued_at {
            Unix::MAX => None,
            issued_at => Some(issued_at),
        }
    }

    /// The scopes with their kinds.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (ScopeKind, ScopeId)> + '_ {
        self.scopes.iter().copied()
    }

    /// What it takes in memory besides itself.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.scopes)
    }

    /// Whether the token stands in a scope.
    #[must_use]
    pub fn contains(&self, scope: ScopeId) -> bool {
        self.scopes.iter().any(|(_, own)| *own == scope)
    }
}
