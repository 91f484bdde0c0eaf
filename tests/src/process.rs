//! Supervised child processes.

use std::collections::VecDeque;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

/// Lines of output kept for each process. Older ones are forgotten.
pub const LOG_LINES: usize = 2_000;
/// Bytes kept of one line of output. The rest becomes the next line.
pub const LOG_LINE_BYTES: u64 = 16 * 1024;
/// Lines that a failing test prints for each process.
const PRINTED_LINES: usize = 200;
/// How often a condition is looked at while waiting. Every wait has a deadline of its own.
const POLL: Duration = Duration::from_millis(10);
/// How often a start is tried, when another program took the port first.
const START_ATTEMPTS: usize = 3;

/// A running program. It ends, by its id, when this value is dropped, and when the test process dies in any way.
pub struct Process {
    name: String,
    child: Child,
    ended: Option<ExitStatus>,
    log: Log,
    readers: Vec<JoinHandle<()>>,
}

/// Why a program did not become ready.
#[derive(Debug)]
pub struct NotReady {
    text: String,
    clash: bool,
}

impl NotReady {
    /// Whether another program held the port, so that a second attempt on another port makes sense.
    pub fn is_clash(&self) -> bool {
        self.clash
    }
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A command that dies with the process that spawns it. Arguments and environment are added by the caller.
///
/// `setpriv` asks the kernel for a signal at the parent's death, then the shell makes sure that the parent had not died
/// before that, and becomes the program, so the id stays the same. Variables of authmesh and of HTTP proxies are
/// removed: a test must not depend on the shell that started it.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args([
        "--pdeathsig",
        "KILL",
        "--",
        "sh",
        "-c",
        r#"[ "$PPID" = "$0" ] && exec "$@""#,
    ]);
    command.arg(std::process::id().to_string()).arg(program);
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy().to_ascii_uppercase();
        if name.starts_with("AUTHMESH_") || name.ends_with("_PROXY") {
            command.env_remove(&variable);
        }
    }
    command
}

