//! Every arrow of the errand's diagram.

use core::time::Duration;
use std::vec;
use std::vec::Vec;

use super::{at, ms, secs};
use crate::ident::Nonce;
use crate::keys::{
    Action, End, Errand, ErrandConfig, FetchEnd, Held, Input, KeyPolicy, LeaseEnd, Source, Told, Trip, Why,
};
use crate::time::Moment;

const ME: Nonce = Nonce([1; 16]);
const OTHER: Nonce = Nonce([2; 16]);
const THIRD: Nonce = Nonce([3; 16]);

const SET: Told = Told {
    generation: 3,
    age: secs(5),
    max_age: None,
    newer: false,
    holds: false,
    proof: false,
};
const NEWER: Told = Told { newer: true, ..SET };
const HOLDS: Told = Told { holds: true, ..SET };

fn errand_of(why: Why, owners: usize, has_l2: bool) -> Errand {
    let trip = Trip {
        number: 1,
        why,
        attempts: 3,
    };
    Errand::new(ErrandConfig::of(&KeyPolicy::DEFAULT), trip, ME, owners, has_l2, at(0))
}

fn errand(why: Why) -> Errand {
    let mut errand = errand_of(why, 0, true);
    assert_eq!(drain(&mut errand), [Action::Look]);
    errand
}

fn drain(errand: &mut Errand) -> Vec<Action> {
    core::iter::from_fn(|| errand.poll()).collect()
}

/// Gives the input; what it does then.
fn give(errand: &mut Errand, now: Moment, input: Input) -> Vec<Action> {
    errand.handle(now, input);
    drain(errand)
}

fn tick(errand: &mut Errand, now: Moment) -> Vec<Action> {
    errand.tick(now);
    drain(errand)
}

const fn looked(set: Option<Told>, ticket: Held) -> Input {
    Input::Looked { set, ticket }
}

const NOTHING: Input = looked(None, Held::Nothing(None));

const fn brought(changed: bool, removed: bool) -> Input {
    Input::Fetched(FetchEnd::Brought {
        asked: at(1),
        max_age: None,
        changed,
        removed,
    })
}

const fn broke(transient: bool, pause: Duration) -> Input {
    Input::Fetched(FetchEnd::Failed {
        retry_after: None,
        transient,
        pause,
    })
}

const fn fetch(no_cache: bool) -> Action {
    Action::Fetch { no_cache }
}

const fn fetched(proof: bool) -> Action {
    let end = End::Fetched {
        asked: at(1),
        max_age: None,
        generation: 0,
    };
    Action::End { end, proof }
}

const fn taken(set: Told, proof: bool) -> Action {
    let end = End::Taken {
        age: set.age,
        max_age: None,
        generation: set.generation,
    };
    Action::End { end, proof }
}

const fn refused(retry_after: Duration, by_budget: bool) -> Action {
    let end = End::Refused { retry_after, by_budget };
    Action::End { end, proof: false }
}

const FAILED: Action = Action::End {
    end: End::Failed { retry_after: None },
    proof: false,
};

/// Up to the fetch, with the lease.
fn leased(why: Why) -> Errand {
    let mut errand = errand(why);
    assert_eq!(give(&mut errand, at(0), NOTHING), [Action::Lease(None)]);
    let next = give(&mut errand, at(0), Input::Leased(LeaseEnd::Taken));
    if why == Why::UnknownKid {
        assert_eq!(next, [Action::Draw]);
        assert_eq!(give(&mut errand, at(0), Input::Drawn(None)), [fetch(true)]);
    } else {
        assert_eq!(next, [fetch(true)]);
    }
    errand
}

