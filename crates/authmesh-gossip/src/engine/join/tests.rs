use std::collections::BTreeMap;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::*;

fn at(n: usize) -> SocketAddr {
    SocketAddr::from(([10, 1, (n / 250) as u8, (n % 250) as u8 + 1], 7946))
}

const ME: usize = 60_000;
const SECOND: Duration = Duration::from_secs(1);

/// Everybody whom a node that is alone asks by and by.
fn asked(join: &mut Join, now: Moment) -> BTreeSet<SocketAddr> {
    let rounds = join.seeds.len() / ALONE_AT_ONCE + 1;
    (0..rounds)
        .flat_map(|_| join.round(std::iter::empty(), std::iter::empty(), now))
        .collect()
}

#[test]
fn new_pods_behind_a_name_are_asked_after_any_number_of_old_ones() {
    let mut now = Moment::ORIGIN;
    let mut join = Join::new(at(ME), now);
    for pods in 0..200 {
        now = now.plus(SECOND * 300);
        let pods: BTreeSet<_> = (pods * 40..pods * 40 + 50).map(at).collect();
        join.looked_up(0, pods.iter().copied(), now);
        assert_eq!(asked(&mut join, now), pods);
    }
}

#[test]
fn suggestions_give_way_to_newer_ones_and_never_push_out_a_seed() {
    let mut now = Moment::ORIGIN;
    let mut join = Join::new(at(ME), now);
    join.looked_up(0, (0..100).map(at), now);
    for n in 0..3000 {
        now = now.plus(Duration::from_millis(1));
        join.suggested([at(1000 + n)], now);
    }
    assert_eq!(join.seeds.len(), MAX_SEEDS);
    let asked = asked(&mut join, now);
    assert!((0..100).all(|n| asked.contains(&at(n))), "what a seed stands for");
    let newest = 3000 - (MAX_SEEDS - 100)..3000;
    assert!(newest.into_iter().all(|n| asked.contains(&at(1000 + n))));
}

#[test]
fn a_name_that_cannot_be_looked_up_keeps_its_addresses() {
    let mut join = Join::new(at(ME), Moment::ORIGIN);
    join.looked_up(0, [at(1)], Moment::ORIGIN);
    let later = Moment::ORIGIN.plus(SECOND * 86_400);
    join.looked_up(0, [], later);
    assert_eq!(join.round(std::iter::empty(), std::iter::empty(), later), [at(1)]);
}

#[test]
fn an_address_of_its_own_is_not_asked_and_may_be_another_ones_later() {
    let mut join = Join::new(at(ME), Moment::ORIGIN);
    join.looked_up(0, [at(1), at(2)], Moment::ORIGIN);
    join.is_own(at(1));
    assert_eq!(
        join.round(std::iter::empty(), std::iter::empty(), Moment::ORIGIN),
        [at(2)]
    );
    // The service's address went, and came back for somebody else.
    join.looked_up(0, [at(2)], Moment::ORIGIN);
    join.round(std::iter::empty(), std::iter::empty(), Moment::ORIGIN);
    join.looked_up(0, [at(1), at(2)], Moment::ORIGIN);
    let asked = join.round(std::iter::empty(), std::iter::empty(), Moment::ORIGIN);
    assert_eq!(asked, [at(1), at(2)]);
}

/// What may happen to a table.
#[derive(Debug, Clone)]
enum Step {
    LookedUp(usize, BTreeSet<usize>),
    Suggested(BTreeSet<usize>),
    Members(BTreeSet<usize>),
    Later(u64),
    Round,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let some = |most: usize| btree_set(0_usize..3000, 0..most);
    let step = prop_oneof![
        (0_usize..4, some(256)).prop_map(|(seed, addresses)| Step::LookedUp(seed, addresses)),
        some(400).prop_map(Step::Suggested),
        some(20).prop_map(Step::Members),
        (1_u64..400).prop_map(Step::Later),
        Just(Step::Round),
    ];
    vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// At most 4 x 255 addresses are named here at once: all of them have room.
    #[test]
    fn whoever_is_named_or_was_suggested_of_late_is_kept_and_nobody_else(steps in steps()) {
        let mut now = Moment::ORIGIN.plus(SECOND * 1000);
        let mut join = Join::new(at(ME), now);
        let mut named: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        let mut suggested: BTreeMap<usize, Moment> = BTreeMap::new();
        let mut members = BTreeSet::new();
        let mut was_full = false;
        for step in steps {
            match step {
                Step::LookedUp(seed, addresses) => {
                    join.looked_up(seed, addresses.iter().map(|n| at(*n)), now);
                    if !addresses.is_empty() {
                        named.insert(seed, addresses);
                    }
                }
                Step::Suggested(addresses) => {
                    join.suggested(addresses.iter().map(|n| at(*n)), now);
                    suggested.extend(addresses.into_iter().map(|n| (n, now)));
                }
                Step::Members(there) => members = there.into_iter().map(at).collect(),
                Step::Later(secs) => now = now.plus(SECOND * secs as u32),
                Step::Round => {}
            }
            prop_assert!(join.seeds.len() <= MAX_SEEDS);
            was_full |= join.seeds.len() == MAX_SEEDS;
            let asked = join.round(members.iter().copied(), std::iter::empty(), now);
            prop_assert!(asked.iter().all(|address| join.seeds.contains_key(address) && !members.contains(address)));
            for n in 0..3000 {
                let is_kept = join.seeds.contains_key(&at(n));
                let is_named = named.values().any(|of| of.contains(&n));
                let of_late = suggested.get(&n).is_some_and(|at| now.since(*at) < SUGGESTED_FOR);
                prop_assert!(is_kept || !is_named, "a seed stands for it: {n}");
                prop_assert!(is_kept || !of_late || was_full, "there was room for it: {n}");
                prop_assert!(!is_kept || is_named || of_late || members.contains(&at(n)), "for no reason: {n}");
            }
        }
    }
}
