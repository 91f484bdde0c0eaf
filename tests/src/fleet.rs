//! Many authmesh processes side by side: started together, killed, frozen and started again one by one.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::authmesh::{Authmesh, Seat};
use crate::client::Answer;
use crate::netns::Namespaces;
use crate::process::command;
use crate::tools;

/// How long a process may take to listen. Sixteen debug builds start at once on two cores.
const ALIVE_WITHIN: Duration = Duration::from_secs(60);
/// How long one question may take before the node counts as silent.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Between two rounds of questions. The round itself is the wait that matters.
const PAUSE: Duration = Duration::from_millis(10);

/// Where the nodes of a fleet run.
#[derive(Debug)]
pub enum Place {
    /// So many of them on 127.0.0.1, each on ports of its own.
    Loopback(usize),
    /// One in each namespace. The fleet owns them from now on: see [`Fleet::spaces`].
    Namespaces(Namespaces),
}

impl From<usize> for Place {
    fn from(count: usize) -> Self {
        Self::Loopback(count)
    }
}

impl From<Namespaces> for Place {
    fn from(spaces: Namespaces) -> Self {
        Self::Namespaces(spaces)
    }
}

/// Whether a node can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Running,
    /// It was stopped where it stands.
    Frozen,
    /// It was ended.
    Killed,
}

/// Running nodes, numbered from 0. All end when this is dropped; a failing test finds their whole logs in files.
pub struct Fleet {
    // Before the namespaces, so that nobody lives in one that goes.
    nodes: Vec<(Authmesh, State)>,
    spaces: Option<Namespaces>,
}

impl Fleet {
    /// Starts all nodes at once, and waits until each listens. Whether they are *ready* is asked by [`Fleet::ready`].
    ///
    /// `config` writes the configuration of one node, from [`Seat::basics`] and what the test adds.
    ///
    /// # Panics
    ///
    /// When a node ends or does not listen, with its log.
    pub async fn start(place: impl Into<Place>, config: impl Fn(&Seat) -> String) -> Self {
        let (seats, spaces): (Vec<Seat>, _) = match place.into() {
            Place::Loopback(count) => ((0..count).map(Seat::on_loopback).collect(), None),
            Place::Namespaces(spaces) => {
                let seats = (0..spaces.count()).map(|index| Seat::on_ip(index, spaces.address(index).into()));
                (seats.collect(), Some(spaces))
            }
        };
        let mut fleet = Self {
            nodes: Vec::new(),
            spaces,
        };
        for seat in seats {
            let (name, run) = (name(seat.index), fleet.run(seat.index));
            let text = config(&seat);
            fleet
                .nodes
                .push((Authmesh::launch(seat, &name, &text, run), State::Running));
        }
        fleet.answering("/livez", ALIVE_WITHIN).await;
        fleet
    }

    /// Waits until every running node says that it is ready.
    ///
    /// # Panics
    ///
    /// When one does not within the deadline, with its log.
    pub async fn ready(&mut self, deadline: Duration) {
        self.answering("/readyz", deadline).await;
    }

    /// How many nodes there are, in any state.
    pub fn count(&self) -> usize {
        self.nodes.len()
    }

    /// A node.
    pub fn node(&self, index: usize) -> &Authmesh {
        &self.nodes[index].0
    }

    /// A node, for its process.
    pub fn node_mut(&mut self, index: usize) -> &mut Authmesh {
        &mut self.nodes[index].0
    }

    /// The numbers of the nodes that run.
    pub fn running(&self) -> Vec<usize> {
        let running = |index: &usize| self.nodes[*index].1 == State::Running;
        (0..self.count()).filter(running).collect()
    }

    /// The namespaces that the nodes run in, to make faults between them.
    ///
    /// # Panics
    ///
    /// When they run on loopback.
    pub fn spaces(&self) -> &Namespaces {
        self.spaces.as_ref().expect("this fleet runs on loopback")
    }

    /// Ends a node at once (SIGKILL): it says no farewell.
    pub fn kill(&mut self, index: usize) {
        let (node, state) = &mut self.nodes[index];
        node.process().kill();
        *state = State::Killed;
    }

    /// Asks a node to end (SIGTERM), and waits until it has: it leaves in good order.
    ///
    /// # Panics
    ///
    /// When it has not ended within the deadline.
    pub async fn leave(&mut self, index: usize, deadline: Duration) {
        let (node, state) = &mut self.nodes[index];
        node.process().signal("TERM");
        node.process().ended(deadline).await;
        *state = State::Killed;
    }

