//! What can happen.

use std::fmt;

use authmesh_proto::gossip::Input;
use authmesh_proto::ident::Origin;

use crate::scenarios::{Mode, Scenario, Swim};
use crate::world::{At, NODES, Said, World, pairs, peer};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A tick with all that happens in it: links, Redis, SWIM, and in which order members ask.
    Round {
        links: u16,
        announce: u8,
        prove: u8,
        swim: bool,
        backwards: bool,
    },
    Tick,
    /// A question is answered, with all that follows by stream.
    Exchange(usize),
    /// A question arrives; its answer is on its way.
    Reach(usize),
    /// The answer arrives.
    Answer(usize),
    /// A question arrives; its answer is lost.
    HalfExchange(usize),
    Announce(At),
    Prove(At),
    Say(Said, At),
    Commit(Said, At),
    Up(At, At),
    Down(At, At),
    Crash(At),
    Restart(At),
    Join(At),
    /// At one node an operator forgets a start of another that has ended.
    Forget(At, Origin),
    /// A node leaves; one other hears its good-bye.
    Leave(At, At),
}

impl Event {
    /// Whether time passes with it.
    pub(crate) const fn takes_time(self) -> bool {
        matches!(self, Self::Round { .. } | Self::Tick)
    }

    /// What it says of a world in which it is about to happen.
    pub(crate) fn tell(self, world: &World) -> String {
        let call = |index: usize| {
            let call = &world.calls[index];
            let by = if call.large { "stream" } else { "datagram" };
            format!(
                "{} of {} by {by}, sent {} ticks ago",
                call.to,
                call.from,
                world.tick - call.sent
            )
        };
        match self {
            Self::Exchange(index) => format!("answered at once: the question to {}", call(index)),
            Self::Reach(index) => format!("arrives: the question to {}", call(index)),
            Self::Answer(index) => format!("arrives: the answer from {}", call(index)),
            Self::HalfExchange(index) => format!("arrives, its answer is lost: the question to {}", call(index)),
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Round {
                links,
                announce,
                prove,
                swim,
                backwards,
            } => {
                let linked = pairs().enumerate().filter(|(bit, _)| links >> bit & 1 == 1);
                let linked: Vec<String> = linked.map(|(_, (a, b))| format!("{a}-{b}")).collect();
                let places = |mask: u8| -> Vec<At> { (0..NODES).filter(|at| mask >> at & 1 == 1).collect() };
                let (announce, prove) = (places(*announce), places(*prove));
                write!(f, "a tick: links {linked:?}, registered {announce:?}, proven {prove:?}")?;
                if *swim {
                    write!(f, ", the others are given up")?;
                }
                if *backwards {
                    write!(f, ", last ones first")?;
                }
                Ok(())
            }
            other => write!(f, "{other:?}"),
        }
    }
}

/// Every choice of these, each taken whole or not at all.
fn choices<T: Copy>(units: &[T], none: T, with: impl Fn(T, T) -> T + Copy) -> impl Iterator<Item = T> {
    (0..1_u32 << units.len()).map(move |choice| {
        let chosen = units.iter().enumerate().filter(|(at, _)| choice >> at & 1 == 1);
        chosen.fold(none, |sum, (_, unit)| with(sum, *unit))
    })
}

impl World {
    /// What can happen now.
    pub(crate) fn events(&self, scenario: &Scenario, out: &mut Vec<Event>) {
        out.clear();
        self.statements(scenario, out);
        self.rare(scenario, out);
        let end = self.tick >= scenario.begin() + scenario.ticks;
        match scenario.mode {
            Mode::Rounds { swim, backwards } if !end => self.rounds(scenario, swim, backwards, out),
            Mode::Rounds { .. } => {}
            Mode::Steps { half, apart } => {
                self.steps(scenario, half, apart, out);
                if !end {
                    out.push(Event::Tick);
                }
            }
        }
    }

    fn statements(&self, scenario: &Scenario, out: &mut Vec<Event>) {
        for (said, makers) in scenario.statements.iter().enumerate() {
            let fate = &self.fates[said];
            let Some(name) = fate.name else {
                let may = |at: &At| makers >> at & 1 == 1 && self.node(*at).is_some_and(|node| !node.forgotten);
                out.extend((0..NODES).filter(may).map(|at| Event::Say(said, at)));
                continue;
            };
            if scenario.has_log && !fate.logged {
                let may = |at: &At| {
                    let holds = |node: &crate::world::Node| node.machine.has_applied(&name);
                    scenario.commits >> at & 1 == 1 && self.node(*at).is_some_and(holds)
                };
                out.extend((0..NODES).filter(may).map(|at| Event::Commit(said, at)));
            }
        }
    }

