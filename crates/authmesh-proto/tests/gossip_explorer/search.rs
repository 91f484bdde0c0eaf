//! Every state within a number of ticks, those of the fewest ticks first: what is met again later leads nowhere new.

use std::collections::{BTreeMap, VecDeque};

use crate::event::Event;
use crate::scenarios::Scenario;
use crate::world::World;

/// What a search found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) states: usize,
    pub(crate) steps: usize,
    /// States in which somebody answers, and in which nobody does.
    pub(crate) coherent: usize,
    pub(crate) blind: usize,
    /// States with a statement whose receipt was given.
    pub(crate) confirmed: usize,
    /// .. and in which a node that is there does not have it: the blind ones of the property.
    pub(crate) unaware: usize,
    pub(crate) wrong: Option<Wrong>,
    /// The last tick that was reached.
    pub(crate) ticks: u64,
    /// The search ended at its limit of states.
    pub(crate) cut: bool,
}

#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) what: String,
    pub(crate) trace: Vec<String>,
}

/// Visits every state of a scenario; at most `limit`.
pub(crate) fn explore(scenario: &Scenario, limit: usize) -> Report {
    let first = World::settled(scenario);
    let mut met = BTreeMap::from([(first.fingerprint(), 0_u32)]);
    let mut from: Vec<(u32, Event)> = vec![(0, Event::Tick)];
    let mut open = VecDeque::from([(first.clone(), 0_u32)]);
    let mut later = VecDeque::new();
    let mut report = Report::default();
    let mut events = Vec::new();
    'search: while let Some((world, at)) = open.pop_front() {
        report.count(&world);
        report.ticks = world.tick - scenario.begin();
        world.events(scenario, &mut events);
        for event in &events {
            report.steps += 1;
            let next = world.step(scenario, *event);
            if let Some(what) = next.wrong() {
                let mut way = vec![*event];
                let mut back = at;
                while back != 0 {
                    let (before, event) = from[back as usize];
                    way.push(event);
                    back = before;
                }
                way.reverse();
                report.wrong = Some(Wrong {
                    what,
                    trace: read_out(scenario, first, &way),
                });
                break 'search;
            }
            let number = from.len() as u32;
            if let std::collections::btree_map::Entry::Vacant(place) = met.entry(next.fingerprint()) {
                place.insert(number);
                from.push((at, *event));
                match event.takes_time() {
                    true => later.push_back((next, number)),
                    false => open.push_back((next, number)),
                }
            }
        }
        if from.len() > limit {
            report.cut = true;
            break;
        }
        if open.is_empty() {
            std::mem::swap(&mut open, &mut later);
        }
    }
    report.states = from.len();
    report
}

impl Report {
    fn count(&mut self, world: &World) {
        let there = || (0..crate::world::NODES).filter(|at| world.node(*at).is_some());
        match there().any(|at| world.coherent(at)) {
            true => self.coherent += 1,
            false => self.blind += 1,
        }
        let receipts = world
            .fates
            .iter()
            .enumerate()
            .filter(|(_, fate)| fate.confirmed.is_some());
        let mut receipts = receipts.map(|(said, _)| said).peekable();
        self.confirmed += usize::from(receipts.peek().is_some());
        let lacks = |said: usize| there().any(|at| world.node(at).is_some_and(|node| node.applied[said].is_none()));
        self.unaware += usize::from(receipts.any(lacks));
    }
}

/// A line for each event, and what each node is after it.
fn read_out(scenario: &Scenario, first: World, way: &[Event]) -> Vec<String> {
    let mut world = first;
    let mut lines = Vec::new();
    for event in way {
        let told = event.tell(&world);
        world = world.step(scenario, *event);
        lines.push(format!("{told}\n        {}", world.describe()));
    }
    lines
}
