//! What members answered: from a first claim to the moment at which everything behind it is applied here.

use alloc::vec::Vec;
use core::time::Duration;

use super::message::{Answer, Change, Counted, Name, Request, State, Tell, bucket};
use super::{Action, Event, Gossip, view};
use crate::ident::{ChannelId, Digest, Origin, StatementName};
use crate::marks::{BUCKETS, Marks};
use crate::statement::MarkKey;
use crate::time::{Moment, Now};

/// The most statements that a member may be said to have made and not itself have said: as many as may be on their way.
const LIE: u64 = 16_384;

/// What a member proves if everything that it had applied is applied here.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    /// The instant before the question.
    pub(super) asked: Moment,
    pub(super) version: u64,
    pub(super) said: u64,
    pub(super) ages: Vec<(Origin, Duration)>,
    pub(super) redis_age: Option<Duration>,
    /// Whether it has this node in its view, and said so after this node's registration was written again.
    pub(super) knows_me: bool,
    /// It is coherent, and a member: whoever takes over from it has what the cluster has.
    pub(super) sound: bool,
    pub(super) view: u64,
}

/// An exchange by stream.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) from: Origin,
    pub(super) claim: Option<Claim>,
    pub(super) step: Step,
    /// Buckets whose marks have to come.
    pub(super) buckets: Vec<(u8, u8)>,
    /// Counters to be taken over in the end, after a comparison of everything.
    pub(super) counters: Option<Vec<Counted>>,
    /// Whether it is about everything that the member ever applied.
    pub(super) whole: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    View,
    Changes { since: u64 },
    Everything { asked: Moment, mine: Vec<Counted> },
    Buckets { asked: Vec<(u8, u8, Digest)> },
}

impl Gossip {
    pub(super) fn on_answered(&mut self, now: Now, exchange: u64, answer: Option<&[u8]>, marks: &Marks) {
        if let Some((from, asked, confirm)) = self.asks.remove(&exchange) {
            match answer.map(Answer::decode) {
                Some(Ok(Answer::Tell(tell))) => self.on_tell(now, from, asked, &confirm, tell, marks),
                Some(_) => self.actions.push_back(Action::Tell(Event::Malformed(from))),
                None => {}
            }
        } else if let Some(pending) = self.pulls.remove(&exchange) {
            let from = pending.from;
            if let Some(member) = self.view.get_mut(&from) {
                member.pulling = None;
            }
            match answer.map(Answer::decode) {
                Some(Ok(answer)) => self.on_pulled(now, pending, answer, marks),
                Some(Err(_)) => self.actions.push_back(Action::Tell(Event::Malformed(from))),
                None => {}
            }
        }
    }

    /// What a member says of itself; the claim that it makes with it.
    fn on_state(&mut self, asked: Moment, from: Origin, state: &State) -> Option<Claim> {
        let ages = match state.view == self.view.digest() {
            true => self.view.resolve(&state.evidence),
            false => Vec::new(),
        };
        if state.origin != from {
            return None;
        }
        let knows_me = state.knows_you && self.view.is_after_announcement(asked);
        let member = self.view.get_mut(&from)?;
        member.coherent = state.coherent;
        member.joined = state.joined;
        member.speaks.clone_from(&state.speaks);
        Some(Claim {
            asked,
            version: state.version,
            said: state.said,
            ages,
            redis_age: state.redis_age.map(|age| Duration::from_millis(age.into())),
            knows_me,
            sound: state.coherent && state.joined,
            view: state.view,
        })
    }

    /// Whether every member of a member's view is one of this node's.
    fn has_view_of(&self, from: &Origin, view: u64) -> bool {
        let merged = self.view.get(from).and_then(|member| member.merged);
        merged == Some(view) || view == self.view.digest()
    }

