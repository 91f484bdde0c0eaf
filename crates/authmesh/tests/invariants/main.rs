//! The invariants of the design, on nodes of one process that share an in-memory cluster. One module per invariant, named
//! after it. `docs/invariant-tests.md` says how each test was seen red.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod a_bound_token_needs_its_proof;
mod a_logout_is_idempotent;
mod a_write_leaves_nothing_old;
mod an_ended_verdict_is_told;
mod an_outage_is_never_a_verdict;
mod bounded_blindness;
mod bounded_everything;
mod clocks_never_decide_order;
mod coherent_by_gossip;
mod confirmed_by_members;
mod garbage_cannot_push_out_truth;
mod graceful_shutdown;
mod holes_stay_shut;
mod kept_answers_are_judged_again;
mod key_rotation;
mod marks_are_accounted_for;
mod marks_of_one_subject_collapse;
mod marks_survive;
mod marks_survive_on_disk;
mod no_lost_statement_is_silent;
mod no_stale_fill;
mod one_fetch_per_cluster;
mod one_of_many_wins;
mod redis_is_hostile;
mod revoked_is_never_served;
mod statements_without_a_position;
