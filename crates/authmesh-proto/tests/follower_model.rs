//! A follower and a log that suffers: random commits, lost, doubled and reordered bells, trims, failovers that lose
//! writes, wipes, mints of other nodes, slow and failed calls. Whatever happened, once the world is quiet the follower has
//! applied what the log holds, or has voided the channel since; and it mints only where writes were lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::time::Duration;

use authmesh_proto::follower::{Action, Follower, FollowerConfig, Input, OpenedEntry, OpenedPayload, Slice};
use authmesh_proto::ident::{
    ChannelId, Digest, EntryName, Incarnation, Nonce, Origin, Position, StatementName, StreamId,
};
use authmesh_proto::log::Head;
use authmesh_proto::statement::{Body, Statement};
use authmesh_proto::time::Moment;
use proptest::collection::vec;
use proptest::prelude::*;

/// The channel where things happen; the others are quiet.
const C: ChannelId = match ChannelId::new(0) {
    Some(channel) => channel,
    None => unreachable!(),
};
/// Log entries that one read brings: few, so that reads end before the head.
const READ_LIMIT: usize = 4;

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    /// A node commits a statement; its bell is on its way.
    Commit,
    /// The bell at this place rings, and stays on its way too if the flag says so.
    Ring(usize, bool),
    /// The bell at this place is lost.
    LoseBell(usize),
    /// The bus says that bells may be missing.
    Break,
    /// A call at this place is carried out: its answer is fixed now, and delivered later.
    CarryOut(usize),
    /// The answer of a call that was carried out arrives.
    Answer(usize),
    /// A call fails before or after it was carried out.
    Fail(usize),
    /// The log keeps its newest entries only.
    Trim(usize),
    /// A failover loses the newest entries. Stream IDs may come again.
    LoseNewest(usize),
    /// The log is emptied.
    Wipe,
    /// Another node mints.
    Mint,
    /// Time goes on, in milliseconds.
    Pass(u64),
}

/// One call of the follower's on its way.
#[derive(Debug)]
struct Call {
    action: Action,
    asked: Moment,
    /// The answer, once it is fixed; of a load also the statements whose effects it brings.
    answer: Option<(Input, BTreeSet<u64>)>,
}

/// The number of the statement in an entry, if there is one.
fn counter(entry: &OpenedEntry) -> Option<u64> {
    match &entry.payload {
        OpenedPayload::Statement(statement) | OpenedPayload::Bare(statement) => Some(statement.name.counter),
        _ => None,
    }
}

struct World {
    now: Moment,
    log: Vec<OpenedEntry>,
    /// Statements that were trimmed from the log. A load brings what they did.
    trimmed: BTreeSet<u64>,
    next_id: u64,
    unique: u128,
    statements: u64,
    bells: Vec<OpenedEntry>,
    follower: Follower,
    calls: Vec<Call>,
    /// Statements that were applied one by one, or with a load.
    applied: BTreeSet<u64>,
    /// How many events have been, to say what came before what.
    step: u64,
    /// When the channel was bumped last, and how often it was.
    bumped: u64,
    bumps: u64,
    /// Entries that were lost, by their nonces.
    gone: BTreeSet<Nonce>,
    /// When the follower last stood on a lost entry that it had not stood on before, and on which.
    stood_on: Option<(u64, Head)>,
    trims: u64,
    anything_lost: bool,
    recommit_owed: bool,
}

impl World {
    fn new() -> Self {
        let now = Moment::ORIGIN.plus(Duration::from_secs(1));
        let mut world = Self {
            now,
            log: Vec::new(),
            trimmed: BTreeSet::new(),
            next_id: 1,
            unique: 0,
            statements: 0,
            bells: Vec::new(),
            follower: Follower::new(FollowerConfig::default(), now),
            calls: Vec::new(),
            applied: BTreeSet::new(),
            step: 0,
            bumped: 0,
            bumps: 0,
            trims: 0,
            gone: BTreeSet::new(),
            stood_on: None,
            anything_lost: false,
            recommit_owed: false,
        };
        let birth = world.random();
        world.append(Incarnation(birth), OpenedPayload::Nothing);
        world.bells.clear();
        world.follower.tick(now);
        world.drain();
        world
    }

