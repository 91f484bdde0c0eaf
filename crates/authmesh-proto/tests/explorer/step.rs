//! What may happen in a state, and what it leads to: the driver, the outbox and the cache of a node, and Redis.

use crate::event::Event;
use crate::follow::{Act, Acts};
use crate::rules::Rule;
use crate::state::{
    Body, Calls, Failover, KEY, Known, NONE, Payload, Phase, Purpose, Scenario, State, UNPOSITIONED, Value,
};

/// What a follower is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Given {
    Bell(u8),
    /// Heads will be read.
    AskHeads,
    /// .. and were: this one.
    Heads(u8),
    /// A suspect channel is due.
    Tick,
    /// The log, up to this entry.
    Slice(u8),
    /// The marks, as of this entry.
    Loaded(u8),
    Recommitted,
    Minted,
}

/// What happens between a driver and its follower.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Talk {
    Given(Given),
    Act(Act),
}

/// What was said in a step, by node and channel, for the comparison with the real follower.
pub(crate) type Asked = Vec<(u8, u8, Talk)>;

impl State {
    /// Everything that may happen.
    pub(crate) fn events(&self, scenario: &Scenario, out: &mut Vec<Event>) {
        out.clear();
        let made = usize::from(self.made);
        if made < scenario.bodies.len() {
            out.extend([0, 1].map(|n| Event::Make { s: self.made, n }));
        }
        for n in 0..2_u8 {
            let node = &self.nodes[usize::from(n)];
            for s in 0..self.made {
                match node.known[usize::from(s)] {
                    Known::Unheard if scenario.early => out.push(Event::Early { s, n }),
                    Known::Waiting => out.push(Event::Commit { s, n }),
                    Known::Sent(_) => out.push(Event::Committed { s, n }),
                    Known::Heard if self.nobody_else_commits(scenario, s, n) => out.push(Event::Commit { s, n }),
                    _ => {}
                }
            }
            for c in 0..scenario.channels() as u8 {
                self.follower_events(scenario, n, c, out);
            }
        }
        crate::fill::events(self, scenario, out);
        if matches!(self.failover, Failover::Ahead(_)) {
            for key in self.logs[0].back_from(self.logs[0].head) {
                for other in self.logs[1].back_from(self.logs[1].head) {
                    if [key, other] != self.logs.map(|log| log.head) {
                        out.push(Event::Failover { heads: [key, other] });
                    }
                }
            }
        }
    }

    fn follower_events(&self, scenario: &Scenario, n: u8, c: u8, out: &mut Vec<Event>) {
        let follow = &self.nodes[usize::from(n)].follow[usize::from(c)];
        let log = &self.logs[usize::from(c)];
        // Any bell may be lost, late, or rung again. One that is not the next only makes the channel suspect, which a comparison
        // of heads does too.
        for at in 0..log.len() {
            if follow.applies(log, at, scenario) {
                out.push(Event::Ring { n, c, at });
            }
        }
        match follow.heads {
            Some((_, NONE)) => out.push(Event::HeadsFixed { n, c }),
            Some(_) => out.push(Event::HeadsAnswered { n, c }),
            None => {
                // Where nothing differs nothing happens.
                let differs = follow.watermark != log.head;
                if scenario.log_calls == Calls::ThreeSteps || (differs && follow.settled()) {
                    out.push(Event::Heads { n, c });
                }
            }
        }
        match follow.phase {
            Phase::Suspect => out.push(Event::Repair { n, c }),
            Phase::Reading { fixed: NONE, .. } | Phase::Loading { fixed: NONE, .. } => out.push(Event::Fix { n, c }),
            Phase::Reading { .. } | Phase::Loading { .. } => out.push(Event::Answer { n, c }),
            Phase::Minting { .. } => out.push(Event::Mint { n, c }),
            Phase::Current | Phase::Recommitting { .. } => {}
        }
        if follow.jobs[0] != NONE {
            out.push(Event::Recommit { n, c });
        }
    }

