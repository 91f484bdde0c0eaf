//! What it costs to be there.

use std::time::{Duration, Instant};

use authmesh_tests::fleet::Fleet;
use serde_json::json;

use crate::world::{SIZE, World, confirmed_by_all_but, is_long, print_times};

/// How long idle nodes are looked at.
const LOOK: Duration = Duration::from_secs(4);
const LONG_LOOK: Duration = Duration::from_secs(20);
/// More than five times what an idle node of sixteen sends in a second.
const MOST_BYTES: f64 = 50_000.0;

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
