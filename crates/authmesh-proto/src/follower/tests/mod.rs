use alloc::vec;
use alloc::vec::Vec;

use core::time::Duration;

use super::*;
use crate::crypto::OpenError;
use crate::crypto::ScopeKind;
use crate::ident::ScopeId;
use crate::ident::{Digest, EntryName, Nonce, Origin, StatementName, StreamId};
use crate::statement::{Body, Mark, MarkKey, Note};

mod mints;

const C: ChannelId = match ChannelId::new(0) {
    Some(c) => c,
    None => unreachable!(),
};

fn ms(millis: u64) -> Moment {
    Moment::ORIGIN.plus(Duration::from_millis(millis))
}

fn position(n: u64, nonce: u8) -> Position {
    Position {
        id: StreamId { millis: n, sequence: 0 },
        nonce: Nonce([nonce; 16]),
    }
}

fn head(incarnation: u8, n: u64) -> Head {
    Head {
        incarnation: Incarnation([incarnation; 16]),
        generation: 0,
        position: position(n, 1),
        previous: (n > 1).then(|| position(n - 1, 1)),
        root: Digest::EMPTY,
    }
}

fn entry(incarnation: u8, n: u64) -> OpenedEntry {
    OpenedEntry {
        channel: C,
        head: head(incarnation, n),
        payload: OpenedPayload::Statement(Statement {
            name: StatementName {
                origin: Origin([9; 16]),
                channel: C,
                counter: n,
            },
            body: Body::Drop(EntryName([0; 32])),
        }),
    }
}

fn mark() -> Mark {
    Mark {
        key: MarkKey {
            scope: ScopeId([0; 16]),
            except: None,
        },
        kind: ScopeKind::Subject,
        not_before: 1,
        expires: 3600,
        note: Note::default(),
    }
}

fn drain(follower: &mut Follower) -> Vec<Action> {
    core::iter::from_fn(|| follower.poll()).collect()
}

/// A follower that has loaded every channel at 0 ms with heads of incarnation 1, position 5.
fn joined() -> Follower {
    let mut follower = Follower::new(FollowerConfig::default(), ms(0));
    follower.tick(ms(0));
    assert_eq!(drain(&mut follower).len(), CHANNELS);
    for id in ChannelId::all() {
        follower.handle(ms(1), Input::Loaded(id, ms(0), Some(Some(head(1, 5)))));
        follower.handle(ms(1), Input::Recommitted(id, true));
    }
    drain(&mut follower);
    follower
}

fn heads(of_c: Option<Head>) -> Option<Vec<Option<Head>>> {
    let mut heads = vec![Some(head(1, 5)); CHANNELS];
    heads[0] = of_c;
    Some(heads)
}

fn read_slice(follower: &mut Follower, now: Moment, slice: Slice) -> Vec<Action> {
    follower.tick(now);
    assert!(drain(follower).contains(&Action::ReadLog(C, follower.watermark(C).unwrap().position)));
    follower.handle(now, Input::Slice(C, now, Some(slice)));
    drain(follower)
}

fn applied(actions: &[Action]) -> Vec<u64> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Apply(statement, ..) => Some(statement.name.counter),
            _ => None,
        })
        .collect()
}

#[test]
fn a_node_is_blind_from_birth_until_every_channel_is_loaded() {
    // Trap 1.
    let mut follower = Follower::new(FollowerConfig::default(), ms(0));
    follower.tick(ms(0));
    for id in ChannelId::all().skip(1) {
        follower.handle(ms(1), Input::Loaded(id, ms(0), Some(Some(head(1, 5)))));
    }
    assert!(!follower.loaded());
    assert_eq!(follower.coherent_until(), Moment::ORIGIN);
    follower.handle(ms(1), Input::Loaded(C, ms(0), None));
    assert_eq!(follower.coherent_until(), Moment::ORIGIN, "a failed load is no load");
    assert_eq!(joined().coherent_until(), ms(3_000), "counted from before the request");
}

