//! What the SDK's driver does: inputs into the follower and the commits, and their actions into calls.

use std::collections::VecDeque;

use authmesh_proto::commit::{self, Attempt};
use authmesh_proto::follower::{Action, Event, Input, OpenedEntry, OpenedPayload, Slice};
use authmesh_proto::gossip;
use authmesh_proto::ident::{CHANNELS, ChannelId, Incarnation, Nonce, StatementName};
use authmesh_proto::marks::{Buckets, bucket_of};
use authmesh_proto::statement::{Body, Mark, Statement};
use authmesh_proto::time::Now;

use super::{COLLECT_PERIOD, Job, LEASE, Node, Out, PORT_TIMEOUT};
use crate::names;
use crate::redis::{Answer, Entry, Op, Payload, Table};
use crate::rules::Control;

impl Node {
    /// Time has passed.
    pub fn tick(&mut self, now: Now) {
        if now.boot >= self.next_collect {
            self.next_collect = now.boot.plus(COLLECT_PERIOD);
            names::with_namer(|namer| self.marks.collect(now, namer));
        }
        if self.has_log() {
            self.step(now, None);
            self.commit_step(now, None);
        }
        self.tick_mesh(now);
        self.tick_flights(now);
    }

    /// A bell rang.
    pub fn bell(&mut self, now: Now, entry: &Entry) {
        let opened = self.open(entry);
        self.step(now, Some(Input::Bell(opened)));
    }

    /// Bells may have been missed: the subscription broke, or was made anew.
    pub fn bells_broken(&mut self, now: Now) {
        if !self.rules.off(Control::HeadsNeverCompared) {
            self.step(now, Some(Input::BellsBroken));
        }
    }

    /// A call was answered; `None`: it failed, or took too long.
    pub fn answered(&mut self, now: Now, job: u64, answer: Option<Answer>) {
        let Some(kind) = self.jobs.remove(&job) else { return };
        if self.rules.off(Control::LeaseFromAnswer)
            && let Job::Heads { asked, .. } | Job::Slice(_, asked) | Job::Load(_, asked) = &kind
        {
            self.answered_at.insert(*asked, now.boot);
        }
        match (kind, answer) {
            (Job::Forget, _) => return,
            (Job::Look { flight, asked }, answer) => return self.looked(now, flight, asked, answer),
            (Job::Lease { flight }, answer) => return self.leased(now, flight, answer),
            (kind, answer) => self.finished(now, job, kind, answer),
        }
        let settled: Vec<_> = self
            .commits
            .unpassed()
            .filter(|channel| self.follower.settled(*channel).is_some())
            .collect();
        for channel in settled {
            self.commit_step(now, Some(commit::Input::Settled(channel)));
        }
    }

