//! What goes wrong, and how it ends.

use std::rc::Rc;

use authmesh_proto::ident::ChannelId;

use super::{Event, World};
use crate::clock::{MS, SECOND, True};
use crate::node::Node;
use crate::redis::Entry;
use crate::rules::Control;
use crate::scenario::{Bad, Fault};
use crate::trace::About;

impl World {
    pub(super) fn fault(&mut self, fault: Fault) {
        self.trace
            .note(self.now, &[About::World], 5, || format!("-- {fault:?}"));
        match fault {
            Fault::Join(node) => self.restart(node),
            Fault::Burst(node) => self.burst(node),
            Fault::Crash(node, until) => {
                self.end_of(node);
                let end = (self.now + until).min(self.scenario.calm);
                self.at(end, Event::Restart(node));
            }
            Fault::Suspend(node, until) => {
                let end = (self.now + until)
                    .min(self.scenario.calm)
                    .max(self.slots[node].suspended_until);
                let start = (node, self.slots[node].start);
                self.at(end, Event::Poke(start));
                self.slots[node].suspended_until = end;
                if self.off(Control::ClockStopsInSuspend) {
                    self.slots[node].clock.stand_still(end - self.now);
                }
            }
            Fault::Jump(node, by) => self.slots[node].clock.jump(by),
            Fault::Link(node, shard, bad, until) => {
                let end = (self.now + until).min(self.scenario.calm);
                let link = &mut self.slots[node].links[shard];
                link.bad = Some(bad);
                link.bad_until = end;
                self.at(end, Event::LinkGood(node, shard));
            }
            Fault::SlowThenCut(node, shard, slow, cut) => {
                let end = (self.now + slow + cut).min(self.scenario.calm);
                let link = &mut self.slots[node].links[shard];
                link.bad = Some(Bad::Slow);
                link.bad_until = end;
                self.after(slow, Event::Fault(Fault::Link(node, shard, Bad::Cut, cut)));
                // What is said now reaches this node no more, while it still reads older answers.
                let other = (node + 1) % self.slots.len();
                self.after(slow, Event::Fault(Fault::Burst(other)));
                self.at(end, Event::LinkGood(node, shard));
            }
            Fault::Deaf(node, shard, until) => {
                let end = (self.now + until).min(self.scenario.calm);
                let link = &mut self.slots[node].links[shard];
                link.deaf = true;
                link.bad_until = link.bad_until.max(end);
                self.at(end, Event::LinkGood(node, shard));
            }
            Fault::Disconnect(node, shard) => self.disconnect(node, shard, 50 * MS),
            Fault::FailOver { shard, lose, down } => {
                self.shards[shard].deposed = None;
                let lost = self.shards[shard].fail_over(lose);
                self.shards[shard].down_until = (self.now + down).min(self.scenario.calm);
                self.took_over(shard, &lost);
                for node in 0..self.slots.len() {
                    // What the primary had not sent to a subscriber dies with it.
                    if self.rng.per_mille(500) {
                        self.slots[node].links[shard].subscription += 1;
                    }
                    self.disconnect(node, shard, 300 * MS);
                }
            }
            Fault::TakeOver {
                shard,
                lose,
                depose,
                writes,
            } => self.take_over(shard, lose, depose, writes),
            Fault::Flush(shard) => {
                self.shards[shard].flush();
                let owner = &self.owner;
                self.checker.wiped(|channel| owner[channel.index()] == shard);
                self.reason_to_mint(shard);
            }
            Fault::Move(hot, to, takes) => {
                let channel = self.hot[hot % self.hot.len()];
                let owner = self.owner[channel.index()];
                if owner != to && !self.moving[channel.index()] && self.shards[owner].deposed.is_none() {
                    self.moving[channel.index()] = true;
                    self.after(takes, Event::Moved(channel, to));
                }
            }
            Fault::Away(until) => {
                let end = (self.now + until).min(self.scenario.calm);
                for shard in &mut self.shards {
                    shard.down_until = shard.down_until.max(end);
                }
            }
            Fault::Emptied => (0..self.shards.len()).for_each(|shard| self.fault(Fault::Flush(shard))),
            Fault::Rewound(lose) => {
                for shard in 0..self.shards.len() {
                    let down = self.shards[shard].down_until.saturating_sub(self.now);
                    self.fault(Fault::FailOver { shard, lose, down });
                }
            }
            Fault::Split {
                sides,
                way,
                bridge,
                until,
            } => self.split(sides, way, bridge, until),
            Fault::Cut(one, other, until) => self.cut(one, other, until),
            Fault::Unlisted(node, until) => {
                self.slots[node].unlisted_until = (self.now + until).min(self.scenario.calm);
            }
            Fault::Leave(node) => self.leaves(node),
            Fault::Die(node) => self.end_of(node),
            Fault::Forget(node) => self.forget(node),
            Fault::Down(shard, until) => {
                let end = (self.now + until).min(self.scenario.calm);
                self.shards[shard].down_until = self.shards[shard].down_until.max(end);
            }
        }
    }

