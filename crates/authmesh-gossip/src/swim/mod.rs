//! Membership, by foca.
//!
//! foca is a state machine; this wraps it in one with time as an argument, and keeps what it does not: when its timers are
//! due, who was told of as a member, and who was one once.

mod codec;
mod identity;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use authmesh::ports::GossipPeer;
use authmesh_proto::ident::Origin;
use authmesh_proto::time::Moment;
use foca::{Config, Foca, Member, NoCustomBroadcast, Notification, PeriodicParams, Runtime, State, Timer};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::datagram::MAX_BODY;

#[cfg(test)]
pub(crate) use codec::Codec;
pub(crate) use codec::{get_identity, put_identity};
pub(crate) use identity::{Identity, MAX_NAME};

/// Members, here or gone, that are remembered.
const MAX_MEMBERS: usize = 4096;
/// How long one that is gone is.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// How long the time-outs stay stretched after the node was slow.
const STRETCHED_FOR: Duration = Duration::from_secs(30);
/// Time-outs are stretched by at most this factor.
const MAX_STRETCH: u32 = 8;

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Up(GossipPeer),
    Down(Origin),
}

/// The times of SWIM.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) probe_period: Duration,
    pub(crate) probe_rtt: Duration,
    pub(crate) suspicion: Duration,
}

type Node = Foca<Identity, codec::Codec, SmallRng, NoCustomBroadcast>;

pub(crate) struct Swim {
    foca: Node,
    world: World,
}

/// What foca acts upon.
struct World {
    now: Moment,
    times: Times,
    /// By when they are due; of equal instants by the order in which they were set.
    timers: BTreeMap<(Moment, u64), Timer<Identity>>,
    set: u64,
    stretch: u32,
    stretched_until: Moment,
    sent: VecDeque<(SocketAddr, Vec<u8>)>,
    changes: VecDeque<Change>,
    members: BTreeMap<Origin, GossipPeer>,
    /// Where members were that are gone: tried again by a node that is alone.
    gone: BTreeMap<SocketAddr, Moment>,
}

impl Swim {
    pub(crate) fn new(me: Identity, times: Times, seed: [u8; 32]) -> Self {
        let codec = codec::Codec { address: me.address };
        Self {
            foca: Foca::new(me, config(times), SmallRng::from_seed(seed), codec),
            world: World {
                now: Moment::ORIGIN,
                times,
                timers: BTreeMap::new(),
                set: 0,
                stretch: 1,
                stretched_until: Moment::ORIGIN,
                sent: VecDeque::new(),
                changes: VecDeque::new(),
                members: BTreeMap::new(),
                gone: BTreeMap::new(),
            },
        }
    }

    /// This node as it calls itself at present.
    pub(crate) fn me(&self) -> &Identity {
        self.foca.identity()
    }

    pub(crate) const fn members(&self) -> &BTreeMap<Origin, GossipPeer> {
        &self.world.members
    }

    pub(crate) fn poll_send(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.world.sent.pop_front()
    }

    pub(crate) fn poll_change(&mut self) -> Option<Change> {
        self.world.changes.pop_front()
    }

    /// When the next timer is due.
    pub(crate) fn next_timer(&self) -> Option<Moment> {
        self.world.timers.first_key_value().map(|((due, _), _)| *due)
    }

    /// Asks whoever lives at an address for the members.
    pub(crate) fn announce(&mut self, to: SocketAddr, now: Moment) {
        self.act(now, |foca, world| foca.announce(Identity::unknown(to), world));
    }

    /// Takes a message of a member. `false`: it is malformed.
    pub(crate) fn take(&mut self, from: Origin, message: &[u8], now: Moment) -> bool {
        let known = self.world.members.contains_key(&from);
        if !known && self.foca.iter_membership_state().len() >= MAX_MEMBERS {
            return true;
        }
        // Who speaks must be who proved itself: a member speaks for itself only.
        let mut header = message;
        match get_identity(&mut header) {
            Ok(identity) if identity.origin == from => {}
            _ => return false,
        }
        self.act(now, |foca, world| foca.handle_data(message, world))
    }

    /// A member said good-bye.
    pub(crate) fn left(&mut self, origin: Origin, now: Moment) {
        let member = self.foca.iter_members().find(|member| member.id().origin == origin);
        let Some(down) = member.map(|member| Member::new(member.id().clone(), member.incarnation(), State::Down))
        else {
            return;
        };
        self.act(now, |foca, world| foca.apply_many([down].into_iter(), true, world));
    }

    /// Says good-bye.
    pub(crate) fn leave(&mut self, now: Moment) {
        self.act(now, |foca, world| foca.leave_cluster(world));
    }

    /// Runs the timers that are due, those of a probe in foca's order.
    pub(crate) fn run_timers(&mut self, now: Moment) {
        let later = self.world.timers.split_off(&(now, u64::MAX));
        let mut due: Vec<_> = std::mem::replace(&mut self.world.timers, later).into_values().collect();
        due.sort();
        for timer in due {
            self.act(now, |foca, world| foca.handle_timer(timer, world));
        }
        if self.world.stretch > 1 && now >= self.world.stretched_until {
            self.world.stretch = 1;
        }
    }