    fn finished(&mut self, now: Now, job: u64, kind: Job, answer: Option<Answer>) {
        match (kind, answer) {
            (
                Job::Heads {
                    asked,
                    mut left,
                    mut heads,
                },
                Some(Answer::Heads(found)),
            ) => {
                for (channel, head) in found {
                    heads[channel.index()] = head;
                }
                left -= 1;
                if left > 0 {
                    self.jobs.insert(job, Job::Heads { asked, left, heads });
                    return;
                }
                self.step(now, Some(Input::Heads(asked, Some(heads))));
            }
            (Job::Heads { asked, .. }, _) => self.step(now, Some(Input::Heads(asked, None))),
            (Job::Slice(channel, asked), answer) => {
                let slice = match answer {
                    Some(Answer::Slice(slice)) => Some(Slice {
                        head: slice.head,
                        first: slice.first,
                        entries: slice.entries.iter().map(|entry| self.open(entry)).collect(),
                    }),
                    _ => None,
                };
                self.step(now, Some(Input::Slice(channel, asked, slice)));
            }
            (Job::Load(channel, asked), Some(Answer::Table(table))) if table.sound => {
                let Table {
                    head, marks: theirs, ..
                } = table;
                let lacking = self.marks.lacking_in(channel, &theirs, Buckets::NONE, now);
                for mark in theirs {
                    let bucket = bucket_of(mark.expires);
                    if self.apply_mark(now, mark, head.map(|head| (head.incarnation, head.position))) {
                        self.tell_mesh(gossip::Input::Merged(channel, bucket));
                    }
                }
                self.lacking.insert(channel, lacking);
                self.step(now, Some(Input::Loaded(channel, asked, Some(head))));
            }
            (Job::Load(channel, asked), _) => self.step(now, Some(Input::Loaded(channel, asked, None))),
            (Job::Commit(name), Some(Answer::Committed(entry))) => {
                let whole = matches!(entry.payload, Payload::Statement { whole: true, .. });
                // The answer is as good as the bell, and earlier.
                self.bell(now, &entry);
                let attempt = match whole {
                    true => Attempt::Whole { replicas: 0 },
                    false => Attempt::Announced,
                };
                self.commit_step(now, Some(commit::Input::Answered(name, attempt)));
            }
            (Job::Commit(name), _) if self.rules.off(Control::NoRetry) => {
                let attempt = Attempt::Whole { replicas: 0 };
                self.commit_step(now, Some(commit::Input::Answered(name, attempt)));
                self.commit_step(now, Some(commit::Input::Passed { name, whole: true }));
            }
            (Job::Commit(name), _) => {
                self.commit_step(now, Some(commit::Input::Answered(name, Attempt::Failed)));
            }
            (Job::Recommit { channel, rest, all }, answer) => {
                let committed = match &answer {
                    Some(Answer::Committed(entry)) => matches!(entry.payload, Payload::Statement { whole: true, .. }),
                    _ => false,
                };
                self.recommit(now, channel, rest, all && committed);
            }
            (Job::Mint(channel), answer) => {
                let won = matches!(answer, Some(Answer::Minted(true)));
                self.step(now, Some(Input::Minted(channel, won)));
            }
            (Job::Announce(asked), answer) => self.on_announced(now, asked, answer.is_some()),
            (Job::List(asked), Some(Answer::Members(list))) => self.on_listed(now, asked, list),
            (Job::List(_) | Job::Look { .. } | Job::Lease { .. } | Job::Forget, _) => {}
        }
    }

    /// One after the other, each as a restatement of this node.
    fn recommit(&mut self, now: Now, channel: ChannelId, mut rest: VecDeque<Mark>, all: bool) {
        let Some(mark) = rest.pop_front() else {
            return self.step(now, Some(Input::Recommitted(channel, all)));
        };
        let statement = Statement {
            name: StatementName::restatement(self.origin, channel),
            body: Body::Mark(mark),
        };
        let op = self.commit_of(statement, false);
        self.start(Job::Recommit { channel, rest, all }, op, PORT_TIMEOUT);
    }

    fn commit_of(&mut self, statement: Statement, announced: bool) -> Op {
        Op::Commit {
            statement,
            nonce: Nonce(self.rng.bytes()),
            birth: Incarnation(self.rng.bytes()),
            announced,
        }
    }

    pub(super) fn commit_step(&mut self, now: Now, input: Option<commit::Input>) {
        match input {
            Some(input) => self.commits.handle(now.boot, input),
            None => self.commits.tick(now.boot),
        }
        while let Some(action) = self.commits.poll() {
            match action {
                commit::Action::Commit { statement, announced } => {
                    let name = statement.name;
                    let op = self.commit_of(statement, announced);
                    self.start(Job::Commit(name), op, PORT_TIMEOUT);
                }
                commit::Action::Positioned(voids) => self.unpositioned.positioned(&voids),
                commit::Action::Unpositioned(voids) => self.unpositioned.add(voids),
                commit::Action::Soil(channel) => self.soil(now, channel),
                commit::Action::Done(name, _) => self.logged(name),
            }
        }
    }

    fn open(&mut self, entry: &Entry) -> OpenedEntry {
        let payload = match &entry.payload {
            Payload::Statement { statement, whole } => match whole {
                true => OpenedPayload::Statement(statement.clone()),
                false => OpenedPayload::Bare(statement.clone()),
            },
            Payload::Mint => OpenedPayload::Nothing,
        };
        let mut head = entry.head;
        if self.rules.off(Control::GapsApplied)
            && let Some(watermark) = self.follower.watermark(entry.channel)
            && watermark.incarnation == head.incarnation
            && head.position.id > watermark.position.id
        {
            head.previous = Some(watermark.position);
        }
        OpenedEntry {
            channel: entry.channel,
            head,
            payload,
        }
    }