    /// Bytes that never come again.
    fn random(&mut self) -> [u8; 16] {
        self.unique += 1;
        self.unique.to_be_bytes()
    }

    fn head(&self) -> Option<Head> {
        self.log.last().map(|entry| entry.head)
    }

    fn append(&mut self, incarnation: Incarnation, payload: OpenedPayload) {
        let nonce = Nonce(self.random());
        let head = Head {
            incarnation,
            generation: 0,
            position: Position {
                id: StreamId {
                    millis: self.next_id,
                    sequence: 0,
                },
                nonce,
            },
            previous: self.head().map(|head| head.position),
            root: Digest::EMPTY,
        };
        self.next_id += 1;
        let entry = OpenedEntry {
            channel: C,
            head,
            payload,
        };
        self.log.push(entry.clone());
        self.bells.push(entry);
    }

    fn commit(&mut self) {
        self.statements += 1;
        let statement = Statement {
            name: StatementName {
                origin: Origin([9; 16]),
                channel: C,
                counter: self.statements,
            },
            body: Body::Drop(EntryName([0; 32])),
        };
        let incarnation = match self.head() {
            Some(head) => head.incarnation,
            None => Incarnation(self.random()),
        };
        self.append(incarnation, OpenedPayload::Statement(statement));
    }

    fn mint(&mut self, expected: Option<Incarnation>) -> bool {
        let wins = self.head().map(|head| head.incarnation) == expected;
        if wins {
            let incarnation = Incarnation(self.random());
            self.append(incarnation, OpenedPayload::Nothing);
        }
        wins
    }

    /// What the log's lineage holds: the statements in it, and those that were trimmed.
    fn held(&self) -> BTreeSet<u64> {
        let listed = self.log.iter().filter_map(counter);
        listed.chain(self.trimmed.iter().copied()).collect()
    }

    fn lose_from(&mut self, keep: usize) {
        let lost = self.log.split_off(keep.min(self.log.len()));
        if let Some(first) = lost.first() {
            self.anything_lost = true;
            // The new primary counts on from what it has.
            self.next_id = first.head.position.id.millis;
        }
        self.gone.extend(lost.iter().map(|entry| entry.head.position.nonce));
    }

    fn happen(&mut self, event: Event) {
        self.step += 1;
        match event {
            Event::Commit => self.commit(),
            Event::Ring(at, again) => {
                if let Some(at) = at.checked_rem(self.bells.len()) {
                    let bell = if again {
                        self.bells[at].clone()
                    } else {
                        self.bells.remove(at)
                    };
                    self.handle(Input::Bell(bell));
                }
            }
            Event::LoseBell(at) => {
                if let Some(at) = at.checked_rem(self.bells.len()) {
                    self.bells.remove(at);
                }
            }
            Event::Break => self.handle(Input::BellsBroken),
            Event::CarryOut(at) => {
                if let Some(at) = at.checked_rem(self.calls.len()) {
                    self.carry_out(at);
                }
            }
            Event::Answer(at) => {
                if let Some(at) = at.checked_rem(self.calls.len()) {
                    self.answer(at);
                }
            }
            Event::Fail(at) => {
                if let Some(at) = at.checked_rem(self.calls.len()) {
                    self.fail(at);
                }
            }
            Event::Trim(keep) => {
                let from = self.log.len().saturating_sub(keep + 1);
                let trimmed: Vec<OpenedEntry> = self.log.drain(..from).collect();
                self.trims += u64::from(from > 0);
                self.trimmed.extend(trimmed.iter().filter_map(counter));
            }
            Event::LoseNewest(entries) => self.lose_from(self.log.len().saturating_sub(entries).max(1)),
            Event::Wipe => {
                self.lose_from(0);
                self.trimmed.clear();
            }
            Event::Mint => {
                let expected = self.head().map(|head| head.incarnation);
                self.mint(expected);
            }
            Event::Pass(millis) => {
                self.now = self.now.plus(Duration::from_millis(millis));
                self.follower.tick(self.now);
                self.drain();
            }
        }
        if let Some(watermark) = self.follower.watermark(C)
            && self.gone.contains(&watermark.position.nonce)
            && self
                .stood_on
                .is_none_or(|(_, before)| before.position != watermark.position)
        {
            self.stood_on = Some((self.step, watermark));
        }
    }