    /// This node was late by `lag`. Nobody else is to blame: what is due now is put off by a round trip, so that answers that
    /// wait in the socket count, suspicions get the lost time back, and all time-outs are stretched for a while.
    pub(crate) fn was_slow(&mut self, lag: Duration, now: Moment) {
        let world = &mut self.world;
        let times = lag.as_nanos() / world.times.probe_rtt.as_nanos().max(1);
        let stretch = u32::try_from(times).unwrap_or(MAX_STRETCH).saturating_add(2);
        world.stretch = world.stretch.max(stretch.min(MAX_STRETCH));
        world.stretched_until = now.plus(STRETCHED_FOR);
        let soon = now.plus(world.times.probe_rtt);
        let timers = std::mem::take(&mut world.timers);
        for ((due, set), timer) in timers {
            let due = match timer {
                Timer::ChangeSuspectToDown { .. } => due.plus(lag).max(soon).plus(world.times.suspicion),
                _ => due.max(soon),
            };
            world.timers.insert((due, set), timer);
        }
    }

    /// The factor by which time-outs are stretched.
    #[cfg(test)]
    pub(crate) const fn stretch(&self) -> u32 {
        self.world.stretch
    }

    /// Addresses where members were that are gone.
    pub(crate) fn gone(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.world.gone.keys().copied()
    }

    /// Forgets who has been gone for long.
    pub(crate) fn sweep(&mut self, now: Moment) {
        self.world.gone.retain(|_, since| now.since(*since) < REMEMBERED);
    }

    fn act(&mut self, now: Moment, act: impl FnOnce(&mut Node, &mut World) -> Result<(), foca::Error>) -> bool {
        self.world.now = now;
        match act(&mut self.foca, &mut self.world) {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(%error, "gossip: membership refused something");
                !matches!(
                    error,
                    foca::Error::Decode(_) | foca::Error::MalformedPacket | foca::Error::DataTooBig
                )
            }
        }
    }
}

impl Runtime<Identity> for &mut World {
    fn notify(&mut self, notification: Notification<'_, Identity>) {
        match notification {
            Notification::MemberUp(member) => self.up(member),
            Notification::MemberDown(member) => self.down(member),
            // Of a member that is gone we hear by itself when the new one is there.
            Notification::Rename(before, after) if self.members.contains_key(&before.origin) => {
                if before.origin != after.origin {
                    self.down(before);
                }
                self.up(after);
            }
            _ => {}
        }
    }

    fn send_to(&mut self, to: Identity, data: &[u8]) {
        self.sent.push_back((to.address, data.to_vec()));
    }

    fn submit_after(&mut self, event: Timer<Identity>, after: Duration) {
        let after = match event {
            Timer::ProbeRandomMember(_) | Timer::SendIndirectProbe { .. } | Timer::ChangeSuspectToDown { .. } => {
                after * self.stretch
            }
            _ => after,
        };
        self.set += 1;
        self.timers.insert((self.now.plus(after), self.set), event);
    }
}

impl World {
    fn up(&mut self, member: &Identity) {
        self.gone.remove(&member.address);
        let peer = member.peer();
        if self.members.get(&member.origin) != Some(&peer) {
            self.members.insert(member.origin, peer.clone());
            self.changes.push_back(Change::Up(peer));
        }
    }

    fn down(&mut self, member: &Identity) {
        if self.members.remove(&member.origin).is_some() {
            if self.gone.len() < MAX_MEMBERS {
                self.gone.insert(member.address, self.now);
            }
            self.changes.push_back(Change::Down(member.origin));
        }
    }
}

fn config(times: Times) -> Config {
    let every = |frequency, members: usize| {
        Some(PeriodicParams {
            frequency,
            num_members: NonZeroUsize::new(members).unwrap_or(NonZeroUsize::MIN),
        })
    };
    Config {
        probe_period: times.probe_period,
        probe_rtt: times.probe_rtt,
        num_indirect_probes: NonZeroUsize::new(3).unwrap_or(NonZeroUsize::MIN),
        max_transmissions: NonZeroU8::new(12).unwrap_or(NonZeroU8::MIN),
        suspect_to_down_after: times.suspicion,
        remove_down_after: Some(REMEMBERED),
        max_packet_size: NonZeroUsize::new(MAX_BODY).unwrap_or(NonZeroUsize::MIN),
        notify_down_members: true,
        periodic_announce: every(Duration::from_secs(10), 1),
        periodic_announce_to_down_members: every(Duration::from_secs(3), 3),
        periodic_gossip: every(Duration::from_millis(200), 3),
    }
}

impl std::fmt::Debug for Swim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Swim")
            .field("me", self.me())
            .field("members", &self.world.members.len())
            .finish_non_exhaustive()
    }
}