#[test]
fn marks_survive_redis_a_joining_node_commits_what_it_kept_and_tries_again() {
    let mut follower = Follower::new(FollowerConfig::default(), ms(0));
    follower.tick(ms(0));
    drain(&mut follower);
    follower.handle(ms(1), Input::Loaded(C, ms(0), Some(Some(head(1, 5)))));
    assert_eq!(drain(&mut follower), [Action::BumpChannel(C), Action::Recommit(C)]);
    assert!(follower.settled(C).is_some(), "nobody waits for it");
    follower.handle(ms(2), Input::Recommitted(C, false));
    follower.tick(ms(10_002));
    let asked = drain(&mut follower);
    assert!(asked.contains(&Action::ReadLog(C, position(5, 1))), "{asked:?}");
    follower.handle(
        ms(10_003),
        Input::Slice(
            C,
            ms(10_002),
            Some(Slice {
                head: Some(head(1, 5)),
                first: Some(position(1, 1)),
                entries: vec![entry(1, 5)],
            }),
        ),
    );
    assert!(
        drain(&mut follower).contains(&Action::Load(C)),
        "it looks again what is lacking"
    );
}

#[test]
fn the_next_bell_is_applied_and_a_duplicate_is_not() {
    let mut follower = joined();
    follower.handle(ms(2), Input::Bell(entry(1, 6)));
    follower.handle(ms(2), Input::Bell(entry(1, 6)));
    follower.handle(ms(2), Input::Bell(entry(1, 5)));
    assert_eq!(applied(&drain(&mut follower)), [6]);
    assert!(follower.settled(C).is_some());
}

#[test]
fn no_lost_statement_is_silent_a_missed_bell_is_found_by_the_next_one() {
    let mut follower = joined();
    follower.handle(ms(100), Input::Bell(entry(1, 7)));
    assert!(follower.settled(C).is_none(), "suspect: its L2 is a miss");
    let actions = drain(&mut follower);
    assert_eq!(applied(&actions), [0u64; 0]);
    assert!(actions.contains(&Action::ReadLog(C, position(5, 1))));
    let slice = Slice {
        head: Some(head(1, 7)),
        first: Some(position(1, 1)),
        entries: vec![entry(1, 5), entry(1, 6), entry(1, 7)],
    };
    follower.handle(ms(101), Input::Slice(C, ms(100), Some(slice)));
    assert_eq!(applied(&drain(&mut follower)), [6, 7]);
    assert!(follower.settled(C).is_some());
}

/// Trap 13: the table may lack it for as long as the slot is moving, and for ever if its origin dies.
#[test]
fn marks_survive_redis_a_bare_mark_is_applied_at_once_and_the_table_is_looked_at_later() {
    let mut follower = joined();
    let mut bare = entry(1, 6);
    let OpenedPayload::Statement(mut statement) = bare.payload else {
        panic!("a statement")
    };
    statement.body = Body::Mark(mark());
    let name = statement.name;
    bare.head.generation = 1;
    bare.payload = OpenedPayload::Bare(statement);
    follower.handle(ms(100), Input::Bell(bare.clone()));
    let actions = drain(&mut follower);
    assert_eq!(actions.first(), Some(&Action::Unmerged(name)), "before it is applied");
    assert_eq!(applied(&actions), [6]);
    assert_eq!(
        follower.settled(C).map(|head| head.generation),
        Some(1),
        "and nothing is suspect"
    );

    let mint = FollowerConfig::default().mint_period;
    let later = ms(100).plus(mint);
    follower.tick(later);
    let read = drain(&mut follower);
    assert!(
        read.contains(&Action::ReadLog(C, bare.head.position)),
        "is it still the head? {read:?}"
    );
    let slice = Slice {
        head: Some(bare.head),
        first: Some(position(1, 1)),
        entries: vec![bare.clone()],
    };
    follower.handle(later, Input::Slice(C, later, Some(slice)));
    assert!(drain(&mut follower).contains(&Action::Load(C)));
    follower.handle(later, Input::Loaded(C, later, Some(Some(bare.head))));
    assert!(
        drain(&mut follower).contains(&Action::Recommit(C)),
        "what the table lacks"
    );
}

#[test]
fn a_bare_drop_is_all_there_is_to_it() {
    let mut follower = joined();
    let mut bare = entry(1, 6);
    let OpenedPayload::Statement(statement) = bare.payload else {
        panic!("a statement")
    };
    bare.payload = OpenedPayload::Bare(statement);
    follower.handle(ms(100), Input::Bell(bare));
    let actions = drain(&mut follower);
    assert_eq!(applied(&actions), [6]);
    assert!(!actions.iter().any(|action| matches!(action, Action::Unmerged(_))));
}

