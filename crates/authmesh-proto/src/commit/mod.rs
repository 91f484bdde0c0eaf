//! Commits: this node's own statements on their way into the log.
//!
//! A pure state machine. A statement is *done* when its commit was answered **and** this node's own follower has passed it:
//! the answer alone could come from a primary that is deposed already, and the log alone does not tell how many hold it.
//! Until then it is committed again, with growing waits. It is never given up: it is in force here, so it must be
//! everywhere.
//!
//! | what came | what happens |
//! | --- | --- |
//! | the commit was answered, the follower has not passed it | wait for the follower |
//! | .. and its channel is settled without having passed it | it was lost, or lies behind a load: commit again |
//! | the commit failed, the follower has passed it | done: only the answer was lost |
//! | the commit failed | commit again after a wait |
//! | it stands in the log, its effect beside the log is lacking | commit again after a wait, without announcing it again |
//! | a drop, or the mark of a tag, is done, and soon after the channel follows another log | commit it again: a primary that was being deposed may have taken it, after the others had turned away |
//!
//! Marks about tokens need no such memory: whoever follows another log commits the marks that its table lacks.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::time::Duration;

use crate::crypto::ScopeKind;
use crate::ident::{ChannelId, EntryName, ScopeId, StatementName};
use crate::statement::{Body, Statement};
use crate::time::Moment;

#[cfg(test)]
mod tests;

/// Waits of [`Commits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitConfig {
    /// The wait after the first failed attempt; doubled after each further one. Default: 50 ms.
    pub backoff_floor: Duration,
    /// The longest wait between two attempts. Default: 2 s.
    pub backoff_ceiling: Duration,
    /// How long a drop, or the mark of a tag, that is done is remembered, should its log turn out to be lost. Longer than Redis takes to depose a
    /// primary. Default: 60 s.
    pub remember: Duration,
    /// How many drops are remembered. For those beyond, their whole channel is voided. Default: 4,096.
    pub remembered: usize,
    /// How many statements of other nodes are committed at a time. Default: 64.
    pub held_at_once: usize,
}

impl Default for CommitConfig {
    fn default() -> Self {
        Self {
            backoff_floor: Duration::from_millis(50),
            backoff_ceiling: Duration::from_secs(2),
            remember: Duration::from_secs(60),
            remembered: 4096,
            held_at_once: 64,
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// Everything was done; so many replicas confirmed that they hold it.
    Whole {
        /// Replicas that confirmed.
        replicas: u32,
    },
    /// It stands in the log and every follower will apply it, but the table of marks or L2 does not have it yet: the
    /// channel's slot is moving.
    Announced,
    /// It failed, or nobody knows.
    Failed,
}

/// What came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A statement was made here, and is in force here.
    Said(Statement),
    /// A statement of another node was heard, which the log does not have yet, as far as this node knows: should nobody else
    /// commit it, this node does, after a wait. The waits of the nodes that hold it should differ.
    Held(Statement, Duration),
    /// A statement of another node is not held any more: its whole channel is voided instead.
    Forgotten(StatementName),
    /// An attempt to commit a statement ended.
    Answered(StatementName, Attempt),
    /// This node's follower passed a statement of this node in the log; `whole`: with its effect beside the log.
    Passed {
        /// The statement.
        name: StatementName,
        /// Whether the entry's effect beside the log was carried out with it.
        whole: bool,
    },
    /// A channel is settled: the follower has applied everything that its log holds.
    Settled(ChannelId),
    /// The follower has adopted another log of a channel, or gone on from a trimmed one.
    Adopted(ChannelId),
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Commit it; answer with [`Input::Answered`].
    Commit {
        /// What to commit.
        statement: Statement,
        /// It stands in the log already: do not announce it again while its slot moves.
        announced: bool,
    },
    /// A statement that voids this has no position any more: it was done, and is committed again.
    Unpositioned(Voids),
    /// More was done in this channel of late than is remembered, and may be lost: void it whole.
    Soil(ChannelId),
    /// A statement that voids this has its position now: L2 can tell what is older from what is newer.
    Positioned(Voids),
    /// It is done; so many replicas confirmed that they hold it.
    Done(StatementName, u32),
}

/// This node's statements that are not done.
#[derive(Debug)]
pub struct Commits {
    config: CommitConfig,
    waiting: BTreeMap<StatementName, Waiting>,
    /// How many commits of other nodes' statements are under way.
    held_under_way: usize,
    /// Those whose commit was answered and that the follower has not passed.
    unpassed: BTreeMap<ChannelId, BTreeSet<StatementName>>,
    due: BTreeSet<(Moment, StatementName)>,
    /// Drops and marks of tags that are done, with the instant, oldest first.
    done: VecDeque<(Moment, Statement)>,
    /// Per channel, when the newest drop that is not remembered any more was done.
    forgotten: BTreeMap<ChannelId, Moment>,
    actions: VecDeque<Action>,
}

#[derive(Debug)]
struct Waiting {
    statement: Statement,
    /// Replicas that confirmed, once a whole commit was answered.
    replicas: Option<u32>,
    /// The follower has passed it.
    passed: bool,
    /// .. in an entry whose effect was carried out.
    passed_whole: bool,
    announced: bool,
    /// Another node made it.
    held: bool,
    /// When the next attempt is due; `None` while one is under way.
    due: Option<Moment>,
    under_way: bool,
    attempts: u32,
}

impl Waiting {
    const fn new(statement: Statement, held: bool) -> Self {
        Self {
            statement,
            replicas: None,
            passed: false,
            passed_whole: false,
            announced: false,
            held,
            due: None,
            under_way: false,
            attempts: 0,
        }
    }
}

impl Commits {
    /// Nothing waits.
    #[must_use]
    pub const fn new(config: CommitConfig) -> Self {
        Self {
            config,
            waiting: BTreeMap::new(),
            held_under_way: 0,
            unpassed: BTreeMap::new(),
            due: BTreeSet::new(),
            done: VecDeque::new(),
            forgotten: BTreeMap::new(),
            actions: VecDeque::new(),
        }
    }

