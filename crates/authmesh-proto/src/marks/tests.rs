use alloc::string::ToString;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::crypto::KeyRing;
use crate::ident::{Nonce, StreamId};
use crate::time::Moment;

fn namer() -> Namer {
    Namer::new(&KeyRing::new([1; 32], [[2; 32]]).unwrap(), "test")
}

const NOW: Now = Now {
    boot: Moment::from_nanos(1_000_000_000),
    wall: 1_000_000,
};

fn subject(namer: &Namer, not_before: Unix, except: Option<ScopeId>) -> Mark {
    Mark {
        key: MarkKey {
            scope: namer.scope(ScopeKind::Subject, "iss", b"alice"),
            except,
        },
        kind: ScopeKind::Subject,
        not_before,
        expires: 1_008_000,
        note: Note {
            at: NOW.wall,
            by: "jo".to_string(),
            why: "test".to_string(),
        },
    }
}

fn token(namer: &Namer, iat: Option<Unix>, session: &str) -> TokenScopes {
    TokenScopes::new(
        namer,
        "iss",
        iat,
        [
            (ScopeKind::Subject, b"alice".as_slice()),
            (ScopeKind::Session, session.as_bytes()),
        ],
    )
}

#[test]
fn a_token_of_the_same_second_is_void_and_a_later_one_is_not() {
    let namer = namer();
    let mut marks = Marks::new(10);
    assert!(marks.apply(NOW, subject(&namer, 100, None), None, &namer));
    assert!(marks.check(&token(&namer, Some(99), "s")).is_some());
    assert!(marks.check(&token(&namer, Some(100), "s")).is_some());
    assert!(marks.check(&token(&namer, Some(101), "s")).is_none());
    assert!(
        marks.check(&token(&namer, None, "s")).is_some(),
        "no iat, no proof of being newer"
    );
}

#[test]
fn an_exception_spares_a_session_from_its_own_mark_only() {
    // Trap 8: "all but session s1" (100) and "all" (90).
    let namer = namer();
    let s1 = namer.scope(ScopeKind::Session, "iss", b"s1");
    let mut marks = Marks::new(10);
    marks.apply(NOW, subject(&namer, 100, Some(s1)), None, &namer);
    marks.apply(NOW, subject(&namer, 90, None), None, &namer);
    assert!(
        marks.check(&token(&namer, Some(80), "s1")).is_some(),
        "the mark without exception"
    );
    assert!(marks.check(&token(&namer, Some(95), "s1")).is_none(), "spared");
    assert!(marks.check(&token(&namer, Some(95), "s2")).is_some(), "not spared");
}

#[test]
fn another_issuers_subject_is_untouched() {
    // Trap 20.
    let namer = namer();
    let mut marks = Marks::new(10);
    marks.apply(NOW, subject(&namer, 100, None), None, &namer);
    let other = TokenScopes::new(&namer, "other", Some(1), [(ScopeKind::Subject, b"alice".as_slice())]);
    assert!(marks.check(&other).is_none());
}

#[test]
fn a_mark_goes_only_when_both_clocks_agree() {
    // Trap 16.
    let namer = namer();
    let mut marks = Marks::new(10);
    marks.apply(NOW, subject(&namer, 100, None), None, &namer);
    let lifetime = Duration::from_secs(8_000);
    let jumped = Now {
        boot: NOW.boot,
        wall: NOW.wall + 1_000_000,
    };
    assert_eq!(marks.collect(jumped, &namer), 0, "only the wall clock ran");
    let slow = Now {
        boot: NOW.boot.plus(lifetime + GRACE),
        wall: NOW.wall,
    };
    assert_eq!(marks.collect(slow, &namer), 0, "only the boot clock ran");
    let both = Now {
        boot: NOW.boot.plus(lifetime + GRACE),
        wall: NOW.wall + 8_000 + 3_600,
    };
    assert_eq!(marks.collect(both, &namer), 1);
    assert!(ChannelId::all().all(|c| marks.root(c) == Digest::EMPTY));
}