#[test]
fn no_lost_statement_is_silent_a_deaf_node_is_found_by_heads() {
    let mut follower = joined();
    follower.tick(ms(1_001));
    assert!(drain(&mut follower).contains(&Action::ReadHeads));
    follower.handle(ms(1_010), Input::Heads(ms(1_001), heads(Some(head(1, 6)))));
    assert!(follower.settled(C).is_none());
    assert_eq!(follower.coherent_until(), ms(3_000), "one channel unproven: no renewal");
}

#[test]
fn bounded_blindness_the_lease_counts_from_before_the_request_and_only_proof_renews_it() {
    let mut follower = joined();
    follower.tick(ms(1_001));
    follower.handle(ms(1_900), Input::Heads(ms(1_001), heads(Some(head(1, 5)))));
    assert_eq!(follower.coherent_until(), ms(4_001));
    follower.tick(ms(2_500));
    follower.handle(ms(2_600), Input::Heads(ms(2_500), None));
    assert_eq!(follower.coherent_until(), ms(4_001), "a failed read proves nothing");
    follower.handle(ms(2_700), Input::Heads(ms(2_600), heads(Some(head(2, 5)))));
    assert_eq!(follower.coherent_until(), ms(4_001), "a foreign head proves nothing");
}

#[test]
fn an_equal_stream_id_with_another_nonce_is_not_the_watermark() {
    // Trap 6: two primaries give equal IDs to different entries.
    let mut follower = joined();
    let mut twin = head(1, 5);
    twin.position = position(5, 2);
    follower.handle(ms(10), Input::Heads(ms(9), heads(Some(twin))));
    assert!(follower.settled(C).is_none());
}

#[test]
fn another_incarnation_is_adopted_and_never_minted() {
    // Traps 3, 40, 42.
    let mut follower = joined();
    follower.handle(ms(100), Input::Heads(ms(99), heads(Some(head(2, 1)))));
    let slice = Slice {
        head: Some(head(2, 1)),
        first: Some(position(1, 1)),
        entries: vec![entry(2, 1)],
    };
    follower.tick(ms(101));
    drain(&mut follower);
    follower.handle(ms(102), Input::Slice(C, ms(101), Some(slice)));
    assert_eq!(drain(&mut follower), [Action::BumpChannel(C), Action::Load(C)]);
    follower.handle(ms(103), Input::Loaded(C, ms(102), Some(Some(head(2, 1)))));
    let actions = drain(&mut follower);
    assert!(
        actions.contains(&Action::BumpChannel(C)),
        "fills that began during the load are void too"
    );
    assert!(
        actions.contains(&Action::Recommit(C)),
        "marks that the new log lacks are committed"
    );
    assert!(!actions.iter().any(|a| matches!(a, Action::Mint(..))));
    assert_eq!(follower.settled(C).unwrap().incarnation, Incarnation([2; 16]));
}

#[test]
fn a_node_merely_behind_a_trimmed_log_reloads_and_never_mints() {
    // Trap 40.
    let mut follower = joined();
    follower.handle(ms(100), Input::Bell(entry(1, 900)));
    let slice = Slice {
        head: Some(head(1, 900)),
        first: Some(position(800, 1)),
        entries: vec![entry(1, 900)],
    };
    let Some(Action::ReadLog(..)) = drain(&mut follower).pop() else {
        panic!("no read")
    };
    follower.handle(ms(101), Input::Slice(C, ms(100), Some(slice)));
    assert_eq!(drain(&mut follower), [Action::BumpChannel(C), Action::Load(C)]);
    follower.handle(ms(103), Input::Loaded(C, ms(102), Some(Some(head(1, 900)))));
    assert!(!drain(&mut follower).iter().any(|a| matches!(a, Action::Mint(..))));
}

