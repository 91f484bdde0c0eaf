//! One form for machines that will do the same: what a search over all states compares.

use core::hash::{Hash, Hasher};
use core::time::Duration;

use super::exchange::{Claim, Pending, Step};
use super::ring::Ring;
use super::view::{Member, View};
use super::{GATHER, Gossip, GossipConfig};
use crate::time::Moment;

/// How long ago it was; `None`: never, or for so long that it says nothing any more.
fn age(now: Moment, at: Option<Moment>, limit: Duration) -> Option<Duration> {
    at.map(|at| now.since(at)).filter(|age| *age <= limit)
}

/// A limit that is never reached: no age is told.
const fn endless(limit: Duration) -> Duration {
    match limit {
        Duration::MAX => Duration::ZERO,
        limit => limit,
    }
}

/// How far ahead it lies.
const fn ahead(now: Moment, at: Moment) -> Duration {
    at.since(now)
}

impl Gossip {
    /// Feeds a hasher with everything that decides what this machine does from `now` on. Instants are told as ages, and those
    /// that are past all limits are alike; the numbers of exchanges, and what chooses whom to ask, are left out. So two
    /// machines that feed the same do the same on the same inputs, if `fanout` reaches every member.
    ///
    /// The name of the node is not in it. Call it when [`Gossip::poll`] has answered `None`.
    pub fn canonical(&self, now: Moment, into: &mut impl Hasher) {
        // Every field is named, so that a new one is not forgotten here.
        let Self {
            config,
            me: _,
            ring,
            view,
            actions,
            asks,
            pulls,
            next_exchange: _,
            awaited,
            fresh,
            flush_at,
            last_flush,
            next_round,
            rounds: _,
            next_trim,
            random: _,
            said,
            dirty,
            follower_until,
            left,
        } = self;
        actions.len().hash(into);
        ring.canonical(now, into);
        view.canonical(now, config, ring.has_gaps(), into);
        asks.len().hash(into);
        for (origin, asked, names) in asks.values() {
            (origin, now.since(*asked), names).hash(into);
        }
        pulls.len().hash(into);
        for pending in pulls.values() {
            pending.canonical(now, into);
        }
        (awaited, fresh, said, dirty, left).hash(into);
        (*flush_at != Moment::NEVER).hash(into);
        (ahead(now, *flush_at), ahead(now, last_flush.plus(GATHER))).hash(into);
        ahead(now, *next_round).hash(into);
        ring.ages(ahead(now, *next_trim)).hash(into);
        ahead(now, *follower_until).hash(into);
    }
}

impl Pending {
    fn canonical(&self, now: Moment, into: &mut impl Hasher) {
        let Self {
            from,
            claim,
            step,
            buckets,
            counters,
            whole,
        } = self;
        (from, buckets, counters, whole).hash(into);
        claim.is_some().hash(into);
        if let Some(claim) = claim {
            let Claim {
                asked,
                version,
                said,
                ages,
                redis_age,
                sound,
                view,
                knows_me,
            } = claim;
            (now.since(*asked), version, said, ages, redis_age, sound, view, knows_me).hash(into);
        }
        match step {
            Step::View => 0_u8.hash(into),
            Step::Changes { since } => (1_u8, since).hash(into),
            Step::Everything { asked, mine } => (2_u8, now.since(*asked), mine).hash(into),
            Step::Buckets { asked } => (3_u8, asked).hash(into),
        }
    }
}

impl View {
    fn canonical(&self, now: Moment, config: &GossipConfig, has_gaps: bool, into: &mut impl Hasher) {
        let Self {
            me: _,
            members,
            gone,
            gone_by_age: _,
            dropped,
            moved,
            forgotten,
            joined,
            vouched,
            loaded,
            redis,
            own_redis,
            announced,
            announced_since,
            listed,
        } = self;
        let (lease, is_in) = (config.lease, *joined);
        members.len().hash(into);
        for (origin, member) in members {
            let Member {
                address,
                name,
                is_up,
                moved,
                moves,
                knows_me,
                evidence,
                since,
                compared,
                completed,
                coherent,
                joined,
                merged,
                speaks,
                pulling,
                next_try,
            } = member;
            (origin, address, name, is_up, moves, knows_me).hash(into);
            if config.gone_after != Duration::MAX {
                let standstill = config.gone_after.max(config.redis_limit).saturating_add(lease);
                age(now, Some(*moved), standstill).hash(into);
            }
            age(now, *evidence, lease).hash(into);
            (since, compared, merged, speaks, pulling.is_some()).hash(into);
            // Only a node that comes asks these.
            (!is_in).then_some((coherent, joined)).hash(into);
            // A gap that opens later is younger than all that was completed.
            if has_gaps || !is_in {
                let patience = if has_gaps { Duration::MAX } else { lease };
                age(now, *completed, patience).hash(into);
            }
            ahead(now, *next_try).hash(into);
        }
        (gone, dropped, moved.len(), forgotten, joined, vouched, loaded).hash(into);
        (
            redis.is_some(),
            age(now, *redis, endless(config.redis_limit).max(lease)),
        )
            .hash(into);
        age(now, *own_redis, lease).hash(into);
        (
            announced.is_some(),
            age(now, *announced, endless(config.registration_life)),
        )
            .hash(into);
        (listed.is_some(), listed >= announced_since).hash(into);
    }
}

impl Ring {
    /// An age, or a deadline, that matters only where something is dropped for its age.
    fn ages(&self, of: Duration) -> Option<Duration> {
        (self.life != Duration::MAX).then_some(of)
    }

    fn has_gaps(&self) -> bool {
        let mut runs = self.known.values().flat_map(|known| known.runs.values());
        runs.any(|run| run.gap_since.is_some())
    }

    fn canonical(&self, now: Moment, into: &mut impl Hasher) {
        let Self {
            life: _,
            cap: _,
            origin_cap: _,
            has_log: _,
            changes,
            first,
            buckets,
            held,
            known,
            voids,
            voids_by_age: _,
        } = self;
        (first, changes.len(), buckets, voids).hash(into);
        for (at, change) in changes {
            (self.ages(now.since(*at)), change).hash(into);
        }
        for (name, held) in held {
            (name, held.positioned).hash(into);
        }
        for (origin, known) in known {
            (origin, self.ages(now.since(known.touched)), known.runs.len()).hash(into);
            for (channel, run) in &known.runs {
                let gap = run.gap_since.map(|since| now.since(since));
                (channel, run.upto, &run.ahead, gap).hash(into);
            }
        }
        (held.len(), known.len()).hash(into);
    }
}
