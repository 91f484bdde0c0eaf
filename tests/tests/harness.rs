//! The harness itself: a test that fails because of its tools must say so, and nothing may outlive a test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use authmesh_tests::client::{http, send};
use authmesh_tests::dev::{Node, Printed};
use authmesh_tests::forge;
use authmesh_tests::idp::{Failure, Idp, Order};
use authmesh_tests::nginx::Nginx;
use authmesh_tests::ports::Port;
use authmesh_tests::process::{LOG_LINES, Process, command, started};
use authmesh_tests::raw;
use authmesh_tests::upstream::Upstream;

const SOON: Duration = Duration::from_secs(10);

/// Whether a process runs. One that waits to be reaped by an `init` does not.
fn runs(id: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| {
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    })
}

fn shell(script: &str) -> Process {
    let mut bash = command("bash");
    bash.args(["-c", script]);
    Process::spawn("bash", bash)
}

#[test]
fn a_dropped_process_is_gone() {
    let process = shell("exec sleep 600");
    let id = process.id();
    assert!(runs(id));
    drop(process);
    assert!(
        !std::path::Path::new(&format!("/proc/{id}")).exists(),
        "{id} was neither ended nor reaped"
    );
}

#[test]
fn a_killed_test_run_leaves_no_process_behind() {
    let mut parent = Command::new(env!("CARGO_BIN_EXE_harness-parent"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(parent.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let id = line.trim().parse().unwrap();
    assert!(runs(id));
    parent.kill().unwrap();
    parent.wait().unwrap();
    let started = Instant::now();
    while runs(id) {
        assert!(
            started.elapsed() < SOON,
            "process {id} outlived the test run that started it"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The kernel's parent-death signal follows the thread that forked. Threads of a test runner end all the time.
#[test]
fn a_process_outlives_the_thread_that_asked_for_it() {
    let mut process = std::thread::spawn(|| shell("exec sleep 600")).join().unwrap();
    // A second birth is over only after the first thread has surely gone.
    drop(shell("true"));
    assert!(process.is_alive(), "the process died with the thread");
}

#[tokio::test]
async fn the_log_is_bounded_and_keeps_the_end() {
    let mut process = shell("seq 1 5000");
    assert!(process.ended(SOON).await.success());
    let log = process.log();
    assert_eq!(log.lines().count(), LOG_LINES);
    assert!(log.ends_with("out | 4999\nout | 5000\n"), "the end is missing");
    assert!(!log.contains("out | 3000\n"), "the beginning is kept");

    // Two pipes have no order between them, so stderr is looked at alone.
    let mut process = shell("echo to stderr >&2");
    assert!(process.ended(SOON).await.success());
    assert_eq!(process.log(), "err | to stderr\n");
}

#[tokio::test]
async fn a_program_that_ends_early_is_told_with_its_log() {
    let port = Port::reserve();
    let trouble = shell("echo the reason; exit 3")
        .accepting(port.address(), SOON)
        .await
        .unwrap_err();
    let text = trouble.to_string();
    assert!(
        text.contains("bash ended") && text.contains("exit status: 3") && text.contains("the reason"),
        "{text}"
    );
    assert!(!trouble.is_clash());
}

#[tokio::test]
async fn a_program_that_never_listens_is_told_at_the_deadline() {
    let port = Port::reserve();
    let patience = Duration::from_millis(200);
    let trouble = shell("exec sleep 600")
        .accepting(port.address(), patience)
        .await
        .unwrap_err();
    assert!(trouble.to_string().contains("within 200 ms"), "{trouble}");
}

#[tokio::test]
async fn a_start_is_tried_again_when_the_port_was_taken() {
    let attempts = std::cell::Cell::new(0);
    let process = started(async || {
        attempts.set(attempts.get() + 1);
        let script = if attempts.get() == 1 {
            "echo EADDRINUSE; exit 1"
        } else {
            "echo up; exec sleep 600"
        };
        let mut process = shell(script);
        process
            .printed("up", SOON, |log| log.contains("up").then_some(()))
            .await?;
        Ok(process)
    })
    .await;
    assert_eq!(attempts.get(), 2);
    drop(process);
}

#[tokio::test]
async fn a_reserved_port_refuses_clients_and_admits_its_server() {
    let port = Port::reserve();
    assert!(
        tokio::net::TcpStream::connect(port.address()).await.is_err(),
        "nobody listens yet"
    );
    let server = tokio::net::TcpListener::bind(port.address())
        .await
        .expect("the reservation lets the server in");
    assert!(tokio::net::TcpStream::connect(port.address()).await.is_ok());
    drop(server);
    for _ in 0..200 {
        let other = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_ne!(other, port.address(), "a reserved port was given away");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_identity_provider_mints_rotates_fails_and_comes_back() {
    let mut idp = Idp::start().await;
    for alg in ["RS256", "ES256", "EdDSA"] {
        let token = idp
            .token(Order {
                alg,
                client: "bob",
                ttl: 7,
                ..Order::default()
            })
            .await;
        let (header, claims) = (forge::header(&token), forge::claims(&token));
        assert_eq!(
            (header["typ"].as_str(), header["alg"].as_str()),
            (Some("at+jwt"), Some(alg))
        );
        assert_eq!(
            (claims["sub"].as_str(), claims["aud"].as_str()),
            (Some("bob"), Some("orders-api"))
        );
        assert_eq!(claims["iss"].as_str(), Some(&*idp.issuer()));
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 7);
    }
    let kid = async |idp: &Idp| forge::header(&idp.token(Order::default()).await)["kid"].clone();
    let (first, set) = (kid(&idp).await, idp.jwks().await);
    assert!(
        set.contains(first.as_str().unwrap()) && !set.contains("\"d\""),
        "a key set is public: {set}"
    );

    idp.rotate(true).await;
    let (second, set) = (kid(&idp).await, idp.jwks().await);
    assert_ne!(first, second);
    assert!(
        set.contains(first.as_str().unwrap()) && set.contains(second.as_str().unwrap()),
        "both are published"
    );
    idp.retire().await;
    assert!(
        !idp.jwks().await.contains(first.as_str().unwrap()),
        "the old key has left the set"
    );
    assert_eq!(idp.counters().await.jwks, 3);

    let jwks = format!("{}/jwks", idp.issuer());
    idp.fail(Failure::Error).await;
    assert_eq!(send(http().get(&jwks)).await.status, 500);
    idp.fail(Failure::Reset).await;
    assert!(http().get(&jwks).send().await.is_err());
    idp.fail(Failure::Hang).await;
    assert!(
        http()
            .get(&jwks)
            .timeout(Duration::from_millis(200))
            .send()
            .await
            .unwrap_err()
            .is_timeout()
    );
    idp.fail(Failure::None).await;

    let before = idp.jwks().await;
    idp.stop();
    assert!(http().get(&jwks).send().await.unwrap_err().is_connect());
    idp.restart().await;
    assert_eq!(idp.jwks().await, before, "the keys outlive the process");
}

/// The published snippet, with a stand-in for authmesh that gives every kind of answer.
#[tokio::test(flavor = "multi_thread")]
async fn the_nginx_snippet_passes_every_answer_on() {
    let oracle = Oracle::start().await;
    let upstream = Upstream::start().await;
    let nginx = Nginx::start(oracle.address, upstream.address()).await;
    let ask = async |answer: &'static str| send(http().get(nginx.url("/x?y=1")).bearer_auth(answer)).await;

    let seen = ask("allow").await.seen_upstream();
    assert_eq!(seen.target, "/x?y=1");
    assert_eq!(seen.all("x-auth-subject"), ["alice"]);
    assert_eq!(
        seen.all("x-auth-email"),
        [""; 0],
        "an empty identity header is not passed on"
    );
    assert_eq!(
        seen.all("x-asked-about"),
        [""; 0],
        "only identity headers are passed on"
    );

    let refused = ask("unauthorized").await;
    assert_eq!(
        (refused.status, refused.header("www-authenticate")),
        (401, "Bearer error=\"invalid_token\"")
    );
    let forbidden = ask("forbidden").await;
    assert_eq!(
        (forbidden.status, forbidden.header("www-authenticate")),
        (403, "Bearer error=\"insufficient_scope\"")
    );
    assert_eq!(forbidden.header("cache-control"), "no-store");
    let trouble = ask("unavailable").await;
    assert_eq!((trouble.status, trouble.header("retry-after")), (503, "7"));
    let malformed = ask("malformed").await;
    assert_eq!((malformed.status, malformed.header("retry-after")), (400, ""));
    // A stand-in that closes the connection is an authmesh that died.
    let dead = ask("die").await;
    assert_eq!((dead.status, dead.header("retry-after")), (503, "1"));

    let forged = [
        "Authorization: Bearer allow",
        "X-Forwarded-Uri: /public",
        "X-Forwarded-Method: OPTIONS",
        "X-Forwarded-Host: elsewhere",
        "X-Forwarded-Proto: https",
        "X-Original-URI: /public",
        "X-Original-Method: OPTIONS",
    ];
    let request = raw::get("/real", &forged.map(str::as_bytes));
    assert_eq!(
        raw::exchange(nginx.address(), &request, SOON).await.unwrap().status,
        200
    );
    assert_eq!(
        oracle.last_question(),
        [
            "x-forwarded-method: GET",
            "x-forwarded-uri: /real",
            "x-forwarded-host: 127.0.0.1",
            "x-forwarded-proto: http"
        ],
        "the question is about the request that nginx received"
    );
}

/// Answers as its bearer token says, and remembers what it was asked about.
struct Oracle {
    address: std::net::SocketAddr,
    questions: std::sync::Arc<std::sync::Mutex<Vec<String>>>,
}

impl Oracle {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let questions = std::sync::Arc::<std::sync::Mutex<Vec<String>>>::default();
        let record = questions.clone();
        // The thread ends with the test program.
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let lines = BufReader::new(connection.try_clone().unwrap()).lines();
                let head: Vec<String> = lines
                    .map_while(Result::ok)
                    .take_while(|line| !line.is_empty())
                    .collect();
                let headers: Vec<(String, &str)> = head
                    .iter()
                    .filter_map(|line| line.split_once(": "))
                    .map(|(name, value)| (name.to_ascii_lowercase(), value))
                    .collect();
                *record.lock().unwrap() = headers
                    .iter()
                    .filter(|(name, _)| name.starts_with("x-forwarded-") || name.starts_with("x-original-"))
                    .map(|(name, value)| format!("{name}: {value}"))
                    .collect();
                let wish = headers
                    .iter()
                    .find_map(|(name, value)| (name == "authorization").then_some(*value));
                let answer = match wish.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default() {
                    "allow" => "200 OK\r\nX-Auth-Subject: alice\r\nX-Auth-Email: \r\nX-Asked-About: all",
                    "unauthorized" => "401 Unauthorized\r\nWWW-Authenticate: Bearer error=\"invalid_token\"",
                    "forbidden" => "403 Forbidden\r\nWWW-Authenticate: Bearer error=\"insufficient_scope\"",
                    "unavailable" => "503 Service Unavailable\r\nRetry-After: 7",
                    "malformed" => "400 Bad Request",
                    _ => continue,
                };
                let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                std::io::Write::write_all(&mut connection, answer.as_bytes()).unwrap();
            }
        });
        Self { address, questions }
    }

    fn last_question(&self) -> Vec<String> {
        self.questions.lock().unwrap().clone()
    }
}

#[test]
fn the_printed_table_is_read() {
    let text = "\
authmesh 0.1.0  development mode: 2 nodes in one process, in-memory L2, throw-away keys. Not for production.

  node   forward auth               admin and status page
  a      http://127.0.0.1:8400      http://127.0.0.1:8500
  b      http://127.0.0.1:8401      http://127.0.0.1:8501
  issuer http://127.0.0.1:8600      (RS256, ES256, EdDSA keys; POST /token mints)

Try it (alice's token is in $T):
  T=$(curl -s -d sub=alice http://127.0.0.1:8600/token)
  curl -i http://127.0.0.1:8400/verify     # 200, X-Authmesh-Outcome: verified
  curl -i http://127.0.0.1:8400/verify     # 200, X-Authmesh-Outcome: hit
  curl -i -H \"Authorization: Bearer dev-admin\" -d '{\"subject\":\"alice\"}' http://127.0.0.1:8500/v1/revocations
";
    assert_eq!(Printed::parse(text, 2), None, "one command is still to come");
    let text = format!("{text}  curl -i http://127.0.0.1:8401/verify     # 401 revoked\n");
    let printed = Printed::parse(&text, 2).unwrap();
    let node = |name: &str, forward_auth: &str, admin: &str| Node {
        name: name.to_owned(),
        forward_auth: forward_auth.to_owned(),
        admin: admin.to_owned(),
    };
    assert_eq!(
        printed.nodes[1],
        node("b", "http://127.0.0.1:8401", "http://127.0.0.1:8501")
    );
    assert_eq!(printed.issuer, "http://127.0.0.1:8600");
    assert_eq!(printed.admin_credential(), "dev-admin");
    assert_eq!(printed.commands.len(), 5);
    assert_eq!(Printed::parse(&text, 3), None, "a node is missing");
}