#[test]
fn marks_survive_redis_lost_writes_commit_marks_first_and_mint_last_and_not_again_at_once() {
    // Traps 40, 42.
    let mut follower = joined();
    let behind = Slice {
        head: Some(head(1, 3)),
        first: Some(position(1, 1)),
        entries: vec![],
    };
    follower.handle(ms(100), Input::Heads(ms(99), heads(Some(head(1, 3)))));
    // Position 3 is not among what this follower remembers of before its load.
    let actions = drain(&mut follower);
    assert!(actions.contains(&Action::ReadLog(C, position(5, 1))));
    follower.handle(ms(101), Input::Slice(C, ms(100), Some(behind.clone())));
    let actions = drain(&mut follower);
    assert!(actions.contains(&Action::Tell(Event::LostWrites(C))));
    assert_eq!(actions.last(), Some(&Action::Load(C)));
    follower.handle(ms(102), Input::Loaded(C, ms(101), Some(Some(head(1, 3)))));
    assert_eq!(drain(&mut follower), [Action::Recommit(C)]);
    follower.handle(ms(103), Input::Recommitted(C, true));
    assert_eq!(drain(&mut follower), [Action::Mint(C, Some(Incarnation([1; 16])))]);
    follower.handle(ms(104), Input::Minted(C, true));
    let again = read_slice(&mut follower, ms(200), behind);
    assert!(!again.contains(&Action::Load(C)), "at most one mint in 10 s");
    assert!(follower.settled(C).is_none());
}

#[test]
fn an_emptied_log_is_born_again_with_the_marks_of_the_nodes() {
    // Traps 6, 8: after FLUSHALL "before the first" must not equal itself.
    let mut follower = joined();
    follower.handle(ms(100), Input::Heads(ms(99), heads(None)));
    drain(&mut follower);
    let empty = Slice {
        head: None,
        first: None,
        entries: vec![],
    };
    follower.handle(ms(101), Input::Slice(C, ms(100), Some(empty)));
    assert!(drain(&mut follower).contains(&Action::Load(C)));
    follower.handle(ms(102), Input::Loaded(C, ms(101), Some(None)));
    follower.handle(ms(103), Input::Recommitted(C, true));
    assert!(drain(&mut follower).contains(&Action::Mint(C, None)));
}

fn refused(n: u64, why: Refused) -> OpenedEntry {
    OpenedEntry {
        payload: OpenedPayload::Refused(why),
        ..entry(1, n)
    }
}

#[test]
fn a_statement_of_an_unknown_kind_is_not_a_miss() {
    let mut follower = joined();
    let unknown = Refused::Statement(StatementError::UnknownKind(9));
    follower.handle(ms(10), Input::Bell(refused(6, unknown)));
    assert!(follower.settled(C).is_none());
    follower.handle(ms(20), Input::Heads(ms(15), heads(Some(head(1, 6)))));
    assert_eq!(follower.coherent_until(), ms(3_000), "its channel renews no lease");
    follower.handle(ms(21), Input::Heads(ms(20), heads(Some(head(1, 5)))));
    assert_eq!(follower.coherent_until(), ms(3_000), "nor by a head from before it");
    let slice = Slice {
        head: Some(head(1, 6)),
        first: Some(position(1, 1)),
        entries: vec![entry(1, 5), entry(1, 6)],
    };
    assert!(
        !drain(&mut follower).contains(&Action::Load(C)),
        "no table tells what it is"
    );
    assert_eq!(
        applied(&read_slice(&mut follower, ms(1_100), slice)),
        [6],
        "until it opens"
    );
    assert!(follower.settled(C).is_some());
}

#[test]
fn what_does_not_open_is_not_a_miss_until_a_whole_table_and_a_mint_made_up_for_it() {
    let mut follower = joined();
    let forged = Refused::Sealed(OpenError::Forged);
    follower.handle(ms(10), Input::Bell(refused(6, forged)));
    assert_eq!(
        drain(&mut follower),
        [
            Action::Tell(Event::Refused(C, forged)),
            Action::BumpChannel(C),
            Action::Load(C)
        ]
    );
    follower.handle(ms(20), Input::Heads(ms(15), heads(Some(head(1, 6)))));
    assert_eq!(follower.coherent_until(), ms(3_000), "its channel renews no lease");
    // The table is not whole: nothing goes on, and it is not asked for all the time.
    follower.handle(ms(21), Input::Loaded(C, ms(11), None));
    assert_eq!(drain(&mut follower), []);
    assert_eq!(follower.channels[C.index()].due(&follower.config), Some(ms(1_021)));
    follower.tick(ms(1_021));
    drain(&mut follower);
    let slice = Slice {
        head: Some(head(1, 6)),
        first: Some(position(1, 1)),
        entries: vec![entry(1, 5), refused(6, forged)],
    };
    follower.handle(ms(1_022), Input::Slice(C, ms(1_021), Some(slice)));
    assert_eq!(drain(&mut follower), [Action::BumpChannel(C), Action::Load(C)]);
    follower.handle(ms(1_023), Input::Loaded(C, ms(1_022), Some(Some(head(1, 6)))));
    assert_eq!(drain(&mut follower), [Action::Recommit(C)]);
    follower.handle(ms(1_024), Input::Recommitted(C, true));
    assert_eq!(drain(&mut follower), [Action::Mint(C, Some(Incarnation([1; 16])))]);
    follower.handle(ms(1_025), Input::Minted(C, true));
    assert!(follower.settled(C).is_none());
    adopts(&mut follower, 2, 1_100);
    assert!(follower.settled(C).is_some());
}

