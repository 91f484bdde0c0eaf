//! The view: who the members are, what each of them is known to have applied, and what that is worth.
//!
//! **Evidence.** That this node has applied everything which a member had applied at an instant is evidence of that member, of that
//! age. It is transitive: whoever has applied everything that P had applied, and P everything that M had, has applied
//! everything that M had. So evidence is relayed, and carries its age; every hop counts from before its request.
//!
//! A member enters the view when it is heard of, by any road: more members make a lease harder to hold, never easier. It
//! leaves when it says good-bye, when an operator forgets it, when another start of it has its name and address, or when a
//! node that Redis proves current finds its registration at a standstill for so long that it can hold no lease by Redis.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::message::Peer;
use super::talk::GossipConfig;
use crate::ident::Origin;
use crate::time::Moment;

/// The most origins that are remembered as gone.
const MAX_GONE: usize = 4096;
/// A step of an age in [`State::evidence`](super::State).
const AGE_STEP: Duration = Duration::from_millis(20);

#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) address: String,
    pub(super) name: String,
    /// By SWIM.
    pub(super) is_up: bool,
    /// When its registration was last seen to move, or for the first time.
    pub(super) moved: Moment,
    /// Whether it was seen to move.
    pub(super) moves: bool,
    /// Whether it said that this node is in its view, since this node's registration lapsed last.
    pub(super) knows_me: bool,
    /// The instant up to which everything that it had applied is applied here.
    pub(super) evidence: Option<Moment>,
    /// The version of its changes that is applied here whole.
    pub(super) since: u64,
    /// Whether everything was ever compared with it.
    pub(super) compared: bool,
    /// The instant before the newest question whose answer left nothing open.
    pub(super) completed: Option<Moment>,
    /// What it said of itself last.
    pub(super) coherent: bool,
    pub(super) joined: bool,
    /// The digest of its view whose members are all in this node's.
    pub(super) merged: Option<u64>,
    pub(super) speaks: super::message::Speaks,
    /// The pull that is under way with it.
    pub(super) pulling: Option<u64>,
    /// When it may be asked again although SWIM holds it to be down.
    pub(super) next_try: Moment,
}

impl Member {
    fn new(address: String, name: String, now: Moment) -> Self {
        Self {
            address,
            name,
            is_up: false,
            moved: now,
            moves: false,
            knows_me: false,
            evidence: None,
            since: 0,
            compared: false,
            completed: None,
            coherent: false,
            joined: false,
            merged: None,
            speaks: super::message::Speaks::default(),
            pulling: None,
            next_try: now,
        }
    }
}

/// What changed in the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Moved {
    Joined(Peer),
    Left(Origin),
}

#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) me: Origin,
    pub(super) members: BTreeMap<Origin, Member>,
    pub(super) gone: BTreeSet<Origin>,
    pub(super) gone_by_age: VecDeque<Origin>,
    /// Members that this node has dropped since their registration lapsed. They come back when they are heard.
    pub(super) dropped: BTreeSet<Origin>,
    pub(super) moved: Vec<Moved>,
    /// This node itself is gone, for others.
    pub(super) forgotten: bool,
    /// This node was taken in: every member of its view had it in its own.
    pub(super) joined: bool,
    /// .. and has it so since its registration lapsed last: its proofs by Redis count.
    pub(super) vouched: bool,
    /// This node's marks are those of the cluster: they came from Redis, or from a coherent member.
    pub(super) loaded: bool,
    /// The instant of the newest proof by Redis that is applied here, of this node or relayed.
    pub(super) redis: Option<Moment>,
    /// The instant of the newest own proof.
    pub(super) own_redis: Option<Moment>,
    /// When this node's registration was last written, counted from before.
    pub(super) announced: Option<Moment>,
    /// When it was first known to be written, since it lapsed last.
    pub(super) announced_since: Option<Moment>,
    /// The instant before the newest read of all registrations.
    pub(super) listed: Option<Moment>,
}