#[test]
fn what_is_past_by_both_clocks_is_lacking_nowhere() {
    let namer = namer();
    let mut marks = Marks::new(10);
    let mark = subject(&namer, 100, None);
    marks.apply(NOW, mark.clone(), None, &namer);
    assert!(marks.covers(&mark) && !marks.covers(&subject(&namer, 101, None)));
    let channel = mark.key.scope.slot().channel;
    let lacking = |boot, wall| {
        let now = Now {
            boot: NOW.boot.plus(Duration::from_secs(boot)),
            wall: NOW.wall + wall,
        };
        marks.lacking_in(channel, &[], Buckets::NONE, now).len()
    };
    assert_eq!(lacking(0, 0), 1);
    assert_eq!((lacking(9_000, 0), lacking(0, 9_000)), (1, 1), "one clock alone");
    assert_eq!(lacking(9_000, 9_000), 0);
}

#[test]
fn clocks_never_decide_order_a_wall_clock_that_is_days_ahead_does_not_shorten_a_marks_life() {
    let namer = namer();
    let mut marks = Marks::new(10);
    let ahead = Now {
        boot: NOW.boot,
        wall: NOW.wall + 1_000_000,
    };
    marks.apply(ahead, subject(&namer, 100, None), None, &namer);
    let soon = Now {
        boot: NOW.boot.plus(GRACE + Duration::from_secs(1)),
        wall: ahead.wall + 3_601,
    };
    assert_eq!(
        marks.collect(soon, &namer),
        0,
        "the origin meant it to live for 8,000 s"
    );
}

#[test]
fn the_cap_refuses_the_origin_loudly_and_never_a_statement_of_others() {
    let namer = namer();
    let mut marks = Marks::new(1);
    let first = subject(&namer, 100, None);
    let second = subject(&namer, 100, Some(ScopeId([3; 16])));
    assert_eq!(marks.admit(&first.key), Ok(()));
    marks.apply(NOW, first.clone(), None, &namer);
    assert_eq!(marks.admit(&second.key), Err(Full { cap: 1 }));
    assert_eq!(marks.admit(&first.key), Ok(()), "merging needs no room");
    marks.apply(NOW, second, None, &namer);
    assert_eq!(marks.len(), 2);
}

#[test]
fn a_tag_allows_only_records_filled_after_its_newest_statement() {
    // Trap 19.
    let namer = namer();
    let tag = namer.scope(ScopeKind::Tag, "", b"t");
    let at = |millis, incarnation| {
        Some((
            Incarnation([incarnation; 16]),
            Position {
                id: StreamId { millis, sequence: 0 },
                nonce: Nonce([0; 16]),
            },
        ))
    };
    let mark = Mark {
        key: MarkKey {
            scope: tag,
            except: None,
        },
        kind: ScopeKind::Tag,
        not_before: 0,
        expires: 1_008_000,
        note: Note::default(),
    };
    let mut marks = Marks::new(10);
    assert!(marks.tag_allows(tag, at(1, 1)));
    assert!(
        !marks.tag_allows(tag, None),
        "a filler that knew no position proves nothing"
    );
    marks.apply(NOW, mark.clone(), at(5, 1), &namer);
    assert!(!marks.tag_allows(tag, at(4, 1)));
    assert!(marks.tag_allows(tag, at(5, 1)));
    assert!(!marks.tag_allows(tag, at(9, 2)), "another incarnation");
    marks.apply(NOW, mark.clone(), at(3, 1), &namer);
    assert!(
        !marks.tag_allows(tag, at(4, 1)),
        "a log that lost writes takes nothing back"
    );
    assert!(
        marks.apply(NOW, mark, None, &namer),
        "a repeated tag statement is a change"
    );
    assert!(!marks.tag_allows(tag, at(9, 1)), "heard without a position");
}

fn any_mark() -> impl Strategy<Value = Mark> {
    (0u8..4, prop::option::of(0u8..3), 0u64..5, 1u64..4, 0u8..3).prop_map(|(scope, except, not_before, hours, who)| {
        Mark {
            key: MarkKey {
                scope: ScopeId([scope; 16]),
                except: except.map(|e| ScopeId([e | 0x80; 16])),
            },
            kind: ScopeKind::Subject,
            not_before,
            expires: 1_000_800 + hours * 3600,
            note: Note {
                at: 0,
                by: who.to_string(),
                why: "".to_string(),
            },
        }
    })
}

