//! What an observer of the cluster's consistency asks a member, and what it is told.
//!
//! Both travel as requests and answers of gossip do: sealed, between members that have proven that they hold the key ring. They
//! carry keyed names and keyed digests, never a value. Everything is bounded: a member may be broken.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bincode::{Decode, Encode};

use crate::ident::{CHANNELS, ChannelId, Digest, EntryName};
use crate::marks::{BUCKETS, Digests};
use crate::time::Unix;
use crate::wire::{self, WireError};

/// The most cache entries that one question names.
pub const MAX_ENTRIES: usize = 1024;
/// The most buckets of marks that one question names.
pub const MAX_BUCKETS: usize = 32;
/// The most marks that one answer names.
pub const MAX_ELEMENTS: usize = 16_384;

/// Stands behind the version, where a request of the gossip machine has the number of its variant: the encoding never begins a
/// number with this byte.
const MARK: u8 = 0xff;

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct Question {
    /// Root digests of the asker's marks, one for each of the 64 channels; or none: no digests are wanted.
    pub roots: Vec<Digest>,
    /// Buckets whose marks are wanted one by one (channel, bucket).
    pub buckets: Vec<(u8, u8)>,
    /// Cache entries: what does the member serve under these names?
    pub entries: Vec<EntryName>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct Reply {
    /// Whether the member is coherent. One that is not may lack anything, and knows it.
    pub coherent: bool,
    /// The digests of the buckets of each channel whose root is not the asker's.
    pub channels: Vec<(u8, Vec<Digest>)>,
    /// For each bucket that was asked for, its marks; `None`: too many for one answer.
    pub buckets: Vec<Option<Vec<Element>>>,
    /// For each entry that was asked for, what is served; `None`: nothing, from memory.
    pub entries: Vec<Option<Held>>,
}

/// One mark of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Element {
    /// Its keyed digest: scope, exception, `not_before` and expiry.
    pub digest: Digest,
    /// Until when it can be needed.
    pub expires: Unix,
}

/// A value in a member's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Held {
    /// Its keyed digest, bound to the entry's name.
    pub digest: Digest,
    /// Wall clock of the filler when it read the source.
    pub filled_at: Unix,
}

impl Question {
    /// Whether a request is meant for an observer's counterpart, and not for the gossip machine.
    #[must_use]
    pub fn is_one(request: &[u8]) -> bool {
        matches!(request, [_, MARK, ..])
    }

    /// The bytes to send.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        wire::frame(&[MARK], self)
    }

    /// Reads what [`Question::encode`] wrote.
    ///
    /// # Errors
    /// When it is anything else, asks for more than a question may, or is of a version that is not spoken here.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let question: Self = unmarked(bytes)?;
        let roots = question.roots.len();
        let within = (roots == 0 || roots == CHANNELS)
            && question.buckets.len() <= MAX_BUCKETS
            && question.entries.len() <= MAX_ENTRIES
            && question
                .buckets
                .iter()
                .all(|(channel, number)| bucket(*channel, *number).is_some());
        if within {
            Ok(question)
        } else {
            Err(WireError::Malformed)
        }
    }

    /// The buckets that are asked for.
    pub fn asked_buckets(&self) -> impl Iterator<Item = (ChannelId, usize)> + '_ {
        self.buckets
            .iter()
            .filter_map(|(channel, number)| bucket(*channel, *number))
    }
}

impl Reply {
    /// The bytes to send.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        wire::frame(&[MARK], self)
    }

    /// Reads what [`Reply::encode`] wrote in answer to `question`.
    ///
    /// # Errors
    /// When it is anything else, answers another question, or is of a version that is not spoken here.
    pub fn decode(bytes: &[u8], question: &Question) -> Result<Self, WireError> {
        let reply: Self = unmarked(bytes)?;
        let channels = reply
            .channels
            .iter()
            .all(|(channel, digests)| ChannelId::new(*channel).is_some() && digests.len() == BUCKETS);
        let elements: usize = reply.buckets.iter().flatten().map(Vec::len).sum();
        let fits = channels
            && reply.channels.len() <= question.roots.len()
            && reply.buckets.len() == question.buckets.len()
            && elements <= MAX_ELEMENTS
            && reply.entries.len() == question.entries.len();
        if fits { Ok(reply) } else { Err(WireError::Malformed) }
    }

    /// The buckets whose digests are not those that `own` gives for their channel.
    #[must_use]
    pub fn differing(&self, own: impl Fn(ChannelId) -> Digests) -> Vec<(u8, u8)> {
        let mut differing = Vec::new();
        for (number, theirs) in &self.channels {
            let Some(channel) = ChannelId::new(*number) else {
                continue;
            };
            let pairs = own(channel).into_iter().zip(theirs).enumerate();
            let other = pairs.filter(|(_, (own, theirs))| own != *theirs);
            differing.extend(other.map(|(bucket, _)| (*number, bucket as u8)));
        }
        differing
    }
}

