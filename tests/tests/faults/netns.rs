//! Network namespaces, where the machine allows them.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use authmesh_tests::netns::Namespaces;
use authmesh_tests::process::Process;

const SOON: Duration = Duration::from_secs(20);
const PORT: u16 = 7_946;

/// The namespaces, or a word about why this test proves nothing here.
fn namespaces(count: usize) -> Option<Namespaces> {
    match Namespaces::available() {
        Ok(()) => Some(Namespaces::create(count)),
        Err(why) => {
            eprintln!("SKIPPED, nothing was tested: {why}");
            None
        }
    }
}

fn sockets(spaces: &Namespaces) -> Vec<UdpSocket> {
    (0..spaces.count())
        .map(|index| {
            let address = SocketAddr::from((spaces.address(index), PORT));
            let socket = spaces.within(index, || UdpSocket::bind(address)).unwrap();
            socket.set_read_timeout(Some(SOON)).unwrap();
            socket
        })
        .collect()
}

fn send(sockets: &[UdpSocket], from: usize, to: usize, word: &str) {
    let address = sockets[to].local_addr().unwrap();
    sockets[from].send_to(word.as_bytes(), address).unwrap();
}

fn receive(sockets: &[UdpSocket], at: usize) -> (String, SocketAddr) {
    let mut buffer = [0; 64];
    let (length, source) = sockets[at].recv_from(&mut buffer).expect("nothing came");
    (String::from_utf8_lossy(&buffer[..length]).into_owned(), source)
}

/// How many datagrams have arrived already.
fn arrived(socket: &UdpSocket) -> u64 {
    let mut buffer = [0; 64];
    let mut count = 0;
    while rustix::net::recv(socket, &mut buffer[..], rustix::net::RecvFlags::DONTWAIT).is_ok() {
        count += 1;
    }
    count
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < SOON, "not soon: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn names() -> String {
    let output = Command::new("ip").args(["netns", "list"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_echo_goes_through_until_it_is_cut_and_again_when_it_is_healed() {
    let Some(spaces) = namespaces(3) else { return };
    let sockets = sockets(&spaces);
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        send(&sockets, from, to, "question");
        let (word, source) = receive(&sockets, to);
        assert_eq!(
            (word.as_str(), source),
            ("question", sockets[from].local_addr().unwrap())
        );
        send(&sockets, to, from, "answer");
        assert_eq!(receive(&sockets, from).0, "answer");
    }

    spaces.cut_one_way(0, 1);
    send(&sockets, 0, 1, "cut");
    eventually("the cut strikes", || spaces.struck(0, 1) == 1);
    send(&sockets, 1, 0, "the other way");
    assert_eq!(receive(&sockets, 0).0, "the other way");
    spaces.heal();
    send(&sockets, 0, 1, "healed");
    assert_eq!(receive(&sockets, 1).0, "healed");

    spaces.partition(&[0, 1], &[2]);
    send(&sockets, 0, 2, "across");
    send(&sockets, 2, 1, "across");
    eventually("the partition strikes", || {
        (spaces.struck(0, 2), spaces.struck(2, 1)) == (1, 1)
    });
    send(&sockets, 0, 1, "inside");
    assert_eq!(receive(&sockets, 1).0, "inside");
    assert_eq!(arrived(&sockets[2]), 0);
}

#[test]
fn loss_takes_its_share_and_the_counters_of_iptables_add_up() {
    let Some(spaces) = namespaces(2) else { return };
    let sockets = sockets(&spaces);
    spaces.lose(0, 1, 0.5);
    // Few at a time, so that no buffer overflows.
    let mut came = 0;
    for sent in (50..=400).step_by(50) {
        for _ in 0..50 {
            send(&sockets, 0, 1, "x");
        }
        eventually("each is lost or arrives", || {
            came += arrived(&sockets[1]);
            came + spaces.struck(0, 1) == sent
        });
    }
    // Ten standard deviations around 200.
    assert!((100..=300).contains(&came), "{came} of 400 came at 50 % loss");

    spaces.heal();
    spaces.lose_every(0, 1, 4);
    for _ in 0..100 {
        send(&sockets, 0, 1, "x");
    }
    let mut came = 0;
    eventually("each is lost or arrives", || {
        came += arrived(&sockets[1]);
        came + spaces.struck(0, 1) == 100
    });
    assert_eq!(came, 75);
}

#[test]
fn tcp_is_reset_and_comes_back() {
    let Some(spaces) = namespaces(2) else { return };
    let address = SocketAddr::from((spaces.address(1), PORT));
    let listener = spaces.within(1, || TcpListener::bind(address)).unwrap();
    spaces.reset(0, 1);
    let error = spaces
        .within(0, || TcpStream::connect_timeout(&address, SOON))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(spaces.struck(0, 1), 1);
    spaces.heal();
    let client = spaces.within(0, || TcpStream::connect_timeout(&address, SOON)).unwrap();
    assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
    // The machine itself gets in as well: a test can ask every node how it does.
    TcpStream::connect_timeout(&address, SOON).unwrap();
    assert_eq!(listener.accept().unwrap().1.ip(), spaces.host());
}

#[tokio::test]
async fn a_command_runs_inside_and_ends_with_its_process() {
    let Some(spaces) = namespaces(1) else { return };
    let mut command = spaces.command(0, "sh");
    command.args(["-c", "ip -4 -o addr; echo done; exec sleep 600"]);
    let mut process = Process::spawn("sh", command);
    let printed = process
        .printed("its addresses", SOON, |log| {
            log.contains("done").then(|| log.to_owned())
        })
        .await
        .unwrap_or_else(|trouble| panic!("{trouble}"));
    assert!(printed.contains(&spaces.address(0).to_string()), "{printed}");
    assert!(!printed.contains(&spaces.host().to_string()), "{printed}");
    let id = process.id();
    drop(process);
    assert!(!std::path::Path::new(&format!("/proc/{id}")).exists());
}

#[test]
fn nothing_is_left_after_a_panic_and_what_a_killed_run_left_is_swept() {
    let Some(spaces) = namespaces(1) else { return };
    let name = spaces.name(0);
    assert!(names().contains(&name));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _lives = spaces;
        std::panic::resume_unwind(Box::new("a test failed"));
    }));
    assert!(panicked.is_err());
    assert!(!names().contains(&name), "{}", names());

    let mut dead = Command::new("true").spawn().unwrap();
    dead.wait().unwrap();
    let left = format!("amesh-{}-1-249-1-0", dead.id());
    assert!(
        Command::new("ip")
            .args(["netns", "add", &left])
            .status()
            .unwrap()
            .success()
    );
    let fresh = Namespaces::create(1);
    assert!(!names().contains(&left), "{}", names());
    assert!(names().contains(&fresh.name(0)));
}
