//! What comes to the port of gossip and is of no member: the operator is told, once in a while, however much of it comes.

use std::time::Duration;

use authmesh_proto::time::Moment;

use crate::ports::GossipCounts;

/// How often it is told at most. More would let whoever sends it fill the log.
const PERIOD: Duration = Duration::from_secs(10);

/// What was told last.
#[derive(Debug, Default)]
pub(crate) struct Strangers {
    told: Told,
    /// Not before.
    next: Option<Moment>,
}

/// What is counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Told {
    unopened: u64,
    replayed: u64,
    malformed: u64,
}

impl Strangers {
    /// Looks at the counters, and tells what has come since it told last.
    pub(crate) fn look(&mut self, now: Moment, counts: &GossipCounts) {
        if let Some(news) = self.news(now, counts) {
            let Told {
                unopened,
                replayed,
                malformed,
            } = news;
            tracing::warn!(
                target: "authmesh::audit", unopened, replayed, malformed,
                "gossip that is of no member, or comes again, was refused: somebody else writes to the port, or a key ring differs"
            );
        }
    }

    fn news(&mut self, now: Moment, counts: &GossipCounts) -> Option<Told> {
        let seen = Told {
            unopened: counts.unopened,
            replayed: counts.replayed,
            malformed: counts.malformed,
        };
        if seen == self.told || self.next.is_some_and(|next| now < next) {
            return None;
        }
        let before = std::mem::replace(&mut self.told, seen);
        self.next = Some(now.plus(PERIOD));
        Some(Told {
            unopened: seen.unopened.saturating_sub(before.unopened),
            replayed: seen.replayed.saturating_sub(before.replayed),
            malformed: seen.malformed.saturating_sub(before.malformed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_once_in_a_period_and_nothing_of_it_is_left_out() {
        let mut strangers = Strangers::default();
        let mut counts = GossipCounts::default();
        let at = |seconds| Moment::ORIGIN.plus(Duration::from_secs(seconds));
        assert_eq!(strangers.news(at(1), &counts), None, "nothing has come");
        counts.unopened = 3;
        let first = strangers.news(at(1), &counts).unwrap();
        assert_eq!((first.unopened, first.replayed, first.malformed), (3, 0, 0), "at once");
        counts.unopened = 1000;
        counts.replayed = 7;
        assert_eq!(strangers.news(at(10), &counts), None, "not so soon");
        counts.malformed = 2;
        let second = strangers.news(at(11), &counts).unwrap();
        assert_eq!((second.unopened, second.replayed, second.malformed), (997, 7, 2));
        assert_eq!(strangers.news(at(60), &counts), None, "no news");
    }
}
