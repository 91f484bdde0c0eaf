//! Tokens that the provider called inactive: a store of their own, so that garbage evicts no verified entry (invariant 7).

use std::time::Duration;

use authmesh_proto::freshness::{Fence, Stamp};
use authmesh_proto::ident::EntryName;
use authmesh_proto::time::Moment;
use mini_moka::sync::Cache;

use super::rules::UpstreamRules;
use crate::l1::FirstWord;

pub(crate) struct Inactive {
    lifetime: Duration,
    tokens: Cache<EntryName, Told, FirstWord>,
}

#[derive(Clone, Copy)]
struct Told {
    asked: Moment,
    stamp: Stamp,
}

impl Inactive {
    pub(crate) fn new(rules: &UpstreamRules) -> Self {
        Self {
            lifetime: rules.inactive_lifetime,
            tokens: Cache::builder()
                .max_capacity(rules.inactive_cap)
                .build_with_hasher(FirstWord::default()),
        }
    }

    /// Whether the provider called it so, not longer ago than `max_age`.
    pub(crate) fn holds(&self, name: &EntryName, now: Moment, max_age: Duration, fence: &Fence) -> bool {
        let most = self.lifetime.min(max_age);
        let told = self.tokens.get(name);
        told.is_some_and(|told| now.since(told.asked) < most && fence.is_current(&told.stamp))
    }

    /// The provider, asked at `asked`, called it so. `stamp`: captured before.
    pub(crate) fn add(&self, name: EntryName, asked: Moment, stamp: Stamp) {
        if !self.lifetime.is_zero() {
            self.tokens.insert(name, Told { asked, stamp });
        }
    }

    /// The provider has called it active since.
    pub(crate) fn remove(&self, name: &EntryName) {
        self.tokens.invalidate(name);
    }
}

impl std::fmt::Debug for Inactive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inactive")
            .field("tokens", &self.tokens.entry_count())
            .finish()
    }
}