#[test]
fn nobody_fetches_so_it_leases_fetches_keeps_states_stores_and_leaves_a_ticket() {
    for why in [
        Why::Cold,
        Why::Due,
        Why::Confirm,
        Why::UnknownKid,
        Why::Newer(9),
        Why::Asked,
    ] {
        let mut errand = leased(why);
        assert_eq!(give(&mut errand, at(1), brought(true, false)), [Action::Hold]);
        let then = give(&mut errand, at(1), Input::Holds(true));
        let publish = Action::Publish { changed: true };
        assert_eq!(then, [Action::Take(Source::Issuer), fetched(true), publish]);
        assert!(!errand.is_over());
        let last = give(&mut errand, at(1), Input::Published(true));
        assert_eq!(last, [Action::Settle { failed: false }]);
        assert!(errand.is_over());
    }
}

#[test]
fn a_set_that_is_not_in_l2_gets_no_ticket() {
    let mut errand = leased(Why::Due);
    give(&mut errand, at(1), brought(true, false));
    give(&mut errand, at(1), Input::Holds(true));
    assert_eq!(give(&mut errand, at(1), Input::Published(false)), [Action::Release]);
    assert!(errand.is_over());
}

#[test]
fn what_is_good_enough_depends_on_the_reason() {
    let proven = Told { proof: true, ..SET };
    // Reason, what is in L2, whether that ends the trip.
    let cases = [
        (Why::Cold, SET, true),
        (Why::Due, SET, false),
        (Why::Due, NEWER, true),
        (Why::Confirm, SET, false),
        (Why::Confirm, NEWER, true),
        (Why::UnknownKid, NEWER, false),
        (Why::UnknownKid, HOLDS, true),
        (Why::Newer(3), SET, true),
        (Why::Newer(4), NEWER, false),
        (Why::Asked, NEWER, false),
        // Only a member that was asked can say that it proves something.
        (Why::Asked, proven, false),
    ];
    for (why, set, ends) in cases {
        let mut errand = errand(why);
        let then = give(&mut errand, at(0), looked(Some(set), Held::Nothing(None)));
        if ends {
            assert_eq!(then, [Action::Take(Source::L2), taken(set, false)], "{why:?} {set:?}");
            assert!(errand.is_over());
        } else {
            assert_eq!(then, [Action::Lease(None)], "{why:?} {set:?}");
        }
    }
}

#[test]
fn bytes_that_count_for_nobody_are_leased_over() {
    let mut errand = errand(Why::Cold);
    let garbage = vec![7, 7];
    let then = give(&mut errand, at(0), looked(None, Held::Nothing(Some(garbage.clone()))));
    assert_eq!(then, [Action::Lease(Some(garbage))]);
}

#[test]
fn somebody_fetches_so_it_waits_and_takes_what_came() {
    let mut errand = errand(Why::Due);
    assert_eq!(
        give(&mut errand, at(0), looked(Some(SET), Held::By(OTHER))),
        [Action::Wait(OTHER)]
    );
    assert_eq!(errand.poll_timeout(), at(11), "the deadline of a fetch, and a lease");
    assert_eq!(give(&mut errand, at(1), Input::Gone), [Action::Look]);
    let then = give(&mut errand, at(1), looked(Some(NEWER), Held::Ticket(OTHER, None)));
    assert_eq!(then, [Action::Take(Source::L2), taken(NEWER, false)]);
}

#[test]
fn only_a_lease_that_was_not_there_at_the_first_look_proves() {
    // There from the beginning: its fetch may have begun before.
    let mut early = errand(Why::UnknownKid);
    give(&mut early, at(0), looked(Some(SET), Held::By(OTHER)));
    give(&mut early, at(1), Input::Gone);
    let then = give(&mut early, at(1), looked(Some(NEWER), Held::Ticket(OTHER, None)));
    assert_eq!(then, [], "it waits for the least time between two fetches");
    assert_eq!(early.poll_timeout(), at(2).plus(ms(20)));
    assert_eq!(tick(&mut early, at(2).plus(ms(20))), [Action::Look]);
    assert_eq!(give(&mut early, at(3), NOTHING), [Action::Lease(None)]);
    assert_eq!(
        give(&mut early, at(3), Input::Leased(LeaseEnd::Held(THIRD))),
        [Action::Wait(THIRD)]
    );
    give(&mut early, at(4), Input::Gone);
    let then = give(&mut early, at(4), looked(Some(NEWER), Held::Ticket(THIRD, None)));
    assert_eq!(
        then,
        [Action::Take(Source::L2), taken(NEWER, true)],
        "this one came later"
    );

    // A ticket that stood there at the first look is as old.
    let mut late = errand(Why::Asked);
    assert_eq!(
        give(&mut late, at(0), looked(Some(NEWER), Held::Ticket(OTHER, None))),
        []
    );
    tick(&mut late, at(2));
    assert_eq!(
        give(&mut late, at(2), looked(Some(NEWER), Held::Ticket(OTHER, None))),
        [fetch(true)]
    );
}

