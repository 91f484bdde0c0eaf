//! Calls on their way to a primary and back, and bells.

use std::rc::Rc;

use authmesh_proto::ident::{ChannelId, EntryName};

use super::{Event, Waiter, World};
use crate::clock::{MS, SECOND, True};
use crate::redis::{Answer, Entry, Op, Payload, Refused, Script};
use crate::rules::Control;
use crate::scenario::Bad;
use crate::trace::About;

impl World {
    fn latency(&mut self, node: usize, shard: usize) -> True {
        let (low, high) = self.scenario.latency;
        let usual = self.rng.between(low, high);
        match self.slots[node].links[shard].bad {
            Some(Bad::Slow) => usual + self.rng.below(2 * SECOND),
            _ => usual,
        }
    }

    /// Whether a node asks the former primary.
    fn asks_deposed(&mut self, node: usize, shard: usize) -> bool {
        let Some(deposed) = &self.shards[shard].deposed else {
            return false;
        };
        let over = self.now >= deposed.answers_until;
        let link = &self.slots[node].links[shard];
        if over || self.now >= link.flip_at {
            return false;
        }
        !link.wavers || self.rng.per_mille(500)
    }

    pub(super) fn send(&mut self, start: (usize, u32), job: u64, op: Op, timeout: True) {
        self.after(timeout, Event::Answer(start, job, None));
        match op.channel() {
            Some(channel) => self.send_to(start, job, self.owner[channel.index()], op),
            None => {
                for shard in 0..self.shards.len() {
                    self.send_to(start, job, shard, op.clone());
                }
            }
        }
    }

    fn send_to(&mut self, start: (usize, u32), job: u64, shard: usize, op: Op) {
        let refused = matches!(op, Op::Announce(..)) && self.now < self.slots[start.0].unlisted_until;
        if refused || matches!(self.slots[start.0].links[shard].bad, Some(Bad::Cut | Bad::Out)) {
            return;
        }
        let delay = self.latency(start.0, shard);
        let at_deposed = self.asks_deposed(start.0, shard);
        self.after(
            delay,
            Event::Arrive {
                from: start,
                job,
                shard,
                at_deposed,
                op,
            },
        );
    }

    pub(super) fn arrive(&mut self, from: (usize, u32), job: u64, shard: usize, at_deposed: bool, op: Op) {
        let answer = match op.channel() {
            None => {
                let own: Vec<ChannelId> = ChannelId::all()
                    .filter(|channel| self.owner[channel.index()] == shard)
                    .collect();
                self.shards[shard].heads(&own, at_deposed, self.now)
            }
            Some(channel) => self.execute(from.0, channel, shard, at_deposed, &op),
        };
        let link = &self.slots[from.0].links[shard];
        let lossy = self.now < self.scenario.calm && self.rng.per_mille(self.scenario.lossy);
        if lossy || matches!(link.bad, Some(Bad::Cut | Bad::In)) {
            return;
        }
        let delay = self.latency(from.0, shard);
        self.after(delay, Event::Answer(from, job, answer.ok()));
    }

    fn execute(
        &mut self,
        node: usize,
        channel: ChannelId,
        shard: usize,
        at_deposed: bool,
        op: &Op,
    ) -> Result<Answer, Refused> {
        // Whoever asks the wrong primary is sent on.
        let shard = if at_deposed { shard } else { self.owner[channel.index()] };
        let script = Script {
            now: self.now,
            millis: self.shards[shard].millis(self.now),
            moving: self.moving[channel.index()],
            announces: self.scenario.announces,
            blind_stores: self.off(Control::NoCompareAndSet),
        };
        let (answer, entries) = self.shards[shard].run(op, channel, at_deposed, script)?;
        for entry in entries {
            self.appended(node, shard, at_deposed, &entry);
        }
        if let Some(name) = name_of(op) {
            self.wake_waiters(shard, &name);
        }
        Ok(answer)
    }

    fn appended(&mut self, by: usize, shard: usize, at_deposed: bool, entry: &Rc<Entry>) {
        let mut about = vec![About::Channel(entry.channel), About::Node(by)];
        match &entry.payload {
            Payload::Mint => about.push(About::Repair(entry.channel)),
            Payload::Statement { statement, .. } => about.extend(self.checker.keys_of(&statement.name).map(About::Key)),
        }
        self.trace.note(self.now, &about, 4, || {
            let what = match &entry.payload {
                Payload::Mint => "a mint".to_owned(),
                Payload::Statement { statement, whole } => {
                    let whole = if *whole { "" } else { ", announced only" };
                    format!(
                        "{} of {:?}{whole}: {:?}",
                        statement.name.counter, statement.name.origin, statement.body
                    )
                }
            };
            let place = if at_deposed { " at the deposed primary" } else { "" };
            let head = &entry.head;
            format!(
                "log {:?}{place} gets {:?} ({:?} generation {}) from node {by}: {what}",
                entry.channel, head.position, head.incarnation, head.generation
            )
        });
        if !at_deposed {
            let deposed = self.shards[shard].deposed.as_ref();
            let since = deposed.map_or(self.now, |deposed| deposed.until.max(self.now));
            self.checker.executed(entry, since);
            if entry.payload == Payload::Mint {
                self.checker.minted((by, self.slots[by].start), entry, since);
                self.tally.mints += 1;
                self.mints[entry.channel.index()].0 += 1;
            }
        }
        self.ring(shard, at_deposed, entry);
    }

    fn ring(&mut self, shard: usize, at_deposed: bool, entry: &Rc<Entry>) {
        for node in 0..self.slots.len() {
            let slot = &self.slots[node];
            let link = &slot.links[shard];
            let follows_deposed = self.shards[shard].deposed.is_some() && self.now < link.flip_at;
            if slot.node.is_none()
                || !link.subscribed
                || link.deaf
                || matches!(link.bad, Some(Bad::Cut | Bad::In))
                || follows_deposed != at_deposed
            {
                continue;
            }
            let start = (node, slot.start);
            let at = (self.now + self.latency(node, shard)).max(self.slots[node].links[shard].last_bell + 1);
            self.slots[node].links[shard].last_bell = at;
            let by = (shard, self.slots[node].links[shard].subscription);
            self.at(at, Event::Bell(start, Rc::clone(entry), by));
        }
    }

    /// Those who wait for a lease that is not there any more look again.
    fn wake_waiters(&mut self, shard: usize, name: &EntryName) {
        let channel = name.slot().channel;
        let state = self.shards[shard].state(channel);
        let now = self.now;
        let (gone, wait): (Vec<Waiter>, Vec<Waiter>) = std::mem::take(&mut self.waiters)
            .into_iter()
            .partition(|waiter| waiter.name == *name && !state.holds(name, waiter.nonce, now));
        self.waiters = wait;
        for waiter in gone {
            let delay = self.latency(waiter.from.0, shard);
            self.after(delay + MS / 10, Event::Gone(waiter.from, waiter.flight));
        }
    }
}

/// The value that a call may have changed.
fn name_of(op: &Op) -> Option<EntryName> {
    match op {
        Op::Store { name, .. } | Op::Release { name, .. } => Some(*name),
        Op::Commit { statement, .. } => match &statement.body {
            authmesh_proto::statement::Body::Drop(name) => Some(*name),
            authmesh_proto::statement::Body::Mark(_) => None,
        },
        _ => None,
    }
}
