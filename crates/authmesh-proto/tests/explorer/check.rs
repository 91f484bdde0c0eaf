//! What must hold in every state.

use crate::fill::counts;
use crate::state::{Body, KEY, MINTS, NONE, Scenario, State, Value};

impl State {
    /// What is wrong in this state, if anything is.
    pub(crate) fn wrong(&self, scenario: &Scenario) -> Option<String> {
        for (n, node) in self.nodes.iter().enumerate() {
            if node.l1 != NONE && node.l1 < node.need {
                return Some(format!(
                    "N{n} answers from memory with version {}, where what it has applied voids everything older than \
                     version {}",
                    node.l1, node.need
                ));
            }
            if let Some(version) = self.reads_l2(scenario, n)
                && version < node.need
            {
                return Some(format!(
                    "a read on N{n} that begins now gets version {version} from L2, where what N{n} has applied voids \
                     everything older than version {}",
                    node.need
                ));
            }
        }
        for (c, log) in self.logs.iter().enumerate() {
            if log.mints() > MINTS {
                return Some(format!(
                    "channel {c} is minted without end: {} mints, one failover",
                    log.mints()
                ));
            }
            if log.is_full() {
                return Some(format!("channel {c} is written without end"));
            }
        }
        if self.is_quiet(scenario) {
            return self.stale(scenario);
        }
        None
    }

    /// The version that L2 gives to a read on a node that is sent, carried out and answered now.
    fn reads_l2(&self, scenario: &Scenario, n: usize) -> Option<u8> {
        let asked = self.nodes[n].follow[KEY].watermark;
        counts(self, scenario, n, (self.logs[KEY].head, self.value), asked, false)
    }

    /// Whether every statement that was made has its position, and every follower believes that it stands at the head: from
    /// here on nothing happens by itself but fills.
    pub(crate) fn is_quiet(&self, scenario: &Scenario) -> bool {
        let made = usize::from(self.made);
        self.nodes.iter().all(|node| {
            let followed = node.follow.iter().zip(&self.logs).take(scenario.channels());
            let current = |(follow, log): (&crate::state::Follow, &crate::state::Log)| {
                follow.settled() && follow.watermark == log.head && follow.jobs[0] == NONE
            };
            node.known[..made].iter().all(|known| !known.awaits_position()) && followed.into_iter().all(current)
        })
    }

    /// Whether a fill on a node that begins now can neither use what L2 holds nor take the lease.
    fn value_is_in_the_way(&self, scenario: &Scenario, n: usize) -> bool {
        let counts = (0..2).any(|n| self.reads_l2(scenario, n).is_some());
        matches!(self.value, Value::Record { .. }) && !counts && !crate::fill::gives_way(self, scenario, n)
    }

    /// What a quiet world must not hold.
    fn stale(&self, scenario: &Scenario) -> Option<String> {
        let now = scenario.version(self.made);
        for (n, node) in self.nodes.iter().enumerate() {
            if node.l1 != NONE && node.l1 < now {
                return Some(format!(
                    "all is quiet, and N{n}'s memory holds version {} for good; the source has version {now}",
                    node.l1
                ));
            }
            if let Some(version) = self.reads_l2(scenario, n)
                && version < now
            {
                return Some(format!(
                    "all is quiet, and L2 gives version {version} to N{n} for good; the source has version {now}"
                ));
            }
            if self.value_is_in_the_way(scenario, n) {
                return Some(format!(
                    "all is quiet, and what stands in L2 counts for nobody, and gives way to no fill on N{n}"
                ));
            }
            for s in (0..self.made).filter(|s| matches!(scenario.body(*s), Body::Mark(_))) {
                if node.held & (1 << s) == 0 {
                    return Some(format!("all is quiet, and N{n} does not hold the mark of S{}", s + 1));
                }
            }
        }
        for s in (0..self.made).filter(|s| scenario.body(*s).is_held()) {
            let log = &self.logs[scenario.body(s).channel()];
            let table = log.table(log.head);
            // All statements about the tag make one and the same mark.
            let same = |other: u8| {
                other == s || matches!((scenario.body(s), scenario.body(other)), (Body::Tag(_), Body::Tag(_)))
            };
            if !(0..self.made).any(|other| same(other) && table & (1 << other) != 0) {
                return Some(format!("all is quiet, and Redis has lost the mark of S{}", s + 1));
            }
        }
        None
    }
}