    /// One step of the follower: what came in, then everything that it wants done.
    pub(super) fn step(&mut self, now: Now, input: Option<Input>) {
        match input {
            Some(input) => self.follower.handle(now.boot, input),
            None => self.follower.tick(now.boot),
        }
        let (mut later, mut passed, mut unmerged, mut told) = (Vec::new(), Vec::new(), None, Vec::new());
        while let Some(action) = self.follower.poll() {
            match action {
                Action::Apply(statement, incarnation, position) => {
                    let is_known = self.rules.off(Control::DedupAcrossRoads) && self.came_by_gossip(&statement.name);
                    let changed = !is_known && self.apply(now, &statement, Some((incarnation, position)));
                    told.extend(self.told_of(&statement, changed));
                    let whole = unmerged.take() != Some(statement.name);
                    if statement.name.origin == self.origin || self.mesh.is_some() {
                        passed.push((statement.name, whole));
                    }
                }
                Action::Unmerged(name) => unmerged = Some(name),
                Action::BumpChannel(channel) => {
                    if !self.rules.off(Control::NoBump) {
                        self.fence.bump_channel(channel);
                    }
                }
                Action::Tell(event) => {
                    told.extend(self.voided_by(event));
                    later.push(Action::Tell(event));
                }
                other => later.push(other),
            }
        }
        self.follower_until = self.follower.coherent_until();
        if let Some((asked, answered)) = self
            .answered_at
            .iter()
            .find(|(asked, _)| asked.plus(LEASE) == self.follower_until)
        {
            self.follower_until = self.follower_until.plus(answered.since(*asked));
        }
        self.tell_followed(now, told);
        self.publish(now);
        for (name, whole) in passed {
            self.commit_step(now, Some(commit::Input::Passed { name, whole }));
        }
        for action in later {
            self.carry_out(now, action);
        }
    }

    /// Whoever asks this node must void what it has voided.
    fn voided_by(&self, event: Event) -> Option<gossip::Input> {
        let (channel, id) = match event {
            Event::Adopted(channel) => (channel, self.follower.watermark(channel)?.incarnation.0),
            Event::Reloaded(channel) => (channel, self.follower.watermark(channel)?.position.nonce.0),
            _ => return None,
        };
        Some(gossip::Input::Voided(channel, gossip::VoidId(id)))
    }

    fn carry_out(&mut self, now: Now, action: Action) {
        let asked = now.boot;
        match action {
            Action::ReadHeads => {
                if self.rules.off(Control::HeadsNeverCompared) && self.follower.loaded() {
                    let heads = ChannelId::all().map(|id| self.follower.watermark(id)).collect();
                    return self.step(now, Some(Input::Heads(asked, Some(heads))));
                }
                let job = Job::Heads {
                    asked,
                    left: self.shards,
                    heads: vec![None; CHANNELS],
                };
                self.start(job, Op::Heads, PORT_TIMEOUT);
            }
            Action::ReadLog(channel, from) => {
                self.start(Job::Slice(channel, asked), Op::Read(channel, from), PORT_TIMEOUT);
            }
            Action::Load(channel) => self.start(Job::Load(channel, asked), Op::Load(channel), PORT_TIMEOUT),
            Action::Recommit(channel) => {
                let lacking = self.lacking.remove(&channel).unwrap_or_default();
                let lacking = match self.rules.off(Control::NoRecommit) {
                    true => VecDeque::new(),
                    false => lacking.into(),
                };
                self.recommit(now, channel, lacking, true);
            }
            Action::Mint(channel, expected) => {
                let op = Op::Mint {
                    channel,
                    expected,
                    incarnation: Incarnation(self.rng.bytes()),
                    nonce: Nonce(self.rng.bytes()),
                };
                self.start(Job::Mint(channel), op, PORT_TIMEOUT);
            }
            Action::Tell(event) => {
                self.out.push(Out::Tell(event));
                if let Event::Adopted(channel) | Event::Reloaded(channel) = event {
                    self.commit_step(now, Some(commit::Input::Adopted(channel)));
                }
            }
            Action::Apply(..) | Action::Unmerged(_) | Action::BumpChannel(_) => {}
        }
    }
}
