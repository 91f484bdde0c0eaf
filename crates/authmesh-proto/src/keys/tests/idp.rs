//! A virtual issuer, well or ill.

use std::collections::BTreeSet;
use std::string::String;
use std::vec::Vec;

use super::ms;
use super::world::Rng;
use core::time::Duration;

use crate::time::Moment;

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Well,
    /// No connection.
    Down,
    /// Down and up by turns, each for so long.
    Flapping(Duration),
    /// A byte a second: the answer comes after every deadline.
    Slow,
    /// A web page.
    WrongType,
    /// "Not modified", whatever is asked.
    NotModified,
    /// 429, with `Retry-After`.
    TooMany(Duration),
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Document(BTreeSet<String>, String),
    NotModified,
    Refused,
    WrongType,
    TooMany(Duration),
}

/// A request that it saw.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) at: Moment,
    pub(super) node: usize,
    pub(super) no_cache: bool,
}

pub(super) struct Idp {
    pub(super) mood: Mood,
    pub(super) latency: (Duration, Duration),
    pub(super) max_age: Option<Duration>,
    pub(super) seen: Vec<Seen>,
    keys: BTreeSet<String>,
    version: u64,
    /// What an edge still serves to who does not ask past it, and until when.
    edge: Option<(BTreeSet<String>, u64, Moment)>,
    /// The next so many answers come from this old state, whoever asks.
    confused: Option<(BTreeSet<String>, u32)>,
}

impl Idp {
    pub(super) fn new() -> Self {
        Self {
            mood: Mood::Well,
            latency: (ms(20), ms(120)),
            max_age: None,
            seen: Vec::new(),
            keys: ["k1".into()].into(),
            version: 1,
            edge: None,
            confused: None,
        }
    }

    pub(super) fn publish(&mut self, kid: &str) {
        self.keys.insert(kid.into());
        self.version += 1;
    }

    pub(super) fn withdraw(&mut self, kid: &str) {
        self.keys.remove(kid);
        self.version += 1;
    }

    /// An edge goes on serving what is published now.
    pub(super) fn freeze_edge(&mut self, until: Moment) {
        self.edge = Some((self.keys.clone(), self.version, until));
    }

    /// So many answers come from a server that has these keys alone, past caches or not.
    pub(super) fn confuse(&mut self, kids: &[&str], answers: u32) {
        self.confused = Some((kids.iter().map(|kid| (*kid).into()).collect(), answers));
    }

    pub(super) fn requests(&self) -> usize {
        self.seen.len()
    }

    pub(super) fn requests_since(&self, since: Moment) -> usize {
        self.seen.iter().filter(|seen| seen.at >= since).count()
    }

    fn is_up(&self, now: Moment) -> bool {
        match self.mood {
            Mood::Down => false,
            Mood::Flapping(turn) => (now.as_nanos() / turn.as_nanos() as u64) % 2 == 1,
            _ => true,
        }
    }

    /// A request comes in; the answer, and when it has been sent whole.
    pub(super) fn ask(&mut self, now: Moment, request: Seen, etag: Option<&str>, rng: &mut Rng) -> (Duration, Answer) {
        self.seen.push(request);
        let wait = rng.between(self.latency.0, self.latency.1);
        if !self.is_up(now) {
            return (ms(1), Answer::Refused);
        }
        match self.mood {
            Mood::Slow => return (Duration::from_secs(2_000), self.current(now, request.no_cache, etag)),
            Mood::WrongType => return (wait, Answer::WrongType),
            Mood::NotModified => return (wait, Answer::NotModified),
            Mood::TooMany(retry_after) => return (wait, Answer::TooMany(retry_after)),
            Mood::Well | Mood::Down | Mood::Flapping(_) => {}
        }
        if let Some((kids, left)) = &mut self.confused
            && *left > 0
        {
            *left -= 1;
            return (wait, Answer::Document(kids.clone(), "confused".into()));
        }
        (wait, self.current(now, request.no_cache, etag))
    }

    fn current(&self, now: Moment, no_cache: bool, etag: Option<&str>) -> Answer {
        let (keys, version) = match &self.edge {
            Some((keys, version, until)) if !no_cache && now < *until => (keys, version),
            _ => (&self.keys, &self.version),
        };
        let tag = std::format!("v{version}");
        match etag {
            Some(etag) if etag == tag => Answer::NotModified,
            _ => Answer::Document(keys.clone(), tag),
        }
    }
}
