//! The mirror of the follower against the real one: the same inputs, and then the same actions, the same watermark, the same
//! remembered positions, the same proofs.

use std::time::Duration;

use authmesh_proto::follower::{Action, Follower, FollowerConfig, Input, OpenedEntry, OpenedPayload, Slice};
use authmesh_proto::ident::{
    CHANNELS, ChannelId, Digest, EntryName, Incarnation, Nonce, Origin, Position, StatementName, StreamId,
};
use authmesh_proto::log::Head;
use authmesh_proto::statement::{Body as RealBody, Statement};
use authmesh_proto::time::Moment;

use crate::event::{Event, tell};
use crate::follow::Act;
use crate::state::{Calls, Log, NONE, Payload, Scenario, Stage, State};
use crate::step::{Given, Talk};

const C: ChannelId = match ChannelId::new(0) {
    Some(c) => c,
    None => unreachable!(),
};
/// So late that no period ends by itself.
const NEVER: Duration = Duration::from_secs(1 << 32);
/// Where calls take three steps, a suspect channel waits until it is told that it is due.
const REPAIR_PERIOD: Duration = Duration::from_secs(1000);

fn position(log: &Log, at: u8) -> Position {
    Position {
        id: StreamId {
            millis: log.id(at) as u64,
            sequence: 0,
        },
        nonce: Nonce([at; 16]),
    }
}

fn head(log: &Log, at: u8) -> Head {
    let entry = log.entry(at);
    Head {
        incarnation: Incarnation([entry.incarnation + 1; 16]),
        generation: u64::from(entry.incarnation),
        position: position(log, at),
        previous: (entry.previous != NONE).then(|| position(log, entry.previous)),
        root: Digest::EMPTY,
    }
}

fn opened(log: &Log, at: u8) -> OpenedEntry {
    let statement = |counter| {
        OpenedPayload::Statement(Statement {
            name: StatementName {
                origin: Origin([9; 16]),
                channel: C,
                counter,
            },
            body: RealBody::Drop(EntryName([0; 32])),
        })
    };
    OpenedEntry {
        channel: C,
        head: head(log, at),
        payload: match log.entry(at).payload {
            Payload::Mint => OpenedPayload::Nothing,
            Payload::Said(s) | Payload::Again(s) => statement(u64::from(s) + 1),
        },
    }
}

/// The follower of one node for one channel of the model. Its other channels stand still.
struct Real {
    follower: Follower,
    now: Moment,
    /// When the call for the log that is under way was sent, and from where it reads.
    log_asked: (Moment, u8),
    heads_asked: Moment,
    /// What it wanted in this step.
    wants: Vec<Act>,
}

impl Real {
    fn joined(calls: Calls, log: &Log) -> Self {
        let config = FollowerConfig {
            watermark_period: NEVER,
            lease: Duration::from_secs(3),
            repair_period: if calls == Calls::ThreeSteps {
                REPAIR_PERIOD
            } else {
                Duration::ZERO
            },
            mint_period: Duration::ZERO,
            retry_period: NEVER,
            ..FollowerConfig::default()
        };
        let now = Moment::ORIGIN;
        let mut real = Self {
            follower: Follower::new(config, now),
            now,
            log_asked: (now, 0),
            heads_asked: now,
            wants: Vec::new(),
        };
        real.follower.tick(now);
        let mut loads = 0;
        while let Some(action) = real.follower.poll() {
            loads += usize::from(matches!(action, Action::Load(_)));
        }
        assert_eq!(loads, CHANNELS);
        for id in ChannelId::all() {
            let loaded = Input::Loaded(id, now, Some(Some(head(log, 0))));
            real.follower.handle(real.now, loaded);
            // It kept nothing from before its start.
            real.follower.handle(real.now, Input::Recommitted(id, true));
        }
        while real.follower.poll().is_some() {}
        real
    }

    /// A moment between this step and the next.
    fn between(&self) -> Moment {
        self.now.plus(Duration::from_millis(1))
    }

    fn give(&mut self, calls: Calls, log: &Log, first: u8, given: Given) {
        self.now = self.now.plus(Duration::from_millis(2));
        let input = match given {
            Given::Bell(at) => Input::Bell(opened(log, at)),
            Given::AskHeads => {
                self.heads_asked = self.between();
                return;
            }
            Given::Heads(at) => {
                let mut heads = vec![Some(head(log, first)); CHANNELS];
                heads[0] = Some(head(log, at));
                Input::Heads(self.heads_asked, Some(heads))
            }
            Given::Tick => {
                if calls == Calls::ThreeSteps {
                    self.now = self.now.max(self.follower.poll_timeout());
                    self.follower.tick(self.now);
                    self.drain(log);
                }
                return;
            }
            Given::Slice(at) => {
                let (asked, from) = self.log_asked;
                let mut entries: Vec<_> = log
                    .back_from(at)
                    .filter(|entry| log.id(*entry) >= log.id(from))
                    .collect();
                entries.reverse();
                let slice = Slice {
                    head: Some(head(log, at)),
                    first: Some(position(log, first)),
                    entries: entries.into_iter().map(|entry| opened(log, entry)).collect(),
                };
                Input::Slice(C, asked, Some(slice))
            }
            Given::Loaded(at) => Input::Loaded(C, self.log_asked.0, Some(Some(head(log, at)))),
            Given::Recommitted => Input::Recommitted(C, true),
            Given::Minted => Input::Minted(C, false),
        };
        self.follower.handle(self.now, input);
        self.drain(log);
    }

