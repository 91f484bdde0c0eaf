#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

#[test]
fn a_share_of_the_traffic_is_that_share_from_the_beginning() {
    for (share, of_hundred) in [(0.0, 0), (0.01, 1), (0.1, 10), (0.5, 50), (0.99, 99), (1.0, 100)] {
        let share = Share::new(share).unwrap();
        let drawn = |from: u64, to: u64| (from..to).filter(|n| share.holds(*n)).count();
        assert!(drawn(1, 101).abs_diff(of_hundred) <= 2, "{share:?}: {}", drawn(1, 101));
        assert!(
            drawn(1, 10_001).abs_diff(of_hundred * 100) <= 10,
            "{share:?}: {}",
            drawn(1, 10_001)
        );
    }
}

#[test]
fn what_is_no_share_is_an_error() {
    for odd in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        assert!(matches!(Share::new(odd), Err(PolicyError::NotAShare(_))), "{odd}");
    }
}

#[test]
fn differences_are_counted_by_what_they_would_have_meant() {
    let rollout = Rollout::of_share(Share::ALL, true);
    let refused = |error: VerifyError| -> Result<Answer, VerifyError> { Err(error) };
    rollout.compare(&refused(VerifyError::Inactive), &refused(VerifyError::Inactive));
    rollout.compare(&refused(VerifyError::Inactive), &refused(VerifyError::UnknownKey));
    let stats = rollout.stats();
    assert_eq!((stats.compared, stats.differed, stats.would_have_passed), (2, 1, 0));
}
