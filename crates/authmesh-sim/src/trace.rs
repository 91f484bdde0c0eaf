//! What happened, in order: always as a hash, as text only where somebody will read it.

use std::collections::BTreeSet;
use std::fmt;

use authmesh_proto::ident::ChannelId;

use crate::clock::{SECOND, True};

/// What an event is about. A violation prints the events that share something with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// A node, by its number.
    Node(usize),
    /// A channel.
    Channel(ChannelId),
    /// A cache key, by its number.
    Key(usize),
    /// A subject, by its number.
    Subject(usize),
    /// Loss and repair in a channel.
    Repair(ChannelId),
    /// Who is a member of whom.
    Mesh,
    /// Everything: a fault.
    World,
}

#[derive(Debug)]
struct Line {
    at: True,
    about: Vec<About>,
    text: String,
}

/// The trace of a run.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    lines: Option<Vec<Line>>,
}

/// How answers are told, and how many of them a violation prints at most.
const ANSWERS: &str = " answers key ";
const MOST_ANSWERS: usize = 20;
/// The most lines that a violation prints.
const PRINTED: usize = 60;

impl Trace {
    /// A trace that keeps text, or only a hash.
    #[must_use]
    pub const fn new(text: bool) -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            events: 0,
            lines: if text { Some(Vec::new()) } else { None },
        }
    }

    /// Says that something happened.
    pub fn note(&mut self, at: True, about: &[About], code: u64, text: impl FnOnce() -> String) {
        self.count(at, about, code);
        if let Some(lines) = &mut self.lines {
            let about = about.to_vec();
            lines.push(Line {
                at,
                about,
                text: text(),
            });
        }
    }

    /// Says that something happened which is too common for words.
    pub fn count(&mut self, at: True, about: &[About], code: u64) {
        self.events += 1;
        self.fold(at);
        self.fold(code);
        for about in about {
            self.fold(match about {
                About::Node(n) => 1 << 32 | *n as u64,
                About::Channel(c) => 2 << 32 | c.index() as u64,
                About::Key(k) => 3 << 32 | *k as u64,
                About::Subject(s) => 4 << 32 | *s as u64,
                About::World => 5 << 32,
                About::Mesh => 7 << 32,
                About::Repair(c) => (6 << 32) | c.index() as u64,
            });
        }
    }

    const fn fold(&mut self, value: u64) {
        self.hash = (self.hash ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    /// The hash of all events so far.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events there were.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// The newest lines about any of these things, and every fault.
    #[must_use]
    pub fn about(&self, wanted: &[About]) -> Vec<String> {
        let wanted: BTreeSet<About> = wanted.iter().copied().chain([About::World]).collect();
        let lines = self.lines.iter().flatten();
        let chosen: Vec<&Line> = lines
            .filter(|line| line.about.iter().any(|about| wanted.contains(about)))
            .collect();
        let mut said: Vec<String> = chosen
            .iter()
            .map(|line| format!("{} {}", Seconds(line.at), line.text))
            .collect();
        // Many callers of one flight are answered at once.
        said.dedup();
        // What is answered again and again tells less than what changed.
        let answers = said.iter().filter(|line| line.contains(ANSWERS)).count();
        let mut spared = answers.saturating_sub(MOST_ANSWERS);
        said.retain(|line| {
            let spare = line.contains(ANSWERS) && spared > 0;
            spared -= usize::from(spare);
            !spare
        });
        said.split_off(said.len().saturating_sub(PRINTED))
    }
}

/// Virtual time as people read it.
#[derive(Debug, Clone, Copy)]
pub struct Seconds(pub True);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>3}.{:06}", self.0 / SECOND, self.0 % SECOND / 1000)
    }
}
