use std::format;

use super::{at, ms, secs};
use crate::keys::{End, KeyMachine, KeyPolicy, Need, Trip, Why};
use crate::time::Moment;

const P: KeyPolicy = KeyPolicy::DEFAULT;

fn fetched(machine: &mut KeyMachine, now: Moment) {
    let generation = machine.generation().max(1);
    let end = End::Fetched {
        asked: now,
        max_age: None,
        generation,
    };
    machine.ended(now, end, 0);
}

fn taken(machine: &mut KeyMachine, now: Moment, age: u64, generation: u64, jitter: u32) {
    let end = End::Taken {
        age: secs(age),
        max_age: None,
        generation,
    };
    machine.ended(now, end, jitter);
}

fn failed(machine: &mut KeyMachine, now: Moment, jitter: u32) {
    machine.ended(now, End::Failed { retry_after: None }, jitter);
}

fn with_set(now: Moment) -> KeyMachine {
    let mut machine = KeyMachine::new(P, now);
    assert_eq!(trip(machine.want_set(now)).why, Why::Cold);
    fetched(&mut machine, now);
    machine
}

#[track_caller]
fn trip(need: Need) -> Trip {
    match need {
        Need::Fetch(trip) => trip,
        other => panic!("{other:?}"),
    }
}

const fn wait(trip: u64, proves: bool) -> Need {
    Need::Wait { trip, proves }
}

#[test]
fn one_trip_is_under_way_at_a_time_and_joining_it_proves_nothing() {
    let mut machine = KeyMachine::new(P, at(0));
    assert_eq!(trip(machine.want_set(at(0))).number, 1);
    assert_eq!(machine.want_set(at(0)), wait(1, false));
    assert_eq!(machine.want_kid(at(0), "k"), wait(1, false));
    assert_eq!(machine.want_refresh(at(0)), wait(1, false));
    assert_eq!(machine.tick(at(9_999)), None);
    assert_eq!(machine.poll_timeout(), Moment::NEVER);
}

#[test]
fn a_machine_without_a_set_wants_one_at_once() {
    let mut machine = KeyMachine::new(P, at(7));
    assert_eq!(machine.poll_timeout(), at(7));
    assert_eq!(machine.trusted_until(), Moment::ORIGIN);
    assert_eq!(machine.tick(at(7)).map(|trip| trip.why), Some(Why::Cold));
}

#[test]
fn a_set_is_refreshed_before_its_soft_lifetime_ends_and_trusted_until_the_hard_one() {
    let mut machine = with_set(at(0));
    assert_eq!(machine.poll_timeout(), at(600), "no jitter");
    assert_eq!(machine.tick(at(599)), None);
    assert_eq!(machine.tick(at(600)).map(|trip| trip.why), Some(Why::Due));
    failed(&mut machine, at(600), 0);
    assert_eq!(machine.trusted_until(), at(86_400), "a failure changes nothing");
    machine.tick(at(700)).unwrap();
    let end = End::Fetched {
        asked: at(690),
        max_age: Some(secs(5)),
        generation: 1,
    };
    machine.ended(at(700), end, u32::MAX);
    assert_eq!(
        machine.trusted_until(),
        at(690 + 86_400),
        "counted from before the request"
    );
    assert_eq!(
        machine.poll_timeout(),
        at(690 + 27),
        "the floor, less a tenth of jitter"
    );
}

#[test]
fn trust_is_counted_from_the_fetch_also_on_a_clock_that_began_later() {
    // Started again: the clock is at its second second, the set is 20 h old.
    let mut machine = KeyMachine::new(P, at(1));
    machine.tick(at(1)).unwrap();
    taken(&mut machine, at(2), 72_000, 1, 0);
    assert_eq!(machine.trusted_until(), at(2 + 14_400));
    assert_eq!(machine.poll_timeout(), at(2), "it is long due");
    machine.tick(at(2)).unwrap();
    taken(&mut machine, at(3), 90_000, 1, 0);
    assert_eq!(machine.trusted_until(), at(3), "older than trust lasts: none");
}

#[test]
fn unknown_kids_spend_a_budget_and_an_empty_one_is_never_a_verdict() {
    let mut machine = with_set(at(0));
    for n in 0..8 {
        let (now, kid) = (at(2).plus(secs(n) + ms(n)), format!("bogus-{n}"));
        assert_eq!(trip(machine.want_kid(now, &kid)).why, Why::UnknownKid);
        fetched(&mut machine, now);
        machine.is_absent(now, &kid);
        assert_eq!(machine.want_kid(now, &kid), Need::Absent);
    }
    let now = at(11);
    assert_eq!(machine.want_kid(now, "real"), Need::NotNow { retry_after: secs(1) });
    machine.heard(now, 5);
    assert_eq!(
        machine.tick(now).map(|trip| trip.why),
        Some(Why::Newer(5)),
        "the reserve is for the cluster"
    );
    taken(&mut machine, now, 0, 5, 0);
    assert_eq!(trip(machine.want_kid(at(12), "real")).why, Why::UnknownKid);
}

