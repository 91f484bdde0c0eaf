//! What a provider said of a token: what is shared. Each node applies its own policy to it.

use std::sync::OnceLock;
use std::time::Duration;

use authmesh_proto::time::{Moment, Now, Unix};
use serde::{Deserialize, Serialize};

use super::rules::UpstreamRules;
use crate::ports::ActiveToken;

/// "Active", with everything that the provider said beside it. Nothing else is ever shared.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Said {
    /// Wall clock of the asker, before it asked.
    asked_at: Unix,
    pub(crate) issuer: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) audiences: Option<Vec<String>>,
    pub(crate) client: Option<String>,
    pub(crate) session: Option<String>,
    pub(crate) jwt_id: Option<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) issued_at: Option<Unix>,
    pub(crate) not_before: Option<Unix>,
    pub(crate) expires_at: Option<Unix>,
    max_age: Option<Duration>,
    /// A JSON object, as the provider wrote it.
    pub(crate) claims: String,
    /// When it was asked, on this node's clock.
    #[serde(skip)]
    asked: OnceLock<Moment>,
    /// Whether this node asked.
    #[serde(skip)]
    pub(crate) first_hand: bool,
}

/// The times of an answer on one node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) asked: Moment,
    /// Until when it counts.
    pub(crate) fresh_until: Moment,
    /// From when on it is asked for again in the background.
    pub(crate) refresh_at: Moment,
    /// Until when it may be given while the provider is slow or away.
    pub(crate) stale_until: Moment,
}

impl Said {
    /// `asked`: the clocks before the provider was asked.
    pub(crate) fn new(token: ActiveToken, claims: String, asked: Now) -> Self {
        Self {
            asked_at: asked.wall,
            issuer: token.issuer,
            subject: token.subject,
            audiences: token.audiences,
            client: token.client,
            session: token.session,
            jwt_id: token.jwt_id,
            scopes: token.scopes,
            issued_at: token.issued_at,
            not_before: token.not_before,
            expires_at: token.expires_at,
            max_age: token.max_age,
            claims,
            asked: OnceLock::from(asked.boot),
            first_hand: true,
        }
    }

    /// When it was asked. What another node asked is dated by both wall clocks, once.
    pub(crate) fn asked(&self, now: Now) -> Moment {
        *self.asked.get_or_init(|| {
            let age = Duration::from_secs(now.wall.saturating_sub(self.asked_at));
            Moment::from_nanos(now.boot.as_nanos().saturating_sub(Moment::ORIGIN.plus(age).as_nanos()))
        })
    }

    pub(crate) const fn asked_at(&self) -> Unix {
        self.asked_at
    }

    /// How long it counts from when it was asked: never beyond `exp`, never beyond what the provider allows.
    pub(crate) fn lifetime(&self, rules: &UpstreamRules) -> Duration {
        let allowed = self.max_age.map_or(rules.lifetime, |most| most.min(rules.lifetime));
        allowed.min(self.until_expiry())
    }

    pub(crate) fn times(&self, rules: &UpstreamRules, now: Now) -> Times {
        let (asked, lifetime) = (self.asked(now), self.lifetime(rules));
        // What the provider does not let anybody keep is not kept.
        let stale = if lifetime.is_zero() {
            Duration::ZERO
        } else {
            lifetime.saturating_add(rules.stale_for).min(self.until_expiry())
        };
        Times {
            asked,
            fresh_until: asked.plus(lifetime),
            refresh_at: asked.plus(lifetime - lifetime / 10),
            stale_until: asked.plus(stale),
        }
    }

    /// Whether it counts now, for somebody who wants it younger than `max_age`.
    pub(crate) fn counts(&self, rules: &UpstreamRules, now: Now, max_age: Duration) -> bool {
        let times = self.times(rules, now);
        now.boot < times.fresh_until && now.boot.since(times.asked) < max_age
    }

    fn until_expiry(&self) -> Duration {
        self.expires_at.map_or(Duration::MAX, |exp| {
            Duration::from_secs(exp.saturating_sub(self.asked_at))
        })
    }
}
