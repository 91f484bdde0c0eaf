//! Whom to ask, and what is sent along.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::message::{Ask, Item, MAX_CONFIRM, Request, SMALL_BYTES};
use super::{Action, Gossip};
use crate::ident::{Origin, StatementName};
use crate::time::Moment;

/// What the frame of a request or an item takes, and what stands before each statement in it.
const FRAME: usize = 32;
const LENGTH: usize = 3;
/// The most that a confirmation takes.
const CONFIRM: usize = 10;

impl Gossip {
    /// Asks some members what they have applied: one by turns, at distances that double, so that evidence of everybody reaches
    /// everybody within log2 of their number; the others by chance, so that no pattern of cuts goes unnoticed.
    pub(super) fn round(&mut self, now: Moment) {
        self.rounds = self.rounds.wrapping_add(1);
        let up = self.view.up();
        let mut chosen = BTreeSet::new();
        if up.len() <= self.config.fanout {
            chosen.extend(&up);
        } else {
            let mine = up.partition_point(|origin| *origin < self.me.origin);
            let strides = usize::BITS - up.len().leading_zeros();
            let stride = 1usize << (self.rounds % u64::from(strides.max(1)));
            // This node is not in the list: whoever is next stands in its place.
            chosen.insert(up[(mine + stride - 1) % up.len()]);
            while chosen.len() < self.config.fanout {
                let at = self.next_random() % up.len() as u64;
                chosen.insert(up[at as usize]);
            }
        }
        chosen.extend(self.unheard(&up));
        // Somebody waits for these.
        for origin in self.unconfirmed(now) {
            chosen.insert(origin);
        }
        // Whom SWIM has given up may yet be there.
        let retry = now.plus(self.config.period.saturating_mul(5));
        let down = self
            .view
            .iter()
            .find(|(_, member)| !member.is_up && now >= member.next_try && !member.address.is_empty());
        if let Some(origin) = down.map(|(origin, _)| *origin) {
            chosen.insert(origin);
            if let Some(member) = self.view.get_mut(&origin) {
                member.next_try = retry;
            }
        }
        for origin in chosen {
            self.ask(now, origin, &[]);
        }
        // An answer that did not come by now is not waited for.
        let patience = self.config.period.saturating_mul(5);
        self.asks.retain(|_, (_, asked, _)| now.since(*asked) < patience);
    }

    /// Members without whose word this node is not taken in, or not vouched for: by turns, more of them than usual, so that even
    /// a large cluster is joined within seconds.
    fn unheard(&self, up: &[Origin]) -> Vec<Origin> {
        let is_unheard = |origin: &Origin| {
            let member = self.view.get(origin);
            member.is_some_and(|member| !member.knows_me || !self.view.joined && member.completed.is_none())
        };
        let unheard: Vec<Origin> = up.iter().copied().filter(is_unheard).collect();
        let from = match unheard.len() {
            0 => 0,
            len => (self.rounds % len as u64) as usize,
        };
        let in_turn = unheard.iter().cycle().skip(from).take(unheard.len());
        in_turn.take(self.config.push_to).copied().collect()
    }

    fn unconfirmed(&self, now: Moment) -> Vec<Origin> {
        if self.awaited.is_empty() {
            return Vec::new();
        }
        let lacks = |origin: &Origin| self.awaited.values().any(|confirmed| !confirmed.contains(origin));
        let members = self.view.iter().filter(|(origin, member)| {
            lacks(origin) && !member.address.is_empty() && (member.is_up || now >= member.next_try)
        });
        members.map(|(origin, _)| *origin).collect()
    }

    /// Asks one member, and pushes what it may not have: `fresh`, and what somebody waits for it to confirm.
    fn ask(&mut self, now: Moment, origin: Origin, fresh: &[StatementName]) {
        let (Some(to), Some(member)) = (self.view.peer(&origin), self.view.get(&origin)) else {
            return;
        };
        if to.address.is_empty() {
            return;
        }
        let mut ask = Ask {
            since: member.since,
            evidence: self.view.needs_evidence(now, &self.config),
            ..Ask::default()
        };
        // A new statement goes alone: whoever is waited for is asked in the rounds, and many may be.
        let limit = if fresh.is_empty() { MAX_CONFIRM } else { 0 };
        let waited = self
            .awaited
            .iter()
            .filter(|(_, confirmed)| !confirmed.contains(&origin))
            .map(|(name, _)| *name)
            .take(limit);
        let names: BTreeSet<StatementName> = fresh.iter().copied().chain(waited).collect();
        let mut room = SMALL_BYTES - FRAME;
        let mut confirm = Vec::new();
        for name in names.into_iter().take(MAX_CONFIRM) {
            let Some(statement) = self.ring.statement(&name) else {
                continue;
            };
            let bytes = statement.encode();
            let takes = bytes.len() + LENGTH + CONFIRM;
            if takes > room {
                break;
            }
            room -= takes;
            ask.push.push(bytes);
            ask.confirm.push((name.channel.number(), name.counter));
            confirm.push(name);
        }
        let exchange = self.exchange();
        self.asks.insert(exchange, (origin, now, confirm));
        let request = Request::Ask(ask).encode();
        self.actions.push_back(Action::Ask { exchange, to, request });
    }

    /// Sends statements that were made here: to everybody as a broadcast, and to some directly, who confirm them.
    pub(super) fn flush(&mut self, now: Moment) {
        self.flush_at = Moment::NEVER;
        self.last_flush = now;
        let fresh = core::mem::take(&mut self.fresh);
        let mut item = Item { statements: Vec::new() };
        let mut room = SMALL_BYTES - FRAME;
        for name in &fresh {
            let Some(statement) = self.ring.statement(name) else {
                continue;
            };
            let bytes = statement.encode();
            let takes = bytes.len() + LENGTH;
            if takes > room && !item.statements.is_empty() {
                let full = core::mem::replace(&mut item, Item { statements: Vec::new() });
                self.actions.push_back(Action::Broadcast(full.encode()));
                room = SMALL_BYTES - FRAME;
            }
            room = room.saturating_sub(takes);
            item.statements.push(bytes);
        }
        if !item.statements.is_empty() {
            self.actions.push_back(Action::Broadcast(item.encode()));
        }
        let up = self.view.up();
        if up.is_empty() {
            return;
        }
        let first = (self.next_random() % up.len() as u64) as usize;
        for at in 0..up.len().min(self.config.push_to) {
            let origin = up[(first + at) % up.len()];
            // What does not fit one datagram comes to it by the broadcasts, or by its own questions.
            self.ask(now, origin, &fresh);
        }
    }
}