    pub(super) fn end_of(&mut self, node: usize) {
        self.checker.ended((node, self.slots[node].start));
        self.slots[node].node = None;
        self.slots[node].start += 1;
    }

    fn take_over(&mut self, shard: usize, lose: usize, depose: True, writes: bool) {
        let until = (self.now + depose).min(self.scenario.calm);
        let lost = self.shards[shard].take_over(lose, until, writes && self.scenario.deposed_writes);
        if self.off(Control::DeposedFollowed)
            && let Some(deposed) = &mut self.shards[shard].deposed
        {
            deposed.answers_until = self.scenario.end;
        }
        self.took_over(shard, &lost);
        for node in 0..self.slots.len() {
            let flip_at = self.now + self.rng.below(depose);
            let wavers = self.rng.per_mille(200);
            let for_ever = self.off(Control::DeposedFollowed) && node % 2 == 0;
            if wavers {
                // It may see the new incarnation first, then the old one, and take the new one for what was there before: it mints
                // once more than needed, which costs and harms nothing.
                self.reason_to_mint(shard);
            }
            let link = &mut self.slots[node].links[shard];
            link.flip_at = if for_ever {
                self.scenario.end
            } else {
                flip_at.min(until)
            };
            link.wavers = wavers;
            let notice = link.flip_at - self.now;
            self.disconnect_later(node, shard, notice);
        }
    }

    fn took_over(&mut self, shard: usize, lost: &[Rc<Entry>]) {
        self.tally.entries_lost += lost.len() as u64;
        for entry in lost {
            self.trace.note(
                self.now,
                &[About::Channel(entry.channel), About::Repair(entry.channel)],
                6,
                || format!("log {:?} loses {:?}", entry.channel, entry.head.position),
            );
        }
        self.checker.lost(lost);
        // The replica's clock is its own.
        self.shards[shard].ahead = self.rng.between(0, 400) as i64 - 200;
        self.reason_to_mint(shard);
    }

    fn reason_to_mint(&mut self, shard: usize) {
        for (channel, (_, reasons)) in self.mints.iter_mut().enumerate() {
            if self.owner[channel] == shard {
                *reasons += 1;
            }
        }
    }

    /// A subscription ends now, and its node notices within a while.
    fn disconnect(&mut self, node: usize, shard: usize, within: True) {
        self.slots[node].links[shard].subscribed = false;
        let delay = self.rng.below(within);
        let start = (node, self.slots[node].start);
        self.after(delay, Event::Broken(start, shard));
    }

    /// A subscription goes on until its node turns to the new primary.
    fn disconnect_later(&mut self, node: usize, shard: usize, notice: True) {
        let start = (node, self.slots[node].start);
        let delay = notice + self.rng.below(300 * MS);
        self.after(delay, Event::Broken(start, shard));
    }

    pub(super) fn restart(&mut self, node: usize) {
        let slot = &mut self.slots[node];
        if slot.node.is_some() {
            return;
        }
        slot.start += 1;
        slot.leaving = false;
        slot.wake = None;
        slot.suspended_until = 0;
        let (start, now) = ((node, slot.start), slot.clock.at(self.now));
        let rng = self.rng.fork();
        let keys = Rc::clone(&self.keys);
        let started = Node::new(now, self.scenario.shards, keys, rng, self.rules, self.setup_of(node));
        let origin = started.origin;
        let slot = &mut self.slots[node];
        slot.last = Some(origin);
        slot.node = Some(started);
        self.forget_found(node);
        self.checker.started(node);
        self.trace.note(self.now, &[About::Node(node)], 7, || {
            format!("node {node} starts as {origin:?}")
        });
        for shard in 0..self.shards.len() {
            self.slots[node].links[shard].subscribed = false;
            let delay = self.rng.between(MS, 20 * MS);
            self.after(delay, Event::Subscribed(start, shard));
        }
        self.with(start, Event::Wake(start), |node, now, _| node.tick(now));
    }

    pub(super) fn link_good(&mut self, node: usize, shard: usize) {
        let link = &mut self.slots[node].links[shard];
        if self.now < link.bad_until {
            return;
        }
        let noticed = link.deaf || matches!(link.bad, Some(Bad::Cut | Bad::In));
        link.bad = None;
        link.deaf = false;
        if noticed {
            self.disconnect(node, shard, SECOND / 2);
        }
    }

    pub(super) fn moved(&mut self, channel: ChannelId, to: usize) {
        self.trace.note(self.now, &[About::Channel(channel)], 8, || {
            format!("{channel:?} has moved to primary {to}")
        });
        let from = std::mem::replace(&mut self.owner[channel.index()], to);
        let state = self.shards[from].give(channel);
        self.shards[to].take(channel, state);
        self.moving[channel.index()] = false;
        for node in 0..self.slots.len() {
            self.disconnect(node, from, 100 * MS);
        }
    }
}
