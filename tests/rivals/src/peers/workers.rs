//! Two threads that live as long as the run, and whatever is measured in turns between them.

use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use authmesh_tests::bench::{Figure, Scatter, median};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Handle;

/// Operations per batch: the bytes of so many tokens fit into the caches beside everything else.
pub(crate) const BATCH: usize = 64;

/// What one thread did in one batch.
pub(crate) struct Batch {
    pub(crate) operations: usize,
    pub(crate) spent: Spent,
}

/// A time, without what prepares an operation.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    /// On a clock.
    clock: Duration,
    /// Of the thread on a processor: what neighbours take does not count.
    processor: Duration,
}

/// Since when something is measured.
pub(crate) struct Begin {
    clock: Instant,
    processor: Duration,
}

impl Begin {
    pub(crate) fn now() -> Self {
        let processor = on_processor();
        Self {
            clock: Instant::now(),
            processor,
        }
    }

    pub(crate) fn elapsed(&self) -> Spent {
        let clock = self.clock.elapsed();
        Spent {
            clock,
            processor: on_processor() - self.processor,
        }
    }
}

/// How long this thread was on a processor. Reading it costs the same for all who are measured.
fn on_processor() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// One thing that is measured.
pub(crate) struct Turn<'a> {
    pub(crate) name: &'static str,
    batch: Box<dyn Fn(&mut Scatter) -> Batch + Sync + 'a>,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(name: &'static str, batch: impl Fn(&mut Scatter) -> Batch + Sync + 'a) -> Self {
        Self {
            name,
            batch: Box::new(batch),
        }
    }
}

/// Medians over the cycles.
#[derive(Debug, Clone)]
pub(crate) struct Rate {
    pub(crate) name: &'static str,
    /// Nanoseconds of processor time that one thread alone spends per operation. It waits for nobody, so that this is the time
    /// that it takes, without what a neighbour on the machine takes.
    pub(crate) alone: f64,
    /// Nanoseconds that a thread takes per operation beside another one that does the same: on the clock, for they may wait
    /// for each other.
    pub(crate) both: f64,
    /// How much more the two do together than one alone.
    pub(crate) scaling: f64,
}

/// Measures each turn on one thread and on two, so often, for so long.
///
/// A cycle measures everything once: a machine that slows down for a while slows all. The threads live on, because some
/// caches keep a part for each thread.
pub(crate) fn take_turns(turns: &[Turn<'_>], cycles: usize, time: Duration, runtime: &Handle) -> Vec<Rate> {
    const THREADS: usize = 2;
    let together = Barrier::new(THREADS);
    // By turn, by number of threads: per cycle, nanoseconds per operation of each thread.
    let seen: Vec<[Mutex<Vec<Vec<[f64; 2]>>>; THREADS]> = turns.iter().map(|_| Default::default()).collect();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (together, seen) = (&together, &seen);
            scope.spawn(move || {
                let _entered = runtime.enter();
                let mut scatter = Scatter::new(0x9e37_79b9_7f4a_7c15 + thread as u64);
                // The first cycle does not count: caches fill, and what was written is put in order.
                for cycle in 0..=cycles {
                    for (turn, seen) in turns.iter().zip(seen) {
                        for threads in 1..=THREADS {
                            together.wait();
                            if thread < threads {
                                let spent = work(turn, &mut scatter, time);
                                let mut seen = seen[threads - 1].lock().unwrap();
                                seen.resize_with(cycles + 1, Vec::new);
                                seen[cycle].push(spent);
                            }
                            together.wait();
                        }
                    }
                }
            });
        }
    });
    let rates = turns.iter().zip(seen).map(|(turn, seen)| {
        // By cycle and thread: on the clock, and on a processor.
        let [alone, both] = seen.map(|seen| seen.into_inner().unwrap().split_off(1));
        let rate = |cycle: &Vec<[f64; 2]>| cycle.iter().map(|[clock, _]| 1.0 / clock).sum::<f64>();
        let scaling: Vec<f64> = alone
            .iter()
            .zip(&both)
            .map(|(one, two)| rate(two) / rate(one))
            .collect();
        let both: Vec<f64> = both.iter().map(|cycle| cycle.len() as f64 / rate(cycle)).collect();
        let alone: Vec<f64> = alone.iter().flatten().map(|[_, processor]| *processor).collect();
        Rate {
            name: turn.name,
            alone: median(&alone),
            both: median(&both),
            scaling: median(&scaling),
        }
    });
    rates.collect()
}

/// Nanoseconds per operation: on the clock, and on a processor.
fn work(turn: &Turn<'_>, scatter: &mut Scatter, time: Duration) -> [f64; 2] {
    // What the turn before pushed out of the caches comes back.
    for _ in 0..4 {
        (turn.batch)(scatter);
    }
    let end = Instant::now() + time;
    let (mut operations, mut clock, mut processor) = (0, Duration::ZERO, Duration::ZERO);
    while operations == 0 || Instant::now() < end {
        let batch = (turn.batch)(scatter);
        operations += batch.operations;
        clock += batch.spent.clock;
        processor += batch.spent.processor;
    }
    [clock, processor].map(|spent| spent.as_nanos() as f64 / operations as f64)
}

/// Ours first. `chart` names the picture; each of `peers` is set beside ours, which has to be the faster one.
pub(crate) fn figures(chart: &'static str, rates: &[Rate], peers: &[&str]) -> Vec<Figure> {
    let ours = &rates[0];
    let mut figures = Vec::new();
    for rate in rates {
        let name = rate.name;
        let figure = |threads: &'static str, value: f64, reference: f64| {
            let figure = Figure::new(format!("{chart}: {name}, {threads}"), value, "ns").drawn(chart, name, threads);
            match peers.contains(&name) {
                true => figure.beside(ours.name, reference).at_least_times(1.0),
                false => figure,
            }
        };
        figures.push(figure("1 thread", rate.alone, ours.alone));
        figures.push(figure("2 threads", rate.both, ours.both));
        figures.push(Figure::new(
            format!("{chart}: {name}, 2 threads do of what 1 does"),
            rate.scaling,
            "times",
        ));
    }
    figures
}
