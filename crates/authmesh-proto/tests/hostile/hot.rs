//! What a joiner asks and is told about hot entries.

use authmesh_proto::hot::{HotAnswer, HotQuestion, MAX_HOT};
use authmesh_proto::ident::{EntryName, ScopeId};
use proptest::collection::vec;
use proptest::prelude::*;

use super::promise;

fn any_question() -> impl Strategy<Value = HotQuestion> {
    (any::<[u8; 16]>(), 0..=1000_u16).prop_map(|(space, most)| HotQuestion {
        space: ScopeId(space),
        most,
    })
}

fn all() -> HotQuestion {
    HotQuestion {
        space: ScopeId([0; 16]),
        most: u16::try_from(MAX_HOT).unwrap(),
    }
}

proptest! {
    #[test]
    fn questions_and_answers_read_back(question in any_question(), names in vec(any::<[u8; 32]>(), 0..40)) {
        prop_assert_eq!(HotQuestion::decode(&question.encode()), Ok(question));
        let answer = HotAnswer { names: names.into_iter().map(EntryName).collect() };
        prop_assert_eq!(HotAnswer::decode(&answer.encode(), &all()), Ok(answer));
    }

    #[test]
    fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..300), mark in any::<bool>()) {
        let bytes = if mark { [&[1, 0xff, 0xfe], &*bytes].concat() } else { bytes };
        let _ = HotQuestion::decode(&bytes);
        if let Ok(answer) = HotAnswer::decode(&bytes, &all()) {
            prop_assert!(answer.names.len() <= MAX_HOT);
        }
    }
}

#[test]
fn bounded_everything_promised_names_claim_no_memory() {
    for items in [1, 1 << 20, (1 << 20) + 1, 1 << 40, u64::MAX] {
        let mut bytes = HotAnswer::default().encode();
        bytes.truncate(bytes.len() - 1);
        bytes.append(&mut promise(items));
        assert!(HotAnswer::decode(&bytes, &all()).is_err(), "{items} names");
    }
}
