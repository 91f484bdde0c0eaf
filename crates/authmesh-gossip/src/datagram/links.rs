//! Who has proven to live where, and what they have sent.
//!
//! Whoever sends to a node needs a *session*, a random number that the receiver made for this sender. A datagram without a
//! session that the receiver knows is not processed, whatever it says: the receiver answers with a challenge, which carries a
//! session. The first datagram in that session, from the same address and the same origin, proves that the sender holds the
//! key ring, hears what is sent to its address, and lives now. So nothing that was recorded counts again: not at the node it
//! was meant for (sequences), not at another (sessions), not after a restart (sessions are random).
//!
//! A challenge names session and sequence of the datagram that it answers; one that answers nothing of ours is not followed.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use authmesh_proto::ident::Origin;
use authmesh_proto::time::Moment;

use super::window::Window;
use super::{CHALLENGE_BODY, Kind, NO_SESSION, Plain, Random, Session};

/// Challenges that await their answer.
const MAX_CHALLENGES: usize = 4096;
/// How long one does.
const CHALLENGE_LIFE: Duration = Duration::from_secs(5);
/// Addresses that have proven something, and addresses that were sent something.
const MAX_PEERS: usize = 4096;
/// A source that was silent for so long must prove itself anew.
const SILENCE: Duration = Duration::from_secs(60);
/// Datagrams to one address that are sent again, should it ask who we are.
const KEPT: usize = 8;
/// How long they are: longer than any round trip.
const KEPT_FOR: Duration = Duration::from_secs(1);

/// What came of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// It is new, and its sender has proven itself.
    Take { origin: Origin, kind: Kind, body: Vec<u8> },
    /// Its sender must prove itself first: send this back.
    Challenge(Vec<u8>),
    /// It asked for proof: send these.
    Resend(Vec<Vec<u8>>),
    /// It was taken before, or is too old to tell.
    Replayed,
    /// It is not a datagram of ours, though it opened.
    Malformed,
    /// There is no room for another challenge.
    Limited,
    /// It came from this node itself.
    Own,
    /// A challenge that answers nothing, or that was followed already.
    Stale,
}

#[derive(Debug)]
struct Proven {
    origin: Origin,
    session: Session,
    window: Window,
    heard: Moment,
}

#[derive(Debug)]
struct Kept {
    session: Session,
    sequence: u64,
    at: Moment,
    kind: Kind,
    body: Vec<u8>,
}

#[derive(Debug, Default)]
struct Outbound {
    session: Session,
    sequence: u64,
    kept: VecDeque<Kept>,
    sent: Moment,
}

/// The sessions that this node gave out, and those that it was given.
#[derive(Debug)]
pub(crate) struct Links {
    origin: Origin,
    challenges: BTreeMap<(SocketAddr, Origin), (Session, Moment)>,
    proven: BTreeMap<SocketAddr, Proven>,
    outbound: BTreeMap<SocketAddr, Outbound>,
}

impl Links {
    pub(crate) const fn new(origin: Origin) -> Self {
        Self {
            origin,
            challenges: BTreeMap::new(),
            proven: BTreeMap::new(),
            outbound: BTreeMap::new(),
        }
    }

    /// Whether somebody has proven to live at an address.
    pub(crate) fn is_proven(&self, at: &SocketAddr) -> bool {
        self.proven.contains_key(at)
    }

    /// Makes a datagram, to be sealed. `None` when too many addresses are written to.
    pub(crate) fn outgoing(
        &mut self,
        to: SocketAddr,
        kind: Kind,
        body: &[u8],
        now: Moment,
        random: Random<'_>,
    ) -> Option<Vec<u8>> {
        if self.outbound.len() >= MAX_PEERS && !self.outbound.contains_key(&to) {
            self.sweep(now);
            if self.outbound.len() >= MAX_PEERS {
                return None;
            }
        }
        let origin = self.origin;
        let link = self.outbound.entry(to).or_default();
        link.kept.retain(|kept| now.since(kept.at) < KEPT_FOR);
        if link.kept.len() == KEPT {
            link.kept.pop_front();
        }
        Some(link.next(origin, kind, body.to_vec(), now, random))
    }