    /// Nothing happens any more but what the follower asks for, and time. Bells that are still on their way are lost, and
    /// the first recommit fails.
    fn quiet(&mut self, patience: Duration) {
        let end = self.now.plus(patience);
        let mut may_fail = true;
        while self.now < end {
            self.step += 1;
            self.bells.clear();
            for _ in 0..1_000 {
                if self.calls.is_empty() {
                    break;
                }
                if may_fail && matches!(self.calls[0].action, Action::Recommit(_)) {
                    may_fail = false;
                    self.fail(0);
                } else {
                    self.answer(0);
                }
            }
            assert!(self.calls.is_empty(), "the follower asks without end: {:?}", self.calls);
            self.now = self
                .follower
                .poll_timeout()
                .max(self.now.plus(Duration::from_millis(1)));
            self.follower.tick(self.now);
            self.drain();
        }
    }

    fn handle(&mut self, input: Input) {
        self.follower.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(action) = self.follower.poll() {
            match action {
                Action::Apply(statement, ..) => {
                    self.applied.insert(statement.name.counter);
                }
                Action::BumpChannel(C) => {
                    self.bumped = self.step;
                    self.bumps += 1;
                }
                Action::BumpChannel(_) | Action::Tell(_) => {}
                // Quiet channels lack nothing.
                Action::Recommit(channel) if channel != C => {
                    self.follower.handle(self.now, Input::Recommitted(channel, true));
                }
                call => self.calls.push(Call {
                    action: call,
                    asked: self.now,
                    answer: None,
                }),
            }
        }
    }

    /// Fixes the answer of a call by the world as it is now.
    fn carry_out(&mut self, at: usize) {
        if self.calls[at].answer.is_some() {
            return;
        }
        let (action, asked) = (self.calls[at].action.clone(), self.calls[at].asked);
        // Quiet channels hold one entry that never changes.
        let quiet = Head {
            incarnation: Incarnation([0xee; 16]),
            generation: 0,
            position: Position {
                id: StreamId::default(),
                nonce: Nonce([0xee; 16]),
            },
            previous: None,
            root: Digest::EMPTY,
        };
        let input = match action {
            Action::ReadHeads => {
                let mut heads = vec![Some(quiet); 64];
                heads[C.index()] = self.head();
                Input::Heads(asked, Some(heads))
            }
            Action::ReadLog(channel, from) => {
                assert_eq!(channel, C, "a quiet channel is never read again");
                let entries = self.log.iter().filter(|entry| entry.head.position.id >= from.id);
                let slice = Slice {
                    head: self.head(),
                    first: self.log.first().map(|entry| entry.head.position),
                    entries: entries.take(READ_LIMIT).cloned().collect(),
                };
                Input::Slice(C, asked, Some(slice))
            }
            Action::Load(channel) => {
                let head = if channel == C { self.head() } else { Some(quiet) };
                Input::Loaded(channel, asked, Some(head))
            }
            Action::Recommit(channel) => {
                self.commit();
                Input::Recommitted(channel, true)
            }
            Action::Mint(channel, expected) => {
                assert_eq!(channel, C);
                assert!(self.anything_lost, "minted, and nothing was lost");
                let won = self.mint(expected);
                Input::Minted(channel, won)
            }
            other => panic!("{other:?} is no call"),
        };
        let brings = if matches!(input, Input::Loaded(C, ..)) {
            self.held()
        } else {
            BTreeSet::new()
        };
        self.calls[at].answer = Some((input, brings));
    }

