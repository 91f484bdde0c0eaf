use super::*;

const S: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Moment {
    Moment::ORIGIN.plus(Duration::from_secs(seconds))
}

fn with_set(now: Moment) -> KeyMachine {
    let mut machine = KeyMachine::new(KeyPolicy::default(), now);
    assert_eq!(machine.want_set(now), Need::Fetch { no_cache: false });
    machine.succeeded(now, now, None, 0);
    machine
}

#[test]
fn one_fetch_is_under_way_at_a_time() {
    let mut machine = KeyMachine::new(KeyPolicy::default(), at(0));
    assert_eq!(machine.want_set(at(0)), Need::Fetch { no_cache: false });
    assert_eq!(machine.want_set(at(0)), Need::Wait);
    assert_eq!(machine.want_kid(at(0), "k"), Need::Wait);
    assert_eq!(machine.want_refresh(at(0)), Need::Wait);
    assert_eq!(machine.tick(at(9_999)), None);
}

#[test]
fn a_set_is_refreshed_before_its_soft_lifetime_ends_and_trusted_until_the_hard_one() {
    let mut machine = with_set(at(0));
    assert_eq!(machine.tick(at(599)), None);
    assert_eq!(machine.tick(at(600)), Some(Need::Fetch { no_cache: false }));
    machine.failed(at(600), None, 0);
    assert_eq!(machine.trusted_until(), at(86_400));
    machine.succeeded(at(700), at(690), Some(5 * S), u32::MAX);
    assert_eq!(
        machine.trusted_until(),
        at(690 + 86_400),
        "counted from before the request"
    );
    assert_eq!(
        machine.poll_timeout(),
        at(727),
        "max-age below the floor, minus a tenth of jitter"
    );
}

#[test]
fn unknown_kids_spend_a_budget_that_refills_and_is_never_a_verdict() {
    let mut machine = with_set(at(0));
    for n in 0..10 {
        let kid = std::format!("bogus-{n}");
        assert_eq!(machine.want_kid(at(1), &kid), Need::Fetch { no_cache: true });
        machine.succeeded(at(1), at(1), None, 0);
        machine.is_absent(at(1), &kid);
        assert_eq!(machine.want_kid(at(1), &kid), Need::Absent);
    }
    assert_eq!(machine.want_kid(at(1), "real"), Need::NotNow { retry_after: 9 * S });
    assert_eq!(machine.want_kid(at(11), "real"), Need::Fetch { no_cache: true });
}

#[test]
fn a_failed_fetch_backs_off_and_says_when_to_come_back() {
    let mut machine = with_set(at(0));
    assert_eq!(machine.want_kid(at(1), "k"), Need::Fetch { no_cache: true });
    machine.failed(at(1), Some(20 * S), 0);
    assert_eq!(machine.want_kid(at(2), "k"), Need::NotNow { retry_after: 19 * S });
    assert_eq!(machine.want_kid(at(21), "k"), Need::Fetch { no_cache: true });
    for _ in 0..100 {
        machine.failed(at(21), None, u32::MAX);
    }
    assert!(machine.poll_timeout() <= at(600), "the back-off has a ceiling");
}

#[test]
fn absent_kids_are_bounded_and_forgotten() {
    let mut machine = with_set(at(0));
    for n in 0..5_000 {
        machine.is_absent(at(1), &std::format!("{n}"));
    }
    assert_eq!(machine.absent.len(), KeyPolicy::default().absent_cap);
    assert_eq!(machine.want_kid(at(1), "7"), Need::Absent);
    assert_eq!(machine.want_kid(at(31), "7"), Need::Fetch { no_cache: true });
    assert_eq!(machine.want_kid(at(31), &"x".repeat(257)), Need::Absent);
}