#[test]
fn attempts_that_fail_cost_as_much_as_those_that_succeed() {
    let mut machine = with_set(at(0));
    let mut trips = 0;
    let mut now = at(2);
    while let Need::Fetch(_) = machine.want_kid(now, "k") {
        trips += 1;
        failed(&mut machine, now, 0);
        now = machine.retry_at();
    }
    assert_eq!(trips, 3, "8 attempts, 3 a trip");
    assert!(matches!(machine.want_kid(now, "k"), Need::NotNow { .. }));
}

#[test]
fn what_took_no_request_costs_nothing() {
    let mut machine = with_set(at(0));
    for n in 0..50 {
        let now = at(2 + n);
        trip(machine.want_kid(now, "k"));
        match n % 2 {
            0 => taken(&mut machine, now, 0, 1, 0),
            _ => {
                let end = End::Refused {
                    retry_after: ms(900),
                    by_budget: true,
                };
                machine.ended(now, end, 0);
            }
        }
    }
}

#[test]
fn kids_wait_for_the_least_time_between_two_fetches_and_their_trip_proves() {
    let mut machine = with_set(at(10));
    let now = at(10).plus(ms(300));
    assert_eq!(machine.want_kid(now, "k"), wait(2, true), "it begins later");
    assert_eq!(machine.want_kid(now, "l"), wait(2, true));
    assert_eq!(machine.want_refresh(now), wait(2, true));
    assert_eq!(machine.poll_timeout(), at(11));
    assert_eq!(machine.tick(at(10).plus(ms(999))), None);
    let trip = machine.tick(at(11)).unwrap();
    assert_eq!((trip.number, trip.why), (2, Why::UnknownKid));
}

#[test]
fn an_explicit_refresh_is_bound_by_the_interval_and_the_back_off() {
    let mut machine = with_set(at(10));
    assert_eq!(machine.want_refresh(at(10)), wait(2, true));
    assert_eq!(machine.tick(at(11)).map(|trip| trip.why), Some(Why::Asked));
    failed(&mut machine, at(11), u32::MAX);
    assert_eq!(machine.want_refresh(at(11)), Need::NotNow { retry_after: secs(1) });
    assert_eq!(trip(machine.want_refresh(at(12))).why, Why::Asked);
}

#[test]
fn a_failed_trip_backs_off_and_says_when_to_come_back() {
    let mut machine = with_set(at(0));
    trip(machine.want_kid(at(2), "k"));
    let end = End::Failed {
        retry_after: Some(secs(20)),
    };
    machine.ended(at(2), end, 0);
    assert_eq!(machine.want_kid(at(3), "k"), Need::NotNow { retry_after: secs(19) });
    assert_eq!(trip(machine.want_kid(at(22), "k")).number, 3);
    let end = End::Failed {
        retry_after: Some(secs(9_999)),
    };
    machine.ended(at(22), end, 0);
    assert_eq!(machine.retry_at(), at(52), "Retry-After is obeyed up to the ceiling");
}

#[test]
fn after_failures_the_circuit_opens_and_a_probe_closes_it() {
    let mut machine = with_set(at(0));
    let mut now = at(600);
    for failures in 0..8 {
        let trip = machine.tick(now).unwrap();
        assert_eq!(machine.is_open(), failures >= 5);
        assert_eq!(trip.attempts, if failures >= 5 { 1 } else { 3 });
        assert_eq!(machine.want_kid(now, "k"), wait(trip.number, false));
        failed(&mut machine, now, u32::MAX);
        assert!(
            matches!(machine.want_kid(now, "k"), Need::NotNow { .. }),
            "answered at once"
        );
        now = machine.poll_timeout();
    }
    assert_eq!(now.since(machine.retry_at()), secs(0));
    machine.tick(now).unwrap();
    fetched(&mut machine, now);
    assert_eq!((machine.failures(), machine.is_open()), (0, false));
    assert_eq!(trip(machine.want_kid(now.plus(secs(1)), "k")).attempts, 3);
}

#[test]
fn others_failures_count_and_their_budget_postpones_no_stated_generation() {
    let mut machine = with_set(at(0));
    trip(machine.want_kid(at(2), "k"));
    machine.heard(at(2), 9);
    let end = End::Refused {
        retry_after: secs(25),
        by_budget: true,
    };
    machine.ended(at(2), end, 0);
    assert_eq!(machine.failures(), 0);
    assert_eq!(machine.want_kid(at(3), "k"), Need::NotNow { retry_after: secs(24) });
    assert_eq!(
        machine.poll_timeout(),
        at(2).plus(ms(125)),
        "the statement's trip goes on"
    );
    assert_eq!(machine.tick(at(3)).map(|trip| trip.why), Some(Why::Newer(9)));
    let end = End::Refused {
        retry_after: ms(0),
        by_budget: false,
    };
    machine.ended(at(3), end, 0);
    assert_eq!(machine.failures(), 1);
    assert!(machine.retry_at() > at(3), "never again at once");
}