/// Which of two sides lacks a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lacks {
    /// This node.
    Here,
    /// The other one.
    There,
}

/// The marks of a bucket that one side holds and the other does not. Those that expire before `from` are nobody's lack: each
/// node forgets them when its own clocks say so.
#[must_use]
pub fn unequal(own: &[Element], theirs: &[Element], from: Unix) -> Vec<(Element, Lacks)> {
    let mut sides: BTreeMap<Element, Option<Lacks>> =
        own.iter().map(|element| (*element, Some(Lacks::There))).collect();
    for element in theirs {
        sides
            .entry(*element)
            .and_modify(|side| *side = side.filter(|side| *side == Lacks::Here))
            .or_insert(Some(Lacks::Here));
    }
    let lacking = sides.into_iter().filter(|(element, _)| element.expires >= from);
    lacking.filter_map(|(element, side)| Some((element, side?))).collect()
}

fn bucket(channel: u8, number: u8) -> Option<(ChannelId, usize)> {
    let number = usize::from(number);
    (number < BUCKETS).then_some((ChannelId::new(channel)?, number))
}

fn unmarked<T: Decode<()>>(bytes: &[u8]) -> Result<T, WireError> {
    // Without the mark it is nothing of an observer, of whatever version.
    if !Question::is_one(bytes) {
        return Err(WireError::Malformed);
    }
    wire::unframe(&[MARK], bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use alloc::vec;

    use super::*;
    use crate::gossip::message::{Ask, Request};
    use crate::wire::VERSION;

    fn element(digest: u8, expires: Unix) -> Element {
        Element {
            digest: Digest([digest; 16]),
            expires,
        }
    }

    fn question() -> Question {
        Question {
            roots: vec![Digest([7; 16]); CHANNELS],
            buckets: vec![(3, 31)],
            entries: vec![EntryName([9; 32])],
        }
    }

    fn reply() -> Reply {
        Reply {
            coherent: true,
            channels: vec![(3, vec![Digest([1; 16]); BUCKETS])],
            buckets: vec![Some(vec![element(4, 3600)])],
            entries: vec![Some(Held {
                digest: Digest([5; 16]),
                filled_at: 1000,
            })],
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        assert_eq!(Question::decode(&question().encode()), Ok(question()));
        assert_eq!(Reply::decode(&reply().encode(), &question()), Ok(reply()));
        let empty = Question::default();
        assert_eq!(Question::decode(&empty.encode()), Ok(empty));
    }

    /// The bytes are what nodes of this version have said: they never change under this version.
    #[test]
    fn the_bytes_stay_what_they_are() {
        let question = Question {
            roots: Vec::new(),
            buckets: vec![(3, 31), (63, 0)],
            entries: vec![EntryName([9; 32])],
        };
        let mut golden = vec![VERSION, 0xff, 0, 2, 3, 31, 63, 0, 1];
        golden.extend([9; 32]);
        assert_eq!(question.encode(), golden);

        let reply = Reply {
            coherent: true,
            channels: Vec::new(),
            buckets: vec![None, Some(vec![element(4, 3600)])],
            entries: vec![Some(Held {
                digest: Digest([5; 16]),
                filled_at: 200,
            })],
        };
        let mut golden = vec![VERSION, 0xff, 1, 0, 2, 0, 1, 1];
        golden.extend([4; 16]);
        // 3,600 takes two bytes behind the byte that says so.
        golden.extend([251, 0x10, 0x0e]);
        golden.extend([1, 1]);
        golden.extend([5; 16]);
        golden.push(200);
        assert_eq!(reply.encode(), golden);
        assert_eq!(Reply::decode(&golden, &question), Ok(reply));
    }

    #[test]
    fn no_request_of_the_machine_is_a_question_and_the_other_way_round() {
        let requests = [
            Request::Ask(Ask::default()),
            Request::Changes {
                since: u64::MAX,
                counters: Vec::new(),
            },
            Request::Everything {
                counters: Vec::new(),
                digests: Vec::new(),
                after: None,
            },
            Request::Buckets {
                buckets: Vec::new(),
                after: None,
            },
            Request::View,
        ];
        for request in requests {
            assert!(!Question::is_one(&request.encode()), "{request:?}");
        }
        assert!(Question::is_one(&question().encode()));
        assert!(Request::decode(&question().encode()).is_err());
    }

    #[test]
    fn what_asks_for_too_much_is_refused() {
        let many = |change: fn(&mut Question)| {
            let mut question = question();
            change(&mut question);
            Question::decode(&question.encode())
        };
        assert_eq!(many(|q| q.roots.truncate(63)), Err(WireError::Malformed));
        assert_eq!(
            many(|q| q.buckets = vec![(0, 0); MAX_BUCKETS + 1]),
            Err(WireError::Malformed)
        );
        assert_eq!(many(|q| q.buckets = vec![(64, 0)]), Err(WireError::Malformed));
        assert_eq!(many(|q| q.buckets = vec![(0, 32)]), Err(WireError::Malformed));
        let name = EntryName([0; 32]);
        assert!(
            Question::decode(
                &Question {
                    entries: vec![name; MAX_ENTRIES],
                    ..Question::default()
                }
                .encode()
            )
            .is_ok()
        );
        assert_eq!(
            Question::decode(
                &Question {
                    entries: vec![name; MAX_ENTRIES + 1],
                    ..Question::default()
                }
                .encode()
            ),
            Err(WireError::Malformed)
        );
    }

    #[test]
    fn an_answer_to_another_question_is_refused() {
        let many = |change: fn(&mut Reply)| {
            let mut reply = reply();
            change(&mut reply);
            Reply::decode(&reply.encode(), &question())
        };
        assert!(many(|_| {}).is_ok());
        assert_eq!(many(|r| r.entries.clear()), Err(WireError::Malformed));
        assert_eq!(many(|r| r.buckets.push(None)), Err(WireError::Malformed));
        assert_eq!(many(|r| r.channels[0].0 = 64), Err(WireError::Malformed));
        assert_eq!(many(|r| r.channels[0].1.truncate(31)), Err(WireError::Malformed));
        assert_eq!(
            many(|r| r.buckets = vec![Some(vec![element(0, 0); MAX_ELEMENTS + 1])]),
            Err(WireError::Malformed)
        );
        let mut other = reply().encode();
        other[0] = 2;
        assert_eq!(Reply::decode(&other, &question()), Err(WireError::Version(2)));
        for cut in 0..reply().encode().len() {
            assert!(Reply::decode(&reply().encode()[..cut], &question()).is_err());
        }
    }

    #[test]
    fn only_what_one_side_holds_and_is_not_past_is_unequal() {
        let own = [element(1, 7200), element(2, 7200), element(3, 3600)];
        let theirs = [element(1, 7200), element(4, 7200), element(5, 3600)];
        assert_eq!(
            unequal(&own, &theirs, 3601),
            [(element(2, 7200), Lacks::There), (element(4, 7200), Lacks::Here)]
        );
        assert_eq!(unequal(&own, &own, 0), []);
        // A side that names one twice lacks it no less, and no more.
        assert_eq!(unequal(&own[..1], &[element(1, 7200), element(1, 7200)], 0), []);
        assert_eq!(
            unequal(&[], &[element(1, 7200), element(1, 7200)], 0),
            [(element(1, 7200), Lacks::Here)]
        );
    }

    #[test]
    fn buckets_that_differ_are_named() {
        let mut reply = reply();
        reply.channels[0].1[5] = Digest([2; 16]);
        let differing = reply.differing(|_| [Digest([1; 16]); BUCKETS]);
        assert_eq!(differing, [(3, 5)]);
    }
}