    fn on_tell(&mut self, now: Now, from: Origin, asked: Moment, confirm: &[StatementName], tell: Tell, marks: &Marks) {
        let all = self.hear_all(now, Some(from), &tell.statements);
        // What a later start at its address says proves nothing of it.
        if tell.state.origin != from {
            return;
        }
        let confirmed = confirm
            .iter()
            .enumerate()
            .filter(|(at, _)| tell.confirmed & 1 << at != 0);
        let mut confirmed: Vec<_> = confirmed.map(|(_, name)| (from, *name)).collect();
        if tell.state.yours >= self.said {
            confirmed = self.awaited.keys().map(|name| (from, *name)).collect();
        }
        // Its word counts if it holds this node for a member, and has nobody in its view whom this one does not ask.
        let counts = tell.state.knows_you && self.has_view_of(&from, tell.state.view);
        if !confirmed.is_empty() && counts {
            self.confirm(now.boot, &confirmed);
        }
        let Some(claim) = self.on_state(asked, from, &tell.state) else {
            return;
        };
        let Some(member) = self.view.get(&from) else { return };
        // One at a time; and a node whose statements are refused here proves nothing.
        if member.pulling.is_some() || !all {
            return;
        }
        let (since, compared) = (member.since, member.compared);
        let mut pending = Pending {
            from,
            claim: Some(claim.clone()),
            step: Step::View,
            buckets: Vec::new(),
            counters: None,
            whole: since == 0,
        };
        // Nobody's evidence counts whose view has members that this one lacks.
        if !self.has_view_of(&from, claim.view) {
            pending.claim = None;
            self.pull(pending, &Request::View);
            return;
        }
        let complete = tell
            .changes
            .is_some_and(|changes| self.take_changes(now, &changes, &mut pending.buckets));
        if complete {
            self.go_on(now, pending, marks);
        } else if since == 0 && !compared {
            self.compare(now.boot, pending, None, marks);
        } else {
            self.pull_changes(pending, since);
        }
    }

    /// Applies changes. `false`: a statement is not here.
    fn take_changes(&mut self, now: Now, changes: &[Change], buckets: &mut Vec<(u8, u8)>) -> bool {
        let mut all = true;
        for change in changes {
            match change {
                Change::Statement(name) => all &= name.get().is_some_and(|name| self.ring.contains(&name)),
                Change::Marks { channel, bucket } => buckets.push((*channel, *bucket)),
                Change::Void { channel, id } => {
                    if let Some(channel) = ChannelId::new(*channel)
                        && self.ring.voided(now.boot, channel, *id)
                    {
                        self.actions.push_back(Action::BumpChannel(channel));
                    }
                }
            }
        }
        all
    }

    fn compare(&mut self, now: Moment, mut pending: Pending, after: Option<(Vec<Counted>, Name)>, marks: &Marks) {
        let (mine, after) = match after {
            Some((mine, after)) => (mine, Some(after)),
            None => (self.ring.counters(), None),
        };
        let digests = match after {
            None => ChannelId::all().flat_map(|channel| marks.digests(channel)).collect(),
            Some(_) => Vec::new(),
        };
        let request = Request::Everything {
            counters: mine.clone(),
            digests,
            after,
        };
        pending.step = Step::Everything { asked: now, mine };
        self.pull(pending, &request);
    }

    fn on_pulled(&mut self, now: Now, mut pending: Pending, answer: Answer, marks: &Marks) {
        let from = pending.from;
        match (core::mem::replace(&mut pending.step, Step::View), answer) {
            (Step::View, Answer::View { members, gone }) => {
                let digest = view::digest_of(members.iter().map(|peer| &peer.origin), gone.iter());
                for origin in gone {
                    self.part(origin);
                }
                let room = self.config.member_cap;
                for peer in members.iter().take(room) {
                    self.part_if_former(peer);
                    self.view.hear_say(now.boot, peer, room);
                }
                let joined = self
                    .view
                    .get(&from)
                    .is_some_and(|member| member.joined && member.coherent);
                if joined {
                    self.view.adopt(now.boot, &members, &self.config);
                }
                // By its next answer its view may be another one; then it is asked for again.
                if let Some(member) = self.view.get_mut(&from) {
                    member.merged = Some(digest);
                }
            }
            (
                Step::Changes { since },
                Answer::Changes {
                    reached,
                    changes,
                    statements,
                },
            ) => {
                let Some(changes) = changes else {
                    self.compare(now.boot, pending, None, marks);
                    return;
                };
                let all = self.hear_all(now, Some(from), &statements);
                if !(self.take_changes(now, &changes, &mut pending.buckets) && all) {
                    // It has counted what it does not hold any more; or what is refused here.
                    if all {
                        self.compare(now.boot, pending, None, marks);
                    }
                    return;
                }
                let target = pending.claim.as_ref().map_or(0, |claim| claim.version);
                if reached < target && reached > since {
                    self.pull_changes(pending, reached);
                } else if reached >= target {
                    self.go_on(now, pending, marks);
                }
            }
            (
                Step::Everything { asked, mine },
                Answer::Everything {
                    state,
                    counters,
                    statements,
                    next,
                    differing,
                    dirty,
                },
            ) => {
                if !self.hear_all(now, Some(from), &statements) {
                    return;
                }
                if pending.counters.is_none() {
                    let Some(claim) = self.on_state(asked, from, &state) else {
                        return;
                    };
                    pending.claim = Some(claim);
                    pending.counters = Some(counters);
                    pending.whole = true;
                    pending.buckets = differing;
                }
                for channel in dirty.into_iter().filter_map(ChannelId::new) {
                    if !self.dirty.contains(&channel) {
                        self.actions.push_back(Action::Soil(channel));
                    }
                }
                match next {
                    Some(next) => self.compare(now.boot, pending, Some((mine, next)), marks),
                    None => self.go_on(now, pending, marks),
                }
            }
            (Step::Buckets { asked }, Answer::Buckets { marks: found, next }) => {
                self.actions.push_back(Action::Merge(found));
                match next {
                    Some((done, after)) => {
                        let left: Vec<_> = asked.into_iter().skip(done as usize).collect();
                        self.pull_buckets(pending, left, after);
                    }
                    None => self.go_on(now, pending, marks),
                }
            }
            _ => self.actions.push_back(Action::Tell(Event::Malformed(from))),
        }
    }