    /// Whether a node that heard a statement early has waited long enough: its origin is done with it, and the log that the
    /// node has wholly applied does not bring it.
    fn nobody_else_commits(&self, scenario: &Scenario, s: u8, n: u8) -> bool {
        let other = &self.nodes[usize::from(1 - n)];
        let c = scenario.body(s).channel();
        let follow = &self.nodes[usize::from(n)].follow[c];
        scenario.rule(Rule::HolderCommits)
            && other.known[usize::from(s)] == Known::Positioned
            && follow.settled()
            && follow.watermark == self.logs[c].head
    }

    /// What an event leads to, and what the followers asked for.
    ///
    /// # Errors
    /// When callers get an answer that they must not get.
    pub(crate) fn step(&self, scenario: &Scenario, event: Event, asked: &mut Asked) -> Result<Self, String> {
        let mut next = *self;
        next.happen(scenario, event, asked)?;
        next.tidy(scenario, asked)?;
        Ok(next)
    }

    fn happen(&mut self, scenario: &Scenario, event: Event, asked: &mut Asked) -> Result<(), String> {
        match event {
            Event::Make { s, n } => {
                self.made += 1;
                self.apply(scenario, n, s, UNPOSITIONED, true);
                self.nodes[usize::from(n)].known[usize::from(s)] = Known::Waiting;
            }
            Event::Early { s, n } => {
                self.apply(scenario, n, s, UNPOSITIONED, true);
                self.nodes[usize::from(n)].known[usize::from(s)] = Known::Heard;
            }
            Event::Commit { s, n } => {
                let c = scenario.body(s).channel();
                self.commit(c, Payload::Said(s));
                if scenario.body(s) == Body::Drop {
                    self.delete(scenario);
                }
                self.nodes[usize::from(n)].known[usize::from(s)] = Known::Sent(self.logs[c].head);
            }
            Event::Ring { n, c, at } => self.ring(scenario, n, c, at, asked),
            Event::Committed { s, n } => {
                if let Known::Sent(at) = self.nodes[usize::from(n)].known[usize::from(s)] {
                    // The answer is as good as the bell.
                    self.nodes[usize::from(n)].known[usize::from(s)] = Known::Answered;
                    self.ring(scenario, n, scenario.body(s).channel() as u8, at, asked);
                }
            }
            Event::Recommit { n, c } => {
                let jobs = &mut self.nodes[usize::from(n)].follow[usize::from(c)].jobs;
                let marks = jobs[0];
                *jobs = [jobs[1], NONE];
                for s in (0..self.made).filter(|s| marks & (1 << s) != 0) {
                    self.commit(usize::from(c), Payload::Again(s));
                }
                self.recommitted(scenario, n, c, asked);
            }
            Event::Mint { n, c } => self.mint(scenario, n, c, asked),
            Event::Heads { n, c }
            | Event::HeadsFixed { n, c }
            | Event::HeadsAnswered { n, c }
            | Event::Repair { n, c }
            | Event::Fix { n, c }
            | Event::Answer { n, c } => self.call(scenario, event, n, c, asked),
            Event::Failover { heads } => self.fail_over(scenario, heads),
            fill => crate::fill::happen(self, scenario, fill)?,
        }
        Ok(())
    }