#[test]
fn a_damaged_table_is_mended_by_a_node_that_has_followed_it() {
    let mut follower = joined();
    let other = Input::Heads(ms(90), heads(Some(head(2, 9))));
    follower.handle(ms(100), other);
    drain(&mut follower);
    let slice = Slice {
        head: Some(head(2, 9)),
        first: Some(position(1, 1)),
        entries: vec![],
    };
    follower.handle(ms(101), Input::Slice(C, ms(100), Some(slice)));
    assert_eq!(drain(&mut follower), [Action::BumpChannel(C), Action::Load(C)]);
    follower.handle(ms(102), Input::Damaged(C, Some(head(2, 9))));
    assert_eq!(
        drain(&mut follower),
        [Action::Tell(Event::Damaged(C)), Action::Recommit(C)]
    );
    follower.handle(ms(103), Input::Recommitted(C, true));
    assert_eq!(drain(&mut follower), [Action::Mint(C, Some(Incarnation([2; 16])))]);
    follower.handle(ms(104), Input::Minted(C, true));
    adopts(&mut follower, 3, 200);
    assert!(follower.settled(C).is_some());
}

#[test]
fn a_new_node_waits_for_another_to_mend_a_damaged_table() {
    let mut follower = Follower::new(FollowerConfig::default(), ms(0));
    follower.tick(ms(0));
    assert!(drain(&mut follower).contains(&Action::Load(C)));
    follower.handle(ms(1), Input::Damaged(C, Some(head(1, 5))));
    assert_eq!(drain(&mut follower), []);
    assert_eq!(follower.channels[C.index()].due(&follower.config), Some(ms(1_001)));
    assert!(!follower.loaded());
}

#[test]
fn no_lost_statement_is_silent_a_head_that_went_back_is_lost_writes_though_it_is_known() {
    // A failover lost the newest entry, and nobody writes: only the head tells.
    let mut follower = joined();
    follower.handle(ms(10), Input::Bell(entry(1, 6)));
    follower.handle(ms(1_100), Input::Heads(ms(1_001), heads(Some(head(1, 5)))));
    assert_eq!(follower.coherent_until(), ms(3_000), "it proves nothing");
    assert!(
        follower.settled(C).is_none(),
        "what the lost entry deleted is back in L2"
    );
    let behind = Slice {
        head: Some(head(1, 5)),
        first: Some(position(1, 1)),
        entries: vec![],
    };
    assert!(drain(&mut follower).contains(&Action::ReadLog(C, position(6, 1))));
    follower.handle(ms(1_110), Input::Slice(C, ms(1_100), Some(behind)));
    assert!(drain(&mut follower).contains(&Action::Tell(Event::LostWrites(C))));
}

#[test]
fn a_head_that_was_read_before_the_next_bell_came_still_proves() {
    let mut follower = joined();
    follower.handle(ms(1_010), Input::Bell(entry(1, 6)));
    follower.handle(ms(1_020), Input::Heads(ms(1_001), heads(Some(head(1, 5)))));
    assert!(follower.settled(C).is_some());
    assert_eq!(follower.coherent_until(), ms(4_001));
    assert!(follower.proves(C, &head(1, 5), ms(1_001)));
    assert!(
        !follower.proves(C, &head(1, 5), ms(1_011)),
        "a later read must show the later entry"
    );
    assert!(follower.proves(C, &head(1, 6), ms(9_000)));
}