#[test]
fn a_ticket_of_a_failure_is_for_everybody() {
    for why in [Why::Cold, Why::Due, Why::UnknownKid, Why::Asked] {
        let mut errand = errand(why);
        let ticket = Held::Ticket(OTHER, Some(secs(7)));
        assert_eq!(
            give(&mut errand, at(0), looked(None, ticket)),
            [refused(secs(7), false)]
        );
        assert!(errand.is_over());
    }
}

#[test]
fn the_cluster_s_budget_is_drawn_on_under_the_lease_and_by_unknown_kids_alone() {
    let mut errand = errand(Why::UnknownKid);
    give(&mut errand, at(0), NOTHING);
    assert_eq!(give(&mut errand, at(0), Input::Leased(LeaseEnd::Taken)), [Action::Draw]);
    let then = give(&mut errand, at(0), Input::Drawn(Some(secs(10))));
    assert_eq!(
        then,
        [refused(secs(10), true), Action::Release],
        "timers find the way free"
    );

    // Holder after holder: whoever finds no lease draws all the same.
    let mut errand = self::errand(Why::UnknownKid);
    for holder in 0..3 {
        let held = Held::By(Nonce([10 + holder; 16]));
        give(&mut errand, at(1), looked(None, held));
        assert_eq!(give(&mut errand, at(1), Input::Gone), [Action::Look]);
    }
    let then = give(&mut errand, at(1), looked(None, Held::By(OTHER)));
    assert_eq!(then, [Action::Draw]);
    let then = give(&mut errand, at(1), Input::Drawn(Some(secs(10))));
    assert_eq!(then, [refused(secs(10), true)]);
}

#[test]
fn a_lease_is_renewed_three_times_in_its_life_until_the_end() {
    let mut errand = leased(Why::Due);
    let mut renewed = 0;
    let mut now = at(0);
    while now < at(2) {
        now = errand.poll_timeout();
        renewed += tick(&mut errand, now)
            .iter()
            .filter(|action| **action == Action::Renew)
            .count();
    }
    assert!((6..=7).contains(&renewed), "{renewed}");
    give(&mut errand, at(2), brought(false, false));
    give(&mut errand, at(2), Input::Holds(true));
    assert_eq!(tick(&mut errand, at(3)), [Action::Renew], "storing takes time too");
    give(&mut errand, at(3), Input::Published(true));
    assert_eq!(errand.poll_timeout(), Moment::NEVER);
}

#[test]
fn keys_that_went_are_looked_for_a_second_time_past_all_caches() {
    let mut errand = errand_of(Why::Due, 0, false);
    assert_eq!(drain(&mut errand), [fetch(false)]);
    assert_eq!(give(&mut errand, at(1), brought(true, true)), [fetch(true)]);
    let then = give(&mut errand, at(1), brought(true, true));
    assert_eq!(then[0], Action::Take(Source::Issuer), "both agree");

    let mut errand = leased(Why::Due);
    assert_eq!(give(&mut errand, at(1), brought(true, true)), [fetch(true)]);
    assert_eq!(
        give(&mut errand, at(1), broke(false, ms(0))),
        [FAILED, Action::Settle { failed: true }]
    );
}

