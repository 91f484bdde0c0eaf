//! Nodes that share a Redis Cluster: exactly one request for each event.

use std::time::{Duration, Instant};

use authmesh_tests::idp_double::{IdpDouble, Manner, Page};

use crate::world::{CALLERS, DEADLINE, NO_MORE, Roads, World, everyone};

/// Long enough for a second request to show, if one were on its way.
const QUIET: Duration = Duration::from_secs(3);
/// How long the right to ask lives, once its holder no longer renews it.
const LEASE: Duration = Duration::from_secs(1);
/// For how many seconds a set is trusted, whoever restarts: the default.
const MAX_TRUST_AGE: u64 = 86_400;
/// How long a provider takes that is slow, and not too slow.
const SLOW: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_start_and_a_rotation_cost_one_request_each() {
    let idp = IdpDouble::start().await;
    // Slow, so that sixteen processes that start side by side all want the set before anybody has it.
    idp.behave(Manner::Late(SLOW));
    let world = World::start_over(idp, Roads::Redis, NO_MORE).await;
    world.everybody_calls(&everyone(), CALLERS).await.all(200);
    assert_eq!(world.idp.key_sets(), 1, "the cold start: {:#?}", world.tail());
    assert_eq!(world.idp.discoveries(), 1, "only who fetches has to discover");
    world.stays_at(1, QUIET).await;

    for event in 2..=3 {
        world.idp.rotate(true);
        // 256 callers at 16 nodes, all with tokens of a key that nobody has seen.
        let said = world.everybody_calls(&everyone(), CALLERS).await;
        said.all(200);
        println!(
            "FIGURE rotation {event}: the last of 256 callers after {} ms",
            said.worst.as_millis()
        );
        assert_eq!(world.idp.key_sets(), event, "{:#?}", world.tail());
        let last = world.idp.asked().pop().unwrap();
        assert!(last.no_cache, "an unknown key is asked for past caches");
    }
    world.stays_at(3, QUIET).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_a_usable_set_does_not_wait_while_it_is_fetched() {
    let world = World::start(Roads::Redis, NO_MORE).await;
    let old = world.idp.token("alice");
    world.nodes.all_are_shown(&everyone(), &old).await.all(200);
    let before = world.idp.key_sets();
    world.idp.behave(Manner::Held);
    world.idp.rotate(true);
    let fresh = world.nodes.call_aside(0, world.idp.token("bob"));
    world.idp.asked_for_keys(before + 1, QUIET).await;
    // The fetch is under way and stands still. Tokens of the old key are not cached: each needs the set.
    let begin = Instant::now();
    let old_key = world.idp.token_of_kid("carol", "key-1");
    world.nodes.all_are_shown(&everyone(), &old_key).await.all(200);
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "they waited for {:?}",
        begin.elapsed()
    );
    world.idp.behave(Manner::Prompt);
    assert_eq!(fresh.await.unwrap().1, 200);
    assert_eq!(world.idp.key_sets(), before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_is_killed_while_it_fetches_costs_one_more_request_after_its_lease() {
    let mut world = World::start(Roads::Redis, NO_MORE).await;
    world.everybody_calls(&everyone(), 1).await.all(200);
    let before = world.idp.key_sets();
    world.idp.behave(Manner::Held);
    world.idp.rotate(true);
    // Nobody else has a reason to ask yet, so node 0 is the holder.
    let lost = world.nodes.call_aside(0, world.idp.token("lost"));
    world.idp.asked_for_keys(before + 1, QUIET).await;
    let others: Vec<usize> = (1..world.nodes.fleet.count()).collect();
    let killed = Instant::now();
    world.nodes.fleet.kill(0);
    let (said, ()) = tokio::join!(world.everybody_calls(&others, CALLERS), async {
        world.idp.asked_for_keys(before + 2, LEASE * 5).await;
        println!("FIGURE takeover: {} ms after the kill", killed.elapsed().as_millis());
        // It stands still here too: nobody else loses patience with a holder that lives.
        world.stays_at(before + 2, LEASE * 2).await;
        world.idp.behave(Manner::Prompt);
    });
    said.all(200);
    assert_eq!(lost.await.unwrap().1, 0, "the killed node answers nobody");
    let asked: Vec<Instant> = world
        .idp
        .asked()
        .iter()
        .filter(|asked| asked.page == Page::KeySet)
        .map(|asked| asked.at)
        .collect();
    let [.., first, second] = asked[..] else {
        panic!("two requests")
    };
    // It was renewed a third of its life before the kill at the latest.
    assert!(
        second - first >= LEASE / 2,
        "the lease was not waited for: {:?}",
        second - first
    );
    world.stays_at(before + 2, QUIET).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_taken_away_is_void_on_every_node_after_the_second_look() {
    let world = World::start(Roads::Redis, NO_MORE).await;
    let old = world.idp.token("alice");
    world.nodes.all_are_shown(&everyone(), &old).await.all(200);
    world.idp.rotate(true);
    world.everybody_calls(&everyone(), 1).await.all(200);
    world.nodes.all_are_shown(&everyone(), &old).await.all(200);

    let before = world.idp.key_sets();
    world.idp.retire();
    world.nodes.refresh_keys(5).await.expect(200, "a refresh");
    let seen = world.idp.key_sets() - before;
    assert_eq!(seen, 2, "one look, and one that confirms it: {:#?}", world.tail());
    let took = world
        .nodes
        .eventually("the old key is void on every node", async || {
            let said = world.nodes.all_are_shown(&everyone(), &old).await;
            said.answers.iter().all(|answer| answer.1 == 401)
        })
        .await;
    println!(
        "FIGURE removed key: void on the last of 16 nodes {} ms after the refresh",
        took.as_millis()
    );
    world.everybody_calls(&everyone(), 1).await.all(200);
    assert_eq!(world.idp.key_sets(), before + 2, "nobody else had to ask");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_that_is_started_again_without_its_provider_takes_the_set_from_redis() {
    let mut world = World::start(Roads::Redis, NO_MORE).await;
    let old = world.idp.token("alice");
    world.nodes.all_are_shown(&everyone(), &old).await.all(200);
    let fetched = Instant::now();
    world.idp.down().await;
    for index in everyone() {
        world.nodes.fleet.kill(index);
    }
    for index in everyone() {
        world.nodes.fleet.restart(index).await;
    }
    world.nodes.fleet.ready(DEADLINE).await;
    world.nodes.coherent(Roads::Redis).await;
    // Nobody has a verdict: each of them needs the keys.
    world.everybody_calls(&everyone(), 4).await.all(200);
    for node in everyone() {
        let health = world.nodes.fleet.node(node).try_admin("/v1/health", DEADLINE).await;
        let issuer = health.unwrap().json()["issuers"][0].clone();
        let seconds = |name: &str| issuer[name].as_u64().unwrap();
        let age = seconds("age_seconds");
        // A whole second may have gone by between the fetch and our clock.
        assert!(
            age + 1 >= fetched.elapsed().as_secs(),
            "node {node}: the age of the set began anew: {age} s after {:?}",
            fetched.elapsed()
        );
        assert!(
            age + seconds("trusted_seconds") <= MAX_TRUST_AGE,
            "node {node}: {issuer}"
        );
    }
}
