//! Fills: the mirror of the SDK's flight, its read of L2, its lease and its store.

use crate::event::Event;
use crate::rules::Rule;
use crate::state::{Calls, Fill, KEY, Known, NONE, Scenario, Stage, State, UNPOSITIONED, Value};

/// What the lease script sees.
enum Leased {
    Free,
    Mine,
    Held,
    Present,
    InTheWay,
}

fn leased(state: &State, scenario: &Scenario, f: u8) -> Leased {
    let log = &state.logs[KEY];
    let live = |incarnation: u8| incarnation == log.incarnation(log.head);
    let lease_live = |incarnation: u8| live(incarnation) || !scenario.rule(Rule::LeaseIncarnation);
    match state.value {
        Value::Empty => Leased::Free,
        Value::Lease { fill, incarnation } if fill == f && lease_live(incarnation) => Leased::Mine,
        Value::Lease { incarnation, .. } if lease_live(incarnation) => Leased::Held,
        Value::Record { incarnation, .. } if live(incarnation) => Leased::Present,
        _ if scenario.rule(Rule::LeaseReplacesOutdated) => Leased::Free,
        _ => Leased::InTheWay,
    }
}

/// Whether the record that stands in L2 gives way to a fill on a node that begins now.
pub(crate) fn gives_way(state: &State, scenario: &Scenario, n: usize) -> bool {
    let fill = Fill {
        node: n as u8,
        asked: state.nodes[n].follow[KEY].watermark,
        ..Fill::UNUSED
    };
    let void = void_record(state, scenario, &fill, state.logs[KEY].head, state.value);
    void.is_some() || matches!(leased(state, scenario, NONE), Leased::Free)
}

pub(crate) fn events(state: &State, scenario: &Scenario, out: &mut Vec<Event>) {
    for (f, fill) in state.fills.iter().enumerate().take(scenario.fills) {
        let before_began = f == 0 || state.fills[f - 1].stage != Stage::Unused;
        let f = f as u8;
        match fill.stage {
            Stage::Unused if before_began => {
                for n in 0..2_u8 {
                    // A hit in memory is no fill; and while one flies that is not void, a caller joins it.
                    let joins = |other: &Fill| other.node == n && other.flies() && !other.voided;
                    if state.nodes[usize::from(n)].l1 == NONE && !state.fills.iter().any(joins) {
                        out.push(Event::Begin { f, n });
                    }
                }
            }
            Stage::Asked => out.push(Event::Fetch { f }),
            Stage::Fetched(head, value) => {
                let n = usize::from(fill.node);
                if counts(state, scenario, n, (head, value), fill.asked, fill.awaited).is_some() {
                    out.push(Event::Fetched { f });
                }
                // No answer in time.
                out.push(Event::Miss { f });
            }
            Stage::Missed(_) => out.push(Event::Lease { f }),
            Stage::Held => {
                out.push(Event::LoadAnyway { f });
                if !matches!(leased(state, scenario, f), Leased::Held) {
                    out.push(Event::Wake { f });
                }
            }
            Stage::Loaded(..) => out.push(Event::Land { f }),
            Stage::Unused | Stage::Done => {}
        }
    }
    if scenario.expiry && matches!(state.value, Value::Lease { .. }) {
        out.push(Event::Expire);
    }
}

/// A fill captures, and asks L2.
fn ask(state: &mut State, scenario: &Scenario, f: usize) {
    let node = &state.nodes[usize::from(state.fills[f].node)];
    let awaited = awaits(state, scenario, usize::from(state.fills[f].node));
    let fill = &mut state.fills[f];
    fill.voided = false;
    fill.awaited = awaited;
    fill.captured = state.logs[KEY].incarnation(node.follow[KEY].watermark);
    fill.tag = if scenario.has_tag() {
        node.follow[scenario.tag_channel()].watermark
    } else {
        NONE
    };
    fill.asked = node.follow[KEY].watermark;
    fill.stage = Stage::Asked;
}

/// Whether a statement about the key is in force on a node and has no position there.
fn awaits(state: &State, scenario: &Scenario, n: usize) -> bool {
    (0..state.made).any(|s| scenario.body(s).voids_key() && waits(state, scenario, n, s))
}

/// Whether a node keeps away from L2 until a statement has its position.
fn waits(state: &State, scenario: &Scenario, n: usize, s: u8) -> bool {
    let known = state.nodes[n].known[usize::from(s)];
    known.awaits_position() && (known != Known::Heard || scenario.rule(Rule::EarlyCopies))
}

