//! An exhaustive search through what readers of one node's memory may do, step by step, while statements are applied, rows are
//! evicted or taken out, and fills land: with a front per reader that keeps what the store has let go of. `docs/model-check.md`
//! is the guide.
//!
//! What mini-moka hears of decides only what it evicts, and here it evicts anything at any time: so no sampling of hits is
//! modelled, and none can matter. Steps are single reads and writes of shared memory, in one order that all threads see.

#![forbid(unsafe_code)]
// All of it is a test.
#![allow(clippy::panic)]

use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;

/// Rows that are ever made. Fills beyond these are answered and not kept.
const ROWS: usize = 4;

/// What may be switched off.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Rule {
    /// What a front has is checked against the fence, like anything else.
    FrontFence,
    /// What a front has is checked against the marks if their epoch moved, like anything else.
    FrontEpoch,
    /// A row that left the index says so, and a front that has it looks there.
    Gone,
    /// Whoever applies a mark changes the map, then bumps.
    ChangeThenBump,
    /// Whoever reads loads the epoch, then checks the map.
    LoadThenCheck,
    /// A fill captures its stamps before it reads its source.
    CaptureThenRead,
}

/// What happens, apart from two readers, fills and evictions.
#[derive(Clone, Copy)]
struct Scenario {
    name: &'static str,
    /// Statements that drop the key, each after a write to the source.
    drops: u8,
    /// Whether the token is revoked.
    mark: bool,
    /// Revocations of others: they bump the epoch, and change nothing for this token.
    others: u8,
    /// Rows that are taken out with no statement.
    removals: u8,
    /// Reads of each reader.
    reads: [u8; 2],
    off: Option<Rule>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
struct Row {
    stamp: u8,
    version: u8,
    /// Mark epoch of the last check.
    checked: u8,
    gone: bool,
    /// By mini-moka.
    held: bool,
}

/// Where a reader stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum At {
    Idle,
    /// Its front has this row; it has not asked yet whether that is gone.
    InFront(u8),
    /// To be checked: the row, and whether a front had it.
    Found(u8, bool),
    Fenced(u8, bool),
    /// The marks are to be checked; the epoch that was loaded before.
    Check(u8, u8),
    /// With [`Rule::LoadThenCheck`] off: the marks were checked, the epoch is loaded now.
    Load(u8),
    /// All checks passed.
    Good(u8),
    Missed,
    /// Stamp and epoch.
    Captured(u8, u8),
    /// With [`Rule::CaptureThenRead`] off: the version that was read.
    ReadFirst(u8),
    /// Stamp, epoch, version.
    Sourced(u8, u8, u8),
    /// The row stands in the index in place of another.
    Landed(u8, Option<u8>),
    /// Not yet held by mini-moka.
    Unheld(u8),
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Reader {
    left: u8,
    front: Option<u8>,
    at: At,
    /// What was in force when this read began: the oldest version it may have, whether it may have any, and the rows, as bits,
    /// that it may not have.
    least: u8,
    void: bool,
    not: u8,
}

impl Reader {
    const fn idle(left: u8, front: Option<u8>) -> Self {
        Self {
            left,
            front,
            at: At::Idle,
            least: 0,
            void: false,
            not: 0,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct World {
    source: u8,
    fence: u8,
    marked: bool,
    epoch: u8,
    rows: [Row; ROWS],
    made: u8,
    index: Option<u8>,
    /// Versions up to this one are what statements here have applied.
    applied: u8,
    revoked: bool,
    /// Rows that were taken out, as bits.
    taken: u8,
    /// Whether the source was written and the drop is not applied yet; drops that are left.
    writing: bool,
    drops: u8,
    /// Steps that the mark has taken.
    marking: u8,
    others: u8,
    removals: u8,
    /// The row that is being taken out of the index, by eviction or on order.
    leaving: [Option<u8>; 2],
    readers: [Reader; 2],
}

/// What a search found.
struct Report {
    states: usize,
    steps: usize,
    wrong: Option<Vec<String>>,
}

impl World {
    fn first(scenario: &Scenario) -> Self {
        Self {
            source: 0,
            fence: 0,
            marked: false,
            epoch: 1,
            rows: [Row::default(); ROWS],
            made: 0,
            index: None,
            applied: 0,
            revoked: false,
            taken: 0,
            writing: false,
            drops: scenario.drops,
            marking: 0,
            others: scenario.others,
            removals: scenario.removals,
            leaving: [None; 2],
            readers: scenario.reads.map(|left| Reader::idle(left, None)),
        }
    }

    /// Every world that one step leads to, with what happened; and whether the step gave an answer that must not be given.
    fn next(&self, scenario: &Scenario) -> Vec<(String, Self, bool)> {
        let mut next = Vec::new();
        self.statements(scenario, &mut next);
        self.others(&mut next);
        self.departures(&mut next);
        for reader in 0..2 {
            self.read(scenario, reader, &mut next);
        }
        next
    }

    fn step(&self, next: &mut Vec<(String, Self, bool)>, what: impl Into<String>, change: impl FnOnce(&mut Self)) {
        let mut world = *self;
        change(&mut world);
        next.push((what.into(), world, false));
    }

    fn statements(&self, scenario: &Scenario, next: &mut Vec<(String, Self, bool)>) {
        if self.drops > 0 && !self.writing {
            self.step(next, "the source is written", |world| {
                world.source += 1;
                world.writing = true;
            });
        }
        if self.writing {
            self.step(next, "the drop is applied: the fence is bumped", |world| {
                world.fence += 1;
                world.applied = world.source;
                world.writing = false;
                world.drops -= 1;
            });
        }
        if scenario.mark && self.marking < 2 {
            let change = (self.marking == 0) == (scenario.off != Some(Rule::ChangeThenBump));
            let what = if change {
                "the mark enters the map"
            } else {
                "the epoch is bumped"
            };
            self.step(next, what, |world| {
                if change {
                    world.marked = true;
                } else {
                    world.epoch += 1;
                }
                world.marking += 1;
                world.revoked = world.marking == 2;
            });
        }
    }

    fn others(&self, next: &mut Vec<(String, Self, bool)>) {
        if self.others > 0 {
            self.step(next, "somebody else's mark bumps the epoch", |world| {
                world.epoch += 1;
                world.others -= 1;
            });
        }
    }

    /// Rows leave: 0 evicts, 1 takes out on order. First the row says that it is gone, then it leaves the index.
    fn departures(&self, next: &mut Vec<(String, Self, bool)>) {
        for row in 0..self.made {
            if self.rows[usize::from(row)].held && self.leaving[0].is_none() {
                self.step(next, format!("mini-moka evicts row {row}"), |world| {
                    let evicted = &mut world.rows[usize::from(row)];
                    (evicted.held, evicted.gone) = (false, true);
                    world.leaving[0] = Some(row);
                });
            }
        }
        if let (Some(row), None, true) = (self.index, self.leaving[1], self.removals > 0) {
            self.step(next, format!("row {row} is taken out on order"), |world| {
                let held = &mut world.rows[usize::from(row)];
                (held.held, held.gone) = (false, true);
                world.leaving[1] = Some(row);
                world.removals -= 1;
            });
        }
        for (why, leaving) in self.leaving.into_iter().enumerate() {
            let Some(row) = leaving else { continue };
            self.step(next, format!("row {row} leaves the index"), |world| {
                if world.index == Some(row) {
                    world.index = None;
                }
                world.leaving[why] = None;
                if why == 1 {
                    world.taken |= 1 << row;
                }
            });
        }
    }

    fn read(&self, scenario: &Scenario, number: usize, next: &mut Vec<(String, Self, bool)>) {
        let reader = self.readers[number];
        let on = |rule| scenario.off != Some(rule);
        let mut go = |what: &str, at: At| {
            self.step(next, format!("reader {number} {what}"), |world| {
                world.readers[number].at = at
            });
        };
        match reader.at {
            At::Idle if reader.left == 0 => {}
            At::Idle => self.step(next, format!("reader {number} begins"), |world| {
                let begun = &mut world.readers[number];
                begun.left -= 1;
                (begun.least, begun.void, begun.not) = (self.applied, self.revoked, self.taken);
                begun.at = match (reader.front, self.index) {
                    (Some(row), _) => At::InFront(row),
                    (None, Some(row)) => At::Found(row, false),
                    (None, None) => At::Missed,
                };
            }),
            At::InFront(row) => {
                if on(Rule::Gone) && self.rows[usize::from(row)].gone {
                    self.step(
                        next,
                        format!("reader {number} drops row {row}, and looks into the index"),
                        |world| {
                            let begun = &mut world.readers[number];
                            begun.front = None;
                            begun.at = self.index.map_or(At::Missed, |row| At::Found(row, false));
                        },
                    );
                } else {
                    go("has it in front", At::Found(row, true));
                }
            }
            At::Found(row, in_front) => {
                let current = self.rows[usize::from(row)].stamp == self.fence;
                if current || (in_front && !on(Rule::FrontFence)) {
                    go("finds the fence unmoved", At::Fenced(row, in_front));
                } else {
                    self.step(next, format!("reader {number} finds row {row} void"), |world| {
                        world.rows[usize::from(row)].gone = true;
                        if world.index == Some(row) {
                            world.index = None;
                        }
                        world.readers[number].front = None;
                        world.readers[number].at = At::Missed;
                    });
                }
            }
            At::Fenced(row, in_front) => {
                if (in_front && !on(Rule::FrontEpoch)) || self.rows[usize::from(row)].checked == self.epoch {
                    go("finds the epoch unmoved", At::Good(row));
                } else if on(Rule::LoadThenCheck) {
                    go("loads the epoch", At::Check(row, self.epoch));
                } else if self.marked {
                    self.answer(next, number, "refuses: revoked", None);
                } else {
                    go("checks the marks", At::Load(row));
                }
            }
            At::Check(row, epoch) => {
                if self.marked {
                    self.answer(next, number, "refuses: revoked", None);
                } else {
                    self.stamped(next, number, row, epoch);
                }
            }
            At::Load(row) => self.stamped(next, number, row, self.epoch),
            At::Good(row) => self.serve(scenario, next, number, row),
            At::Missed if on(Rule::CaptureThenRead) => go("captures", At::Captured(self.fence, self.epoch)),
            At::Missed => go("reads the source", At::ReadFirst(self.source)),
            At::ReadFirst(version) => go("captures", At::Sourced(self.fence, self.epoch, version)),
            At::Captured(stamp, epoch) => go("reads the source", At::Sourced(stamp, epoch, self.source)),
            At::Sourced(stamp, epoch, version) => {
                if self.marked {
                    self.answer(next, number, "refuses: revoked", None);
                } else if usize::from(self.made) == ROWS {
                    self.answer(next, number, "answers, and keeps nothing", Some((version, None)));
                } else {
                    self.step(
                        next,
                        format!("reader {number} puts row {} into the index", self.made),
                        |world| {
                            world.rows[usize::from(self.made)] = Row {
                                stamp,
                                version,
                                checked: epoch,
                                ..Row::default()
                            };
                            world.readers[number].at = At::Landed(self.made, self.index);
                            world.index = Some(self.made);
                            world.made += 1;
                        },
                    );
                }
            }
            At::Landed(row, former) => {
                self.step(next, format!("reader {number}: what stood there is gone"), |world| {
                    if let Some(former) = former {
                        world.rows[usize::from(former)].gone = true;
                        world.rows[usize::from(former)].held = false;
                    }
                    world.readers[number].at = At::Unheld(row);
                });
            }
            At::Unheld(row) => {
                let mut held = *self;
                held.rows[usize::from(row)].held = true;
                let version = self.rows[usize::from(row)].version;
                held.answer(next, number, "tells mini-moka, and answers", Some((version, None)));
            }
        }
    }

    fn stamped(&self, next: &mut Vec<(String, Self, bool)>, number: usize, row: u8, epoch: u8) {
        self.step(
            next,
            format!("reader {number} stamps row {row} with epoch {epoch}"),
            |world| {
                world.rows[usize::from(row)].checked = epoch;
                world.readers[number].at = At::Good(row);
            },
        );
    }

    /// Answers with a row. The front may let it in, unless it says that it is gone.
    fn serve(&self, scenario: &Scenario, next: &mut Vec<(String, Self, bool)>, number: usize, row: u8) {
        let held = self.rows[usize::from(row)];
        self.answer(next, number, "answers", Some((held.version, Some(row))));
        let is_gone = held.gone && scenario.off != Some(Rule::Gone);
        if self.readers[number].front != Some(row) && !is_gone {
            let mut kept = *self;
            kept.readers[number].front = Some(row);
            kept.answer(
                next,
                number,
                "answers, and keeps it in front",
                Some((held.version, Some(row))),
            );
        }
    }

    /// Ends a read. `given`: the version, and the row in memory that it comes from.
    fn answer(&self, next: &mut Vec<(String, Self, bool)>, number: usize, what: &str, given: Option<(u8, Option<u8>)>) {
        let reader = self.readers[number];
        let wrong = given.is_some_and(|(version, row)| {
            let taken = row.is_some_and(|row| reader.not & (1 << row) != 0);
            version < reader.least || reader.void || taken
        });
        let mut world = *self;
        world.readers[number] = Reader::idle(reader.left, reader.front);
        next.push((format!("reader {number} {what}: {given:?}"), world, wrong));
    }
}

/// Visits every world; ends at the first wrong answer, with a shortest way to it.
fn explore(scenario: &Scenario) -> Report {
    let first = World::first(scenario);
    let mut from: BTreeMap<World, Option<(World, String)>> = BTreeMap::from([(first, None)]);
    let (mut open, mut steps) = (VecDeque::from([first]), 0);
    while let Some(world) = open.pop_front() {
        for (what, next, wrong) in world.next(scenario) {
            steps += 1;
            if wrong {
                let mut way = vec![what];
                let mut at = world;
                while let Some(Some((before, what))) = from.get(&at) {
                    way.push(what.clone());
                    at = *before;
                }
                way.reverse();
                return Report {
                    states: from.len(),
                    steps,
                    wrong: Some(way),
                };
            }
            if let std::collections::btree_map::Entry::Vacant(vacant) = from.entry(next) {
                vacant.insert(Some((world, what)));
                open.push_back(next);
            }
        }
    }
    Report {
        states: from.len(),
        steps,
        wrong: None,
    }
}

fn say(scenario: &Scenario, report: &Report) {
    let found = report
        .wrong
        .as_ref()
        .map_or("clean".to_owned(), |way| format!("wrong after {} steps", way.len()));
    let Report { states, steps, .. } = report;
    let off = scenario.off.map_or(String::new(), |rule| format!(", {rule:?} off"));
    // Straight to the terminal: what was covered belongs to the result, also where the test passes.
    let _ = writeln!(
        std::io::stderr(),
        "front explorer: {states:>8} states, {steps:>9} steps: {}{off}: {found}",
        scenario.name
    );
}

const ONE_DROP: Scenario = Scenario {
    name: "one drop",
    drops: 1,
    mark: false,
    others: 0,
    removals: 0,
    reads: [3, 2],
    off: None,
};
const TWO_DROPS: Scenario = Scenario {
    name: "two drops",
    drops: 2,
    reads: [3, 1],
    ..ONE_DROP
};
const ONE_MARK: Scenario = Scenario {
    name: "one revocation",
    drops: 0,
    mark: true,
    ..ONE_DROP
};
const TWO_MARKS: Scenario = Scenario {
    name: "one revocation, and one of somebody else",
    others: 1,
    reads: [3, 1],
    ..ONE_MARK
};
const BOTH: Scenario = Scenario {
    name: "one revocation, one drop",
    mark: true,
    reads: [3, 1],
    ..ONE_DROP
};
const REMOVED: Scenario = Scenario {
    name: "a row is taken out on order",
    drops: 0,
    removals: 1,
    ..ONE_DROP
};

#[test]
fn no_front_serves_what_was_void_when_the_read_began() {
    for scenario in [ONE_DROP, TWO_DROPS, ONE_MARK, TWO_MARKS, BOTH, REMOVED] {
        let report = explore(&scenario);
        say(&scenario, &report);
        if let Some(way) = report.wrong {
            panic!("{}:\n{}", scenario.name, way.join("\n"));
        }
    }
}

/// Stamps alone keep what statements say: a front need not hear of what leaves the index.
#[test]
fn what_statements_void_is_void_in_a_front_that_never_hears_of_departures() {
    for scenario in [ONE_DROP, TWO_DROPS, ONE_MARK, TWO_MARKS, BOTH] {
        let scenario = Scenario {
            off: Some(Rule::Gone),
            ..scenario
        };
        let report = explore(&scenario);
        say(&scenario, &report);
        assert_eq!(report.wrong, None, "{}", scenario.name);
    }
}

#[test]
fn each_rule_is_missed_when_it_is_off() {
    let controls = [
        (ONE_DROP, Rule::FrontFence),
        (ONE_MARK, Rule::FrontEpoch),
        (REMOVED, Rule::Gone),
        (ONE_MARK, Rule::ChangeThenBump),
        (TWO_MARKS, Rule::LoadThenCheck),
        (ONE_DROP, Rule::CaptureThenRead),
    ];
    for (scenario, rule) in controls {
        let scenario = Scenario {
            off: Some(rule),
            ..scenario
        };
        let report = explore(&scenario);
        say(&scenario, &report);
        assert!(
            report.wrong.is_some(),
            "{}: {rule:?} off, and nothing goes wrong",
            scenario.name
        );
    }
}
