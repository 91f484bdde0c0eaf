use alloc::vec;
use alloc::vec::Vec;

use super::*;

const MINE: Nonce = Nonce([1; 16]);
const THEIRS: Nonce = Nonce([2; 16]);
const LIFE: Incarnation = Incarnation([7; 16]);

fn ms(millis: u64) -> Moment {
    Moment::ORIGIN.plus(Duration::from_millis(millis))
}

fn fill() -> Fill {
    Fill::new(FillConfig::default(), MINE)
}

fn drain(fill: &mut Fill) -> Vec<Action> {
    core::iter::from_fn(|| fill.poll()).collect()
}

fn looked(look: Look) -> Input {
    Input::Looked {
        look,
        captured: Some(LIFE),
        coherent: true,
    }
}

/// Feeds inputs, one a millisecond, and gathers what they cause.
fn run(fill: &mut Fill, inputs: impl IntoIterator<Item = Input>) -> Vec<Action> {
    let mut actions = drain(fill);
    for (n, input) in inputs.into_iter().enumerate() {
        fill.handle(ms(n as u64), input);
        actions.extend(drain(fill));
    }
    actions
}

const TAKEN: Input = Input::Leased(Some(LeaseOutcome::Taken(LIFE, 3)));

#[test]
fn what_counts_in_l2_ends_the_fill() {
    let mut fill = fill();
    assert_eq!(run(&mut fill, [looked(Look::Counts)]), vec![Action::Look]);
    assert!(fill.is_over());
}

#[test]
fn a_miss_takes_the_lease_loads_keeps_and_stores() {
    let mut fill = fill();
    let actions = run(&mut fill, [looked(Look::Nothing), TAKEN, Input::Loaded(true)]);
    assert_eq!(
        actions,
        vec![
            Action::Look,
            Action::Lease(None),
            Action::Load,
            Action::Keep,
            Action::Store((LIFE, 3))
        ]
    );
    assert!(fill.is_over());
}

#[test]
fn bytes_that_are_void_are_named_to_the_lease() {
    let actions = run(&mut fill(), [looked(Look::Void(vec![9]))]);
    assert_eq!(actions, vec![Action::Look, Action::Lease(Some(vec![9]))]);
}

#[test]
fn a_loader_that_fails_gives_the_lease_back() {
    let actions = run(&mut fill(), [looked(Look::Nothing), TAKEN, Input::Loaded(false)]);
    assert_eq!(actions[2..], [Action::Load, Action::Release]);
}

#[test]
fn a_lease_of_another_incarnation_than_the_captured_one_stores_nothing() {
    for captured in [None, Some(Incarnation([8; 16]))] {
        let look = Input::Looked {
            look: Look::Nothing,
            captured,
            coherent: true,
        };
        let actions = run(&mut fill(), [look, TAKEN, Input::Loaded(true)]);
        assert_eq!(actions[2..], [Action::Load, Action::Keep, Action::Release]);
    }
}

#[test]
fn without_coherence_or_without_l2_it_loads_and_stores_nothing() {
    let blind = Input::Looked {
        look: Look::Nothing,
        captured: Some(LIFE),
        coherent: false,
    };
    let actions = run(&mut fill(), [blind, Input::Loaded(true)]);
    assert_eq!(actions, vec![Action::Look, Action::Load, Action::Keep]);
    for outcome in [None, Some(LeaseOutcome::Unborn)] {
        let mut fill = fill();
        let actions = run(
            &mut fill,
            [looked(Look::Nothing), Input::Leased(outcome), Input::Loaded(true)],
        );
        assert_eq!(actions[1..], [Action::Lease(None), Action::Load, Action::Keep]);
        assert_eq!(fill.poll_timeout(), Moment::NEVER);
    }
}

#[test]
fn a_held_lease_is_waited_for_once() {
    let mut fill = fill();
    let held = || Input::Leased(Some(LeaseOutcome::Held(THEIRS)));
    let actions = run(
        &mut fill,
        [
            looked(Look::Nothing),
            held(),
            Input::Gone,
            looked(Look::Nothing),
            held(),
        ],
    );
    assert_eq!(
        actions,
        vec![
            Action::Look,
            Action::Lease(None),
            Action::Wait(THEIRS),
            Action::Look,
            Action::Lease(None),
            // The same holder again: it is not waited for twice.
            Action::Load,
        ]
    );
}

#[test]
fn a_holder_that_does_not_end_is_left_after_the_wait() {
    let mut fill = fill();
    run(
        &mut fill,
        [looked(Look::Nothing), Input::Leased(Some(LeaseOutcome::Held(THEIRS)))],
    );
    assert_eq!(fill.poll_timeout(), ms(2001));
    fill.tick(ms(2000));
    assert_eq!(drain(&mut fill), vec![]);
    fill.tick(ms(2001));
    assert_eq!(drain(&mut fill), vec![Action::Look]);
    // The lease going now is an answer to nothing.
    fill.handle(ms(2002), Input::Gone);
    assert_eq!(drain(&mut fill), vec![]);
}

#[test]
fn only_so_many_holders_are_waited_for() {
    let mut fill = fill();
    let mut waits = 0;
    for n in 0..10 {
        let actions = run(&mut fill, [looked(Look::Nothing)]);
        if actions.contains(&Action::Load) {
            break;
        }
        let held = Input::Leased(Some(LeaseOutcome::Held(Nonce([10 + n; 16]))));
        assert!(matches!(run(&mut fill, [held])[..], [Action::Wait(_)]));
        waits += 1;
        fill.handle(ms(0), Input::Gone);
    }
    assert_eq!(waits, FillConfig::default().patience);
}

#[test]
fn a_value_that_does_not_count_here_yet_is_read_once_more() {
    let present = || Input::Leased(Some(LeaseOutcome::Present));
    let actions = run(
        &mut fill(),
        [looked(Look::Nothing), present(), looked(Look::Nothing), present()],
    );
    let twice = [Action::Look, Action::Lease(None)];
    assert_eq!(actions, [&twice[..], &twice[..], &[Action::Load]].concat());
}

#[test]
fn a_lease_is_renewed_while_loading() {
    let mut fill = fill();
    run(&mut fill, [looked(Look::Nothing), TAKEN]);
    let mut due = fill.poll_timeout();
    for _ in 0..3 {
        assert!(due < Moment::NEVER);
        fill.tick(due);
        assert_eq!(drain(&mut fill), vec![Action::Renew]);
        let next = fill.poll_timeout();
        assert_eq!(next.since(due), FillConfig::default().lease / 3);
        due = next;
    }
    fill.handle(due, Input::Loaded(true));
    drain(&mut fill);
    fill.tick(due.plus(Duration::from_secs(9)));
    assert_eq!(drain(&mut fill), vec![]);
}

#[test]
fn a_key_on_hold_is_loaded_and_kept_nowhere() {
    let mut seen = fill();
    let actions = run(&mut seen, [looked(Look::OnHold), Input::Loaded(true)]);
    assert_eq!(actions, vec![Action::Look, Action::Load, Action::Answer]);
    assert!(seen.is_over());
    // It came between the look and the lease.
    let mut refused = fill();
    let leased = Input::Leased(Some(LeaseOutcome::OnHold));
    let actions = run(&mut refused, [looked(Look::Nothing), leased, Input::Loaded(true)]);
    assert_eq!(actions[2..], [Action::Load, Action::Answer]);
    let mut failed = fill();
    let actions = run(&mut failed, [looked(Look::OnHold), Input::Loaded(false)]);
    assert_eq!(actions, vec![Action::Look, Action::Load]);
}