    /// A follower's call goes one step on.
    fn call(&mut self, scenario: &Scenario, event: Event, n: u8, c: u8, asked: &mut Asked) {
        let log = self.logs[usize::from(c)];
        let follow = &mut self.nodes[usize::from(n)].follow[usize::from(c)];
        let mut acts = Acts::new();
        let mut merged = None;
        let mut given = |given| asked.push((n, c, Talk::Given(given)));
        match event {
            Event::Heads { .. } if scenario.log_calls == Calls::ThreeSteps => {
                given(Given::AskHeads);
                follow.heads = Some((follow.watermark, NONE));
            }
            Event::Heads { .. } => {
                given(Given::AskHeads);
                given(Given::Heads(log.head));
                follow.on_heads(&log, log.head, follow.watermark, scenario);
            }
            Event::HeadsFixed { .. } => {
                if let Some((_, fixed)) = &mut follow.heads {
                    *fixed = log.head;
                }
            }
            Event::HeadsAnswered { .. } => {
                if let Some((asked, fixed)) = follow.heads.take() {
                    given(Given::Heads(fixed));
                    follow.on_heads(&log, fixed, asked, scenario);
                }
            }
            Event::Repair { .. } => {
                given(Given::Tick);
                follow.repair(&mut acts);
            }
            Event::Fix { .. } => follow.fix(&log),
            Event::Answer { .. } => match follow.phase {
                Phase::Reading { asked, fixed } => {
                    given(Given::Slice(fixed));
                    follow.on_slice(&log, fixed, asked, scenario, &mut acts);
                }
                Phase::Loading { purpose, fixed } => {
                    given(Given::Loaded(fixed));
                    merged = Some(fixed);
                    follow.on_loaded(&log, purpose, fixed, scenario, &mut acts);
                }
                _ => {}
            },
            _ => {}
        }
        let lacking = merged.map_or(0, |head| self.merge(scenario, n, c, head));
        self.carry_out(scenario, n, c, &acts, lacking, asked);
    }

    fn commit(&mut self, c: usize, payload: Payload) {
        if self.logs[c].is_full() {
            return;
        }
        self.logs[c].append(payload);
    }

    /// A committed drop deletes what stands under the key.
    fn delete(&mut self, scenario: &Scenario) {
        if let Failover::Ahead(deleted) = &mut self.failover {
            let log = &self.logs[KEY];
            let drops = log
                .back_from(log.head)
                .filter(|at| is_drop(scenario, log.entry(*at).payload))
                .count();
            deleted[drops - 1] = self.value;
        }
        self.value = Value::Empty;
    }

    /// A replica is promoted that lacks the newest entries: what they deleted is back, leases too.
    fn fail_over(&mut self, scenario: &Scenario, heads: [u8; 2]) {
        let Failover::Ahead(deleted) = self.failover else {
            return;
        };
        let log = &self.logs[KEY];
        let drops = |head: u8| {
            log.back_from(head)
                .filter(|at| is_drop(scenario, log.entry(*at).payload))
                .count()
        };
        let (kept, all) = (drops(heads[KEY]), drops(log.head));
        if kept < all {
            self.value = deleted[kept];
        }
        for (log, head) in self.logs.iter_mut().zip(heads) {
            log.head = head;
        }
        self.failover = Failover::Past;
    }

    pub(crate) fn ring(&mut self, scenario: &Scenario, n: u8, c: u8, at: u8, asked: &mut Asked) {
        let log = self.logs[usize::from(c)];
        let mut acts = Acts::new();
        asked.push((n, c, Talk::Given(Given::Bell(at))));
        self.nodes[usize::from(n)].follow[usize::from(c)].on_bell(&log, at, scenario, &mut acts);
        self.carry_out(scenario, n, c, &acts, 0, asked);
    }

    fn mint(&mut self, scenario: &Scenario, n: u8, c: u8, asked: &mut Asked) {
        let log = &self.logs[usize::from(c)];
        let Phase::Minting { expected } = self.nodes[usize::from(n)].follow[usize::from(c)].phase else {
            return;
        };
        let wins = log.incarnation(log.head) == expected || !scenario.rule(Rule::MintExpected);
        if wins {
            self.commit(usize::from(c), Payload::Mint);
        }
        let mut acts = Acts::new();
        let follow = &mut self.nodes[usize::from(n)].follow[usize::from(c)];
        if wins && !scenario.rule(Rule::Adopt) {
            // It knows its own mint.
            follow.load(Purpose::Adopt, &mut acts);
        } else {
            asked.push((n, c, Talk::Given(Given::Minted)));
            follow.on_minted(&mut acts);
        }
        self.carry_out(scenario, n, c, &acts, 0, asked);
    }

