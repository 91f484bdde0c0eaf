//! The virtual network on which both are measured, and what they are measured by.

use std::collections::BTreeMap;
use std::time::Duration;

use authmesh_proto::time::Moment;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{Row, SETTLING};

/// When a sender of a stream sends a segment again.
const RESENT: Duration = Duration::from_millis(200);

/// Events in virtual time. The same seed gives the same run.
pub(super) struct Net<E> {
    pub(super) now: Moment,
    events: BTreeMap<(Moment, u64), E>,
    sent: u64,
    pub(super) rng: SmallRng,
    /// Of 100 datagrams so many are lost.
    pub(super) loss: u32,
    /// The node that is cut off from all others.
    pub(super) cut: Option<usize>,
    /// Datagrams sent, the lost ones too.
    pub(super) datagrams: u64,
}

impl<E> Net<E> {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            now: Moment::ORIGIN.plus(Duration::from_secs(100)),
            events: BTreeMap::new(),
            sent: 0,
            rng: SmallRng::seed_from_u64(seed),
            loss: 0,
            cut: None,
            datagrams: 0,
        }
    }

    /// Something happens then.
    pub(super) fn at(&mut self, at: Moment, event: E) {
        self.sent += 1;
        self.events.insert((at, self.sent), event);
    }

    /// A datagram: it is lost, or there after 0.2 to 2 ms.
    pub(super) fn datagram(&mut self, from: usize, to: usize, event: E) {
        self.datagrams += 1;
        if !self.is_cut(from, to) && !self.is_lost() {
            let at = self.now.plus(self.one_way());
            self.at(at, event);
        }
    }

    /// How long so many segments of a stream take, one after another: those that get lost are sent again.
    pub(super) fn segments(&mut self, count: usize) -> Duration {
        let mut takes = Duration::ZERO;
        for _ in 0..count {
            let mut again = RESENT;
            while self.is_lost() {
                takes += again;
                again *= 2;
            }
            takes += self.one_way();
        }
        takes
    }

    pub(super) fn is_cut(&self, one: usize, other: usize) -> bool {
        self.cut.is_some_and(|cut| cut == one || cut == other)
    }

    /// The next event until then, and its instant for the present one.
    pub(super) fn next(&mut self, until: Moment) -> Option<E> {
        match self.events.first_entry() {
            Some(first) if first.key().0 <= until => {
                let ((at, _), event) = first.remove_entry();
                self.now = at;
                Some(event)
            }
            _ => {
                self.now = until;
                None
            }
        }
    }

    fn is_lost(&mut self) -> bool {
        self.loss > 0 && self.rng.random_range(0..100) < self.loss
    }

    fn one_way(&mut self) -> Duration {
        Duration::from_micros(self.rng.random_range(200..2000))
    }
}

/// What the network does, and when items are born.
#[derive(Debug, Clone, Copy)]
pub(super) enum Plan {
    Born,
    Cut(Option<usize>),
}

/// The plan of a row from now on, and when the count is closed.
pub(super) fn plan(row: &Row, now: Moment) -> (Vec<(Moment, Plan)>, Moment) {
    let every = Duration::from_secs(1) / row.rate;
    let mut plan: Vec<_> = (0..row.secs * row.rate)
        .map(|item| (now.plus(every * item), Plan::Born))
        .collect();
    if row.cut > Duration::ZERO {
        let from = now.plus(Duration::from_secs(row.secs.into()) / 2);
        plan.push((from, Plan::Cut(Some(row.nodes / 2))));
        plan.push((from.plus(row.cut), Plan::Cut(None)));
    }
    (plan, now.plus(Duration::from_secs(row.secs.into())).plus(SETTLING))
}

/// When each item reached each node.
pub(super) struct Reached {
    born: Vec<Moment>,
    at: Vec<Vec<Option<Moment>>>,
}

impl Reached {
    pub(super) const fn new() -> Self {
        Self {
            born: Vec::new(),
            at: Vec::new(),
        }
    }

    /// An item is born; its number.
    pub(super) fn born(&mut self, row: &Row, node: usize, now: Moment) -> usize {
        self.born.push(now);
        let mut at = vec![None; row.nodes];
        at[node] = Some(now);
        self.at.push(at);
        self.at.len() - 1
    }

    pub(super) fn reached(&mut self, item: usize, node: usize, now: Moment) {
        self.at[item][node].get_or_insert(now);
    }

    pub(super) fn figures(&self, datagrams: f64) -> Figures {
        let all = self.at.iter().map(|at| at.len() - 1).sum();
        let missed = self.at.iter().flatten().filter(|at| at.is_none()).count();
        let last = |(born, at): (&Moment, &Vec<Option<Moment>>)| {
            let whole: Option<Vec<Moment>> = at.iter().copied().collect();
            whole.and_then(|at| at.into_iter().max()).map(|at| at.since(*born))
        };
        let mut lasts: Vec<Duration> = self.born.iter().zip(&self.at).filter_map(last).collect();
        lasts.sort_unstable();
        let percentile = |percent: usize| lasts.get((lasts.len() * percent / 100).min(lasts.len().saturating_sub(1)));
        Figures {
            missed,
            all,
            p50: percentile(50).copied(),
            p99: percentile(99).copied(),
            datagrams,
        }
    }
}

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figures {
    /// Items that did not reach a node, over all nodes.
    pub(super) missed: usize,
    /// .. of so many.
    all: usize,
    /// The time from birth to the last node, of the items that reached all.
    p50: Option<Duration>,
    p99: Option<Duration>,
    /// Sent by a node in a second.
    datagrams: f64,
}

impl Figures {
    pub(super) fn percent(&self) -> f64 {
        100.0 * self.missed as f64 / self.all.max(1) as f64
    }
}

/// Missed, median and 99th percentile of the last node, datagrams per node and second.
impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |time: Option<Duration>| time.map_or_else(|| "-".to_owned(), |time| time.as_millis().to_string());
        match self.missed {
            0 => write!(f, "**0**")?,
            _ => write!(f, "{:.3} %", self.percent())?,
        }
        write!(f, "; {}, {} ms; {:.0}", ms(self.p50), ms(self.p99), self.datagrams)
    }
}