    fn rare(&self, scenario: &Scenario, out: &mut Vec<Event>) {
        let budget = self.budget;
        for at in 0..NODES {
            let is_there = self.node(at).is_some();
            if is_there && budget.crash > 0 && scenario.may_end >> at & 1 == 1 {
                out.push(Event::Crash(at));
            }
            if budget.restart > 0 && at < scenario.members && scenario.may_end >> at & 1 == 1 {
                out.push(Event::Restart(at));
            }
            if !is_there && budget.join > 0 && at >= scenario.members && at < scenario.places() {
                out.push(Event::Join(at));
            }
            if is_there && budget.leave > 0 && scenario.may_end >> at & 1 == 1 {
                let hears = (0..NODES).filter(|other| *other != at && self.node(*other).is_some());
                out.extend(hears.map(|other| Event::Leave(at, other)));
            }
            if budget.forget > 0
                && let Some(node) = self.node(at)
            {
                let members = node.machine.members();
                let ended = members.filter(|(peer, ..)| self.place_of(&peer.origin).is_none());
                out.extend(ended.map(|(peer, ..)| Event::Forget(at, peer.origin)));
            }
        }
    }

    fn rounds(&self, scenario: &Scenario, swim: Swim, backwards: bool, out: &mut Vec<Event>) {
        // What concerns nobody who is there makes no difference.
        let (mut there, mut between) = (0, 0);
        for at in (0..NODES).filter(|at| self.node(*at).is_some()) {
            there |= 1 << at;
        }
        for (bit, (a, b)) in pairs().enumerate() {
            between |= u16::from(there >> a & there >> b & 1 == 1) << bit;
        }
        let links: Vec<u16> = scenario
            .links
            .iter()
            .map(|unit| unit & between)
            .filter(|unit| *unit != 0)
            .collect();
        let units = scenario
            .redis_units
            .iter()
            .map(|(announce, prove)| (announce & there, prove & there));
        let units: Vec<(u8, u8)> = units.filter(|unit| *unit != (0, 0)).collect();
        for links in choices(&links, scenario.links_always & between, |a, b| a | b) {
            let with = |a: (u8, u8), b: (u8, u8)| (a.0 | b.0, a.1 | b.1);
            for (announce, prove) in choices(&units, scenario.redis_always, with) {
                for (give_up, order) in [(false, false), (false, true), (true, false), (true, true)] {
                    let swims = match swim {
                        Swim::Never => !give_up,
                        Swim::Maybe => true,
                        Swim::Always => give_up,
                    };
                    if swims && (!order || backwards && links.count_ones() > 1) {
                        out.push(Event::Round {
                            links,
                            announce,
                            prove,
                            swim: give_up,
                            backwards: order,
                        });
                    }
                }
            }
        }
    }

    fn steps(&self, scenario: &Scenario, half: bool, apart: bool, out: &mut Vec<Event>) {
        for (index, call) in self.calls.iter().enumerate() {
            if call.answer.is_some() {
                out.push(Event::Answer(index));
                continue;
            }
            if self.node(call.to).is_none() {
                continue;
            }
            match apart {
                true => out.push(Event::Reach(index)),
                false => out.push(Event::Exchange(index)),
            }
            if half && !call.large {
                out.push(Event::HalfExchange(index));
            }
        }
        for at in 0..NODES {
            let Some(node) = self.node(at) else { continue };
            if scenario.has_log && scenario.redis >> at & 1 == 1 {
                if !node.announced_now {
                    out.push(Event::Announce(at));
                }
                if node.proven != Some(self.tick) || self.lacks_logged(at) {
                    out.push(Event::Prove(at));
                }
            }
            for other in 0..NODES {
                if self.finds(at, other) {
                    out.push(Event::Up(at, other));
                } else if other != at && self.budget.down > 0 {
                    out.push(Event::Down(at, other));
                }
            }
        }
    }

    /// What it leads to.
    pub(crate) fn step(&self, scenario: &Scenario, event: Event) -> Self {
        let mut next = self.clone();
        match event {
            Event::Round {
                links,
                announce,
                prove,
                swim,
                backwards,
            } => next.round(scenario, links, (announce, prove), swim, backwards),
            Event::Tick => next.pass(scenario),
            Event::Exchange(index) => next.exchange(index),
            Event::Reach(index) => {
                next.reach(index);
            }
            Event::Answer(index) => next.answer(index),
            Event::HalfExchange(index) => next.half_exchange(index),
            Event::Announce(at) => next.announce(at),
            Event::Prove(at) => next.prove(at),
            Event::Say(said, at) => next.say(said, at),
            Event::Commit(said, at) => next.commit(said, at),
            Event::Up(a, b) => next.up(a, b),
            Event::Down(a, b) => {
                next.budget.down -= 1;
                next.down(a, b);
            }
            Event::Crash(at) => {
                next.budget.crash -= 1;
                next.stop(at);
            }
            Event::Restart(at) => {
                next.budget.restart -= 1;
                next.stop(at);
                next.starts[at] += 1;
                next.start(scenario, at);
            }
            Event::Join(at) => {
                next.budget.join -= 1;
                next.start(scenario, at);
            }
            Event::Forget(at, origin) => {
                next.budget.forget -= 1;
                next.input(at, Input::Gone(origin));
            }
            Event::Leave(at, hearer) => {
                next.budget.leave -= 1;
                let origin = peer(at, next.starts[at]).origin;
                next.stop(at);
                next.input(hearer, Input::Gone(origin));
            }
        }
        next
    }
}