fn table(marks: &[Mark]) -> (Vec<Mark>, Vec<Digest>) {
    let namer = namer();
    let mut held = Marks::new(1000);
    for mark in marks {
        held.apply(NOW, mark.clone(), None, &namer);
    }
    (
        ChannelId::all()
            .flat_map(|c| held.of_channel(c).collect::<Vec<_>>())
            .collect(),
        ChannelId::all().map(|c| held.root(c)).collect(),
    )
}

proptest! {
    #[test]
    fn marks_merge_in_any_order_and_any_number_of_times(
        marks in prop::collection::vec(any_mark(), 0..12),
        order in any::<u64>(),
    ) {
        let mut shuffled = marks.clone();
        shuffled.extend(marks.iter().cloned());
        let mut seed = order;
        for at in (1..shuffled.len()).rev() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            shuffled.swap(at, (seed >> 33) as usize % (at + 1));
        }
        prop_assert_eq!(table(&marks), table(&shuffled));
    }

    #[test]
    fn what_is_lacking_brings_two_tables_together(
        ours in prop::collection::vec(any_mark(), 0..8),
        theirs in prop::collection::vec(any_mark(), 0..8),
    ) {
        let namer = namer();
        let mut a = Marks::new(1000);
        let mut b = Marks::new(1000);
        ours.iter().for_each(|m| { a.apply(NOW, m.clone(), None, &namer); });
        theirs.iter().for_each(|m| { b.apply(NOW, m.clone(), None, &namer); });
        for channel in ChannelId::all() {
            let of_b: Vec<_> = b.of_channel(channel).collect();
            for mark in a.lacking_in(channel, &of_b, Buckets::NONE, NOW) {
                b.apply(NOW, mark, None, &namer);
            }
            for mark in of_b {
                a.apply(NOW, mark, None, &namer);
            }
            prop_assert_eq!(a.root(channel), b.root(channel));
        }
    }
}

/// Keys that crowd into few stripes, so that runs of equal and of near scopes are met.
fn crowded_key() -> impl Strategy<Value = MarkKey> {
    (0u8..2, any::<u8>(), prop::option::of(0u8..3)).prop_map(|(stripe, inside, except)| {
        let mut scope = [0; 16];
        scope[0] = inside >> 6;
        scope[1] = stripe << 2;
        scope[2] = inside;
        scope[15] = inside & 1;
        MarkKey {
            scope: ScopeId(scope),
            except: except.map(|except| ScopeId([except; 16])),
        }
    })
}

proptest! {
    #[test]
    fn the_table_holds_what_a_plain_map_holds(
        changes in prop::collection::vec((crowded_key(), 0u64..9, 0u64..4, 0u8..3), 1..200),
        gone in 0u64..4,
    ) {
        let mut table = Table::new();
        let mut plain = BTreeMap::new();
        for (key, not_before, hours, who) in changes {
            let terms = Terms {
                kind: ScopeKind::Session,
                not_before,
                expires: hours * 3600,
                until: Moment::ORIGIN.plus(Duration::from_secs(not_before)),
                note: Note { at: hours, by: who.to_string(), why: "w".to_string() },
            };
            match table.seek(&key) {
                Ok(place) => {
                    prop_assert_eq!(&table.terms(place), &plain[&key]);
                    table.replace(place, &terms);
                }
                Err(place) => table.insert(place, &key, &terms),
            }
            plain.insert(key, terms);
        }
        for pass in 0..2 {
            prop_assert_eq!(table.len(), plain.len());
            let held: BTreeMap<_, _> = ChannelId::all()
                .flat_map(|channel| table.of_channel(channel).map(|(key, mark)| (key, table.terms_of(mark))).collect::<Vec<_>>())
                .collect();
            prop_assert_eq!(&held, &plain);
            for key in plain.keys() {
                let of_scope: Vec<_> = table.of_scope(key.scope).map(|(_, except)| except).collect();
                let expected: Vec<_> = plain.keys().filter(|k| k.scope == key.scope).map(|k| k.except).collect();
                prop_assert_eq!(of_scope, expected);
            }
            if pass == 0 {
                plain.retain(|_, terms: &mut Terms| terms.expires != gone * 3600);
                ChannelId::all().for_each(|channel| table.collect(channel, |_, mark| mark.expires() == gone * 3600));
            }
        }
    }
}