/// Whether a value of L2 counts on a node, that came with `head` for a read sent when the watermark was `asked`.
pub(crate) fn counts(
    state: &State,
    scenario: &Scenario,
    n: usize,
    (head, value): (u8, Value),
    asked: u8,
    awaited: bool,
) -> Option<u8> {
    let Value::Record {
        version,
        incarnation,
        tag,
    } = value
    else {
        return None;
    };
    let credible = credible(state, scenario, n, head, asked, awaited);
    let same = !scenario.rule(Rule::ValueIncarnation) || incarnation == state.logs[KEY].incarnation(head);
    (credible && same && tag_allows(state, scenario, n, tag)).then_some(version)
}

/// Whether the node can tell at all what L2 is worth.
fn credible(state: &State, scenario: &Scenario, n: usize, head: u8, asked: u8, awaited: bool) -> bool {
    let follow = &state.nodes[n].follow[KEY];
    let log = &state.logs[KEY];
    let on = |rule| scenario.rule(rule);
    let proven = !on(Rule::HeadProves) || follow.proves(log, head, asked, scenario);
    let settled = !on(Rule::Settled) || follow.settled();
    let awaits = awaits(state, scenario, n) || (awaited && on(Rule::MissIfAskedUnpositioned));
    let positioned = !on(Rule::MissWhileUnpositioned) || !awaits;
    proven && settled && positioned
}

/// The record that an answer brought and that is void for every node that has applied as much as this one.
fn void_record(state: &State, scenario: &Scenario, fill: &Fill, head: u8, value: Value) -> Option<(u8, u8)> {
    let n = usize::from(fill.node);
    let log = &state.logs[KEY];
    match value {
        Value::Record {
            version,
            incarnation,
            tag,
        } if scenario.rule(Rule::VoidGivesWay)
            && incarnation == log.incarnation(head)
            && credible(state, scenario, n, head, fill.asked, fill.awaited)
            && state.nodes[n].tag != UNPOSITIONED
            && !tag_allows(state, scenario, n, tag) =>
        {
            Some((version, tag))
        }
        _ => None,
    }
}

/// Whether the reader knows no statement about the tag that is newer than what the filler had applied.
pub(crate) fn tag_allows(state: &State, scenario: &Scenario, n: usize, filled: u8) -> bool {
    let node = &state.nodes[n];
    let c = scenario.tag_channel();
    let log = &state.logs[c];
    if !scenario.rule(Rule::TagPosition) {
        return true;
    }
    match node.tag {
        NONE => true,
        // Part of the rule that L2 is a miss meanwhile.
        UNPOSITIONED => !scenario.rule(Rule::MissWhileUnpositioned) || !awaits(state, scenario, n),
        at => {
            let not_after = log.incarnation(at) == log.incarnation(filled) && log.id(at) <= log.id(filled);
            let settled = node.follow[c].settled() || !scenario.rule(Rule::TagSettled);
            not_after && settled && (!scenario.rule(Rule::TagLineage) || node.follow[c].knows(log, filled))
        }
    }
}

pub(crate) fn happen(state: &mut State, scenario: &Scenario, event: Event) -> Result<(), String> {
    let log = state.logs[KEY];
    match event {
        Event::Begin { f, n } => {
            let need = state.nodes[usize::from(n)].need;
            let fill = &mut state.fills[usize::from(f)];
            fill.node = n;
            fill.need = need;
            ask(state, scenario, usize::from(f));
        }
        Event::Fetch { f } => state.fills[usize::from(f)].stage = Stage::Fetched(log.head, state.value),
        Event::Fetched { f } => {
            let fill = state.fills[usize::from(f)];
            let Stage::Fetched(head, value) = fill.stage else {
                return Ok(());
            };
            let n = usize::from(fill.node);
            if let Some(version) = counts(state, scenario, n, (head, value), fill.asked, fill.awaited) {
                land(state, scenario, f, version)?;
                state.fills[usize::from(f)].stage = Stage::Done;
            }
        }
        Event::Miss { f } => miss(state, scenario, f),
        Event::Lease { f } => {
            let incarnation = log.incarnation(log.head);
            let fill = state.fills[usize::from(f)];
            let waited = fill.waited;
            let found = match (leased(state, scenario, f), fill.stage, state.value) {
                // What it found void stands there still.
                (Leased::Present, Stage::Missed(Some(void)), Value::Record { version, tag, .. })
                    if void == (version, tag) =>
                {
                    Leased::Free
                }
                (found, ..) => found,
            };
            match found {
                Leased::Free | Leased::Mine => {
                    state.value = Value::Lease { fill: f, incarnation };
                    read_source(state, scenario, f, incarnation);
                }
                Leased::Held if !waited => state.fills[usize::from(f)].stage = Stage::Held,
                Leased::Present if !waited => {
                    state.fills[usize::from(f)].waited = true;
                    ask(state, scenario, usize::from(f));
                }
                Leased::Held | Leased::Present | Leased::InTheWay => {
                    read_source(state, scenario, f, NONE);
                }
            }
        }
        Event::LoadAnyway { f } => read_source(state, scenario, f, NONE),
        Event::Wake { f } => {
            state.fills[usize::from(f)].waited = true;
            ask(state, scenario, usize::from(f));
        }
        Event::Land { f } => {
            if let Stage::Loaded(version, place) = state.fills[usize::from(f)].stage {
                land(state, scenario, f, version)?;
                if place != NONE {
                    store(state, scenario, f, version, place);
                }
                state.fills[usize::from(f)].stage = Stage::Done;
            }
        }
        Event::Expire => state.value = Value::Empty,
        _ => {}
    }
    Ok(())
}

