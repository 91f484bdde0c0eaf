//! End to end: requests per second of a service behind each middleware.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use authmesh_tests::authmesh::Authmesh;
use authmesh_tests::bench::issuer::Issuer;
use authmesh_tests::bench::{Figure, median};
use authmesh_tests::idp_double::IdpDouble;
use authmesh_tests::nginx::Nginx;

use crate::Effort;
use crate::hello::{AUTHMESH, BY_HAND, CHECK, NONE, TOWER};
use crate::load::{Load, load, requests, stay_on};

/// Connections of the load: enough to keep the server busy.
const CONNECTIONS: usize = 32;
/// Tokens that the requests bring.
const TOKENS: usize = 1_000;

/// A service in a process of its own. It ends with this value.
struct Service {
    child: Child,
    address: SocketAddr,
}

impl Service {
    fn start(which: &str, keys: &str, processor: Option<usize>) -> Self {
        let mut run = Command::new(std::env::current_exe().expect("this program"));
        run.args(["serve", which, keys]).stdout(Stdio::piped());
        if let Some(processor) = processor {
            run.arg(processor.to_string());
        }
        let mut child = run.spawn().expect("this program starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("standard output is piped");
        BufReader::new(output)
            .read_line(&mut line)
            .expect("it says where it listens");
        Self {
            child,
            address: line.trim().parse().expect("an address"),
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Load in turns, a cycle each; the first does not count.
fn take_turns<const N: usize>(effort: &Effort, mut turn: impl FnMut(usize) -> Load) -> [Vec<Load>; N] {
    let mut seen = [(); N].map(|()| Vec::new());
    for cycle in 0..=effort.loads {
        for (n, seen) in seen.iter_mut().enumerate() {
            let load = turn(n);
            if cycle > 0 {
                seen.push(load);
            }
        }
    }
    seen
}

fn middle(seen: &[Load], what: impl Fn(&Load) -> f64) -> f64 {
    median(&seen.iter().map(what).collect::<Vec<f64>>())
}

/// The ratio is taken in each cycle: a machine that slows down for a while slows all.
fn ratio(seen: &[Load], reference: &[Load], what: impl Fn(&Load) -> f64) -> f64 {
    median(
        &seen
            .iter()
            .zip(reference)
            .map(|(one, other)| what(one) / what(other))
            .collect::<Vec<f64>>(),
    )
}

/// axum behind each middleware, on a processor of its own; the load on another one.
pub(crate) fn services(effort: &Effort) -> Vec<Figure> {
    const SERVICES: [(&str, &str); 5] = [
        (NONE, "no authentication"),
        (AUTHMESH, "authmesh"),
        (BY_HAND, "moka by SHA-256, by hand"),
        (CHECK, "jsonwebtoken, RS256"),
        (TOWER, "tower-oauth2-resource-server, RS256"),
    ];
    let issuer = Issuer::new();
    let keys = issuer.jwks().to_string();
    let tokens: Vec<String> = (0..TOKENS).map(|n| issuer.rs256(n)).collect();
    let services = SERVICES.map(|(which, _)| Service::start(which, &keys, Some(1)));
    // After they were started: what a thread starts stays where the thread is.
    let seen: [Vec<Load>; SERVICES.len()] = std::thread::scope(|scope| {
        let (services, tokens) = (&services, &tokens);
        let running = scope.spawn(move || {
            stay_on(0);
            let requests = requests(tokens);
            take_turns(effort, |n| {
                let service = &services[n];
                load(
                    service.address,
                    &requests,
                    CONNECTIONS,
                    effort.load,
                    &[service.child.id()],
                )
            })
        });
        running.join().expect("the load ends")
    });
    figures("axum hello", &SERVICES.map(|(_, label)| label), &seen, true)
}

/// nginx before the same service, alone and asking `authmesh serve` about each request. Nothing is pinned: these are four
/// processes on what there is.
pub(crate) fn proxies(effort: &Effort) -> Vec<Figure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (idp, authmesh) = runtime.block_on(async {
        let idp = IdpDouble::start().await;
        let authmesh = Authmesh::start_quiet(&idp.issuer()).await;
        (idp, authmesh)
    });
    let tokens: Vec<String> = (0..TOKENS).map(|n| idp.token(&format!("user-{n:08}"))).collect();
    let requests = requests(&tokens);
    let service = Service::start(NONE, &Issuer::new().jwks().to_string(), None);
    let (plain, asking) = runtime.block_on(async {
        (
            Nginx::start_plain(service.address).await,
            Nginx::start(authmesh.address(), service.address).await,
        )
    });
    let seen: [Vec<Load>; 2] = take_turns(effort, |n| match n {
        0 => load(
            plain.address(),
            &requests,
            CONNECTIONS,
            effort.load,
            &[plain.id(), service.child.id()],
        ),
        _ => {
            let processes = [asking.id(), service.child.id(), authmesh.id()];
            load(asking.address(), &requests, CONNECTIONS, effort.load, &processes)
        }
    });
    let mut figures = figures("nginx", &["nginx alone", "authmesh behind auth_request"], &seen, false);
    // What of it is authmesh's own.
    let own = take_turns::<1>(effort, |_| {
        load(asking.address(), &requests, CONNECTIONS, effort.load, &[authmesh.id()])
    });
    let own = middle(&own[0], |load| load.processor);
    figures.push(Figure::new(
        "nginx: processor time of authmesh alone per request",
        own,
        "us",
    ));
    figures
}

fn figures(chart: &'static str, labels: &[&'static str], seen: &[Vec<Load>], alone: bool) -> Vec<Figure> {
    let (throughput, tail, cost) = match alone {
        true => (
            "axum hello: requests per second",
            "axum hello: p99",
            "axum hello: processor time",
        ),
        false => ("nginx: requests per second", "nginx: p99", "nginx: processor time"),
    };
    let mut figures = Vec::new();
    for (label, loads) in labels.iter().zip(seen) {
        let rate = |load: &Load| load.per_second;
        let mut figure =
            Figure::new(format!("{chart}: {label}"), middle(loads, rate), "requests/s").drawn(throughput, *label, "");
        if *label != labels[0] {
            figure = figure.share_of(labels[0], middle(&seen[0], rate), ratio(loads, &seen[0], rate));
        }
        figures.push(figure);
        let p99 = |load: &Load| load.p99;
        let figure = Figure::new(format!("{chart}: {label}, p99"), middle(loads, p99), "us").drawn(tail, *label, "");
        figures.push(match *label == labels[0] {
            true => figure,
            false => figure.share_of(labels[0], middle(&seen[0], p99), ratio(loads, &seen[0], p99)),
        });
        let processor = |load: &Load| load.processor;
        figures.push(
            Figure::new(
                format!("{chart}: {label}, processor time per request"),
                middle(loads, processor),
                "us",
            )
            .beside(labels[0], middle(&seen[0], processor))
            .drawn(cost, *label, ""),
        );
        let busy = middle(loads, |load| load.busy) * 100.0;
        figures.push(Figure::new(
            format!("{chart}: {label}, the processes were busy"),
            busy,
            "% of one processor",
        ));
    }
    figures
}