/// Two hundred marks of two kinds, over many channels.
fn many(namer: &Namer) -> Marks {
    let mut marks = Marks::new(1000);
    for n in 0..200_u32 {
        let kind = if n % 2 == 0 {
            ScopeKind::Subject
        } else {
            ScopeKind::Session
        };
        let mark = Mark {
            key: MarkKey {
                scope: namer.scope(kind, "iss", &n.to_be_bytes()),
                except: (n % 3 == 0).then_some(ScopeId([7; 16])),
            },
            kind,
            ..subject(namer, 100, None)
        };
        marks.apply(NOW, mark, None, namer);
    }
    marks
}

#[test]
fn pages_give_every_mark_once_whatever_their_size() {
    let namer = namer();
    let marks = many(&namer);
    let all: Vec<Mark> = ChannelId::all().flat_map(|channel| marks.of_channel(channel)).collect();
    assert_eq!(all.len(), 200);
    for (limit, look_at) in [(1, 1), (7, 100), (100, 3), (200, 200), (1000, 1000)] {
        let (mut seen, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = marks.page(after, limit, look_at, |_| true);
            assert!(page.marks.len() <= limit.min(look_at));
            seen.extend(page.marks);
            pages += 1;
            assert!(pages <= 201, "it goes on for ever");
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, all, "{limit} {look_at}");
    }
    let sessions = marks.page(None, 1000, 1000, |kind| kind == ScopeKind::Session);
    assert_eq!((sessions.marks.len(), sessions.next), (100, None));
    // A cursor need not be a mark that is still there.
    let mut gone = all[10].key;
    gone.except = Some(ScopeId([8; 16]));
    assert_eq!(marks.page(Some(gone), 1000, 1000, |_| true).marks, all[11..]);
    assert_eq!(
        marks.page(Some(all[199].key), 10, 10, |_| true),
        Page::default(),
        "nothing follows the last one"
    );
}

#[test]
fn the_marks_of_a_scope_are_those_with_and_without_an_exception() {
    let namer = namer();
    let mut marks = many(&namer);
    let (plain, spared) = (subject(&namer, 90, None), subject(&namer, 100, Some(ScopeId([9; 16]))));
    marks.apply(NOW, plain.clone(), None, &namer);
    marks.apply(NOW, spared.clone(), None, &namer);
    assert_eq!(marks.of_scope(plain.key.scope).collect::<Vec<_>>(), [plain, spared]);
    assert_eq!(marks.of_scope(ScopeId([3; 16])).count(), 0);
}

#[test]
fn several_marks_are_admitted_all_or_none() {
    let namer = namer();
    let key = |n: u8| MarkKey {
        scope: namer.scope(ScopeKind::Subject, "iss", &[n]),
        except: None,
    };
    let mut marks = Marks::new(3);
    marks.apply(
        NOW,
        Mark {
            key: key(0),
            ..subject(&namer, 1, None)
        },
        None,
        &namer,
    );
    let admits = |marks: &Marks, numbers: &[u8]| {
        let keys: Vec<MarkKey> = numbers.iter().map(|n| key(*n)).collect();
        marks.admit_all(&keys)
    };
    assert_eq!(admits(&marks, &[1, 2]), Ok(()));
    assert_eq!(admits(&marks, &[1, 2, 1, 2, 0]), Ok(()), "each needs its room once");
    assert_eq!(admits(&marks, &[1, 2, 3]), Err(Full { cap: 3 }));
    for n in 1..5 {
        marks.apply(
            NOW,
            Mark {
                key: key(n),
                ..subject(&namer, 1, None)
            },
            None,
            &namer,
        );
    }
    assert_eq!(
        admits(&marks, &[0, 1, 4]),
        Ok(()),
        "what is held merges, beyond the cap too"
    );
    assert_eq!(admits(&marks, &[0, 9]), Err(Full { cap: 3 }));
}

#[test]
fn every_kind_has_its_own_word() {
    for kind in ScopeKind::ALL {
        assert_eq!(ScopeKind::from_word(kind.as_str()), Some(kind));
    }
    assert_eq!(ScopeKind::from_word("Subject"), None);
}