/// A fill gets no answer in time, or one that does not count.
fn miss(state: &mut State, scenario: &Scenario, f: u8) {
    let fill = state.fills[usize::from(f)];
    if let Stage::Fetched(head, value) = fill.stage {
        let void = void_record(state, scenario, &fill, head, value);
        state.fills[usize::from(f)].stage = Stage::Missed(void);
    }
}

/// The source is read as soon as it may be: a later read brings no older version, and nothing else depends on it.
fn read_source(state: &mut State, scenario: &Scenario, f: u8, place: u8) {
    let version = scenario.version(state.made);
    state.fills[usize::from(f)].stage = Stage::Loaded(version, place);
}

/// The callers get their answer; memory keeps it unless the fence moved.
fn land(state: &mut State, scenario: &Scenario, f: u8, version: u8) -> Result<(), String> {
    let fill: Fill = state.fills[usize::from(f)];
    if version < fill.need {
        return Err(format!(
            "F{} answers with version {version} on N{}, where a statement was in force when its callers came that voids \
             everything older than version {}",
            f + 1,
            fill.node,
            fill.need
        ));
    }
    let void = fill.voided && scenario.rule(Rule::Fence);
    state.nodes[usize::from(fill.node)].l1 = if void { NONE } else { version };
    Ok(())
}

fn store(state: &mut State, scenario: &Scenario, f: u8, version: u8, place: u8) {
    let mine = matches!(leased(state, scenario, f), Leased::Mine);
    let fill = state.fills[usize::from(f)];
    let same = fill.captured == place || !scenario.rule(Rule::SameIncarnation);
    if same && (mine || !scenario.rule(Rule::CompareAndSet)) {
        state.value = Value::Record {
            version,
            incarnation: place,
            tag: fill.tag,
        };
    } else if !same && mine {
        state.value = Value::Empty;
    }
}

/// Calls go on as far as they do not wait, and what a fill needs no more is forgotten.
pub(crate) fn tidy(state: &mut State, scenario: &Scenario) -> Result<(), String> {
    for f in 0..scenario.fills {
        while goes_on(state, scenario, f as u8)? {}
        let fill = &mut state.fills[f];
        match fill.stage {
            Stage::Done => {
                *fill = Fill {
                    stage: Stage::Done,
                    ..Fill::UNUSED
                };
            }
            Stage::Missed(_) | Stage::Held => {
                fill.awaited = false;
                fill.asked = NONE;
            }
            Stage::Loaded(_, place) => {
                fill.awaited = false;
                fill.asked = NONE;
                fill.waited = false;
                if place == NONE {
                    fill.captured = NONE;
                    fill.tag = NONE;
                }
            }
            Stage::Asked | Stage::Fetched(..) | Stage::Unused => {}
        }
    }
    Ok(())
}

/// One step that waits for nothing, if there is one.
fn goes_on(state: &mut State, scenario: &Scenario, f: u8) -> Result<bool, String> {
    let fill = state.fills[usize::from(f)];
    let at_once = scenario.l2_calls == Calls::OneStep;
    match fill.stage {
        Stage::Asked if scenario.l2_calls != Calls::ThreeSteps => happen(state, scenario, Event::Fetch { f })?,
        Stage::Fetched(head, value) => {
            let n = usize::from(fill.node);
            let counts = counts(state, scenario, n, (head, value), fill.asked, fill.awaited).is_some();
            if at_once && counts {
                happen(state, scenario, Event::Fetched { f })?;
            } else if at_once || !matches!(value, Value::Record { .. }) {
                // No record ever counts, whatever comes.
                miss(state, scenario, f);
            } else {
                return Ok(false);
            }
        }
        Stage::Missed(_) if at_once => happen(state, scenario, Event::Lease { f })?,
        _ => return Ok(false),
    }
    Ok(true)
}
