//! Callers, and members who ask, as the SDK serves them.

use core::time::Duration;
use std::string::String;
use std::vec::Vec;

use super::node::{Done, Job, Node, holds};
use super::{Event, Outcome, Said, World};
use crate::keys::{End, KeyAnswer, KeyQuestion, Need, Trip};
use crate::time::Moment;

use super::super::ms;

#[derive(Debug, Clone)]
enum Asker {
    Own,
    Member(Job, KeyQuestion),
}

#[derive(Debug, Clone)]
pub(super) struct Caller {
    asker: Asker,
    kid: Option<String>,
    since: Moment,
    wait: u64,
    proves: bool,
    before: u64,
    rounds: u8,
    /// Waits for any set at all.
    cold: bool,
}

impl Caller {
    const fn new(asker: Asker, kid: Option<String>, since: Moment) -> Self {
        Self {
            asker,
            kid,
            since,
            wait: 0,
            proves: false,
            before: 0,
            rounds: 0,
            cold: false,
        }
    }
}

impl Node {
    /// Whether what it holds answers the caller. `proof`: the issuer was asked since.
    fn answers(&self, now: Moment, caller: &Caller, proof: bool) -> bool {
        let Some(own) = self.own.as_ref().filter(|_| self.is_trusted(now)) else {
            return false;
        };
        let named = caller.kid.as_ref().is_none_or(|kid| holds(own, kid));
        match &caller.asker {
            Asker::Own => named,
            Asker::Member(_, question) => {
                let newer = own.asked > question.have.1;
                let known = caller.kid.is_some() || question.generation > 0;
                named && own.generation >= question.generation && (newer || known) && (proof || !question.afresh)
            }
        }
    }
}

impl World {
    pub(super) fn call(&mut self, node: usize, kid: String) {
        let caller = Caller::new(Asker::Own, Some(kid), self.now);
        self.come(node, caller);
        self.pump(node);
    }

    pub(super) fn question(&mut self, node: usize, job: Job, question: KeyQuestion) {
        let kid = question.kid.clone();
        let caller = Caller::new(Asker::Member(job, question), kid, self.now);
        self.come(node, caller);
        self.pump(node);
    }

    fn come(&mut self, number: usize, mut caller: Caller) {
        let now = self.now;
        let node = &mut self.nodes[number];
        if node.answers(now, &caller, false) {
            return self.tell(number, caller, Said::Served, Duration::ZERO);
        }
        if caller.rounds == 3 {
            return self.tell(number, caller, Said::CouldNotAsk, ms(100));
        }
        caller.rounds += 1;
        let moment = node.moment(now);
        caller.cold = !node.is_trusted(now);
        let need = match &caller.kid {
            _ if caller.cold => node.machine.want_set(moment),
            Some(kid) => {
                let need = node.machine.want_kid(moment, kid);
                if matches!(need, Need::Fetch(_) | Need::Wait { proves: true, .. }) {
                    node.wanted = Some(kid.clone());
                }
                need
            }
            None => node.machine.want_refresh(moment),
        };
        match need {
            Need::Absent => self.tell(number, caller, Said::Unknown { remembered: true }, Duration::ZERO),
            Need::NotNow { retry_after } => self.tell(number, caller, Said::CouldNotAsk, retry_after),
            Need::Fetch(trip) => {
                caller.wait = trip.number;
                caller.proves = true;
                let ask_members = matches!(caller.asker, Asker::Own);
                self.nodes[number].callers.push(caller);
                self.begin(number, trip, ask_members);
            }
            Need::Wait { trip, proves } => {
                caller.wait = trip;
                caller.proves = proves || (caller.before > 0 && trip > caller.before);
                self.nodes[number].callers.push(caller);
            }
        }
    }

    fn tell(&mut self, number: usize, caller: Caller, said: Said, retry_after: Duration) {
        match caller.asker {
            Asker::Own => self.outcomes.push(Outcome {
                node: number,
                kid: caller.kid.unwrap_or_default(),
                since: caller.since,
                at: self.now,
                said,
            }),
            Asker::Member(job, question) => {
                let own = self.nodes[number].own.clone();
                let answer = match (said, own) {
                    (Said::CouldNotAsk, _) => KeyAnswer::NotNow(retry_after.as_millis() as u32),
                    (_, None) => KeyAnswer::Nothing,
                    (said, Some(set)) => KeyAnswer::Set {
                        set,
                        proof: question.afresh || said != Said::Served,
                    },
                };
                let hop = self.hop();
                self.after(hop, Event::Back(job, Done::Answered(Some(answer))));
            }
        }
    }

    /// A trip has ended: tells the machine, then the callers.
    pub(super) fn land(&mut self, number: usize, trip: Trip, end: End, proof: bool) -> Moment {
        let jitter = self.rng.next() as u32;
        let node = &mut self.nodes[number];
        let now = node.moment(self.now);
        let held = node.own.as_ref().map_or(0, |own| own.generation);
        let good = matches!(end, End::Fetched { .. } | End::Taken { .. });
        let end = match end {
            End::Fetched { asked, max_age, .. } => End::Fetched {
                asked,
                max_age,
                generation: held,
            },
            other => other,
        };
        node.machine.ended(now, end, jitter);
        let retry_at = node.machine.retry_at();
        let (waiting, others): (Vec<_>, Vec<_>) = core::mem::take(&mut node.callers)
            .into_iter()
            .partition(|caller| caller.wait <= trip.number);
        node.callers = others;
        for caller in waiting {
            self.landed(number, caller, trip.number, proof, good);
        }
        retry_at
    }

    fn landed(&mut self, number: usize, mut caller: Caller, trip: u64, proof: bool, good: bool) {
        let now = self.now;
        let node = &mut self.nodes[number];
        let proof = proof && (caller.proves || trip > caller.wait || !self.rules.proof);
        if node.answers(now, &caller, proof) {
            return self.tell(number, caller, Said::Served, Duration::ZERO);
        }
        let moment = node.moment(now);
        if !good {
            let wait = node.machine.retry_at().since(moment).max(ms(100));
            return self.tell(number, caller, Said::CouldNotAsk, wait);
        }
        if proof
            && !caller.cold
            && let Some(kid) = &caller.kid
        {
            node.machine.is_absent(moment, kid);
            return self.tell(number, caller, Said::Unknown { remembered: false }, Duration::ZERO);
        }
        caller.before = trip;
        self.come(number, caller);
    }
}