#[test]
fn retries_are_for_what_may_pass_within_attempts_and_deadline() {
    let mut errand = leased(Why::Due);
    assert_eq!(give(&mut errand, at(0), broke(true, ms(100))), []);
    assert_eq!(errand.poll_timeout(), at(0).plus(ms(100)));
    assert_eq!(tick(&mut errand, at(0).plus(ms(100))), [fetch(true)]);
    give(&mut errand, at(0).plus(ms(100)), broke(true, ms(100)));
    assert_eq!(tick(&mut errand, at(0).plus(ms(200))), [fetch(true)], "the third");
    let then = give(&mut errand, at(0).plus(ms(250)), broke(true, ms(100)));
    assert_eq!(then, [FAILED, Action::Settle { failed: true }]);

    let mut errand = leased(Why::Due);
    let then = give(&mut errand, at(0), broke(false, ms(100)));
    assert_eq!(then, [FAILED, Action::Settle { failed: true }], "the issuer means it");

    let mut errand = leased(Why::Due);
    let then = give(&mut errand, at(9), broke(true, secs(1)));
    assert_eq!(then, [FAILED, Action::Settle { failed: true }], "no time is left");
}

#[test]
fn an_attempt_that_outlasts_the_deadline_is_given_up() {
    let mut errand = leased(Why::Due);
    let mut now = at(0);
    while now < at(10) {
        now = errand.poll_timeout();
        errand.tick(now);
    }
    let last: Vec<_> = drain(&mut errand)
        .into_iter()
        .filter(|action| *action != Action::Renew)
        .collect();
    assert_eq!((now, last), (at(10), vec![FAILED, Action::Settle { failed: true }]));
    assert_eq!(
        give(&mut errand, at(11), brought(true, false)),
        [],
        "what comes later changes nothing"
    );
    assert!(errand.is_over());
}

#[test]
fn a_holder_that_lost_its_lease_gives_way_to_what_came_since() {
    let late = |why| {
        let mut errand = leased(why);
        assert_eq!(give(&mut errand, at(5), brought(true, false)), [Action::Hold]);
        assert_eq!(give(&mut errand, at(5), Input::Holds(false)), [Action::Look]);
        errand
    };
    // Another node has fetched meanwhile.
    let mut errand = late(Why::Due);
    let then = give(&mut errand, at(5), looked(Some(NEWER), Held::Ticket(OTHER, None)));
    assert_eq!(then, [Action::Take(Source::L2), taken(NEWER, true)]);
    assert!(errand.is_over());
    // Another node fetches.
    let mut errand = late(Why::UnknownKid);
    assert_eq!(
        give(&mut errand, at(5), looked(Some(SET), Held::By(OTHER))),
        [Action::Wait(OTHER)]
    );
    // Nobody has, and L2 is away: what it has is all there is; no ticket.
    for ticket in [Held::Nothing(None), Held::Unknown, Held::Ticket(OTHER, Some(secs(3)))] {
        let mut errand = late(Why::Due);
        let then = give(&mut errand, at(5), looked(Some(SET), ticket));
        let publish = Action::Publish { changed: true };
        assert_eq!(then, [Action::Take(Source::Issuer), fetched(true), publish]);
        assert_eq!(give(&mut errand, at(5), Input::Published(true)), []);
        assert!(errand.is_over());
    }
}

#[test]
fn a_holder_that_renews_and_gets_nowhere_is_passed_by() {
    let mut errand = errand(Why::Cold);
    give(&mut errand, at(0), looked(None, Held::By(OTHER)));
    assert_eq!(tick(&mut errand, at(11)), [Action::Look]);
    assert_eq!(
        give(&mut errand, at(11), looked(None, Held::By(OTHER))),
        [fetch(false)],
        "without a lease"
    );
    let then = give(&mut errand, at(12), brought(true, false));
    let publish = Action::Publish { changed: true };
    assert_eq!(
        then,
        [Action::Take(Source::Issuer), fetched(false), publish],
        "a cache may have answered"
    );
    assert_eq!(
        give(&mut errand, at(12), Input::Published(true)),
        [],
        "it has no lease to replace"
    );
}