    /// Merges the marks of a load into a node's. Returns those that the table lacks.
    fn merge(&mut self, scenario: &Scenario, n: u8, c: u8, head: u8) -> u8 {
        let log = self.logs[usize::from(c)];
        let table = log.table(head) & scenario.held();
        let node = &mut self.nodes[usize::from(n)];
        let of_channel = |s: &u8| scenario.body(*s).channel() == usize::from(c);
        let is_tag = |s: &u8| matches!(scenario.body(*s), Body::Tag(_));
        let tags = (0..self.made).filter(is_tag).fold(0_u8, |mask, s| mask | 1 << s);
        let mut lacking = (0..self.made).filter(of_channel).fold(0_u8, |mask, s| mask | 1 << s) & node.held & !table;
        // All statements about the tag make one and the same mark.
        if table & tags != 0 {
            lacking &= !tags;
        } else if let Some(newest) = (0..self.made).rev().find(|s| lacking & tags & (1 << s) != 0) {
            lacking = lacking & !tags | 1 << newest;
        }
        let keeps = scenario.rule(Rule::TagKeepsItsPosition)
            && node.tag < UNPOSITIONED
            && log.incarnation(node.tag) == log.incarnation(head)
            && log.id(node.tag) > log.id(head);
        let position = if keeps { node.tag } else { head };
        for s in (0..self.made).filter(|s| table & (1 << s) != 0) {
            self.apply(scenario, n, s, position, true);
        }
        lacking
    }

    /// What the driver does for a follower.
    fn carry_out(&mut self, scenario: &Scenario, n: u8, c: u8, acts: &[Act], lacking: u8, asked: &mut Asked) {
        let before_load = acts.contains(&Act::Load);
        for act in acts {
            asked.push((n, c, Talk::Act(*act)));
            match *act {
                Act::Apply(at) => {
                    let payload = self.logs[usize::from(c)].entry(at).payload;
                    match payload {
                        Payload::Said(s) => {
                            let known = self.nodes[usize::from(n)].known[usize::from(s)];
                            let early = known != Known::Unheard;
                            let bumps = (!early || scenario.rule(Rule::LoggedCopyBumps))
                                && (known != Known::Heard || scenario.rule(Rule::EarlyCopies));
                            self.apply(scenario, n, s, at, bumps);
                            self.nodes[usize::from(n)].known[usize::from(s)] = Known::Positioned;
                        }
                        Payload::Again(s) => self.apply(scenario, n, s, at, true),
                        Payload::Mint => {}
                    }
                }
                Act::Bump => {
                    let rule = if before_load {
                        Rule::BumpBeforeLoad
                    } else {
                        Rule::BumpAfterLoad
                    };
                    if scenario.rule(rule) && (c == KEY as u8 || usize::from(c) == scenario.tag_channel()) {
                        self.void(scenario, n, false);
                    }
                    if !before_load {
                        self.adopted(n, c);
                    }
                }
                Act::Recommit => {
                    let follow = &mut self.nodes[usize::from(n)].follow[usize::from(c)];
                    let rule = if matches!(follow.phase, Phase::Recommitting { .. }) {
                        Rule::RecommitBeforeMint
                    } else {
                        Rule::RecommitAfterAdoption
                    };
                    if lacking == 0 || !scenario.rule(rule) {
                        self.recommitted(scenario, n, c, asked);
                    } else {
                        let free = follow.jobs.iter_mut().find(|job| **job == NONE);
                        *free.expect("two recommits at once are enough for one failover") = lacking;
                    }
                }
                Act::ReadLog | Act::Load | Act::Mint(_) => {}
            }
        }
    }

