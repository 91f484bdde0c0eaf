//! What a joiner asks a member to warm up by: the names of its hottest entries. Values come from L2 alone.

use alloc::vec::Vec;

use bincode::{Decode, Encode};

use crate::ident::{EntryName, ScopeId};
use crate::wire::{self, WireError};

/// The most names that a member hands over at once.
pub const MAX_HOT: usize = 1000;

/// Stands behind the version. A question about keys has 0xff twice there, one of an observer 0xff and a length, which never
/// begins with this byte.
const MARK: [u8; 2] = [0xff, 0xfe];

/// What a joiner asks: the names of hot entries of one namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct HotQuestion {
    /// The tag that every entry of the namespace carries.
    pub space: ScopeId,
    /// How many names, at most [`MAX_HOT`].
    pub most: u16,
}

/// The answer to a [`HotQuestion`]: names, the hottest first. They are keyed, and tell nothing to whoever lacks the naming key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct HotAnswer {
    /// The names.
    pub names: Vec<EntryName>,
}

impl HotQuestion {
    /// Whether a request is a question about hot entries.
    #[must_use]
    pub fn is_one(request: &[u8]) -> bool {
        matches!(request, [_, first, second, ..] if [*first, *second] == MARK)
    }

    /// The bytes to send.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        wire::frame(&MARK, self)
    }

    /// Reads what [`HotQuestion::encode`] wrote.
    ///
    /// # Errors
    /// When it is anything else, asks for more than a member hands over, or is of a version that is not spoken here.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let question: Self = wire::unframe(&MARK, bytes)?;
        if usize::from(question.most) > MAX_HOT {
            return Err(WireError::Malformed);
        }
        Ok(question)
    }
}

impl HotAnswer {
    /// The bytes to send.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        wire::frame(&MARK, self)
    }

    /// Reads what [`HotAnswer::encode`] wrote, as the answer to `question`.
    ///
    /// # Errors
    /// When it is anything else, names more than was asked for, or is of a version that is not spoken here.
    pub fn decode(bytes: &[u8], question: &HotQuestion) -> Result<Self, WireError> {
        let answer: Self = wire::unframe(&MARK, bytes)?;
        if answer.names.len() > usize::from(question.most) {
            return Err(WireError::Malformed);
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use alloc::vec;

    use super::*;
    use crate::keys::KeyQuestion;
    use crate::observe::Question;
    use crate::wire::VERSION;

    const QUESTION: HotQuestion = HotQuestion {
        space: ScopeId([7; 16]),
        most: 2,
    };

    fn answer(names: usize) -> HotAnswer {
        HotAnswer {
            names: vec![EntryName([9; 32]); names],
        }
    }

    /// The bytes are what nodes of this version have said: they never change under this version.
    #[test]
    fn the_bytes_stay_what_they_are() {
        let mut golden = vec![VERSION, 0xff, 0xfe];
        golden.extend([7; 16]);
        golden.push(2);
        assert_eq!(QUESTION.encode(), golden);
        assert_eq!(HotQuestion::decode(&golden), Ok(QUESTION));
        let mut golden = vec![VERSION, 0xff, 0xfe, 1];
        golden.extend([9; 32]);
        assert_eq!(answer(1).encode(), golden);
        assert_eq!(HotAnswer::decode(&golden, &QUESTION), Ok(answer(1)));
    }

    #[test]
    fn no_other_question_is_one_and_the_other_way_round() {
        let hot = QUESTION.encode();
        assert!(HotQuestion::is_one(&hot) && !KeyQuestion::is_one(&hot));
        assert!(Question::decode(&hot).is_err());
        let keys = KeyQuestion {
            issuer: ScopeId([1; 16]),
            have: (0, 0),
            generation: 0,
            kid: None,
            afresh: false,
        };
        assert!(!HotQuestion::is_one(&keys.encode()));
        assert!(!HotQuestion::is_one(&Question::default().encode()));
        let entries = vec![EntryName([0xfe; 32]); 1024];
        let question = Question {
            entries,
            ..Question::default()
        };
        assert!(!HotQuestion::is_one(&question.encode()));
    }

    #[test]
    fn more_than_a_member_hands_over_is_neither_asked_nor_taken() {
        let most = u16::try_from(MAX_HOT).unwrap();
        let asking = |most| HotQuestion::decode(&HotQuestion { most, ..QUESTION }.encode());
        assert!(asking(most).is_ok());
        assert_eq!(asking(most + 1), Err(WireError::Malformed));
        assert_eq!(
            HotAnswer::decode(&answer(3).encode(), &QUESTION),
            Err(WireError::Malformed)
        );
        let bytes = answer(2).encode();
        assert!(HotAnswer::decode(&bytes, &QUESTION).is_ok());
        for cut in 0..bytes.len() {
            assert!(HotAnswer::decode(&bytes[..cut], &QUESTION).is_err());
        }
        let mut other = QUESTION.encode();
        other[0] = VERSION + 1;
        assert_eq!(HotQuestion::decode(&other), Err(WireError::Version(VERSION + 1)));
    }
}