    /// Whether every statement is done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many statements are not done.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The channels with statements that were answered and not passed: those for which [`Input::Settled`] matters.
    pub fn unpassed(&self) -> impl Iterator<Item = ChannelId> + '_ {
        self.unpassed.keys().copied()
    }

    /// When [`Commits::tick`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Moment {
        self.due.first().map_or(Moment::NEVER, |(at, _)| *at)
    }

    /// The next thing to do; call until it answers `None`.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Moment) {
        while let Some((at, name)) = self.due.first().copied()
            && now >= at
        {
            self.due.remove(&(at, name));
            let is_held = self.waiting.get(&name).is_some_and(|waiting| waiting.held);
            if is_held && self.held_under_way >= self.config.held_at_once {
                // While the log is away they all wait; none of them is in a hurry.
                let later = now.plus(self.config.backoff_ceiling);
                self.due.insert((later, name));
                if let Some(waiting) = self.waiting.get_mut(&name) {
                    waiting.due = Some(later);
                }
            } else {
                self.attempt(name);
            }
        }
    }

    /// Something came in.
    pub fn handle(&mut self, now: Moment, input: Input) {
        match input {
            Input::Said(statement) => self.say(statement),
            Input::Held(statement, wait) => self.hold(now, statement, wait),
            Input::Forgotten(name) => self.forget_held(name),
            Input::Answered(name, attempt) => self.on_answer(now, name, attempt),
            Input::Passed { name, whole } => self.on_passed(now, name, whole),
            Input::Settled(channel) => self.on_settled(channel),
            Input::Adopted(channel) => self.on_adopted(now, channel),
        }
        self.tick(now);
    }

    fn say(&mut self, statement: Statement) {
        let name = statement.name;
        self.waiting.insert(name, Waiting::new(statement, false));
        self.attempt(name);
    }

    fn hold(&mut self, now: Moment, statement: Statement, wait: Duration) {
        let name = statement.name;
        if !self.waiting.contains_key(&name) {
            let mut waiting = Waiting::new(statement, true);
            let due = now.plus(wait);
            waiting.due = Some(due);
            self.due.insert((due, name));
            self.waiting.insert(name, waiting);
        }
    }

    fn forget_held(&mut self, name: StatementName) {
        if let Some(waiting) = self.waiting.get(&name).filter(|waiting| waiting.held) {
            if !waiting.passed {
                let voids = Voids::of(&waiting.statement.body);
                self.actions.extend(voids.map(Action::Positioned));
            }
            self.end(name);
        }
    }

    fn attempt(&mut self, name: StatementName) {
        if let Some(waiting) = self.waiting.get_mut(&name) {
            waiting.due = None;
            if !core::mem::replace(&mut waiting.under_way, true) {
                self.held_under_way += usize::from(waiting.held);
            }
            self.actions.push_back(Action::Commit {
                statement: waiting.statement.clone(),
                announced: waiting.announced,
            });
        }
    }

    fn on_answer(&mut self, now: Moment, name: StatementName, attempt: Attempt) {
        let Some(waiting) = self.waiting.get_mut(&name) else {
            return;
        };
        if core::mem::take(&mut waiting.under_way) {
            self.held_under_way -= usize::from(waiting.held);
        }
        match attempt {
            Attempt::Whole { replicas } => {
                waiting.replicas = Some(replicas);
                self.unpassed.entry(name.channel).or_default().insert(name);
                self.settle(now, name);
            }
            // Only the answer was lost.
            Attempt::Failed if waiting.passed_whole => {
                waiting.replicas = Some(0);
                self.settle(now, name);
            }
            Attempt::Announced | Attempt::Failed => {
                waiting.announced |= attempt == Attempt::Announced;
                let doubled = self.config.backoff_floor.saturating_mul(1 << waiting.attempts.min(16));
                waiting.attempts += 1;
                let due = now.plus(doubled.min(self.config.backoff_ceiling));
                waiting.due = Some(due);
                self.due.insert((due, name));
            }
        }
    }

    fn on_passed(&mut self, now: Moment, name: StatementName, whole: bool) {
        let Some(waiting) = self.waiting.get_mut(&name) else {
            return;
        };
        if !waiting.passed {
            let voids = Voids::of(&waiting.statement.body);
            self.actions.extend(voids.map(Action::Positioned));
        }
        waiting.passed = true;
        waiting.passed_whole |= whole;
        if waiting.passed_whole && waiting.due.is_some() {
            // Its attempt failed before the log showed that it had not.
            waiting.replicas = Some(0);
        }
        self.settle(now, name);
    }

    /// What was answered and not passed will not be passed any more: a load went past it, or the log lost it.
    fn on_settled(&mut self, channel: ChannelId) {
        for name in self.unpassed.remove(&channel).unwrap_or_default() {
            if let Some(waiting) = self.waiting.get_mut(&name) {
                waiting.replicas = None;
                waiting.announced = false;
            }
            self.attempt(name);
        }
    }

    fn on_adopted(&mut self, now: Moment, channel: ChannelId) {
        self.forget(now);
        let (again, kept) = core::mem::take(&mut self.done)
            .into_iter()
            .partition(|(_, statement)| statement.name.channel == channel);
        self.done = kept;
        for (_, statement) in again {
            self.actions
                .extend(Voids::of(&statement.body).map(Action::Unpositioned));
            self.say(statement);
        }
        if self.forgotten.remove(&channel).is_some() {
            self.actions.push_back(Action::Soil(channel));
        }
    }

    /// Forgets what is so old that no primary can have been about to be deposed when it was done.
    fn forget(&mut self, now: Moment) {
        let remember = self.config.remember;
        let is_old = |at: Moment| now.since(at) > remember;
        while self.done.front().is_some_and(|(at, _)| is_old(*at)) {
            self.done.pop_front();
        }
        self.forgotten.retain(|_, at| !is_old(*at));
    }

    fn remember(&mut self, now: Moment, statement: Statement) {
        self.forget(now);
        self.done.push_back((now, statement));
        if self.done.len() > self.config.remembered
            && let Some((at, oldest)) = self.done.pop_front()
        {
            self.forgotten.insert(oldest.name.channel, at);
        }
    }

    fn settle(&mut self, now: Moment, name: StatementName) {
        let Some(waiting) = self.waiting.get(&name) else { return };
        let (Some(replicas), true) = (waiting.replicas, waiting.passed_whole) else {
            return;
        };
        self.actions.push_back(Action::Done(name, replicas));
        // A tag is said again and again by marks that are alike: no table shows that the newest is lacking.
        if let Some(Waiting {
            statement, held: false, ..
        }) = self.end(name)
            && Voids::of(&statement.body).is_some()
        {
            self.remember(now, statement);
        }
    }

    fn end(&mut self, name: StatementName) -> Option<Waiting> {
        let waiting = self.waiting.remove(&name)?;
        if waiting.under_way {
            self.held_under_way -= usize::from(waiting.held);
        }
        if let Some(due) = waiting.due {
            self.due.remove(&(due, name));
        }
        if let Some(unpassed) = self.unpassed.get_mut(&name.channel) {
            unpassed.remove(&name);
            if unpassed.is_empty() {
                self.unpassed.remove(&name.channel);
            }
        }
        Some(waiting)
    }
}

