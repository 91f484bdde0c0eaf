//! Items on their way: what was born here or came in, until it was passed on often enough.
//!
//! foca could carry items too, and by measurement it should not: each one that is added costs as much as the backlog is
//! long, the newest ones push the older ones out, and one near the limit of a packet is accepted and never sent. Here every
//! item has its turn.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use authmesh::ports::MAX_SMALL;
use authmesh_proto::ident::Origin;
use authmesh_proto::time::Moment;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use sha2::{Digest as _, Sha256};

use crate::datagram::MAX_BODY;

/// Members that an item is sent to at once.
pub(crate) const FANOUT: usize = 4;
/// How often it is: at birth or receipt, and then with each round.
const ROUNDS: u8 = 4;
/// When the second round of an item is: soon, for the few members that all first rounds together missed.
const SECOND_ROUND: Duration = Duration::from_millis(20);
/// When each of the others is: later than a short outage lasts.
const ROUND: Duration = Duration::from_millis(100);
/// The least time between two rounds of a node, however many items wait.
const PACE: Duration = Duration::from_millis(10);
/// Items that wait for their next round. When there are more, the one that has waited longest gives way.
const MAX_PENDING: usize = 4096;
/// Items that are known again when they come again.
const MAX_SEEN: usize = 32_768;
/// Datagrams to one member in one round.
const BATCH: usize = 8;

#[derive(Debug, Clone)]
struct Pending {
    item: Arc<[u8]>,
    left: u8,
}

/// The items of a node.
#[derive(Debug)]
pub(crate) struct Spread {
    rng: SmallRng,
    seen: BTreeSet<[u8; 16]>,
    seen_order: VecDeque<[u8; 16]>,
    /// Not sent yet.
    fresh: Vec<Arc<[u8]>>,
    /// By when they are due; of equal instants in the order in which they came.
    pending: BTreeMap<(Moment, u64), Pending>,
    came: u64,
    last_round: Moment,
    /// Members in a random order, made anew whenever it has been gone through or they changed: so the rounds of an item go to
    /// different members, and a small cluster is reached whole.
    order: Vec<Origin>,
    cursor: usize,
}

impl Spread {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self {
            rng: SmallRng::from_seed(seed),
            seen: BTreeSet::new(),
            seen_order: VecDeque::new(),
            fresh: Vec::new(),
            pending: BTreeMap::new(),
            came: 0,
            last_round: Moment::ORIGIN,
            order: Vec::new(),
            cursor: 0,
        }
    }

    /// Takes an item that was born here or came in. `false`: it is known, or no item.
    pub(crate) fn add(&mut self, item: &[u8]) -> bool {
        if item.is_empty() || item.len() > MAX_SMALL {
            return false;
        }
        let mut name = [0; 16];
        name.copy_from_slice(&Sha256::digest(item)[..16]);
        if !self.seen.insert(name) {
            return false;
        }
        self.seen_order.push_back(name);
        if self.seen_order.len() > MAX_SEEN
            && let Some(oldest) = self.seen_order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        self.fresh.push(item.into());
        true
    }

    /// Whether something came in that has not been passed on.
    pub(crate) const fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// When something is due.
    pub(crate) fn next_round(&self) -> Moment {
        let first = self.pending.first_key_value();
        first.map_or(Moment::NEVER, |((due, _), _)| (*due).max(self.last_round.plus(PACE)))
    }

    /// Members came or went.
    pub(crate) fn members_changed(&mut self, members: impl Iterator<Item = Origin>) {
        self.order.clear();
        self.order.extend(members);
        self.order.shuffle(&mut self.rng);
        self.cursor = 0;
    }

    /// What to send now: members, and bodies for each of them.
    pub(crate) fn round(&mut self, now: Moment) -> Option<(Vec<Origin>, Vec<Vec<u8>>)> {
        let mut bodies = Bodies::default();
        let is_due = self.next_round() <= now;
        for item in std::mem::take(&mut self.fresh) {
            if self.pending.len() >= MAX_PENDING {
                self.pending.pop_first();
            }
            let (left, due) = match bodies.push(&item) {
                true => (ROUNDS - 1, now.plus(SECOND_ROUND)),
                false => (ROUNDS, now.plus(PACE)),
            };
            self.wait(Pending { item, left }, due);
        }
        if is_due {
            self.last_round = now;
            while let Some(first) = self.pending.first_entry() {
                // What has no room keeps its place, and so comes first next time.
                if first.key().0 > now || !bodies.push(&first.get().item) {
                    break;
                }
                let mut pending = first.remove();
                pending.left -= 1;
                if pending.left > 0 {
                    self.wait(pending, now.plus(ROUND));
                }
            }
        }
        let targets = self.targets();
        (!targets.is_empty() && !bodies.0.is_empty()).then_some((targets, bodies.0))
    }

    fn wait(&mut self, pending: Pending, due: Moment) {
        self.came += 1;
        self.pending.insert((due, self.came), pending);
    }

    fn targets(&mut self) -> Vec<Origin> {
        let count = FANOUT.min(self.order.len());
        let mut targets = Vec::with_capacity(count);
        while targets.len() < count {
            if self.cursor >= self.order.len() {
                self.cursor = 0;
                self.order.shuffle(&mut self.rng);
            }
            let next = self.order[self.cursor];
            self.cursor += 1;
            if !targets.contains(&next) {
                targets.push(next);
            }
        }
        targets
    }
}

/// Bodies of datagrams, filled up one after another.
#[derive(Debug, Default)]
struct Bodies(Vec<Vec<u8>>);

impl Bodies {
    /// `false` when they are full.
    fn push(&mut self, item: &[u8]) -> bool {
        let Ok(length) = u16::try_from(item.len()) else {
            return true;
        };
        let fits = |body: &Vec<u8>| body.len() + 2 + item.len() <= MAX_BODY;
        if !self.0.last().is_some_and(fits) {
            if self.0.len() >= BATCH {
                return false;
            }
            self.0.push(Vec::with_capacity(2 + item.len()));
        }
        if let Some(body) = self.0.last_mut() {
            body.extend_from_slice(&length.to_be_bytes());
            body.extend_from_slice(item);
        }
        true
    }
}

/// The items in the body of a datagram; `None` when it is malformed.
pub(crate) fn items(mut body: &[u8]) -> Option<Vec<&[u8]>> {
    let mut items = Vec::new();
    while !body.is_empty() {
        let (length, rest) = body.split_first_chunk::<2>()?;
        let (item, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        (!item.is_empty() && item.len() <= MAX_SMALL).then_some(())?;
        items.push(item);
        body = rest;
    }
    Some(items)
}
