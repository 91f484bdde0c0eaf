//! Mints: for dirty channels, and those that others were faster with.

use super::*;

/// A follower of which one channel was soiled, up to the mint.
fn soiled() -> Follower {
    let mut follower = joined();
    follower.soil(C);
    assert!(follower.settled(C).is_none() && follower.is_dirty(C));
    assert_eq!(drain(&mut follower), [Action::BumpChannel(C)]);
    follower.tick(ms(100));
    let last = joined().watermark(C).unwrap();
    assert_eq!(drain(&mut follower), [Action::ReadLog(C, last.position)]);
    let slice = Slice {
        head: Some(last),
        first: Some(last.position),
        entries: vec![],
    };
    follower.handle(ms(101), Input::Slice(C, ms(100), Some(slice)));
    assert_eq!(drain(&mut follower), [Action::BumpChannel(C), Action::Load(C)]);
    follower.handle(ms(102), Input::Loaded(C, ms(101), Some(Some(last))));
    assert_eq!(drain(&mut follower), [Action::Recommit(C)]);
    follower.handle(ms(103), Input::Recommitted(C, true));
    assert_eq!(drain(&mut follower), [Action::Mint(C, Some(last.incarnation))]);
    follower
}

#[test]
fn a_dirty_channel_is_clean_once_this_node_has_minted() {
    let mut follower = soiled();
    follower.handle(ms(104), Input::Minted(C, true));
    adopts(&mut follower, 2, 200);
    assert!(follower.settled(C).is_some() && !follower.is_dirty(C));
}

#[test]
fn a_mint_of_another_node_does_not_clean_a_channel() {
    let mut follower = soiled();
    follower.handle(ms(104), Input::Minted(C, false));
    adopts(&mut follower, 2, 200);
    assert!(follower.settled(C).is_none() && follower.is_dirty(C));
    // It tries again when it may.
    drain(&mut follower);
    assert_eq!(follower.channels[C.index()].due(&follower.config), Some(ms(10_103)));
}

#[test]
fn what_soils_a_channel_during_a_mint_needs_another_one() {
    let mut follower = soiled();
    follower.soil(C);
    follower.handle(ms(104), Input::Minted(C, true));
    drain(&mut follower);
    adopts(&mut follower, 2, 200);
    assert!(follower.settled(C).is_none() && follower.is_dirty(C));
}

#[test]
fn a_loss_that_another_node_has_minted_for_meanwhile_is_adopted_and_not_minted_again() {
    // Trap 40: this node saw the loss in the old incarnation, and its load brought the new one already.
    let mut follower = joined();
    follower.handle(ms(100), Input::Heads(ms(99), heads(Some(head(1, 3)))));
    drain(&mut follower);
    let behind = Slice {
        head: Some(head(1, 3)),
        first: Some(position(1, 1)),
        entries: vec![],
    };
    follower.handle(ms(101), Input::Slice(C, ms(100), Some(behind)));
    assert!(drain(&mut follower).contains(&Action::Tell(Event::LostWrites(C))));
    follower.handle(ms(102), Input::Loaded(C, ms(101), Some(Some(head(2, 4)))));
    let actions = drain(&mut follower);
    assert!(actions.contains(&Action::BumpChannel(C)) && actions.contains(&Action::Recommit(C)));
    follower.handle(ms(103), Input::Recommitted(C, true));
    assert_eq!(drain(&mut follower), [], "no mint");
    assert_eq!(follower.settled(C).unwrap().incarnation, Incarnation([2; 16]));
}

#[test]
fn no_lost_statement_is_silent_a_mint_that_a_failover_lost_is_minted_again() {
    // The second failover lost the mint and what was said since: the log looks as it did before the first loss, and nodes
    // that never left that incarnation see an unbroken chain.
    let mut follower = adopted();
    follower.handle(ms(200), Input::Recommitted(C, true));
    follower.handle(ms(1_300), Input::Heads(ms(1_299), heads(Some(head(1, 5)))));
    let back = Slice {
        head: Some(head(1, 5)),
        first: Some(position(1, 1)),
        entries: vec![],
    };
    let actions = read_slice(&mut follower, ms(1_400), back);
    assert!(actions.contains(&Action::Tell(Event::LostWrites(C))), "{actions:?}");
    follower.handle(ms(1_401), Input::Loaded(C, ms(1_400), Some(Some(head(1, 5)))));
    follower.handle(ms(1_402), Input::Recommitted(C, true));
    assert!(drain(&mut follower).contains(&Action::Mint(C, Some(Incarnation([1; 16])))));
}

