//! More statements at once than anybody needs, and what nodes say of themselves meanwhile.
//!
//! Nobody promises that no node turns blind. What is promised: whoever says that it is coherent lacks nothing that was confirmed
//! before, and nothing that was said a lease ago.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::world::{LEASE, SIZE, World, confirmed_by_all_but, everyone, is_long, print_times};

/// Statements of one order: the most that one takes.
const BATCH: usize = 1000;
/// Statements of each node, when all of them speak at once.
const EACH: usize = 64;
/// Tokens that are revoked one after the other during the flood.
const PROBES: usize = 16;
/// Between two looks at one node.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long one look may take before the node counts as silent.
const LOOK_WITHIN: Duration = Duration::from_secs(10);
/// By when a node has everything, however busy the machine: debug builds, sixteen of them, a proxy, and what else is there.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(180);
/// How long nodes are looked at after they have everything: who caught up by streams must not turn blind behind our back.
const AFTERWARDS: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_statements_reach_every_node_and_no_coherent_one_lacks_any() {
    let mut world = World::start(8).await;
    let tokens = world.tokens(PROBES).await;
    for token in &tokens {
        // Whoever says 401 of it later has heard of its revocation.
        world.asker.all_say(&everyone(), "/refund", token, 200).await;
    }
    let before = world.fleet.node_mut(9).process().resident_kib();
    let baseline = world.ask(9, "/v1/stats").await["marks"].as_u64().unwrap();

    let world = Arc::new(world);
    let looks = Looks::start(&world);
    let watch = world.asker.watch(&everyone(), "/refund", &world.good);
    let begun = Instant::now();
    let probing = tokio::spawn(probe(Arc::clone(&world), Arc::clone(&looks.ledger), tokens));
    all_at_once(&world, &looks).await;
    in_a_row(&world, &looks).await;
    let said = [begun.elapsed(), probing.await.unwrap() - begun];
    let expected = baseline + looks.ledger.total();
    // Whether all have it is judged last: who lacks something and says so is worth more than who lacks something.
    let waiting = Instant::now();
    while looks.have(expected) < SIZE && waiting.elapsed() < CAUGHT_UP_WITHIN {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let have = looks.have(expected);
    for index in everyone() {
        if let Some(last) = looks.last(index).filter(|last| last.marks < expected) {
            let stats = world.ask(index, "/v1/stats").await;
            println!("node {index} lacks something of {expected}: {last:?}, {stats}");
        }
    }
    tokio::time::sleep(AFTERWARDS).await;

    let (answers, blind) = watch.count(503);
    drop(watch);
    let (seen, ledger) = looks.end().await;
    report(&seen, begun, said, expected - baseline, expected, (answers, blind));
    nobody_coherent_lacks(&seen, &ledger, baseline);
    assert_eq!(have, SIZE, "nodes that had every mark in time");

    let mut world = Arc::into_inner(world).expect("nobody else looks any more");
    let after = world.fleet.node_mut(9).process().resident_kib();
    let ring = &world.ask(9, "/v1/stats").await["gossip"]["ring"];
    println!(
        "FIGURE the same: {} KiB more on another node ({before} before), {ring} in its ring",
        after.saturating_sub(before)
    );
    world.whole().await;
}

/// Sixteen nodes at once, and each waits until everybody has confirmed.
async fn all_at_once(world: &Arc<World>, looks: &Looks) {
    let started = Instant::now();
    let mut asking = JoinSet::new();
    for index in everyone() {
        let (world, ledger) = (Arc::clone(world), Arc::clone(&looks.ledger));
        asking.spawn(async move {
            let order = |number| {
                let subject = format!("flood-{index}-{number}");
                json!({ "subject": subject, "wait_for": "all_live", "deadline_seconds": 10 })
            };
            let orders: Vec<Value> = (0..EACH).map(order).collect();
            let answer = world.fleet.node(index).revoke(&json!(orders)).await;
            let receipts = answer["receipts"].as_array().unwrap();
            assert_eq!(receipts.len(), EACH);
            let mut count = 0;
            for receipt in receipts {
                let confirmed = receipt["state"] == "committed";
                if confirmed {
                    confirmed_by_all_but(index, receipt);
                    count += 1;
                }
                ledger.said(1, confirmed);
            }
            (started.elapsed(), count)
        });
    }
    let (times, counts): (Vec<Duration>, Vec<usize>) = asking.join_all().await.into_iter().unzip();
    let confirmed: usize = counts.into_iter().sum();
    print_times(
        &format!(
            "a flood: an order of {EACH} statements of each of 16 nodes at once, until its receipts, {confirmed} of {} committed",
            SIZE * EACH
        ),
        &times,
    );
}

/// One node, order after order, which nobody waits for.
async fn in_a_row(world: &World, looks: &Looks) {
    for batch in 0..if is_long() { 10 } else { 1 } {
        let order = |number| json!({ "subject": format!("many-{batch}-{number}"), "deadline_seconds": 0 });
        let orders: Vec<Value> = (0..BATCH).map(order).collect();
        world.fleet.node(0).revoke(&json!(orders)).await;
        looks.ledger.said(BATCH as u64, false);
    }
}

/// Revokes tokens in the midst of it, by turns one that everybody has to confirm, and one that nobody waits for.
/// Returns when the last one had its receipt.
async fn probe(world: Arc<World>, ledger: Arc<Ledger>, tokens: Vec<String>) -> Instant {
    let mut later = JoinSet::new();
    let mut times = Vec::new();
    for (index, token) in tokens.into_iter().enumerate() {
        if index % 2 == 0 {
            let (receipt, took) = world.revoke(index, json!({ "token": token })).await;
            let confirmed = receipt["state"] == "committed";
            ledger.said(1, confirmed);
            if confirmed {
                confirmed_by_all_but(index, &receipt);
                times.push(took);
                let asker = &world.asker;
                asker.each_says(&everyone(), "/", &token, 401, "it has confirmed").await;
            }
        } else {
            world.revoke_at_once(index, &token).await;
            ledger.said(1, false);
            let (asker, said) = (world.asker.clone(), Instant::now());
            later.spawn(async move {
                tokio::time::sleep_until((said + LEASE).into()).await;
                for index in everyone() {
                    let answer = asker.status(index, "/refund", &token).await;
                    assert_ne!(
                        answer, 200,
                        "node {index} is coherent and lacks what was said a lease ago"
                    );
                }
            });
        }
    }
    let ended = Instant::now();
    later.join_all().await;
    if !times.is_empty() {
        print_times("a flood: from the order of a token until all have confirmed", &times);
    }
    ended
}

/// What was said, and since when whoever is coherent has it.
#[derive(Debug, Default)]
struct Ledger(Mutex<Vec<(Instant, u64)>>);

impl Ledger {
    /// An order has returned.
    fn said(&self, count: u64, confirmed: bool) {
        let lease = if confirmed { Duration::ZERO } else { LEASE };
        self.0.lock().unwrap().push((Instant::now() + lease, count));
    }

    fn total(&self) -> u64 {
        self.0.lock().unwrap().iter().map(|(_, count)| count).sum()
    }

    /// The least that a node has which was coherent when it was asked then.
    fn owed(&self, asked: Instant) -> u64 {
        let entries = self.0.lock().unwrap();
        let due = entries.iter().filter(|(since, _)| *since <= asked);
        due.map(|(_, count)| count).sum()
    }
}

/// What a node said of itself: first whether it is coherent, then how many marks it has. So what it lacked then, it lacked when it
/// was coherent.
#[derive(Clone, Copy, Debug)]
struct Look {
    index: usize,
    asked: Instant,
    answered: Instant,
    coherent: bool,
    marks: u64,
}

/// All nodes are looked at all the time.
struct Looks {
    seen: Arc<Mutex<Vec<Look>>>,
    ledger: Arc<Ledger>,
    looking: JoinSet<()>,
}

impl Looks {
    fn start(world: &Arc<World>) -> Self {
        let seen: Arc<Mutex<Vec<Look>>> = Arc::default();
        let mut looking = JoinSet::new();
        for index in everyone() {
            let (world, seen) = (Arc::clone(world), Arc::clone(&seen));
            looking.spawn(async move {
                loop {
                    let asked = Instant::now();
                    let node = world.fleet.node(index);
                    let health = node.try_admin("/v1/health", LOOK_WITHIN).await;
                    let stats = node.try_admin("/v1/stats", LOOK_WITHIN).await;
                    if let (Ok(health), Ok(stats)) = (health, stats) {
                        seen.lock().unwrap().push(Look {
                            index,
                            asked,
                            answered: Instant::now(),
                            coherent: health.json()["coherent"] == true,
                            marks: stats.json()["marks"].as_u64().unwrap(),
                        });
                    }
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            });
        }
        Self {
            seen,
            ledger: Arc::default(),
            looking,
        }
    }

    /// How many nodes have so many marks.
    fn have(&self, marks: u64) -> usize {
        let seen = self.seen.lock().unwrap();
        let has = |index: &usize| {
            seen.iter()
                .rev()
                .any(|look| look.index == *index && look.marks >= marks)
        };
        everyone().iter().filter(|index| has(index)).count()
    }

    /// What a node said last.
    fn last(&self, index: usize) -> Option<Look> {
        let seen = self.seen.lock().unwrap();
        seen.iter().rev().find(|look| look.index == index).copied()
    }

    async fn end(mut self) -> (Vec<Look>, Arc<Ledger>) {
        self.looking.shutdown().await;
        let seen = self.seen.lock().unwrap().clone();
        (seen, self.ledger)
    }
}

/// Whoever was coherent had everything that it owed then. And somebody was: else nothing is shown.
fn nobody_coherent_lacks(seen: &[Look], ledger: &Ledger, baseline: u64) {
    let mut shown = 0;
    for look in seen.iter().filter(|look| look.coherent) {
        let owed = baseline + ledger.owed(look.asked);
        shown += usize::from(owed > baseline);
        assert!(
            look.marks >= owed,
            "node {} said that it is coherent, and lacked {} of {owed} marks",
            look.index,
            owed - look.marks
        );
    }
    assert!(shown >= SIZE, "too few looks at coherent nodes, so nothing was shown");
}

fn report(seen: &[Look], begun: Instant, said: [Duration; 2], count: u64, expected: u64, watched: (usize, usize)) {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap();
    let load = load.split(' ').next().unwrap();
    let mut whole = Vec::new();
    let (mut turned, mut longest, mut last) = (0, Duration::ZERO, Duration::ZERO);
    for index in everyone() {
        let of: Vec<&Look> = seen.iter().filter(|look| look.index == index).collect();
        let has_all = of.iter().find(|look| look.marks >= expected);
        whole.extend(has_all.map(|look| look.answered - begun));
        let mut blind_since = None;
        for look in &of {
            match (look.coherent, blind_since) {
                (false, None) => blind_since = Some(look.asked),
                (true, Some(since)) => {
                    longest = longest.max(look.asked - since);
                    last = last.max(look.asked - begun);
                    blind_since = None;
                }
                _ => {}
            }
        }
        turned += usize::from(of.iter().any(|look| !look.coherent));
    }
    let blind = seen.iter().filter(|look| !look.coherent).count();
    println!(
        "FIGURE a flood of {count} statements (load {load}): all said after {} ms, the tokens beside it after {} ms; {turned} of 16 nodes turned blind, for {} ms at \
         most, the last time until {} ms; {blind} of {} looks, {} of {} answers to a sensitive question were blind",
        said[0].as_millis(),
        said[1].as_millis(),
        longest.as_millis(),
        last.as_millis(),
        seen.len(),
        watched.1,
        watched.0,
    );
    print_times("the same: until a node has all", &whole);
}