    /// Stops a node where it stands (SIGSTOP): its connections stay, answers do not come.
    pub fn freeze(&mut self, index: usize) {
        let (node, state) = &mut self.nodes[index];
        node.process().signal("STOP");
        *state = State::Frozen;
    }

    /// Lets a node go on after [`Fleet::freeze`].
    pub fn thaw(&mut self, index: usize) {
        let (node, state) = &mut self.nodes[index];
        node.process().signal("CONT");
        *state = State::Running;
    }

    /// A new process for a node, on the same addresses and with the same configuration, and waits until it listens.
    /// One that still runs is killed first.
    ///
    /// # Panics
    ///
    /// When it does not listen, with its log.
    pub async fn restart(&mut self, index: usize) {
        let run = self.run(index);
        let (node, state) = &mut self.nodes[index];
        node.relaunch(&name(index), run);
        *state = State::Running;
        let started = node.answering("/livez", ALIVE_WITHIN).await;
        started.unwrap_or_else(|trouble| panic!("{trouble}"));
    }

    /// Asks every running node a GET of its admin API, until all answers satisfy `condition`. Returns how long it took.
    ///
    /// # Panics
    ///
    /// When the deadline passes, with the answers that did not satisfy it.
    pub async fn until_all(
        &self,
        what: &str,
        path: &str,
        deadline: Duration,
        condition: impl Fn(usize, &Answer) -> bool,
    ) -> Duration {
        let started = Instant::now();
        let mut waiting = self.running();
        loop {
            let mut unsatisfied = Vec::new();
            let mut answers = String::new();
            for index in waiting {
                let answer = self.node(index).try_admin(path, ANSWER_WITHIN).await;
                if !answer.as_ref().is_ok_and(|answer| condition(index, answer)) {
                    unsatisfied.push(index);
                    answers.push_str(&format!("  node {index}: {answer:?}\n"));
                }
            }
            if unsatisfied.is_empty() {
                return started.elapsed();
            }
            assert!(
                started.elapsed() < deadline,
                "not within {} ms: {what}. GET {path} of those who lack it:\n{answers}",
                deadline.as_millis()
            );
            waiting = unsatisfied;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Writes the whole log of every node into a fresh folder of the build directory, and returns the folder.
    pub fn write_logs(&mut self) -> PathBuf {
        static FOLDERS: AtomicU32 = AtomicU32::new(0);
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = tools::target_dir()
            .join("tmp")
            .join(format!("fleet-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("target/tmp");
        for (index, (node, _)) in self.nodes.iter_mut().enumerate() {
            let file = folder.join(format!("{}.log", name(index)));
            std::fs::write(file, node.process().log()).expect("a log file");
        }
        folder
    }

    async fn answering(&mut self, path: &str, deadline: Duration) {
        let started = Instant::now();
        for (node, _) in self.nodes.iter_mut().filter(|(_, state)| *state == State::Running) {
            // They start side by side, so the deadline is one for all.
            let left = deadline.saturating_sub(started.elapsed()).max(ANSWER_WITHIN);
            let answered = node.answering(path, left).await;
            answered.unwrap_or_else(|trouble| panic!("{trouble}"));
        }
    }

    fn run(&self, index: usize) -> std::process::Command {
        let binary = tools::authmesh_binary();
        match &self.spaces {
            Some(spaces) => spaces.command(index, binary),
            None => command(binary),
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- whole logs of the fleet: {}", self.write_logs().display());
        }
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let states: Vec<State> = self.nodes.iter().map(|(_, state)| *state).collect();
        write!(f, "Fleet({states:?})")
    }
}

fn name(index: usize) -> String {
    format!("node-{index}")
}

/// Waits for the tests before this one: two fleets at once would measure each other. The lock is a file's, since some runners
/// start a process for each test; it ends with the file.
pub async fn turn() -> File {
    let folder = tools::target_dir().join("tmp");
    let waiting = tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&folder).unwrap();
        let file = File::create(folder.join("gossip-fleet.lock")).unwrap();
        file.lock().unwrap();
        file
    });
    waiting.await.unwrap()
}

/// A key ring in this folder, as `authmesh keyring generate` makes it: for all nodes of a fleet.
pub fn key_ring(folder: &Path) -> PathBuf {
    let ring = folder.join("keyring");
    let output = command(tools::authmesh_binary())
        .args(["keyring", "generate"])
        .arg(&ring)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    ring
}