    fn answer(&mut self, at: usize) {
        self.carry_out(at);
        let Some((input, brings)) = self.calls.remove(at).answer else {
            return;
        };
        if let Input::Recommitted(_, all) = &input {
            self.recommit_owed = !all;
        }
        let bumps = self.bumps;
        self.handle(input);
        // What a load brought counts if it was merged before a bump: without one, what was filled meanwhile stays valid.
        if self.bumps > bumps {
            self.applied.extend(brings);
        }
    }

    fn fail(&mut self, at: usize) {
        let call = self.calls.remove(at);
        let input = match call.action {
            Action::ReadHeads => Input::Heads(call.asked, None),
            Action::ReadLog(channel, _) => Input::Slice(channel, call.asked, None),
            Action::Load(channel) => Input::Loaded(channel, call.asked, None),
            Action::Recommit(channel) => {
                // A node that has loaded nothing yet holds nothing that a log could lack.
                self.recommit_owed = self.follower.watermark(C).is_some();
                Input::Recommitted(channel, false)
            }
            Action::Mint(channel, _) => Input::Minted(channel, false),
            other => panic!("{other:?} is no call"),
        };
        self.handle(input);
    }
}

/// Events of a log that loses nothing.
fn any_event() -> impl Strategy<Value = Event> {
    let at = || 0_usize..8;
    prop_oneof![
        6 => Just(Event::Commit),
        8 => (at(), any::<bool>()).prop_map(|(at, again)| Event::Ring(at, again)),
        3 => at().prop_map(Event::LoseBell),
        1 => Just(Event::Break),
        4 => at().prop_map(Event::CarryOut),
        8 => at().prop_map(Event::Answer),
        3 => at().prop_map(Event::Fail),
        1 => (0_usize..4).prop_map(Event::Trim),
        1 => Just(Event::Mint),
        6 => (1_u64..700).prop_map(Event::Pass),
    ]
}

/// Events of a log that loses writes.
fn any_event_or_loss() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => any_event(),
        2 => (1_usize..4).prop_map(Event::LoseNewest),
        1 => Just(Event::Wipe),
    ]
}

/// What must hold once the world has been quiet for longer than the follower's longest period, three times over.
fn check(events: Vec<Event>) -> Result<(), TestCaseError> {
    let mut world = World::new();
    for event in events {
        world.happen(event);
    }
    world.quiet(Duration::from_secs(45));
    prop_assert_eq!(
        world.follower.settled(C),
        world.head(),
        "the follower stands at the head"
    );
    prop_assert!(world.follower.coherent_until() > world.now, "and the node is coherent");
    let missing: Vec<u64> = world.held().difference(&world.applied).copied().collect();
    prop_assert!(
        missing.is_empty(),
        "statements {missing:?} are in the log and were never applied"
    );
    if let Some((since, lost)) = world.stood_on {
        prop_assert!(
            world.bumped > since,
            "{lost:?} was lost by step {since}, and nothing was voided since"
        );
        // Where the log was trimmed as well, what is missing may look like what was trimmed: a reload, as bad as that is.
        let minted = world.head().is_some_and(|head| head.incarnation != lost.incarnation);
        prop_assert!(minted || world.trims > 0, "{lost:?} was lost, and L2 was not voided");
    }
    prop_assert!(!world.recommit_owed, "marks that the log lacks were given up");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_lost_statement_is_silent_in_any_history(events in vec(any_event_or_loss(), 0..80)) {
        check(events)?;
    }

    #[test]
    fn a_follower_mints_nothing_where_nothing_was_lost(events in vec(any_event(), 0..80)) {
        // `World::carry_out` refuses a mint while nothing was lost.
        check(events)?;
    }
}
