//! How many items never arrive: foca's own broadcasts, ours, and ours with the questions that carry the guarantee.
//!
//! All of them in one run, in virtual time: a hop takes 0.2 to 2 ms, items are born at random nodes. An item is missed by a
//! node that does not have it [`SETTLING`] after the last one was born.

mod net;
mod ours;
mod theirs;

use std::time::Duration;

use self::net::Figures;

/// After the last item was born.
const SETTLING: Duration = Duration::from_secs(5);
/// An item of foca's. Ours is a `Drop` as it stands in a broadcast, a few bytes longer.
const ITEM_BYTES: usize = 48;
/// Runs the large table when it is set.
const FULL: &str = "AUTHMESH_LOSSES";

/// One line of the table.
#[derive(Debug, Clone, Copy)]
struct Row {
    nodes: usize,
    /// Of 100 datagrams so many are lost.
    loss: u32,
    /// Items a second, of all nodes together.
    rate: u32,
    /// How long they are born.
    secs: u32,
    /// How long, half-way, one node is cut off.
    cut: Duration,
    /// More transmissions for foca than its default.
    raised: u8,
}

impl Row {
    fn seed(&self) -> u64 {
        (self.nodes as u64) << 32 | u64::from(self.loss) << 16 | u64::from(self.rate)
    }
}

const fn row(nodes: usize, loss: u32, rate: u32, secs: u32, raised: u8) -> Row {
    Row {
        nodes,
        loss,
        rate,
        secs,
        cut: Duration::ZERO,
        raised,
    }
}

/// Two seconds are shorter than SWIM takes to give a member up: its own means do not help.
const fn cut(row: Row) -> Row {
    Row {
        cut: Duration::from_secs(2),
        ..row
    }
}

/// What fits an ordinary run.
const SMALL: [Row; 7] = [
    row(3, 0, 10, 60, 10),
    row(3, 30, 10, 60, 10),
    row(10, 0, 10, 20, 10),
    row(10, 30, 10, 20, 10),
    cut(row(10, 0, 10, 10, 10)),
    row(50, 30, 10, 3, 15),
    row(10, 0, 1000, 2, 10),
];

/// What takes minutes.
const LARGE: [Row; 9] = [
    row(3, 0, 10, 60, 10),
    row(3, 30, 10, 60, 10),
    row(10, 0, 10, 60, 10),
    row(10, 30, 10, 60, 10),
    cut(row(10, 0, 10, 60, 10)),
    row(3, 0, 1000, 10, 10),
    row(3, 30, 1000, 10, 10),
    row(50, 30, 10, 3, 15),
    row(10, 0, 1000, 3, 10),
];

struct Measured {
    row: Row,
    waiting: Figures,
    pushed: Figures,
    raised: Figures,
    spread: Figures,
    whole: Figures,
}

fn measure(row: Row) -> Measured {
    let (spread, whole) = ours::measure(&row);
    Measured {
        row,
        waiting: theirs::measure(&row, false, None),
        pushed: theirs::measure(&row, true, None),
        raised: theirs::measure(&row, true, Some(row.raised)),
        spread,
        whole,
    }
}

fn print(measured: &Measured) {
    let Row {
        nodes,
        loss,
        rate,
        secs,
        cut,
        raised,
    } = measured.row;
    let cut = match cut.is_zero() {
        true => String::new(),
        false => format!(", one cut off for {cut:?}"),
    };
    eprintln!(
        "| {nodes}{cut} | {loss} % | {rate} | {secs} | {}: {} | {} | {raised}: {} | {} | {} |",
        theirs::default_transmissions(nodes),
        measured.waiting,
        measured.pushed,
        measured.raised,
        measured.spread,
        measured.whole,
    );
}

#[test]
fn foca_loses_items_and_with_our_questions_none_is_missed() {
    let rows: &[Row] = match std::env::var_os(FULL) {
        Some(_) => &LARGE,
        None => &SMALL,
    };
    eprintln!("| nodes | loss | items/s | s | foca | pushed at birth | raised | ours: broadcasts | with questions |");
    let mut table = Vec::new();
    for row in rows {
        let measured = measure(*row);
        print(&measured);
        table.push(measured);
    }
    // The measurement is real: what was seen of foca before is seen again.
    let of = |nodes, loss, rate| {
        let found = table.iter().find(|measured| {
            let row = measured.row;
            (row.nodes, row.loss, row.rate, row.cut) == (nodes, loss, rate, Duration::ZERO)
        });
        found.unwrap()
    };
    assert!(of(3, 0, 10).waiting.missed > 0, "without any loss");
    assert!(of(3, 30, 10).pushed.percent() > 3.0, "at 30 % loss");
    assert!(of(10, 0, 10).pushed.missed > 0, "pushed, without any loss");
    assert!(of(10, 0, 1000).waiting.percent() > 10.0, "in a storm");
    // So is ours: broadcasts alone carry no guarantee.
    let spread: usize = table.iter().map(|measured| measured.spread.missed).sum();
    assert!(spread > 0, "there was something to be asked for");
    for measured in &table {
        assert_eq!(measured.whole.missed, 0, "{:?}", measured.row);
    }
}
