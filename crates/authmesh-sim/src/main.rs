//! Runs seeds of the virtual-time cluster.
#![forbid(unsafe_code)]

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use authmesh_sim::rules::{Control, Rules};
use authmesh_sim::scenario::{Roads, Scenario, Trap};
use authmesh_sim::simulate;
use authmesh_sim::trace::Seconds;
use authmesh_sim::world::{Outcome, Tally};

const HELP: &str = "\
Runs seeds of the virtual-time cluster and checks the invariants after each step.

Usage: authmesh-sim [--seeds N] [--from SEED] [--nodes N] [--threads N] [--keep-going] [--without RULE] [--deposed-writes] [--announces] [--roads ROADS] [--trap TRAP] [--spread]

  --seeds N      how many seeds to run (default: 200)
  --from SEED    the first seed (default: 0)
  --nodes N      so many nodes in each world, 1 to 1000 (default: chosen by the seed)
  --threads N    how many seeds run at once, 1 to 64 (default: 1)
  --keep-going   do not stop at the first violation
  --without RULE    leave out a rule of the nodes, to see what happens: NoBump, NoFence, ...
  --deposed-writes  a deposed primary takes writes
  --roads ROADS  log, both or gossip (default: chosen by the seed)
  --trap TRAP    a world made for one attack: RedisAlone, BlindMajority, ...
  --spread       measure how fast gossip reaches 16 to 1,000 nodes, instead
  --announces    statements are announced in the log while their slot moves

Exit codes: 0 everything held, 1 something did not, 2 the arguments are wrong.";

/// Seeds that are run before the progress line is written again.
const PROGRESS: u64 = 200;

struct Options {
    seeds: u64,
    from: u64,
    nodes: Option<usize>,
    threads: u64,
    keep_going: bool,
    without: Option<Control>,
    deposed_writes: bool,
    announces: bool,
    roads: Option<Roads>,
    trap: Option<Trap>,
    spread: bool,
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options {
        seeds: 200,
        from: 0,
        nodes: None,
        threads: 1,
        keep_going: false,
        without: None,
        deposed_writes: false,
        announces: false,
        roads: None,
        trap: None,
        spread: false,
    };
    while let Some(argument) = arguments.next() {
        let mut number = |low: u64, high: u64| {
            let value = arguments.next().unwrap_or_default();
            let number = value.parse::<u64>().ok().filter(|n| (low..=high).contains(n));
            number.ok_or_else(|| format!("{argument} takes a number from {low} to {high}, not {value:?}"))
        };
        match argument.as_str() {
            "--help" | "-h" => return Ok(None),
            "--seeds" => options.seeds = number(1, u64::MAX)?,
            "--from" => options.from = number(0, u64::MAX)?,
            "--nodes" => options.nodes = Some(number(1, 1000)? as usize),
            "--threads" => options.threads = number(1, 64)?,
            "--keep-going" => options.keep_going = true,
            "--without" => {
                let name = arguments.next().unwrap_or_default();
                let known = Control::ALL
                    .into_iter()
                    .chain(Control::OF_GOSSIP)
                    .find(|control| format!("{control:?}") == name);
                options.without =
                    Some(known.ok_or_else(|| format!("there is no rule {name:?}; there are {:?}", Control::ALL))?);
            }
            "--deposed-writes" => options.deposed_writes = true,
            "--announces" => options.announces = true,
            "--trap" => {
                let name = arguments.next().unwrap_or_default();
                let known = Trap::ALL.into_iter().find(|trap| format!("{trap:?}") == name);
                options.trap =
                    Some(known.ok_or_else(|| format!("there is no trap {name:?}; there are {:?}", Trap::ALL))?);
            }
            "--spread" => options.spread = true,
            "--roads" => {
                options.roads = Some(match arguments.next().as_deref() {
                    Some("log") => Roads::Log,
                    Some("both") => Roads::Both,
                    Some("gossip") => Roads::Gossip,
                    other => return Err(format!("--roads takes log, both or gossip, not {other:?}")),
                });
            }
            other => return Err(format!("{other:?} is no option; see --help")),
        }
    }
    Ok(Some(options))
}

fn run_one(seed: u64, options: &Options) -> Outcome {
    let mut scenario = match options.nodes {
        Some(nodes) => Scenario::of_size(seed, nodes),
        None if options.trap.is_some() => Scenario::trap(seed, options.trap.unwrap_or(Trap::Chain)),
        None => match options.roads {
            Some(roads) => Scenario::on(seed, roads),
            None => Scenario::mixed(seed),
        },
    };
    scenario.deposed_writes = options.deposed_writes;
    scenario.announces = options.announces;
    simulate(&scenario, Rules { off: options.without })
}

fn report(outcome: &Outcome) {
    let Some(violation) = &outcome.violation else { return };
    eprintln!("\nseed {} violates {}", outcome.seed, violation.invariant);
    for line in &outcome.lines {
        eprintln!("  {line}");
    }
    eprintln!("  {} {}", Seconds(violation.at), violation.what);
}

fn run(options: &Options) -> bool {
    let began = Instant::now();
    let (mut done, mut failed, mut tally) = (0, 0, Tally::default());
    while done < options.seeds && (failed == 0 || options.keep_going) {
        let batch = PROGRESS.min(options.seeds - done);
        let first = options.from.wrapping_add(done);
        let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..options.threads)
                .map(|thread| {
                    scope.spawn(move || {
                        let own = (thread..batch).step_by(options.threads as usize);
                        own.map(|n| run_one(first.wrapping_add(n), options)).collect::<Vec<_>>()
                    })
                })
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap_or_default())
                .collect()
        });
        if outcomes.len() as u64 != batch {
            eprintln!(
                "\na world panicked among the seeds {first} to {}",
                first.wrapping_add(batch - 1)
            );
            return false;
        }
        for outcome in &outcomes {
            tally.add(&outcome.tally);
            if outcome.violation.is_some() {
                failed += 1;
                report(outcome);
            }
        }
        done += batch;
        let rate = done as f64 / began.elapsed().as_secs_f64().max(0.001);
        print!(
            "\r{done} of {} seeds, {failed} violations, {rate:.0} seeds/s",
            options.seeds
        );
        let _ = std::io::stdout().flush();
    }
    println!("\n{tally:?}");
    failed == 0
}

fn measure() {
    println!(
        "5 % of the datagrams lost, no broadcasts, rounds of 200 ms; bytes are those that a node sends in a round"
    );
    println!("nodes  rounds  goal  idle  without evidence  busy  coherent");
    for nodes in [16, 64, 256, 1000] {
        let spread = authmesh_sim::spread::measure(nodes, 50, 1);
        println!(
            "{nodes:>5}  {:>6.1}  {:>4.1}  {:>4.0}  {:>16.0}  {:>4.0}  {}",
            spread.rounds,
            (nodes as f64).log2() + 4.0,
            spread.idle,
            spread.without_evidence,
            spread.busy,
            spread.coherent
        );
    }
}

fn main() -> ExitCode {
    match options(std::env::args().skip(1)) {
        Ok(Some(options)) if options.spread => {
            measure();
            ExitCode::SUCCESS
        }
        Ok(Some(options)) => match run(&options) {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(1),
        },
        Ok(None) => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("authmesh-sim: {error}");
            ExitCode::from(2)
        }
    }
}
