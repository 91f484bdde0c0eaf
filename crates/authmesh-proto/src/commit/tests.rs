use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::ident::Origin;

fn ms(millis: u64) -> Moment {
    Moment::ORIGIN.plus(Duration::from_millis(millis))
}

/// A drop of an entry in channel 0.
fn statement(counter: u64) -> Statement {
    let body = Body::Drop(EntryName([0; 32]));
    Statement {
        name: StatementName {
            origin: Origin([1; 16]),
            channel: body.slot().channel,
            counter,
        },
        body,
    }
}

fn drain(commits: &mut Commits) -> Vec<Action> {
    core::iter::from_fn(|| commits.poll()).collect()
}

fn commit(counter: u64, announced: bool) -> Action {
    Action::Commit {
        statement: statement(counter),
        announced,
    }
}

/// A statement was said, and its first attempt is under way.
fn said() -> (Commits, StatementName) {
    let mut commits = Commits::new(CommitConfig::default());
    commits.handle(ms(0), Input::Said(statement(1)));
    assert_eq!(drain(&mut commits), vec![commit(1, false)]);
    (commits, statement(1).name)
}

const WHOLE: Attempt = Attempt::Whole { replicas: 2 };
const POSITIONED: Action = Action::Positioned(Voids::Entry(EntryName([0; 32])));

#[test]
fn done_when_answered_and_passed_in_either_order() {
    let (mut commits, name) = said();
    commits.handle(ms(1), Input::Answered(name, WHOLE));
    assert_eq!(drain(&mut commits), vec![]);
    commits.handle(ms(2), Input::Passed { name, whole: true });
    assert_eq!(drain(&mut commits), vec![POSITIONED, Action::Done(name, 2)]);
    assert!(commits.is_empty());

    let (mut commits, name) = said();
    commits.handle(ms(1), Input::Passed { name, whole: true });
    assert_eq!(drain(&mut commits), vec![POSITIONED]);
    commits.handle(ms(2), Input::Answered(name, WHOLE));
    assert_eq!(drain(&mut commits), vec![Action::Done(name, 2)]);
    assert_eq!(commits.poll_timeout(), Moment::NEVER);
}

#[test]
fn a_failed_attempt_is_repeated_with_doubled_waits_up_to_the_ceiling() {
    let (mut commits, name) = said();
    let mut now = 0;
    for wait in [50, 100, 200, 400, 800, 1600, 2000, 2000] {
        commits.handle(ms(now), Input::Answered(name, Attempt::Failed));
        assert_eq!(commits.poll_timeout(), ms(now + wait));
        commits.tick(ms(now + wait - 1));
        assert_eq!(drain(&mut commits), vec![]);
        now += wait;
        commits.tick(ms(now));
        assert_eq!(drain(&mut commits), vec![commit(1, false)]);
    }
}

#[test]
fn a_commit_whose_answer_was_lost_is_done_when_the_log_shows_it() {
    // The log first.
    let (mut commits, name) = said();
    commits.handle(ms(1), Input::Passed { name, whole: true });
    commits.handle(ms(2), Input::Answered(name, Attempt::Failed));
    assert_eq!(drain(&mut commits), vec![POSITIONED, Action::Done(name, 0)]);
    // The failure first: the attempt that was due is not made.
    let (mut commits, name) = said();
    commits.handle(ms(1), Input::Answered(name, Attempt::Failed));
    commits.handle(ms(2), Input::Passed { name, whole: true });
    assert_eq!(drain(&mut commits), vec![POSITIONED, Action::Done(name, 0)]);
    assert_eq!(commits.poll_timeout(), Moment::NEVER);
    // While an attempt is under way its answer is waited for: it tells how many hold it.
    let (mut commits, name) = said();
    commits.handle(ms(1), Input::Answered(name, Attempt::Failed));
    commits.tick(ms(51));
    commits.handle(ms(52), Input::Passed { name, whole: true });
    assert_eq!(drain(&mut commits), vec![commit(1, false), POSITIONED]);
    commits.handle(ms(53), Input::Answered(name, WHOLE));
    assert_eq!(drain(&mut commits), vec![Action::Done(name, 2)]);
}

#[test]
fn what_a_settled_channel_did_not_show_is_committed_again() {
    let (mut commits, name) = said();
    // Nothing to say before the commit was answered.
    commits.handle(ms(1), Input::Settled(name.channel));
    assert_eq!(drain(&mut commits), vec![]);
    commits.handle(ms(2), Input::Answered(name, WHOLE));
    assert_eq!(commits.unpassed().collect::<Vec<_>>(), vec![name.channel]);
    commits.handle(ms(3), Input::Settled(name.channel));
    assert_eq!(drain(&mut commits), vec![commit(1, false)]);
    assert_eq!(commits.unpassed().count(), 0);
    // The answer of the first attempt does not count for the second.
    commits.handle(ms(4), Input::Passed { name, whole: true });
    assert_eq!(drain(&mut commits), vec![POSITIONED]);
    commits.handle(ms(5), Input::Answered(name, Attempt::Whole { replicas: 0 }));
    assert_eq!(drain(&mut commits), vec![Action::Done(name, 0)]);
}