impl View {
    pub(super) const fn new(me: Origin) -> Self {
        Self {
            me,
            members: BTreeMap::new(),
            gone: BTreeSet::new(),
            gone_by_age: VecDeque::new(),
            dropped: BTreeSet::new(),
            moved: Vec::new(),
            forgotten: false,
            joined: false,
            vouched: false,
            loaded: false,
            redis: None,
            own_redis: None,
            announced: None,
            announced_since: None,
            listed: None,
        }
    }

    pub(super) fn take_moved(&mut self) -> Vec<Moved> {
        core::mem::take(&mut self.moved)
    }

    pub(super) fn get(&self, origin: &Origin) -> Option<&Member> {
        self.members.get(origin)
    }

    pub(super) fn get_mut(&mut self, origin: &Origin) -> Option<&mut Member> {
        self.members.get_mut(origin)
    }

    pub(super) fn contains(&self, origin: &Origin) -> bool {
        *origin == self.me || self.members.contains_key(origin)
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (&Origin, &Member)> {
        self.members.iter()
    }

    /// Those that SWIM finds, in the order of their origins.
    pub(super) fn up(&self) -> Vec<Origin> {
        let up = self.members.iter().filter(|(_, member)| member.is_up);
        up.map(|(origin, _)| *origin).collect()
    }

    /// Members, this node not counted.
    pub(super) fn others(&self) -> usize {
        self.members.len()
    }

    pub(super) fn peer(&self, origin: &Origin) -> Option<Peer> {
        let member = self.members.get(origin)?;
        Some(Peer {
            origin: *origin,
            address: member.address.clone(),
            name: member.name.clone(),
        })
    }

    /// The digest of members and gone ones.
    pub(super) fn digest(&self) -> u64 {
        let me = (!self.gone.contains(&self.me)).then_some(&self.me);
        digest_of(self.members.keys().chain(me), self.gone.iter())
    }

    /// Every member's name and address, this node's as given; and those that are gone.
    pub(super) fn list(&self, me: Peer) -> (Vec<Peer>, Vec<Origin>) {
        let mut members: Vec<Peer> = self.members.keys().filter_map(|origin| self.peer(origin)).collect();
        if !self.gone.contains(&self.me) {
            members.push(me);
        }
        (members, self.gone.iter().copied().collect())
    }

    /// Another member has this one in its view.
    pub(super) fn hear_say(&mut self, now: Moment, peer: &Peer, cap: usize) {
        // This node knows better: it has seen its registration lapse.
        if !self.dropped.contains(&peer.origin) {
            self.hear_of(now, peer, cap);
        }
    }

    /// This node is gone: it leaves, or was forgotten. Its view says so too: of the members it may be the only one that has heard.
    pub(super) fn leave(&mut self) {
        self.forgotten = true;
        self.gone.insert(self.me);
    }

    /// A member was heard of. `false`: it is gone, or there is no room.
    pub(super) fn hear_of(&mut self, now: Moment, peer: &Peer, cap: usize) -> bool {
        if peer.origin == self.me || self.gone.contains(&peer.origin) {
            return false;
        }
        if let Some(member) = self.members.get_mut(&peer.origin) {
            if !peer.address.is_empty() {
                member.address.clone_from(&peer.address);
            }
            // Whoever asks while SWIM has given it up is known by its origin alone: what is known of it stays.
            if !peer.name.is_empty() {
                member.name.clone_from(&peer.name);
            }
            return true;
        }
        if self.members.len() + 1 >= cap {
            return false;
        }
        self.dropped.remove(&peer.origin);
        let member = Member::new(peer.address.clone(), peer.name.clone(), now);
        self.members.insert(peer.origin, member);
        self.moved.push(Moved::Joined(peer.clone()));
        true
    }

    /// A member that SWIM found has this name and address now: whoever had them before has ended.
    pub(super) fn supersede(&mut self, peer: &Peer) -> Vec<Origin> {
        let former = self.members.iter().filter(|(origin, member)| {
            **origin != peer.origin && member.address == peer.address && member.name == peer.name
        });
        former.map(|(origin, _)| *origin).collect()
    }

    /// A member is gone for good.
    pub(super) fn part(&mut self, origin: Origin) {
        if origin == self.me {
            self.leave();
            return;
        }
        if self.members.remove(&origin).is_some() {
            self.moved.push(Moved::Left(origin));
        }
        if !self.gone.insert(origin) {
            return;
        }
        self.gone_by_age.push_back(origin);
        if self.gone_by_age.len() > MAX_GONE
            && let Some(oldest) = self.gone_by_age.pop_front()
        {
            self.gone.remove(&oldest);
        }
    }

    /// All registrations were read.
    pub(super) fn registered(
        &mut self,
        now: Moment,
        asked: Moment,
        list: Vec<super::talk::Registered>,
        config: &GossipConfig,
    ) {
        let listed_before = self.listed.filter(|at| self.is_after_announcement(*at));
        for registered in list {
            let origin = registered.peer.origin;
            // Whoever was dropped comes back when its record moves, not because it still stands there.
            let moves = registered.moves && registered.still_for < config.gone_after;
            if origin == self.me || self.dropped.contains(&origin) && !moves {
                continue;
            }
            if !self.hear_of(now, &registered.peer, config.member_cap) {
                continue;
            }
            if let Some(member) = self.members.get_mut(&origin) {
                member.moved = member
                    .moved
                    .max(before(asked, registered.still_for).unwrap_or_default());
                member.moves = registered.moves;
                // A record tells of the instant at which it was written. Written since this node's registration stands there again: only
                // what a list that was read since then did not have yet.
                let seen = before(asked, registered.still_for);
                let is_since = registered.moves && listed_before.is_some() && seen > listed_before;
                // Without gossip it renews by Redis alone, and need not know anybody.
                member.knows_me |= registered.knows_me && is_since || registered.peer.address.is_empty();
            }
        }
        self.listed = self.listed.max(Some(asked));
        // Only a node that Redis proves current knows that the standstill is the member's, not its own.
        let proven = self.own_redis.is_some_and(|at| now.since(at) < config.lease);
        if proven {
            self.drop_lapsed(now, config);
        }
    }

    /// Members that can hold no lease that this node need not know of. By Redis they hold none, since their registration has
    /// lapsed. By gossip they need evidence of this node, if it is in their view; else such a lease ends with its limit.
    fn drop_lapsed(&mut self, now: Moment, config: &GossipConfig) {
        let (short, long) = (config.gone_after, config.redis_limit.max(config.gone_after));
        let joined = self.joined;
        let lapsed = self.members.iter().filter(|(_, member)| {
            let limit = if joined && member.knows_me { short } else { long };
            !member.is_up && now.since(member.moved) > limit.saturating_add(config.lease)
        });
        let lapsed: Vec<Origin> = lapsed.map(|(origin, _)| *origin).collect();
        for origin in lapsed {
            self.drop(origin);
        }
    }

    fn drop(&mut self, origin: Origin) {
        self.members.remove(&origin);
        if self.dropped.len() >= MAX_GONE {
            self.dropped.pop_first();
        }
        self.dropped.insert(origin);
        self.moved.push(Moved::Left(origin));
    }

    /// The view of a member that is taken in: whom it does not have, and nobody has heard, is gone. For a node that comes.
    pub(super) fn adopt(&mut self, now: Moment, members: &[Peer], config: &GossipConfig) {
        if self.joined {
            return;
        }
        let unheard = self.members.iter().filter(|(origin, member)| {
            let moves = member.moves && now.since(member.moved) < config.gone_after;
            !member.is_up && !moves && !members.iter().any(|peer| peer.origin == **origin)
        });
        let unheard: Vec<Origin> = unheard.map(|(origin, _)| *origin).collect();
        for origin in unheard {
            self.drop(origin);
        }
    }

    /// This node's registration was written.
    pub(super) fn announced(&mut self, now: Moment, asked: Moment, config: &GossipConfig) {
        if !self.is_registered(now, config) {
            // Anybody may hold this node to be gone: everybody has to say again that it is a member.
            self.announced_since = Some(now);
            self.vouched = false;
            for member in self.members.values_mut() {
                member.knows_me = member.address.is_empty();
            }
        }
        self.announced = self.announced.max(Some(asked));
    }

    pub(super) fn proven(&mut self, now: Moment, at: Moment, config: &GossipConfig) {
        self.own_redis = self.own_redis.max(Some(at));
        self.loaded = true;
        if self.vouched && self.is_registered(now, config) {
            self.redis = self.redis.max(Some(at));
        }
    }

    /// Whether what a member said in answer to a question of then counts: that this node is in its view. Before this node's
    /// registration was written anew, the member may have said so and dropped it afterwards.
    pub(super) fn is_after_announcement(&self, asked: Moment) -> bool {
        self.announced_since.is_none_or(|since| asked > since)
    }

    /// A member has asked: it is there. A list of registrations that was read before this node told it that it is a member
    /// must not drop it.
    pub(super) fn heard(&mut self, now: Moment, origin: &Origin) {
        if let Some(member) = self.members.get_mut(origin) {
            member.moved = member.moved.max(now);
        }
    }

    pub(super) fn is_registered(&self, now: Moment, config: &GossipConfig) -> bool {
        self.announced
            .is_some_and(|at| now.since(at) <= config.registration_life)
    }

    /// Everything that `origin` had applied at `asked` is applied here; so is what it had evidence of, by age.
    pub(super) fn grant(
        &mut self,
        origin: Origin,
        asked: Moment,
        ages: &[(Origin, Duration)],
        redis_age: Option<Duration>,
    ) {
        if let Some(member) = self.members.get_mut(&origin) {
            member.evidence = member.evidence.max(Some(asked));
            member.completed = member.completed.max(Some(asked));
        }
        for (of, age) in ages {
            let at = before(asked, *age);
            if let Some(member) = self.members.get_mut(of) {
                member.evidence = member.evidence.max(at);
            }
        }
        if let Some(at) = redis_age.and_then(|age| before(asked, age)) {
            self.redis = self.redis.max(Some(at));
        }
    }

    /// Whether this node may soon have nothing but evidence to go by: long before its newest proof by Redis is too old.
    pub(super) fn needs_evidence(&self, now: Moment, config: &GossipConfig) -> bool {
        let fresh = config.lease / 2;
        !self.vouched || self.own_redis.is_none_or(|at| now.since(at) > fresh)
    }

    /// The ages of this node's evidence, in the order of its view.
    pub(super) fn ages(&self, now: Moment) -> Vec<u8> {
        let age = |at: Option<Moment>| {
            let Some(at) = at else { return u8::MAX };
            let steps = now.since(at).as_nanos().div_ceil(AGE_STEP.as_nanos());
            u8::try_from(steps).unwrap_or(u8::MAX)
        };
        self.in_order()
            .map(|origin| match self.members.get(&origin) {
                Some(member) => age(member.evidence),
                None => 0,
            })
            .collect()
    }

    /// What ages of a member with an equal view say.
    pub(super) fn resolve(&self, ages: &[u8]) -> Vec<(Origin, Duration)> {
        let ages = self.in_order().zip(ages).filter(|(_, age)| **age != u8::MAX);
        ages.map(|(origin, age)| (origin, AGE_STEP.saturating_mul(u32::from(*age))))
            .collect()
    }

    fn in_order(&self) -> impl Iterator<Item = Origin> {
        let (before, after): (Vec<Origin>, Vec<Origin>) =
            self.members.keys().copied().partition(|origin| *origin < self.me);
        before.into_iter().chain([self.me]).chain(after)
    }

    /// Looks whether this node is a member for all others. `true`: it was taken in just now.
    pub(super) fn try_join(&mut self, now: Moment, config: &GossipConfig) -> bool {
        if self.forgotten || !self.members.values().all(|member| member.knows_me) {
            return false;
        }
        // Of two that come at once, the one that reads the registrations last sees the other.
        let lists_all = self.is_registered(now, config) && self.listed.is_some() && self.listed >= self.announced_since;
        self.vouched |= lists_all;
        if self.joined {
            return false;
        }
        let is_cluster = self.members.values().any(|member| member.joined);
        let knows_whom = match config.has_log {
            true => lists_all || is_cluster,
            // Whoever comes to a cluster need not find as many as those that found one.
            false => is_cluster || self.members.len() + 1 >= config.expect,
        };
        let founds = !config.has_log && self.founds();
        self.joined = knows_whom && (self.loaded || founds);
        self.loaded |= self.joined;
        self.joined
    }

    /// Without a log: whether nobody is a cluster yet, and everything that anybody brought along is applied here.
    fn founds(&self) -> bool {
        // How old that is does not matter: the lease wants evidence of everybody, and looks at its age.
        let is_alike = |member: &Member| !member.joined && !member.coherent && member.compared;
        self.members.values().all(is_alike)
    }

    /// Until when the node is coherent. `follower`: by its own proofs from Redis.
    pub(super) fn lease(&self, now: Moment, follower: Moment, config: &GossipConfig) -> Moment {
        let (by_redis, by_gossip) = self.leases(now, follower, config);
        by_redis.max(by_gossip)
    }

    /// The same by either road: Redis, gossip.
    pub(super) fn leases(&self, now: Moment, follower: Moment, config: &GossipConfig) -> (Moment, Moment) {
        if !self.joined || self.forgotten {
            return (Moment::ORIGIN, Moment::ORIGIN);
        }
        let by_redis = match self.announced {
            Some(at) if config.has_log && self.vouched => follower.min(at.plus(config.registration_life)),
            _ => Moment::ORIGIN,
        };
        (by_redis, self.by_gossip(now, config))
    }

    /// Whether what every member of the view confirms is confirmed: nobody may have been taken in, or hold a lease, without this
    /// node's word. After the limit others may have dropped it with its whole view.
    pub(super) fn speaks_for_all(&self, now: Moment, config: &GossipConfig) -> bool {
        let within = |at: Moment| now.since(at) <= config.redis_limit;
        self.joined && !self.forgotten && (!config.has_log || self.redis.is_some_and(within))
    }

    fn by_gossip(&self, now: Moment, config: &GossipConfig) -> Moment {
        let mut evidence: Vec<Option<Moment>> = self.members.values().map(|member| member.evidence).collect();
        if !config.has_log {
            // Whoever is alone is its own authority.
            let least = evidence.iter().min().copied().unwrap_or(Some(now));
            return least.map_or(Moment::ORIGIN, |at| at.plus(config.lease));
        }
        // Alone, without Redis: others may have come, and hold this node to be gone.
        let (Some(redis), false) = (self.redis, evidence.is_empty()) else {
            return Moment::ORIGIN;
        };
        evidence.sort_unstable_by(|a, b| b.cmp(a));
        // Of every member; or of a majority, this node counted, if what Redis held is among it.
        let all = evidence.last().copied().flatten();
        let most = evidence[evidence.len().div_ceil(2) - 1].map(|at| at.min(redis));
        let of = |at: Option<Moment>| at.map_or(Moment::ORIGIN, |at| at.plus(config.lease));
        of(all).max(of(most)).min(redis.plus(config.redis_limit))
    }
}

/// The digest of a view.
pub(super) fn digest_of<'a>(members: impl Iterator<Item = &'a Origin>, gone: impl Iterator<Item = &'a Origin>) -> u64 {
    let half = |origin: &Origin, from: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&origin.as_bytes()[from..from + 8]);
        u64::from_le_bytes(bytes)
    };
    let members = members.fold(0, |sum, origin| sum ^ half(origin, 0));
    gone.fold(members, |sum, origin| {
        sum ^ half(origin, 8).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}

fn before(at: Moment, age: Duration) -> Option<Moment> {
    let nanos = u64::try_from(age.as_nanos()).ok()?;
    at.as_nanos().checked_sub(nanos).map(Moment::from_nanos)
}