    fn drain(&mut self, log: &Log) {
        let at = |nonce: Nonce| nonce.0[0];
        while let Some(action) = self.follower.poll() {
            let act = match action {
                Action::Apply(_, _, position) => Act::Apply(at(position.nonce)),
                Action::BumpChannel(C) => Act::Bump,
                Action::ReadLog(C, from) => {
                    self.log_asked = (self.between(), at(from.nonce));
                    Act::ReadLog
                }
                Action::Load(C) => {
                    self.log_asked = (self.between(), at(self.watermark(log).nonce));
                    Act::Load
                }
                Action::Recommit(C) => Act::Recommit,
                Action::Mint(C, expected) => Act::Mint(expected.map_or(NONE, |incarnation| incarnation.0[0] - 1)),
                Action::Tell(_) => continue,
                other => panic!("nothing in the model asks for {other:?}"),
            };
            self.wants.push(act);
        }
    }

    fn watermark(&self, log: &Log) -> Position {
        self.follower
            .watermark(C)
            .map_or_else(|| position(log, 0), |head| head.position)
    }
}

/// A generator that gives the same numbers everywhere (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }
}

/// How much was compared.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    pub(crate) steps: usize,
    pub(crate) applied: usize,
    pub(crate) adoptions: usize,
    pub(crate) mints: usize,
    pub(crate) suspects: usize,
}

/// Walks at random from the first state on, until nothing is left or a log is full, and compares after each step.
pub(crate) fn walk(scenario: &Scenario, seed: u64, longest: usize, compared: &mut Compared) {
    let mut dice = Dice(seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15));
    let mut state = State::first(scenario.failover);
    let calls = scenario.log_calls;
    let mut reals: Vec<Vec<Real>> = (0..2)
        .map(|_| state.logs.iter().map(|log| Real::joined(calls, log)).collect())
        .collect();
    let mut fills_asked = [Moment::ORIGIN; 2];
    let mut trace = Vec::new();
    let (mut events, mut talk) = (Vec::new(), Vec::new());
    for _ in 0..longest {
        state.events(scenario, &mut events);
        // Any bell may ring at any time: those that are known, and those that are too early.
        let c = dice.below(scenario.channels());
        events.push(Event::Ring {
            n: dice.below(2) as u8,
            c: c as u8,
            at: dice.below(usize::from(state.logs[c].len())) as u8,
        });
        if state.logs.iter().any(|log| log.is_full()) {
            break;
        }
        let event = events[dice.below(events.len())];
        talk.clear();
        let Ok(next) = state.step(scenario, event, &mut talk) else {
            break;
        };
        trace.push(tell(scenario, &state, event, &next));
        for (n, reals) in reals.iter_mut().enumerate() {
            for (c, real) in reals.iter_mut().enumerate().take(scenario.channels()) {
                let log = &next.logs[c];
                real.wants.clear();
                let mut wanted = Vec::new();
                for (_, _, talk) in talk
                    .iter()
                    .filter(|(at, of, _)| (usize::from(*at), usize::from(*of)) == (n, c))
                {
                    match *talk {
                        Talk::Given(given) => real.give(calls, log, 0, given),
                        Talk::Act(act) => wanted.push(act),
                    }
                }
                let follow = &next.nodes[n].follow[c];
                let told = || {
                    format!(
                        "seed {seed}, N{n}, channel {c}, mirror {follow:?}:\n{}",
                        trace.join("\n")
                    )
                };
                assert_eq!(real.wants, wanted, "the real follower does something else: {}", told());
                assert_eq!(
                    real.watermark(log),
                    position(log, follow.watermark),
                    "watermark: {}",
                    told()
                );
                assert_eq!(
                    real.follower.settled(C).is_some(),
                    follow.settled(),
                    "settled: {}",
                    told()
                );
                for at in 0..log.len() {
                    let knows = real.follower.knows(C, &position(log, at));
                    assert_eq!(knows, follow.knows(log, at), "remembers e{at}: {}", told());
                }
                for (f, fill) in next
                    .fills
                    .iter()
                    .enumerate()
                    .filter(|(_, fill)| usize::from(fill.node) == n)
                {
                    if c != 0 || !matches!(fill.stage, Stage::Asked | Stage::Fetched(..)) {
                        continue;
                    }
                    if fill.stage == Stage::Asked && state.fills[f].stage != Stage::Asked {
                        fills_asked[f] = real.between();
                    }
                    for at in 0..log.len() {
                        let proves = real.follower.proves(C, &head(log, at), fills_asked[f]);
                        let mirror = follow.proves(log, at, fill.asked, scenario);
                        assert_eq!(proves, mirror, "e{at} proves for F{}: {}", f + 1, told());
                    }
                }
                let count = |which: fn(&Act) -> bool| wanted.iter().filter(|act| which(act)).count();
                compared.applied += count(|act| matches!(act, Act::Apply(_)));
                compared.mints += count(|act| matches!(act, Act::Mint(_)));
                compared.adoptions +=
                    usize::from(wanted.first() == Some(&Act::Bump) && wanted.get(1) == Some(&Act::Recommit));
                compared.suspects += count(|act| *act == Act::ReadLog);
            }
        }
        compared.steps += 1;
        state = next;
    }
}
