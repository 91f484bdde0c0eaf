use core::time::Duration;
use std::string::ToString;
use std::vec::Vec;

use super::{ms, secs};
use crate::keys::KeyPolicy;

const fn with(change: fn(&mut KeyPolicy)) -> fn(&mut KeyPolicy) {
    change
}

#[test]
fn the_defaults_contradict_nothing() {
    assert_eq!(KeyPolicy::default().check(), Ok(()));
}

#[test]
fn every_contradiction_is_refused_and_named_with_its_reason() {
    type Case = (&'static str, &'static str, fn(&mut KeyPolicy));
    let cases: Vec<Case> = [
        (
            "lifetime_floor",
            "more than zero",
            with(|p| p.lifetime_floor = Duration::ZERO),
        ),
        ("confirm_within", "more than zero", |p| {
            p.confirm_within = Duration::ZERO
        }),
        ("unknown_kid_period", "more than zero", |p| {
            p.unknown_kid_period = Duration::ZERO
        }),
        ("deadline", "more than zero", |p| p.deadline = Duration::ZERO),
        ("backoff_floor", "more than zero", |p| p.backoff_floor = Duration::ZERO),
        ("soft_lifetime", "shorter than lifetime_floor", |p| {
            p.soft_lifetime = secs(29)
        }),
        ("soft_lifetime", "longer than lifetime_ceiling", |p| {
            p.soft_lifetime = secs(3_601)
        }),
        ("max_trust_age", "longer than lifetime_ceiling", |p| {
            p.max_trust_age = secs(3_600)
        }),
        ("max_trust_age", "7 days", |p| p.max_trust_age = secs(7 * 86_400 + 1)),
        ("refresh_ahead_percent", "1 to 50", |p| p.refresh_ahead_percent = 0),
        ("refresh_ahead_percent", "1 to 50", |p| p.refresh_ahead_percent = 51),
        ("confirm_within", "ordinary refresh", |p| p.confirm_within = secs(3_601)),
        ("min_interval", "refreshed in time", |p| p.min_interval = secs(31)),
        ("min_interval", "give up", |p| p.min_interval = secs(10)),
        ("unknown_kid_burst", "timer alone", |p| p.unknown_kid_burst = 0),
        ("reserve", "nothing would be left", |p| p.reserve = 10),
        ("absent_lifetime", "after the refresh", |p| {
            p.absent_lifetime = secs(3_601)
        }),
        ("attempts", "1 to 10", |p| p.attempts = 0),
        ("attempts", "1 to 10", |p| p.attempts = 11),
        ("deadline", "over 1 min", |p| p.deadline = secs(61)),
        ("backoff_floor", "longer than backoff_ceiling", |p| {
            p.backoff_floor = secs(31)
        }),
        ("open_after", "at least 1", |p| p.open_after = 0),
    ]
    .into();
    for (setting, reason, change) in cases {
        let mut policy = KeyPolicy::DEFAULT;
        change(&mut policy);
        let conflict = policy.check().expect_err(setting);
        assert_eq!(conflict.setting, setting, "{conflict}");
        let text = conflict.to_string();
        assert!(text.starts_with(setting) && text.contains(reason), "{text}");
    }
}

#[test]
fn the_edges_of_what_is_allowed_are_allowed() {
    let edges: [fn(&mut KeyPolicy); 6] = [
        |p| p.lifetime_floor = p.soft_lifetime,
        |p| p.soft_lifetime = p.lifetime_ceiling,
        |p| p.max_trust_age = KeyPolicy::MAX_TRUST_AGE,
        |p| p.reserve = p.unknown_kid_burst - 1,
        |p| p.backoff_floor = p.backoff_ceiling,
        |p| p.min_interval = Duration::ZERO,
    ];
    for edge in edges {
        let mut policy = KeyPolicy::DEFAULT;
        edge(&mut policy);
        assert_eq!(policy.check(), Ok(()));
    }
}

#[test]
fn what_the_issuer_says_of_the_lifetime_counts_inside_floor_and_ceiling() {
    let policy = KeyPolicy::DEFAULT;
    assert_eq!(policy.lifetime(None), policy.soft_lifetime);
    assert_eq!(policy.lifetime(Some(secs(120))), secs(120));
    assert_eq!(policy.lifetime(Some(Duration::ZERO)), policy.lifetime_floor);
    assert_eq!(policy.lifetime(Some(secs(1 << 40))), policy.lifetime_ceiling);
}

#[test]
fn the_back_off_doubles_up_to_its_ceiling_and_is_never_nothing() {
    let policy = KeyPolicy::DEFAULT;
    let longest: Vec<_> = (0..8).map(|failures| policy.backoff(failures, u32::MAX)).collect();
    let seconds = [1, 2, 4, 8, 16, 30, 30, 30];
    assert_eq!(longest, seconds.map(secs));
    assert_eq!(policy.backoff(0, 0), ms(125));
    assert_eq!(policy.backoff(u32::MAX, u32::MAX), policy.backoff_ceiling);
}