#[test]
fn an_announced_statement_is_committed_until_it_is_whole() {
    let (mut commits, name) = said();
    commits.handle(ms(1), Input::Answered(name, Attempt::Announced));
    commits.handle(ms(2), Input::Passed { name, whole: false });
    // Every follower has it, and L2 is void: it has a position. It is not done.
    assert_eq!(drain(&mut commits), vec![POSITIONED]);
    commits.tick(ms(51));
    assert_eq!(drain(&mut commits), vec![commit(1, true)]);
    commits.handle(ms(52), Input::Answered(name, WHOLE));
    assert_eq!(drain(&mut commits), vec![]);
    commits.handle(ms(53), Input::Passed { name, whole: true });
    assert_eq!(drain(&mut commits), vec![Action::Done(name, 2)]);
}

#[test]
fn answers_about_what_is_done_change_nothing() {
    let (mut commits, name) = said();
    commits.handle(ms(1), Input::Passed { name, whole: true });
    commits.handle(ms(1), Input::Answered(name, WHOLE));
    drain(&mut commits);
    for input in [
        Input::Answered(name, Attempt::Failed),
        Input::Passed { name, whole: true },
        Input::Settled(name.channel),
    ] {
        commits.handle(ms(2), input);
    }
    assert_eq!(drain(&mut commits), vec![]);
    assert_eq!((commits.len(), commits.poll_timeout()), (0, Moment::NEVER));
}

#[test]
fn two_statements_wait_apart() {
    let (mut commits, first) = said();
    commits.handle(ms(1), Input::Said(statement(2)));
    assert_eq!(drain(&mut commits), vec![commit(2, false)]);
    commits.handle(ms(2), Input::Answered(first, Attempt::Failed));
    commits.handle(ms(3), Input::Answered(statement(2).name, WHOLE));
    commits.handle(ms(4), Input::Settled(first.channel));
    // Only the one that was answered was overtaken; the other waits for its own time.
    assert_eq!(drain(&mut commits), vec![commit(2, false)]);
    assert_eq!(commits.poll_timeout(), ms(52));
}

#[test]
fn what_has_no_position_is_counted() {
    let voids = Voids::Entry(EntryName([3; 32]));
    let mut unpositioned = Unpositioned::default();
    unpositioned.positioned(&voids);
    unpositioned.add(voids);
    unpositioned.add(voids);
    unpositioned.positioned(&voids);
    assert!(unpositioned.holds(&voids));
    unpositioned.positioned(&voids);
    assert!(!unpositioned.holds(&voids));
}

/// Commits and passes a statement at an instant.
fn finish(commits: &mut Commits, name: StatementName, at: u64) {
    commits.handle(ms(at), Input::Answered(name, WHOLE));
    commits.handle(ms(at), Input::Passed { name, whole: true });
}

#[test]
fn no_lost_statement_is_silent_a_drop_that_a_deposed_primary_took_is_committed_again() {
    let (mut commits, name) = said();
    finish(&mut commits, name, 1);
    drain(&mut commits);
    commits.handle(ms(59_000), Input::Adopted(name.channel));
    let again = [Action::Unpositioned(Voids::Entry(EntryName([0; 32]))), commit(1, false)];
    assert_eq!(drain(&mut commits), again, "and nobody may take L2 for newer meanwhile");
    finish(&mut commits, name, 59_001);
    assert_eq!(drain(&mut commits), vec![POSITIONED, Action::Done(name, 2)]);
    // It was done anew; long after, no primary can have been about to be deposed.
    commits.handle(ms(119_002), Input::Adopted(name.channel));
    assert_eq!(drain(&mut commits), vec![]);
}

#[test]
fn drops_of_other_channels_and_marks_are_left_alone() {
    let (mut commits, name) = said();
    finish(&mut commits, name, 1);
    drain(&mut commits);
    commits.handle(ms(2), Input::Adopted(ChannelId::new(63).unwrap()));
    assert_eq!(drain(&mut commits), vec![]);
}

#[test]
fn more_drops_than_are_remembered_void_their_channel() {
    let config = CommitConfig {
        remembered: 2,
        ..CommitConfig::default()
    };
    let mut commits = Commits::new(config);
    for n in 1..=3 {
        commits.handle(ms(n), Input::Said(statement(n)));
        finish(&mut commits, statement(n).name, n);
    }
    drain(&mut commits);
    let channel = statement(1).name.channel;
    commits.handle(ms(9), Input::Adopted(channel));
    let actions = drain(&mut commits);
    assert!(actions.contains(&commit(2, false)) && actions.contains(&commit(3, false)));
    assert_eq!(
        actions.last(),
        Some(&Action::Soil(channel)),
        "the first one is forgotten"
    );
    // What was forgotten long ago matters no more.
    let mut commits = Commits::new(config);
    for n in 1..=3 {
        commits.handle(ms(n), Input::Said(statement(n)));
        finish(&mut commits, statement(n).name, n);
    }
    drain(&mut commits);
    commits.handle(ms(70_000), Input::Adopted(channel));
    assert_eq!(drain(&mut commits), vec![]);
}