#[test]
fn a_read_that_bells_outran_by_far_is_repeated_and_mints_nothing() {
    let mut follower = joined();
    follower.handle(ms(100), Input::BellsBroken);
    follower.handle(ms(101), Input::Heads(ms(100), heads(Some(head(1, 6)))));
    assert!(drain(&mut follower).contains(&Action::ReadLog(C, position(5, 1))));
    let stale = Slice {
        head: Some(head(1, 6)),
        first: Some(position(1, 1)),
        entries: vec![entry(1, 5), entry(1, 6)],
    };
    // More bells than positions are remembered.
    (6..=1306).for_each(|n| follower.handle(ms(110), Input::Bell(entry(1, n))));
    drain(&mut follower);
    follower.handle(ms(120), Input::Slice(C, ms(101), Some(stale)));
    assert_eq!(drain(&mut follower), [], "what was read is no news, and no loss");
    follower.tick(ms(200));
    assert_eq!(drain(&mut follower), [Action::ReadLog(C, position(1306, 1))]);
}

/// A follower that adopted incarnation 2 at 103 ms; its recommit is under way.
fn adopted() -> Follower {
    let mut follower = joined();
    follower.handle(ms(100), Input::Heads(ms(99), heads(Some(head(2, 1)))));
    let slice = Slice {
        head: Some(head(2, 1)),
        first: Some(position(1, 1)),
        entries: vec![entry(2, 1)],
    };
    follower.handle(ms(102), Input::Slice(C, ms(101), Some(slice)));
    follower.handle(ms(103), Input::Loaded(C, ms(102), Some(Some(head(2, 1)))));
    assert!(drain(&mut follower).contains(&Action::Recommit(C)));
    follower
}

#[test]
fn marks_survive_redis_a_recommit_that_failed_after_an_adoption_is_tried_again() {
    let mut follower = adopted();
    follower.handle(ms(200), Input::Recommitted(C, false));
    assert!(follower.settled(C).is_some(), "this node lacks nothing");
    follower.tick(ms(10_199));
    assert!(!drain(&mut follower).contains(&Action::Load(C)));
    assert!(follower.poll_timeout() <= ms(10_200));
    // The log is read first: a load would not notice that it went back.
    let slice = Slice {
        head: Some(head(2, 1)),
        first: Some(position(1, 1)),
        entries: vec![entry(2, 1)],
    };
    assert!(read_slice(&mut follower, ms(10_200), slice).contains(&Action::Load(C)));
    follower.handle(ms(10_201), Input::Loaded(C, ms(10_200), Some(Some(head(2, 1)))));
    assert!(drain(&mut follower).contains(&Action::Recommit(C)));
    follower.handle(ms(10_202), Input::Recommitted(C, true));
    follower.tick(ms(30_000));
    assert!(!drain(&mut follower).contains(&Action::Load(C)), "once is enough");
}

#[test]
fn marks_survive_redis_an_earlier_recommit_does_not_stand_for_the_one_before_a_mint() {
    // Trap 42: marks first, mint last.
    let mut follower = adopted();
    follower.handle(ms(200), Input::Heads(ms(199), heads(None)));
    follower.tick(ms(200));
    let empty = Slice {
        head: None,
        first: None,
        entries: vec![],
    };
    follower.handle(ms(201), Input::Slice(C, ms(200), Some(empty)));
    follower.handle(ms(202), Input::Loaded(C, ms(201), Some(None)));
    assert!(drain(&mut follower).contains(&Action::Recommit(C)));
    follower.handle(ms(203), Input::Recommitted(C, true));
    assert_eq!(drain(&mut follower), [], "one of two: it may be the earlier one");
    follower.handle(ms(204), Input::Recommitted(C, true));
    assert_eq!(drain(&mut follower), [Action::Mint(C, None)]);
}

/// The log shows another incarnation, and the follower adopts it.
fn adopts(follower: &mut Follower, incarnation: u8, now: u64) {
    let minted = head(incarnation, 20);
    let slice = Slice {
        head: Some(minted),
        first: Some(position(1, 1)),
        entries: vec![],
    };
    follower.tick(ms(now));
    drain(follower);
    follower.handle(ms(now + 1), Input::Slice(C, ms(now), Some(slice)));
    assert_eq!(drain(follower), [Action::BumpChannel(C), Action::Load(C)]);
    follower.handle(ms(now + 3), Input::Loaded(C, ms(now + 2), Some(Some(minted))));
    drain(follower);
    follower.handle(ms(now + 4), Input::Recommitted(C, true));
}