impl Process {
    /// Starts a [`command`] and records its output. `name` labels it in logs and messages.
    pub fn spawn(name: &str, mut command: Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = spawn_from_a_lasting_thread(command).unwrap_or_else(|error| {
            panic!("{name} did not start: {error}. `setpriv` (util-linux) is needed; `cargo xtask test` installs it.")
        });
        let log = Log::default();
        let readers = vec![
            log.follow("out", child.stdout.take().expect("stdout is piped")),
            log.follow("err", child.stderr.take().expect("stderr is piped")),
        ];
        Self {
            name: name.to_owned(),
            child,
            ended: None,
            log,
            readers,
        }
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What the process has written so far, at most the last [`LOG_LINES`] lines, each labelled `out` or `err`.
    pub fn log(&self) -> String {
        self.log.last(LOG_LINES)
    }

    /// Whether the process runs. A process that has ended is reaped.
    pub fn is_alive(&mut self) -> bool {
        self.status().is_none()
    }

    /// Resident memory in KiB, from `/proc`.
    pub fn resident_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.id());
        let status = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        status
            .lines()
            .find_map(|line| {
                line.strip_prefix("VmRSS:")?
                    .trim()
                    .strip_suffix("kB")?
                    .trim()
                    .parse()
                    .ok()
            })
            .unwrap_or_else(|| panic!("{} has ended: {path} shows no VmRSS", self.name))
    }

    /// Waits until the process accepts connections on `address`.
    ///
    /// # Errors
    ///
    /// When the process ends first, or the deadline passes.
    pub async fn accepting(&mut self, address: SocketAddr, deadline: Duration) -> Result<(), NotReady> {
        self.until(&format!("accept connections on {address}"), deadline, async |_| {
            TcpStream::connect(address).await.ok().map(drop)
        })
        .await
    }

    /// Waits until a GET of `url` is answered with a 2xx status.
    ///
    /// # Errors
    ///
    /// When the process ends first, or the deadline passes.
    pub async fn answering(&mut self, url: &str, deadline: Duration) -> Result<(), NotReady> {
        let client = crate::client::http();
        self.until(&format!("answer {url} with success"), deadline, async |_| {
            client
                .get(url)
                .send()
                .await
                .ok()
                .filter(|answer| answer.status().is_success())
                .map(drop)
        })
        .await
    }

    /// Waits until `parse` finds what it looks for in everything that the process has printed on stdout.
    ///
    /// # Errors
    ///
    /// When the process ends first, or the deadline passes.
    pub async fn printed<T>(
        &mut self,
        what: &str,
        deadline: Duration,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, NotReady> {
        self.until(&format!("print {what}"), deadline, async |log| parse(&log.stdout()))
            .await
    }

    async fn until<T>(
        &mut self,
        what: &str,
        deadline: Duration,
        mut condition: impl AsyncFnMut(&Log) -> Option<T>,
    ) -> Result<T, NotReady> {
        let started = Instant::now();
        loop {
            // Asked before the condition: otherwise another program on the same port could answer for a dead one.
            let ended = self.status();
            if ended.is_none()
                && let Ok(Some(found)) = tokio::time::timeout(deadline, condition(&self.log)).await
            {
                return Ok(found);
            }
            let trouble = match ended {
                Some(status) => format!("{} ended ({status}) before it could {what}", self.name),
                None if started.elapsed() >= deadline => {
                    format!("{} did not {what} within {} ms", self.name, deadline.as_millis())
                }
                None => {
                    tokio::time::sleep(POLL).await;
                    continue;
                }
            };
            if ended.is_some() {
                // The reason is the last thing that it wrote.
                self.join_readers();
            }
            let log = self.log.last(PRINTED_LINES);
            let clash = ended.is_some()
                && ["EADDRINUSE", "ddress already in use"]
                    .iter()
                    .any(|sign| log.contains(sign));
            return Err(NotReady {
                text: format!("{trouble}. Its log:\n{log}"),
                clash,
            });
        }
    }

    /// Sends a signal by name, for example `INT`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("bash")
            .args(["-c", "kill -s \"$0\" \"$1\"", name, &self.id().to_string()])
            .status()
            .expect("bash sends signals");
        assert!(
            sent.success(),
            "{} could not be sent SIG{name}: it has ended",
            self.name
        );
    }

    /// Waits for the process to end, and for the last line of its output.
    pub async fn ended(&mut self, deadline: Duration) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.status() {
                self.join_readers();
                return status;
            }
            assert!(
                started.elapsed() < deadline,
                "{} did not end within {} ms",
                self.name,
                deadline.as_millis()
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// Ends the process at once (SIGKILL) and reaps it.
    pub fn kill(&mut self) {
        if self.status().is_none() {
            // An error says that it has just ended by itself; `wait` settles both cases.
            let _ = self.child.kill();
            self.ended = self.child.wait().ok();
        }
        self.join_readers();
    }

    fn status(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("state of our own child");
        }
        self.ended
    }

    fn join_readers(&mut self) {
        for reader in self.readers.drain(..) {
            // A reader ends with its pipe, and the pipe with the process: none of ours leaves children behind.
            let _ = reader.join();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let ended_by_itself = self.status();
        self.kill();
        if std::thread::panicking() {
            let state = ended_by_itself.map_or_else(|| "running".to_owned(), |status| status.to_string());
            eprintln!(
                "---- last lines of {} (id {}, {state} when the test failed)\n{}----",
                self.name,
                self.id(),
                self.log.last(PRINTED_LINES)
            );
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Process({}, id {})", self.name, self.child.id())
    }
}

/// Runs `start` again, on new ports, when another program took a port first.
///
/// # Panics
///
/// When the program does not become ready, with its log.
pub async fn started<T>(start: impl AsyncFn() -> Result<T, NotReady>) -> T {
    for _ in 1..START_ATTEMPTS {
        match start().await {
            Err(trouble) if trouble.is_clash() => {}
            other => return other.unwrap_or_else(|trouble| panic!("{trouble}")),
        }
    }
    start().await.unwrap_or_else(|trouble| panic!("{trouble}"))
}

struct Birth {
    command: Command,
    reply: SyncSender<std::io::Result<Child>>,
}

/// The kernel sends the parent-death signal when the *thread* that forked dies, and threads of a test runner come and
/// go. So every child is born on one thread that lives as long as the test process.
fn spawn_from_a_lasting_thread(command: Command) -> std::io::Result<Child> {
    static MIDWIFE: LazyLock<Sender<Birth>> = LazyLock::new(|| {
        let (births, waiting) = channel::<Birth>();
        std::thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || {
                for Birth { mut command, reply } in waiting {
                    // The one who asked waits for the reply, so it is always taken.
                    let _ = reply.send(command.spawn());
                }
            })
            .expect("a thread for child processes");
        births
    });
    let (reply, child) = sync_channel(1);
    MIDWIFE
        .send(Birth { command, reply })
        .expect("the spawner thread lives for ever");
    child.recv().expect("the spawner thread answers every birth")
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<VecDeque<(&'static str, String)>>>);

impl Log {
    fn follow(&self, label: &'static str, pipe: impl Read + Send + 'static) -> JoinHandle<()> {
        let log = self.clone();
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while matches!(pipe.by_ref().take(LOG_LINE_BYTES).read_until(b'\n', &mut line), Ok(1..)) {
                let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
                let mut lines = log.lines();
                if lines.len() == LOG_LINES {
                    lines.pop_front();
                }
                lines.push_back((label, text));
                drop(lines);
                line.clear();
            }
        })
    }

    fn lines(&self) -> MutexGuard<'_, VecDeque<(&'static str, String)>> {
        // A failing test must still be able to print.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last(&self, count: usize) -> String {
        let lines = self.lines();
        let skipped = lines.len().saturating_sub(count);
        lines
            .iter()
            .skip(skipped)
            .map(|(label, text)| format!("{label} | {text}\n"))
            .collect()
    }

    fn stdout(&self) -> String {
        self.lines()
            .iter()
            .filter(|(label, _)| *label == "out")
            .map(|(_, text)| format!("{text}\n"))
            .collect()
    }
}