    /// Calls that were sent before an adoption were sent before everything that the node remembers.
    fn adopted(&mut self, n: u8, c: u8) {
        let follow = &mut self.nodes[usize::from(n)].follow[usize::from(c)];
        if let Some((asked, _)) = &mut follow.heads {
            *asked = NONE;
        }
        if usize::from(c) == KEY {
            for fill in self.fills.iter_mut().filter(|fill| fill.node == n) {
                fill.asked = NONE;
            }
        }
    }

    /// A recommit of a node was answered.
    fn recommitted(&mut self, scenario: &Scenario, n: u8, c: u8, asked: &mut Asked) {
        asked.push((n, c, Talk::Given(Given::Recommitted)));
        let follow = &mut self.nodes[usize::from(n)].follow[usize::from(c)];
        if follow.jobs[0] != NONE {
            return;
        }
        let mut acts = Acts::new();
        follow.on_recommitted(&mut acts);
        self.carry_out(scenario, n, c, &acts, 0, asked);
    }

    /// A statement takes effect on a node: the map, then the fence. `at` is its position.
    fn apply(&mut self, scenario: &Scenario, n: u8, s: u8, at: u8, bumps: bool) {
        let node = &mut self.nodes[usize::from(n)];
        let body = scenario.body(s);
        if body.is_held() {
            node.held |= 1 << s;
        }
        if matches!(body, Body::Tag(_)) {
            node.tag = at;
        }
        if body.voids_key() {
            node.need = node.need.max(scenario.version(s + 1));
            if bumps {
                self.void(scenario, n, body == Body::Drop);
            }
        }
    }

    /// A counter of the fence moves that the key's entries carry.
    fn void(&mut self, scenario: &Scenario, n: u8, removes: bool) {
        if scenario.rule(Rule::Fence) {
            for fill in self.fills.iter_mut().filter(|fill| fill.node == n && fill.flies()) {
                fill.voided = true;
            }
        }
        if scenario.rule(Rule::Fence) || removes {
            self.nodes[usize::from(n)].l1 = NONE;
        }
    }

    /// What follows at once: repairs begin, calls go on as far as they do not wait, and the outbox looks for statements that the
    /// follower has passed over.
    fn tidy(&mut self, scenario: &Scenario, asked: &mut Asked) -> Result<(), String> {
        for n in 0..2 {
            for s in 0..self.made {
                let sent = matches!(self.nodes[n].known[usize::from(s)], Known::Sent(_));
                if sent && scenario.log_calls == Calls::OneStep {
                    self.happen(scenario, Event::Committed { s, n: n as u8 }, asked)?;
                }
            }
            if scenario.log_calls != Calls::ThreeSteps {
                for c in 0..scenario.channels() as u8 {
                    self.calls_go_on(scenario, n as u8, c, asked);
                }
            }
            for s in 0..self.made {
                let node = &mut self.nodes[n];
                let settled = node.follow[scenario.body(s).channel()].settled();
                let known = &mut node.known[usize::from(s)];
                if *known == Known::Answered && settled && scenario.rule(Rule::Overtaken) {
                    *known = Known::Waiting;
                }
            }
        }
        crate::fill::tidy(self, scenario)
    }

    fn calls_go_on(&mut self, scenario: &Scenario, n: u8, c: u8, asked: &mut Asked) {
        loop {
            let follow = &mut self.nodes[usize::from(n)].follow[usize::from(c)];
            if follow.phase == Phase::Suspect {
                self.call(scenario, Event::Repair { n, c }, n, c, asked);
            }
            let follow = &mut self.nodes[usize::from(n)].follow[usize::from(c)];
            follow.fix(&self.logs[usize::from(c)]);
            let waits = matches!(follow.phase, Phase::Reading { .. } | Phase::Loading { .. });
            if !waits || scenario.log_calls != Calls::OneStep {
                return;
            }
            self.call(scenario, Event::Answer { n, c }, n, c, asked);
        }
    }
}

fn is_drop(scenario: &Scenario, payload: Payload) -> bool {
    matches!(payload, Payload::Said(s) if scenario.body(s) == Body::Drop)
}