#[test]
fn holder_after_holder_is_waited_for_but_not_for_ever() {
    let mut errand = errand(Why::Cold);
    for holder in 0..3 {
        let nonce = Nonce([10 + holder; 16]);
        assert_eq!(
            give(&mut errand, at(1), looked(None, Held::By(nonce))),
            [Action::Wait(nonce)]
        );
        assert_eq!(give(&mut errand, at(1), Input::Gone), [Action::Look]);
    }
    assert_eq!(give(&mut errand, at(1), looked(None, Held::By(OTHER))), [fetch(false)]);

    let mut errand = self::errand(Why::Cold);
    for _ in 0..3 {
        give(&mut errand, at(1), NOTHING);
        assert_eq!(
            give(&mut errand, at(1), Input::Leased(LeaseEnd::Present)),
            [Action::Look]
        );
    }
    give(&mut errand, at(1), NOTHING);
    assert_eq!(
        give(&mut errand, at(1), Input::Leased(LeaseEnd::Present)),
        [fetch(false)]
    );
}

#[test]
fn without_l2_the_owners_are_asked_one_after_the_other_then_the_issuer() {
    let mut errand = errand_of(Why::Due, 2, false);
    assert_eq!(drain(&mut errand), [Action::Ask(0)]);
    assert_eq!(
        give(&mut errand, at(0), Input::Answered(Ok(SET))),
        [Action::Ask(1)],
        "not newer"
    );
    assert_eq!(give(&mut errand, at(0), Input::Answered(Err(None))), [fetch(false)]);
    give(&mut errand, at(1), brought(true, false));
    assert_eq!(give(&mut errand, at(1), Input::Published(false)), []);
    assert!(errand.is_over());

    let mut errand = errand_of(Why::Asked, 1, false);
    drain(&mut errand);
    let proven = Told { proof: true, ..SET };
    let then = give(&mut errand, at(0), Input::Answered(Ok(proven)));
    assert_eq!(then, [Action::Take(Source::Member), taken(proven, true)]);
}

#[test]
fn owners_that_may_not_ask_are_believed_except_by_an_owner() {
    let mut errand = errand_of(Why::UnknownKid, 2, false);
    drain(&mut errand);
    assert_eq!(
        give(&mut errand, at(0), Input::Answered(Err(Some(secs(9))))),
        [Action::Ask(1)]
    );
    let then = give(&mut errand, at(0), Input::Answered(Err(Some(secs(4)))));
    assert_eq!(then, [refused(secs(4), true)]);

    let mut second = errand_of(Why::Due, 1, false);
    drain(&mut second);
    let then = give(&mut second, at(0), Input::Answered(Err(Some(secs(9)))));
    assert_eq!(
        then,
        [fetch(false)],
        "the first may be alone in not reaching the issuer"
    );
}

#[test]
fn l2_that_fails_on_the_way_leaves_the_owners() {
    let mut errand = errand_of(Why::Due, 1, true);
    drain(&mut errand);
    assert_eq!(give(&mut errand, at(0), looked(None, Held::Unknown)), [Action::Ask(0)]);
    let mut errand = errand_of(Why::Due, 1, true);
    drain(&mut errand);
    give(&mut errand, at(0), NOTHING);
    assert_eq!(
        give(&mut errand, at(0), Input::Leased(LeaseEnd::Unknown)),
        [Action::Ask(0)]
    );
}

#[test]
fn answers_that_nobody_waits_for_change_nothing() {
    let inputs = [
        NOTHING,
        Input::Leased(LeaseEnd::Taken),
        Input::Drawn(None),
        Input::Gone,
        Input::Answered(Ok(NEWER)),
        brought(true, false),
        Input::Holds(true),
        Input::Published(true),
    ];
    let mut over = errand(Why::Cold);
    give(&mut over, at(0), looked(Some(SET), Held::Nothing(None)));
    for input in inputs {
        assert_eq!(give(&mut over, at(1), input.clone()), []);
        let mut fetching = leased(Why::Due);
        if !matches!(input, Input::Fetched(_)) {
            assert_eq!(give(&mut fetching, at(1), input), []);
        }
    }
}
