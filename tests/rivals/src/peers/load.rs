//! Load: so many connections that stay open, each with one request at a time, for a fixed time.
//!
//! A generator of our own, because each request brings another token of a set, and because it must cost less than what it
//! loads: requests are made beforehand, and of an answer only status line and end are looked at. (`wrk` would need a Lua call
//! for each request.)

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use authmesh_tests::bench::Scatter;
use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) per_second: f64,
    /// In microseconds.
    pub(crate) p99: f64,
    /// Time of the processes under load on a processor, per request, in microseconds.
    pub(crate) processor: f64,
    /// The share of the time in which they were on one.
    pub(crate) busy: f64,
}

/// Keeps this thread, and what it starts, on one processor. Without effect where there is none of that number.
pub(crate) fn stay_on(processor: usize) {
    let mut set = CpuSet::new();
    set.set(processor);
    if sched_setaffinity(None, &set).is_err() {
        eprintln!("peers: there is no processor {processor}; nothing is pinned to it");
    }
}

/// One request for each token.
pub(crate) fn requests(tokens: &[String]) -> Rc<[Vec<u8>]> {
    tokens
        .iter()
        .map(|token| {
            format!("GET / HTTP/1.1\r\nHost: orders.example.com\r\nAuthorization: Bearer {token}\r\n\r\n").into_bytes()
        })
        .collect()
}

/// Loads a server, and looks at the processes that do the work meanwhile.
pub(crate) fn load(
    address: SocketAddr,
    requests: &Rc<[Vec<u8>]>,
    connections: usize,
    time: Duration,
    processes: &[u32],
) -> Load {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        let mut running = JoinSet::new();
        let (before, begin) = (on_processor(processes), Instant::now());
        for connection in 0..connections {
            let requests = Rc::clone(requests);
            running.spawn_local(drive(address, requests, connection as u64 + 1, begin + time));
        }
        let mut all = Vec::new();
        while let Some(seen) = running.join_next().await {
            all.extend(seen.expect("a connection ends well"));
        }
        let (spent, took) = (on_processor(processes) - before, begin.elapsed().as_secs_f64());
        all.sort_unstable();
        Load {
            per_second: all.len() as f64 / took,
            p99: f64::from(all[all.len() * 99 / 100]) / 1e3,
            processor: spent * 1e6 / all.len() as f64,
            busy: spent / took,
        }
    })
}

/// Nanoseconds of each request.
async fn drive(address: SocketAddr, requests: Rc<[Vec<u8>]>, seed: u64, end: Instant) -> Vec<u32> {
    let mut connection = TcpStream::connect(address).await.expect("the server listens");
    connection.set_nodelay(true).expect("a TCP socket");
    let (mut scatter, mut seen, mut buffer) = (Scatter::new(seed), Vec::new(), vec![0; 4_096]);
    loop {
        let begin = Instant::now();
        if begin >= end {
            return seen;
        }
        connection
            .write_all(&requests[scatter.below(requests.len())])
            .await
            .expect("the server reads");
        let mut length = 0;
        while !buffer[..length].ends_with(b"hello") {
            let read = connection
                .read(&mut buffer[length..])
                .await
                .expect("the server answers");
            let text = String::from_utf8_lossy(&buffer[..length]);
            assert!(read > 0, "the connection ended after {text:?}");
            length += read;
        }
        assert!(
            buffer.starts_with(b"HTTP/1.1 200 "),
            "{:?}",
            String::from_utf8_lossy(&buffer[..length])
        );
        seen.push(u32::try_from(begin.elapsed().as_nanos()).unwrap_or(u32::MAX));
    }
}

/// Seconds that processes were on a processor so far.
fn on_processor(processes: &[u32]) -> f64 {
    let of_task = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(path.join("schedstat")).unwrap_or_default();
        text.split(' ')
            .next()
            .and_then(|nanos| nanos.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    let of_process = |id: &u32| {
        let tasks = std::fs::read_dir(format!("/proc/{id}/task")).expect("the process lives");
        tasks.map(|task| of_task(task.expect("a task").path())).sum::<f64>()
    };
    processes.iter().map(of_process).sum::<f64>() / 1e9
}
