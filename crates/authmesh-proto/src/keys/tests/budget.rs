use super::super::budget::{Budget, By};
use super::{at, secs};

fn bucket() -> Budget {
    Budget::new(10, 2, secs(10), at(0))
}

#[test]
fn anybody_draws_down_to_the_reserve_and_the_cluster_to_nothing() {
    let mut budget = bucket();
    for _ in 0..8 {
        assert_eq!(budget.draw(at(0), By::Anybody), Ok(()));
    }
    assert_eq!(budget.draw(at(0), By::Anybody), Err(secs(10)));
    assert_eq!(budget.draw(at(0), By::Cluster), Ok(()));
    assert_eq!(budget.draw(at(0), By::Cluster), Ok(()));
    assert_eq!(budget.draw(at(0), By::Cluster), Err(secs(10)));
    assert_eq!(
        budget.draw(at(0), By::Anybody),
        Err(secs(30)),
        "the reserve fills up first"
    );
}

#[test]
fn what_it_says_of_the_wait_is_exact() {
    let mut budget = bucket();
    while budget.draw(at(3), By::Anybody).is_ok() {}
    let wait = budget.draw(at(5), By::Anybody).unwrap_err();
    let then = at(5).plus(wait);
    let before = crate::time::Moment::from_nanos(then.as_nanos() - 1);
    assert!(budget.draw(before, By::Anybody).is_err());
    assert_eq!(budget.draw(then, By::Anybody), Ok(()));
}

#[test]
fn no_stretch_of_time_gives_more_than_the_burst_and_one_a_period() {
    for begin in 0..40 {
        let mut budget = bucket();
        let drawn = (begin..begin + 100)
            .filter(|second| budget.draw(at(*second), By::Cluster).is_ok())
            .count();
        assert!(drawn <= 10 + 9, "{drawn} from second {begin}");
    }
}

#[test]
fn what_is_given_back_never_makes_it_more_than_full() {
    let mut budget = bucket();
    budget.refund();
    budget.draw(at(0), By::Cluster).unwrap();
    budget.refund();
    budget.refund();
    let drawn = (0..20).filter(|_| budget.draw(at(0), By::Cluster).is_ok()).count();
    assert_eq!(drawn, 10);
}
