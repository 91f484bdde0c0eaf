//! What is explored, and what each rule is there for.

use crate::rules::{Rule, Rules};
use crate::state::{Body, Calls, Scenario};

use Body::{Drop, Mark, Other, Tag};
use Calls::{OneStep, ThreeSteps, TwoSteps};

/// An early copy of each statement, leases that run out at any time, one failover.
const fn with_failover(
    name: &'static str,
    bodies: &'static [Body],
    fills: usize,
    log_calls: Calls,
    l2_calls: Calls,
) -> Scenario {
    Scenario {
        name,
        bodies,
        fills,
        early: true,
        failover: true,
        expiry: true,
        log_calls,
        l2_calls,
        rules: Rules::ALL,
    }
}

const fn no_failover(scenario: Scenario) -> Scenario {
    Scenario {
        failover: false,
        ..scenario
    }
}

/// Everything at once: two nodes, one key, two fills, two statements, an early second copy of each, one failover that loses
/// writes.
const TWO_DROPS: Scenario = with_failover("two drops", &[Drop, Drop], 2, OneStep, OneStep);
const NO_FILL: Scenario = with_failover("one drop, no fill", &[Drop], 0, OneStep, OneStep);
const NO_FILL_SLOW: Scenario = with_failover("one drop, no fill, slow log", &[Drop], 0, TwoSteps, OneStep);
const ONE_FILL: Scenario = with_failover("one drop, one fill", &[Drop], 1, OneStep, OneStep);
const ONE_FILL_SLOW: Scenario = with_failover("one drop, one fill, slow log and L2", &[Drop], 1, TwoSteps, ThreeSteps);
const TWO_FILLS: Scenario = with_failover("one drop, two fills, slow L2", &[Drop], 2, OneStep, ThreeSteps);
const TWO_DROPS_SLOW: Scenario = no_failover(with_failover(
    "two drops, one fill, slow log and L2, no failover",
    &[Drop, Drop],
    1,
    TwoSteps,
    ThreeSteps,
));
const FAR_TAG: Scenario = with_failover("tag in another channel, one fill", &[Tag(1)], 1, OneStep, OneStep);
const FAR_TAG_SLOW: Scenario = with_failover(
    "tag in another channel, one fill, slow log and L2",
    &[Tag(1)],
    1,
    TwoSteps,
    ThreeSteps,
);
const FAR_TAG_TWICE: Scenario = with_failover(
    "tag in another channel twice, one fill",
    &[Tag(1), Tag(1)],
    1,
    OneStep,
    OneStep,
);
const REVOCATION: Scenario = with_failover("one revocation, no fill", &[Mark(0)], 0, OneStep, OneStep);
const REVOCATION_SLOW: Scenario = with_failover("one revocation, no fill, slow log", &[Mark(0)], 0, TwoSteps, OneStep);
const REVOCATION_AND_DROP: Scenario = with_failover(
    "one revocation, one drop of another key, no fill",
    &[Mark(0), Other(0)],
    0,
    OneStep,
    OneStep,
);

/// What an ordinary test explores.
pub(crate) const ORDINARY: &[Scenario] = &[
    TWO_DROPS,
    NO_FILL_SLOW,
    ONE_FILL_SLOW,
    TWO_FILLS,
    TWO_DROPS_SLOW,
    FAR_TAG_SLOW,
    REVOCATION_SLOW,
];

/// What the full run explores beside that.
pub(crate) const FULL: &[Scenario] = &[
    with_failover(
        "one revocation, no fill, very slow log",
        &[Mark(0)],
        0,
        ThreeSteps,
        OneStep,
    ),
    with_failover("two drops, two fills, slow L2", &[Drop, Drop], 2, OneStep, ThreeSteps),
    no_failover(with_failover(
        "two drops, two fills, slow log and L2, no failover",
        &[Drop, Drop],
        2,
        TwoSteps,
        ThreeSteps,
    )),
    with_failover("one drop, two fills, slow log and L2", &[Drop], 2, TwoSteps, ThreeSteps),
    with_failover(
        "one drop, one fill, very slow log and L2",
        &[Drop],
        1,
        ThreeSteps,
        ThreeSteps,
    ),
    with_failover(
        "one drop, one revocation, two fills",
        &[Drop, Mark(0)],
        2,
        OneStep,
        OneStep,
    ),
    with_failover(
        "tag in the key's channel, two fills, slow log and L2",
        &[Tag(0)],
        2,
        TwoSteps,
        ThreeSteps,
    ),
    with_failover(
        "one drop, one tag in another channel, two fills",
        &[Drop, Tag(1)],
        2,
        OneStep,
        OneStep,
    ),
    with_failover(
        "tag in another channel twice, two fills",
        &[Tag(1), Tag(1)],
        2,
        OneStep,
        OneStep,
    ),
    with_failover(
        "tag in the key's channel twice, two fills",
        &[Tag(0), Tag(0)],
        2,
        OneStep,
        OneStep,
    ),
    with_failover(
        "one revocation, one drop of another key, slow log",
        &[Mark(0), Other(0)],
        0,
        TwoSteps,
        OneStep,
    ),
    with_failover(
        "tag in another channel, two fills, slow log and L2",
        &[Tag(1)],
        2,
        TwoSteps,
        ThreeSteps,
    ),
];