/// What a statement voids in L2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Voids {
    /// One entry.
    Entry(EntryName),
    /// Everything that carries a tag.
    Tag(ScopeId),
}

impl Voids {
    /// `None`: the statement concerns nothing in L2.
    #[must_use]
    pub fn of(body: &Body) -> Option<Self> {
        match body {
            Body::Drop(name) => Some(Self::Entry(*name)),
            Body::Mark(mark) => (mark.kind == ScopeKind::Tag).then_some(Self::Tag(mark.key.scope)),
        }
    }
}

/// What was voided by statements that have no position yet: L2 reads of it are misses, since nothing there tells what is
/// older from what is newer.
#[derive(Debug, Default)]
pub struct Unpositioned(BTreeMap<Voids, u32>);

impl Unpositioned {
    /// A statement that voids it is in force here, and has no position.
    pub fn add(&mut self, voids: Voids) {
        *self.0.entry(voids).or_insert(0) += 1;
    }

    /// One such statement has its position now.
    pub fn positioned(&mut self, voids: &Voids) {
        if let Some(count) = self.0.get_mut(voids) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(voids);
            }
        }
    }

    /// How many things are void without a position.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether everything that is void has its position.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a statement that voids it has no position yet.
    #[must_use]
    pub fn holds(&self, voids: &Voids) -> bool {
        self.0.contains_key(voids)
    }
}
