//! What it costs to be there.

use std::time::{Duration, Instant};

use authmesh_tests::client::Answer;
use authmesh_tests::fleet::Fleet;
use serde_json::{Value, json};

use crate::world::{DEADLINE, SIZE, World, confirmed_by_all_but, is_long, print_times};

/// How long idle nodes are looked at.
const LOOK: Duration = Duration::from_secs(4);
const LONG_LOOK: Duration = Duration::from_secs(20);
/// More than five times what an idle node of sixteen sends in a second.
const MOST_BYTES: f64 = 50_000.0;
/// Statements of one order: the most that one takes.
const BATCH: usize = 1000;

/// The processor time that a process has taken, in ticks of 10 ms (`USER_HZ`): fields 14 and 15 of proc(5).
fn ticks(fleet: &mut Fleet, index: usize) -> u64 {
    let id = fleet.node_mut(index).process().id();
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = fields.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Bytes that a node has sent by gossip.
async fn sent(world: &World, index: usize) -> u64 {
    let stats = world.ask(index, "/v1/stats").await;
    stats["gossip"]["counts"]["bytes_sent"].as_u64().unwrap()
}

/// What an idle node takes.
#[allow(clippy::cast_precision_loss)]
pub(crate) async fn idle(world: &mut World) {
    let look = if is_long() { LONG_LOOK } else { LOOK };
    let (ticks_before, bytes_before, started) = (ticks(&mut world.fleet, 7), sent(world, 7).await, Instant::now());
    world
        .eventually("time has passed", async || started.elapsed() >= look)
        .await;
    let seconds = started.elapsed().as_secs_f64();
    let busy = (ticks(&mut world.fleet, 7) - ticks_before) as f64 / seconds;
    let bytes = (sent(world, 7).await - bytes_before) as f64 / seconds;
    println!(
        "FIGURE an idle node of 16: {busy:.1} % of a processor, {:.1} kB sent a second",
        bytes / 1000.0
    );
    assert!(bytes > 0.0, "a node that says nothing proves nothing");
    assert!(bytes < MOST_BYTES, "an idle node sends {bytes} bytes a second");
}

/// How long a revocation takes to all and back, where nothing is wrong.
pub(crate) async fn times(world: &World) {
    let mut times = Vec::new();
    for number in 0..if is_long() { 1000 } else { 100 } {
        let at = number % SIZE;
        let what = json!({ "subject": format!("figure-{number}") });
        let (receipt, took) = world.revoke(at, what).await;
        confirmed_by_all_but(at, &receipt);
        times.push(took);
    }
    print_times("no faults: from the order until all 15 others have confirmed", &times);
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_statements_in_a_row_reach_every_node() {
    let mut world = World::start(8).await;
    many(&mut world).await;
}

/// What thousands of statements in a row do.
async fn many(world: &mut World) {
    let batches = if is_long() { 10 } else { 1 };
    let marks = world.ask(9, "/v1/stats").await["marks"].as_u64().unwrap();
    let before = world.fleet.node_mut(9).process().resident_kib();
    let begun = Instant::now();
    for batch in 0..batches {
        let order = |number| json!({ "subject": format!("many-{batch}-{number}"), "deadline_seconds": 0 });
        let orders: Vec<Value> = (0..BATCH).map(order).collect();
        world.fleet.node(0).revoke(&json!(orders)).await;
    }
    let count = batches * BATCH;
    let expected = marks + count as u64;
    let has_all = |_, answer: &Answer| answer.json()["marks"] == expected;
    world
        .fleet
        .until_all("every node has every mark", "/v1/stats", DEADLINE, has_all)
        .await;
    let took = begun.elapsed();
    let after = world.fleet.node_mut(9).process().resident_kib();
    let stats = world.ask(9, "/v1/stats").await;
    println!(
        "FIGURE {count} statements in a row: {} ms until all 16 have them; {} KiB more on another node ({before} before), \
         {} in its ring",
        took.as_millis(),
        after.saturating_sub(before),
        stats["gossip"]["ring"]
    );
    world.whole().await;
}