/// A rule that is switched off alone or with another one, where it goes wrong, and how the finding begins or goes on.
pub(crate) struct Control {
    pub(crate) off: &'static [Rule],
    pub(crate) scenario: Scenario,
    pub(crate) finding: &'static str,
}

const fn control(off: &'static [Rule], scenario: Scenario, finding: &'static str) -> Control {
    Control { off, scenario, finding }
}

const FROM_L2: &str = "gets version";
const NO_REST: &str = "the nodes never come to rest";

pub(crate) const CONTROLS: &[Control] = &[
    control(&[Rule::Fence], ONE_FILL, "answers from memory with version 0"),
    control(&[Rule::Link], REVOCATION, "does not hold the mark"),
    control(&[Rule::CompareAndSet], ONE_FILL, FROM_L2),
    control(
        &[Rule::BumpBeforeLoad, Rule::BumpAfterLoad],
        ONE_FILL,
        "memory holds version 0 for good",
    ),
    control(&[Rule::EarlyCopies], ONE_FILL, FROM_L2),
    control(&[Rule::Adopt], NO_FILL, "minted without end"),
    control(&[Rule::MissWhileUnpositioned], ONE_FILL, FROM_L2),
    control(&[Rule::MissIfAskedUnpositioned], TWO_FILLS, "answers with version 0"),
    control(&[Rule::ValueIncarnation], ONE_FILL, FROM_L2),
    control(&[Rule::HeadProves], ONE_FILL, FROM_L2),
    control(&[Rule::HeadAsked], ONE_FILL, FROM_L2),
    control(
        &[Rule::RecommitAfterAdoption],
        REVOCATION_AND_DROP,
        "does not hold the mark",
    ),
    control(
        &[Rule::RecommitBeforeMint, Rule::RecommitAfterAdoption],
        REVOCATION,
        "does not hold the mark",
    ),
    control(&[Rule::Overtaken], NO_FILL_SLOW, NO_REST),
    control(&[Rule::HolderCommits], NO_FILL, NO_REST),
    control(&[Rule::TagPosition], FAR_TAG, FROM_L2),
    control(&[Rule::TagLineage], FAR_TAG_TWICE, FROM_L2),
    control(&[Rule::TagSettled], FAR_TAG_TWICE, FROM_L2),
    control(&[Rule::LeaseReplacesOutdated], ONE_FILL, "gives way to no fill"),
    control(&[Rule::VoidGivesWay], FAR_TAG, "gives way to no fill"),
];

/// Rules that can be off alone without a finding in [`WITHOUT`]. `docs/model-check.md` says of each why it is kept;
/// `BumpAfterLoad` has a way of its own in `main.rs`.
pub(crate) const NO_FINDING: &[Rule] = &[
    Rule::BumpBeforeLoad,
    Rule::BumpAfterLoad,
    Rule::LoggedCopyBumps,
    Rule::LeaseIncarnation,
    Rule::Settled,
    Rule::SameIncarnation,
    Rule::RecommitBeforeMint,
    Rule::MintExpected,
    Rule::TagKeepsItsPosition,
];

/// Where they are off in an ordinary test.
pub(crate) const WITHOUT: &[Scenario] = &[ONE_FILL, ONE_FILL_SLOW, FAR_TAG, REVOCATION_AND_DROP];
/// .. and in the full run beside that.
pub(crate) const WITHOUT_FULL: &[Scenario] = &[TWO_DROPS, TWO_FILLS, FAR_TAG_TWICE];