#[test]
fn an_incarnation_that_is_gone_before_it_is_loaded_is_not_adopted() {
    // The log showed incarnation 2, then a failover lost that mint: the load says nothing about what this node had applied.
    let mut follower = joined();
    follower.handle(ms(100), Input::Heads(ms(99), heads(Some(head(2, 6)))));
    let slice = Slice {
        head: Some(head(2, 6)),
        first: Some(position(1, 1)),
        entries: vec![entry(2, 6)],
    };
    read_slice(&mut follower, ms(100), slice);
    follower.handle(ms(101), Input::Loaded(C, ms(100), Some(Some(head(1, 3)))));
    assert!(follower.settled(C).is_none());
    assert_eq!(follower.watermark(C), Some(head(1, 5)), "still to be looked for");
    let behind = Slice {
        head: Some(head(1, 3)),
        first: Some(position(1, 1)),
        entries: vec![],
    };
    let actions = read_slice(&mut follower, ms(500), behind);
    assert!(actions.contains(&Action::Tell(Event::LostWrites(C))), "{actions:?}");
}

#[test]
fn a_loss_that_is_gone_when_the_marks_are_loaded_mints_nothing() {
    // A deposed primary answered the read with an incarnation that was minted away, and the new one the load.
    let mut follower = adopted();
    follower.handle(ms(200), Input::Recommitted(C, true));
    follower.handle(ms(1_300), Input::Heads(ms(1_299), heads(Some(head(1, 5)))));
    let deposed = Slice {
        head: Some(head(1, 5)),
        first: Some(position(1, 1)),
        entries: vec![],
    };
    assert!(read_slice(&mut follower, ms(1_400), deposed).contains(&Action::Load(C)));
    follower.handle(ms(1_401), Input::Loaded(C, ms(1_400), Some(Some(head(2, 1)))));
    assert_eq!(drain(&mut follower), []);
    let present = Slice {
        head: Some(head(2, 1)),
        first: Some(position(1, 1)),
        entries: vec![entry(2, 1)],
    };
    assert_eq!(read_slice(&mut follower, ms(1_700), present), []);
    assert!(follower.settled(C).is_some());
}

#[test]
fn no_lost_statement_is_silent_a_log_that_goes_back_behind_a_joiner_is_no_news() {
    // Found by the simulation: the joiner never followed the incarnation that comes back when the mint before it is lost.
    let back = |first: u64| {
        let mut follower = joined();
        let minted = Head {
            generation: 2,
            ..head(3, 9)
        };
        follower.handle(ms(100), Input::Heads(ms(99), heads(Some(minted))));
        drain(&mut follower);
        adopts_head(&mut follower, minted);
        let old = Head {
            generation: 1,
            ..head(2, 8)
        };
        follower.handle(ms(300), Input::Heads(ms(299), heads(Some(old))));
        drain(&mut follower);
        let slice = Slice {
            head: Some(old),
            first: Some(position(first, 1)),
            entries: vec![],
        };
        follower.handle(ms(301), Input::Slice(C, ms(300), Some(slice)));
        drain(&mut follower)
    };
    assert!(back(1).contains(&Action::Tell(Event::LostWrites(C))));
    // One that was born since is another log: everything was emptied, and there is nothing to lose any more.
    assert!(!back(10).contains(&Action::Tell(Event::LostWrites(C))));
}

fn adopts_head(follower: &mut Follower, minted: Head) {
    let slice = Slice {
        head: Some(minted),
        first: Some(position(1, 1)),
        entries: vec![],
    };
    follower.handle(ms(101), Input::Slice(C, ms(100), Some(slice)));
    drain(follower);
    follower.handle(ms(103), Input::Loaded(C, ms(102), Some(Some(minted))));
    drain(follower);
    follower.handle(ms(104), Input::Recommitted(C, true));
    assert_eq!(follower.settled(C), Some(minted));
}
