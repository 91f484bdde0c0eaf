//! Breadth-first search over every state, with the shortest trace to what is wrong.

use std::collections::BTreeSet;

use crate::canon::Packed;
use crate::event::tell;
use crate::state::{Scenario, State};

/// What a search found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) states: usize,
    pub(crate) steps: usize,
    /// The longest of the shortest ways to a state.
    pub(crate) depth: usize,
    /// States where all is quiet.
    pub(crate) quiet: usize,
    pub(crate) mints: usize,
    pub(crate) wrong: Option<Wrong>,
    /// The search ended at its limit of states.
    pub(crate) cut: bool,
}

#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) what: String,
    pub(crate) trace: Vec<String>,
}

fn hash(packed: &Packed) -> u64 {
    let mut mixed = 0x51_7c_c1_b7_u64;
    for word in packed {
        mixed = (mixed.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    mixed ^ (mixed >> 29)
}

/// The states that were met, each once, in the order of their discovery.
struct Met {
    states: Vec<Packed>,
    /// From which state each was reached first.
    from: Vec<u32>,
    /// Open addressing: an index into `states`, and a piece of the hash.
    table: Vec<(u32, u32)>,
}

const EMPTY: u32 = u32::MAX;

impl Met {
    fn new() -> Self {
        Self {
            states: Vec::new(),
            from: Vec::new(),
            table: vec![(EMPTY, 0); 1 << 12],
        }
    }

    /// The number of a state, and whether it is new.
    fn number(&mut self, state: Packed, from: u32) -> (u32, bool) {
        if (self.states.len() + 1) * 2 > self.table.len() {
            self.grow();
        }
        let hash = hash(&state);
        let mask = self.table.len() - 1;
        let piece = (hash >> 32) as u32;
        let mut at = hash as usize & mask;
        loop {
            let (index, held) = self.table[at];
            if index == EMPTY {
                let number = self.states.len() as u32;
                self.table[at] = (number, piece);
                self.states.push(state);
                self.from.push(from);
                return (number, true);
            }
            if held == piece && self.states[index as usize] == state {
                return (index, false);
            }
            at = (at + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let mask = self.table.len() * 2 - 1;
        let mut table = vec![(EMPTY, 0); mask + 1];
        for (number, state) in self.states.iter().enumerate() {
            let hash = hash(state);
            let mut at = hash as usize & mask;
            while table[at].0 != EMPTY {
                at = (at + 1) & mask;
            }
            table[at] = (number as u32, (hash >> 32) as u32);
        }
        self.table = table;
    }

    /// The states on the way to a state, the first one left out.
    fn way_to(&self, state: u32) -> Vec<Packed> {
        let mut way = Vec::new();
        let mut at = state;
        while at != 0 {
            way.push(self.states[at as usize]);
            at = self.from[at as usize];
        }
        way.reverse();
        way
    }
}

/// Visits every state of a scenario; at most `limit`.
pub(crate) fn explore(scenario: &Scenario, limit: usize) -> Report {
    let mut met = Met::new();
    let first = State::first(scenario.failover);
    met.number(first.packed(scenario), 0);
    let mut report = Report::default();
    let mut progress = Progress::default();
    let (mut events, mut asked) = (Vec::new(), Vec::new());
    let (mut level, mut next_level) = (vec![first], Vec::new());
    let mut at = 0_u32;
    'levels: while !level.is_empty() {
        for state in &level {
            if state.is_quiet(scenario) {
                report.quiet += 1;
                progress.quiet(at);
            }
            report.mints = report.mints.max(state.logs[0].mints().max(state.logs[1].mints()));
            state.events(scenario, &mut events);
            for event in &events {
                report.steps += 1;
                asked.clear();
                let next = state
                    .step(scenario, *event, &mut asked)
                    .and_then(|next| match next.wrong(scenario) {
                        None => Ok(next),
                        Some(what) => Err(what),
                    });
                let next = match next {
                    Ok(next) => next.canonical(scenario),
                    Err(what) => {
                        let trace = read_out(scenario, &met.way_to(at), true);
                        report.wrong = Some(Wrong { what, trace });
                        break 'levels;
                    }
                };
                let (number, new) = met.number(next.packed(scenario), at);
                if new {
                    next_level.push(next);
                }
                if event.is_progress() && number != at {
                    progress.edges.push((at, number));
                }
            }
            at += 1;
        }
        if met.states.len() > limit {
            report.cut = true;
            break;
        }
        report.depth += usize::from(!next_level.is_empty());
        level.clear();
        std::mem::swap(&mut level, &mut next_level);
    }
    report.states = met.states.len();
    if !report.cut
        && report.wrong.is_none()
        && let Some(stuck) = progress.stuck(met.states.len())
    {
        report.wrong = Some(Wrong {
            what:
                "from here the nodes never come to rest: whatever happens by itself, a channel stays unsettled, or a \
                   statement stays without a position"
                    .into(),
            trace: read_out(scenario, &met.way_to(stuck), false),
        });
    }
    report
}

/// The canonical forms of all states, found without them: here nodes, fills and entries keep their names, and nothing is
/// forgotten.
pub(crate) fn canonical_forms(scenario: &Scenario, canonical: bool) -> BTreeSet<Packed> {
    let first = State::first(scenario.failover);
    let mut met = BTreeSet::from([first.packed(scenario)]);
    let mut forms = BTreeSet::new();
    let mut open = vec![first];
    let mut events = Vec::new();
    while let Some(state) = open.pop() {
        forms.insert(state.canonical(scenario).packed(scenario));
        state.events(scenario, &mut events);
        for event in &events {
            if let Ok(next) = state.step(scenario, *event, &mut Vec::new()) {
                let next = if canonical { next.canonical(scenario) } else { next };
                if met.insert(next.packed(scenario)) {
                    open.push(next);
                }
            }
        }
    }
    forms
}

/// Which states lead to quiet by themselves.
#[derive(Default)]
struct Progress {
    edges: Vec<(u32, u32)>,
    quiet: Vec<u32>,
}

impl Progress {
    fn quiet(&mut self, state: u32) {
        self.quiet.push(state);
    }

    /// The first state from which no quiet one can be reached.
    fn stuck(mut self, states: usize) -> Option<u32> {
        self.edges.sort_unstable_by_key(|(_, to)| *to);
        let mut first = vec![0_u32; states + 1];
        for (_, to) in &self.edges {
            first[*to as usize + 1] += 1;
        }
        for at in 1..first.len() {
            first[at] += first[at - 1];
        }
        let mut rests = vec![false; states];
        let mut open = self.quiet;
        for state in &open {
            rests[*state as usize] = true;
        }
        while let Some(state) = open.pop() {
            let range = first[state as usize] as usize..first[state as usize + 1] as usize;
            for (from, _) in &self.edges[range] {
                if !std::mem::replace(&mut rests[*from as usize], true) {
                    open.push(*from);
                }
            }
        }
        rests.iter().position(|rests| !rests).map(|at| at as u32)
    }
}

/// A way through the world, a line for each step; and, if asked for, one step more, to what is wrong.
///
/// The way is given by what the search knows of its states. Here nodes, fills and entries keep their names.
fn read_out(scenario: &Scenario, way: &[Packed], wrong: bool) -> Vec<String> {
    let mut state = State::first(scenario.failover);
    let mut lines = Vec::new();
    let mut events = Vec::new();
    let steps = way.iter().map(Some).chain(wrong.then_some(None));
    for aim in steps {
        state.events(scenario, &mut events);
        let hit = events.iter().find_map(|event| {
            let next = state.step(scenario, *event, &mut Vec::new());
            match (aim, next) {
                (Some(aim), Ok(next)) => (next.canonical(scenario).packed(scenario) == *aim).then_some((*event, next)),
                (None, Ok(next)) => next.wrong(scenario).map(|_| (*event, next)),
                (None, Err(_)) => Some((*event, state)),
                (Some(_), Err(_)) => None,
            }
        });
        let Some((event, next)) = hit else {
            lines.push("(no event leads on from here: the canonical form is wrong)".into());
            break;
        };
        lines.push(tell(scenario, &state, event, &next));
        state = next;
    }
    lines
}