    /// Judges a datagram that opened.
    pub(crate) fn incoming(&mut self, from: SocketAddr, opened: &[u8], now: Moment, random: Random<'_>) -> Incoming {
        let Some(plain) = Plain::decode(opened) else {
            return Incoming::Malformed;
        };
        if plain.origin == self.origin {
            return Incoming::Own;
        }
        if plain.kind == Kind::Challenge {
            return self.challenged(from, &plain, now, random);
        }
        if let Some(proven) = self.proven.get_mut(&from)
            && proven.origin == plain.origin
            && proven.session == plain.session
        {
            if !proven.window.take(plain.sequence) {
                return Incoming::Replayed;
            }
            proven.heard = now;
        } else if self.proves(from, &plain, now) {
            let proven = Proven {
                origin: plain.origin,
                session: plain.session,
                window: Window::beginning(plain.sequence),
                heard: now,
            };
            if self.proven.len() >= MAX_PEERS && !self.proven.contains_key(&from) {
                self.sweep(now);
                if self.proven.len() >= MAX_PEERS {
                    return Incoming::Limited;
                }
            }
            self.challenges.remove(&(from, plain.origin));
            self.proven.insert(from, proven);
        } else {
            return self.challenge(from, &plain, now, random);
        }
        Incoming::Take {
            origin: plain.origin,
            kind: plain.kind,
            body: plain.body,
        }
    }

    fn proves(&self, from: SocketAddr, plain: &Plain, now: Moment) -> bool {
        self.challenges
            .get(&(from, plain.origin))
            .is_some_and(|(session, since)| *session == plain.session && now.since(*since) < CHALLENGE_LIFE)
    }

    fn challenge(&mut self, from: SocketAddr, plain: &Plain, now: Moment, random: Random<'_>) -> Incoming {
        let key = (from, plain.origin);
        let session = match self.challenges.get(&key) {
            Some((session, since)) if now.since(*since) < CHALLENGE_LIFE => *session,
            _ => {
                if self.challenges.len() >= MAX_CHALLENGES {
                    self.challenges
                        .retain(|_, (_, since)| now.since(*since) < CHALLENGE_LIFE);
                }
                if self.challenges.len() >= MAX_CHALLENGES {
                    return Incoming::Limited;
                }
                let mut session = NO_SESSION;
                random(&mut session);
                self.challenges.insert(key, (session, now));
                session
            }
        };
        let mut body = Vec::with_capacity(CHALLENGE_BODY);
        body.extend_from_slice(&session);
        body.extend_from_slice(&plain.session);
        body.extend_from_slice(&plain.sequence.to_be_bytes());
        // In no session: whoever is challenged judges it by what it echoes.
        let challenge = Plain {
            origin: self.origin,
            session: NO_SESSION,
            sequence: 0,
            kind: Kind::Challenge,
            body,
        };
        Incoming::Challenge(challenge.encode())
    }

    fn challenged(&mut self, from: SocketAddr, plain: &Plain, now: Moment, random: Random<'_>) -> Incoming {
        let Some((session, rest)) = plain.body.split_first_chunk::<16>() else {
            return Incoming::Malformed;
        };
        let Some((echoed, rest)) = rest.split_first_chunk::<16>() else {
            return Incoming::Malformed;
        };
        let Ok(sequence) = <[u8; 8]>::try_from(rest).map(u64::from_be_bytes) else {
            return Incoming::Malformed;
        };
        let origin = self.origin;
        let Some(link) = self.outbound.get_mut(&from) else {
            return Incoming::Stale;
        };
        link.kept.retain(|kept| now.since(kept.at) < KEPT_FOR);
        let ours = |kept: &Kept| kept.session == *echoed && kept.sequence == sequence;
        if *session == NO_SESSION || *session == link.session || !link.kept.iter().any(ours) {
            return Incoming::Stale;
        }
        link.session = *session;
        link.sequence = 0;
        // What was sent before was refused, so it is sent again. As of now: it was born then, but it leaves now.
        let again: Vec<Kept> = link.kept.drain(..).collect();
        let resent = again
            .into_iter()
            .map(|kept| link.next(origin, kept.kind, kept.body, now, &mut *random))
            .collect();
        Incoming::Resend(resent)
    }

    /// Forgets who was silent for long.
    pub(crate) fn sweep(&mut self, now: Moment) {
        self.challenges
            .retain(|_, (_, since)| now.since(*since) < CHALLENGE_LIFE);
        self.proven.retain(|_, proven| now.since(proven.heard) < SILENCE);
        self.outbound.retain(|_, link| {
            link.kept.retain(|kept| now.since(kept.at) < KEPT_FOR);
            now.since(link.sent) < SILENCE
        });
    }
}

impl Outbound {
    fn next(&mut self, origin: Origin, kind: Kind, body: Vec<u8>, now: Moment, random: Random<'_>) -> Vec<u8> {
        if self.session == NO_SESSION {
            // Outside a session the sequence is random: a challenge has to echo it.
            let mut cookie = [0; 8];
            random(&mut cookie);
            self.sequence = u64::from_be_bytes(cookie);
        } else {
            self.sequence += 1;
        }
        self.sent = now;
        let plain = Plain {
            origin,
            session: self.session,
            sequence: self.sequence,
            kind,
            body,
        };
        let encoded = plain.encode();
        self.kept.push_back(Kept {
            session: plain.session,
            sequence: plain.sequence,
            at: now,
            kind,
            body: plain.body,
        });
        encoded
    }
}