    fn pull_changes(&mut self, mut pending: Pending, since: u64) {
        pending.step = Step::Changes { since };
        let counters = self.ring.counters();
        self.pull(pending, &Request::Changes { since, counters });
    }

    fn pull_buckets(&mut self, mut pending: Pending, buckets: Vec<(u8, u8, Digest)>, after: Option<MarkKey>) {
        let request = Request::Buckets {
            buckets: buckets.clone(),
            after,
        };
        pending.step = Step::Buckets { asked: buckets };
        self.pull(pending, &request);
    }

    /// Statements are applied. Marks that no statement brings are next, then the end.
    fn go_on(&mut self, now: Now, mut pending: Pending, marks: &Marks) {
        let mut buckets = core::mem::take(&mut pending.buckets);
        buckets.sort_unstable();
        buckets.dedup();
        let wanted: Vec<_> = buckets
            .into_iter()
            .filter_map(|(channel, number)| {
                let (id, at) = bucket(channel, number)?;
                Some((channel, number, marks.digests(id)[at]))
            })
            .take(64 * BUCKETS)
            .collect();
        if wanted.is_empty() {
            self.complete(now, pending);
        } else {
            self.pull_buckets(pending, wanted, None);
        }
    }

    /// Everything behind the claim is applied here.
    fn complete(&mut self, now: Now, pending: Pending) {
        let Pending {
            from,
            claim,
            counters,
            whole,
            ..
        } = pending;
        let Some(claim) = claim else { return };
        if let Some(mut counters) = counters {
            // Of its own statements this node knows best.
            counters.retain(|counted| counted.origin != self.me.origin);
            for channel in self.ring.take_over(now.boot, &counters) {
                self.actions.push_back(Action::BumpChannel(channel));
            }
            self.actions.push_back(Action::Tell(Event::TakenOver(from)));
        }
        let counted = self.ring.count_of(&from);
        if counted > claim.said.saturating_add(LIE) {
            // Somebody made it say what it never said. Its own word counts.
            self.ring.disown(&from);
            self.actions.extend(ChannelId::all().map(Action::Soil));
            self.actions.push_back(Action::Tell(Event::Lied(from)));
            if let Some(member) = self.view.get_mut(&from) {
                (member.since, member.compared) = (0, false);
            }
            return;
        }
        let Some(member) = self.view.get_mut(&from) else { return };
        if counted < claim.said {
            // Its changes did not tell all that it has said: they began later.
            (member.since, member.compared) = (0, false);
            return;
        }
        // Not before what it had applied is applied here: without this node's word it may have confirmed that to others.
        member.knows_me |= claim.knows_me;
        member.since = claim.version;
        member.compared |= whole;
        // It may have become coherent since everything was compared: what it applied meanwhile is applied here too.
        if member.compared && claim.sound {
            self.view.loaded = true;
        }
        self.view.grant(from, claim.asked, &claim.ages, claim.redis_age);
    }
}