#[test]
fn absent_kids_are_bounded_and_forgotten() {
    let mut machine = with_set(at(0));
    for n in 0..5_000 {
        machine.is_absent(at(1), &format!("{n}"));
    }
    let known = (0..5_000)
        .filter(|n| machine.want_kid(at(1), &format!("{n}")) == Need::Absent)
        .count();
    assert_eq!(known, P.absent_cap);
    assert_eq!(machine.want_kid(at(30), "7"), Need::Absent);
    assert!(!matches!(machine.want_kid(at(31), "7"), Need::Absent));
    machine.is_absent(at(31), "new");
    assert_eq!(
        machine.want_kid(at(31), "new"),
        Need::Absent,
        "the forgotten ones made room"
    );
}

#[test]
fn a_kid_of_absurd_length_is_unknown_and_kept_nowhere() {
    let mut machine = with_set(at(0));
    let kid = "x".repeat(257);
    assert_eq!(machine.want_kid(at(2), &kid), Need::Absent);
    machine.is_absent(at(2), &kid);
    assert_eq!(trip(machine.want_kid(at(2), &"x".repeat(256))).why, Why::UnknownKid);
}

#[test]
fn an_old_set_of_another_node_is_confirmed_within_the_time_if_there_was_none_before() {
    for jitter in [0, u32::MAX / 2, u32::MAX] {
        let mut machine = KeyMachine::new(P, at(0));
        machine.tick(at(0)).unwrap();
        taken(&mut machine, at(0), 61, 3, jitter);
        let due = machine.poll_timeout();
        assert!(due <= at(54), "{due:?}");
        assert_eq!(machine.tick(due).map(|trip| trip.why), Some(Why::Confirm));
        taken(&mut machine, due, 0, 3, jitter);
        assert!(machine.poll_timeout() > at(500), "confirmed");
    }
}

#[test]
fn a_fresh_set_and_one_that_replaces_a_trusted_one_need_no_confirmation() {
    let mut machine = KeyMachine::new(P, at(0));
    machine.tick(at(0)).unwrap();
    taken(&mut machine, at(0), 60, 3, 0);
    assert_eq!(machine.poll_timeout(), at(540));
    machine.tick(at(540)).unwrap();
    taken(&mut machine, at(540), 100, 4, 0);
    assert_eq!(machine.poll_timeout(), at(540 + 500));
}

#[test]
fn a_confirmation_that_failed_is_still_wanted() {
    let mut machine = KeyMachine::new(P, at(0));
    machine.tick(at(0)).unwrap();
    taken(&mut machine, at(0), 61, 3, 0);
    assert_eq!(machine.tick(at(0)).map(|trip| trip.why), Some(Why::Confirm));
    failed(&mut machine, at(1), 0);
    assert_eq!(machine.poll_timeout(), at(1).plus(ms(125)));
    // Other trips that bring nothing fresh leave it.
    trip(machine.want_kid(at(2), "k"));
    taken(&mut machine, at(2), 63, 3, 0);
    assert_eq!(machine.tick(at(2)).map(|trip| trip.why), Some(Why::Confirm));
}

#[test]
fn a_stated_generation_is_fetched_at_once_and_not_in_a_loop() {
    let mut machine = with_set(at(0));
    machine.heard(at(5), 4);
    assert_eq!(machine.poll_timeout(), at(5));
    let mut trips = 0;
    let mut now = at(5);
    while now < at(65) {
        if let Some(trip) = machine.tick(now) {
            assert_eq!(trip.why, Why::Newer(4));
            fetched(&mut machine, now);
            trips += 1;
        }
        now = machine.poll_timeout().max(now.plus(ms(1)));
    }
    assert!(trips <= 10 + 6, "{trips} trips in a minute for what cannot be had");
    machine.heard(at(65), 3);
    assert_eq!(machine.stated(), 4, "an older one changes nothing");
}

#[test]
fn whoever_has_no_trusted_set_waits_for_no_interval() {
    let mut machine = with_set(at(0));
    assert_eq!(machine.want_kid(at(0), "k"), wait(2, true));
    assert_eq!(trip(machine.want_set(at(0))).why, Why::Cold);
    assert_eq!(
        machine.under_way().map(|trip| trip.number),
        Some(2),
        "who waits for that number is woken"
    );
}
