//! Network namespaces: machines of their own as far as the network goes, with faults made by the kernel.
//!
//! What the [fault proxy](crate::proxy) does to datagrams that pass through it, iptables does here to packets, below
//! every program: a TCP connection suffers loss as it does in life. It needs root, so a test asks first:
//!
//! ```no_run
//! # use authmesh_tests::netns::Namespaces;
//! if let Err(why) = Namespaces::available() {
//!     eprintln!("skipped: {why}");
//!     return;
//! }
//! let spaces = Namespaces::create(3);
//! spaces.cut_one_way(0, 1);
//! spaces.lose(1, 2, 0.3);
//! let socket = spaces.within(0, || std::net::UdpSocket::bind("0.0.0.0:7946"));
//! spaces.heal();
//! ```
//!
//! The namespaces hang on a bridge that has a namespace of its own, so the machine sees one interface of ours and no
//! more, and reaches every namespace by it. All of it goes when the value is dropped, after a panic too. What a killed
//! run left is removed by the next one: the names tell whose they are.

use std::ffi::OsStr;
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process;

/// Namespaces of one set, at most.
pub const MAX_NAMESPACES: usize = 64;

/// All names of ours begin like this.
const PREFIX: &str = "amesh";
/// The chain of iptables that holds the faults.
const CHAIN: &str = "AMESH";
/// The last byte of the machine's own address in a set's network.
const HOST: u8 = 254;
/// How many networks are tried before it is given up.
const ATTEMPTS: u32 = 500;

/// Some namespaces, numbered from 0, that reach each other and the machine they run on.
#[derive(Debug)]
pub struct Namespaces {
    base: String,
    network: [u8; 2],
    count: usize,
}

impl Namespaces {
    /// Whether this machine allows all that is needed: tried once, by doing it.
    ///
    /// # Errors
    ///
    /// Why not, in a sentence.
    pub fn available() -> Result<(), String> {
        static TRIED: OnceLock<Result<(), String>> = OnceLock::new();
        TRIED.get_or_init(try_all).clone()
    }

    /// Creates so many namespaces.
    ///
    /// # Panics
    ///
    /// When it fails. Ask [`Namespaces::available`] first.
    pub fn create(count: usize) -> Self {
        Self::try_create(count).unwrap_or_else(|why| panic!("network namespaces: {why}"))
    }

    fn try_create(count: usize) -> Result<Self, String> {
        assert!(count <= MAX_NAMESPACES, "at most {MAX_NAMESPACES} namespaces");
        sweep();
        // From here on, dropping removes whatever is there already.
        let spaces = Self::claim(count)?;
        for index in 0..count {
            let (name, port) = (spaces.name(index), format!("p{index}"));
            let address = format!("{}/24", spaces.address(index));
            let hub = spaces.hub();
            ip(&["netns", "add", &name])?;
            // Both ends are born where they belong, so that no moment leaves one in the machine's own namespace.
            ip(&[
                "-n", &hub, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &name,
            ])?;
            ip(&["-n", &hub, "link", "set", &port, "master", "bridge", "up"])?;
            ip(&["-n", &name, "addr", "add", &address, "dev", "eth0"])?;
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
            ip(&["-n", &name, "link", "set", "eth0", "up"])?;
            spaces.iptables(index, &["-N", CHAIN])?;
            spaces.iptables(index, &["-A", "INPUT", "-j", CHAIN])?;
        }
        Ok(spaces)
    }

    /// A network that nothing on this machine uses, its bridge, and the machine's way in.
    fn claim(count: usize) -> Result<Self, String> {
        static CLAIMED: AtomicU32 = AtomicU32::new(0);
        let owner = std::process::id();
        let start = start_of(owner).ok_or("/proc does not show this process")?;
        let routes = ip(&["-4", "route", "show"])?;
        let mut last = "every network from 10.200.0.0 to 10.249.255.0 is in use".to_owned();
        for _ in 0..ATTEMPTS {
            let number = owner
                .wrapping_mul(61)
                .wrapping_add(CLAIMED.fetch_add(1, Ordering::Relaxed));
            let network = [
                200 + u8::try_from(number % 50).expect("below 50"),
                u8::try_from(number / 50 % 256).expect("below 256"),
            ];
            let [high, low] = network;
            let host = Ipv4Addr::new(10, high, low, HOST);
            if routes.lines().any(|route| covers(route, host)) {
                continue;
            }
            let spaces = Self {
                base: format!("{PREFIX}-{owner}-{start}-{high}-{low}"),
                network,
                count,
            };
            let (hub, way_in) = (spaces.hub(), format!("{PREFIX}-{high}-{low}"));
            ip(&["netns", "add", &hub])?;
            // The name of this interface is the claim: only one run can have it.
            let claimed = ip(&[
                "link", "add", &way_in, "type", "veth", "peer", "name", "host", "netns", &hub,
            ]);
            if let Err(why) = claimed {
                last = why;
                continue;
            }
            ip(&["-n", &hub, "link", "add", "bridge", "type", "bridge"])?;
            ip(&["-n", &hub, "link", "set", "bridge", "up"])?;
            ip(&["-n", &hub, "link", "set", "host", "master", "bridge", "up"])?;
            ip(&["addr", "add", &format!("{host}/24"), "dev", &way_in])?;
            ip(&["link", "set", &way_in, "up"])?;
            return Ok(spaces);
        }
        Err(last)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The name of one, for `ip netns`.
    pub fn name(&self, index: usize) -> String {
        format!("{}-{index}", self.base)
    }

    /// The address of one, which the others and the machine reach.
    pub fn address(&self, index: usize) -> Ipv4Addr {
        assert!(
            index < self.count,
            "there are {} namespaces, and no number {index}",
            self.count
        );
        let [high, low] = self.network;
        Ipv4Addr::new(10, high, low, u8::try_from(index).expect("MAX_NAMESPACES fits") + 1)
    }

    /// The machine's own address, which every namespace reaches: for a Redis or an identity provider outside.
    pub fn host(&self) -> Ipv4Addr {
        let [high, low] = self.network;
        Ipv4Addr::new(10, high, low, HOST)
    }

    /// A command that runs in a namespace, and dies with this process as [`process::command`] says.
    pub fn command(&self, index: usize, program: impl AsRef<OsStr>) -> Command {
        let mut command = process::command(program_path("ip").unwrap_or_else(|| "ip".into()));
        command.args(["netns", "exec", &self.name(index)]).arg(program);
        command
    }

    /// Runs a closure in a namespace and returns what it made. A socket stays in the namespace that it was made in.
    pub fn within<T: Send>(&self, index: usize, make: impl FnOnce() -> T + Send) -> T {
        let name = self.name(index);
        // A thread of its own, since a thread stays where it went.
        std::thread::scope(|scope| {
            let inside = scope.spawn(move || {
                let space = File::open(format!("/run/netns/{name}")).expect("a namespace of ours");
                move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may enter");
                make()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Nothing that `from` sends reaches `to`.
    pub fn cut_one_way(&self, from: usize, to: usize) {
        // First, so that it counts what a rule of chance would have dropped as well.
        self.rule(
            to,
            &["-I", CHAIN, "1", "-s", &self.address(from).to_string(), "-j", "DROP"],
        );
    }

    /// Nothing passes between two.
    pub fn cut(&self, one: usize, other: usize) {
        self.cut_one_way(one, other);
        self.cut_one_way(other, one);
    }

    /// Nothing passes between the two sides.
    pub fn partition(&self, side: &[usize], other_side: &[usize]) {
        for one in side {
            for other in other_side {
                self.cut(*one, *other);
            }
        }
    }

    /// Packets from `from` to `to` are lost with this probability. The kernel throws the dice: no seed.
    pub fn lose(&self, from: usize, to: usize, probability: f64) {
        let chance = format!("{probability:.6}");
        self.statistic(from, to, &["--mode", "random", "--probability", &chance]);
    }

    /// The first packet from `from` to `to` is lost, and then every `n`th: no dice.
    pub fn lose_every(&self, from: usize, to: usize, n: u32) {
        self.statistic(from, to, &["--mode", "nth", "--every", &n.to_string(), "--packet", "0"]);
    }

    /// Whatever is sent by TCP from `from` to `to` is answered by a reset.
    pub fn reset(&self, from: usize, to: usize) {
        let source = self.address(from).to_string();
        self.rule(
            to,
            &[
                "-A",
                CHAIN,
                "-p",
                "tcp",
                "-s",
                &source,
                "-j",
                "REJECT",
                "--reject-with",
                "tcp-reset",
            ],
        );
    }

    /// Ends every fault. What was counted is forgotten.
    pub fn heal(&self) {
        for index in 0..self.count {
            self.rule(index, &["-F", CHAIN]);
        }
    }

    /// Packets from `from` to `to` that faults took since the last [`Namespaces::heal`]: a fault that never struck
    /// proves nothing.
    pub fn struck(&self, from: usize, to: usize) -> u64 {
        let listing = self
            .iptables(to, &["-n", "-v", "-x", "-L", CHAIN])
            .unwrap_or_else(|why| panic!("{why}"));
        struck_in(&listing, self.address(from))
    }

    fn statistic(&self, from: usize, to: usize, how: &[&str]) {
        let source = self.address(from).to_string();
        let rule = [&["-A", CHAIN, "-s", &source, "-m", "statistic"], how, &["-j", "DROP"]].concat();
        self.rule(to, &rule);
    }

    fn rule(&self, index: usize, rule: &[&str]) {
        self.iptables(index, rule).unwrap_or_else(|why| panic!("{why}"));
    }

    fn iptables(&self, index: usize, arguments: &[&str]) -> Result<String, String> {
        let name = self.name(index);
        let iptables = program_path("iptables").ok_or_else(|| missing("iptables"))?;
        let iptables = iptables.to_string_lossy();
        // `-w` waits for the lock that another iptables holds.
        ip(&[&["netns", "exec", &name, &iptables, "-w"], arguments].concat())
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.base)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        // An error says that it was not there yet, or that it has gone already. The way in goes with its other end.
        for index in 0..self.count {
            let _ = ip(&["netns", "delete", &self.name(index)]);
        }
        let _ = ip(&["netns", "delete", &self.hub()]);
    }
}

/// Does once what the tests are going to do.
fn try_all() -> Result<(), String> {
    if !cfg!(target_os = "linux") {
        return Err("network namespaces are Linux's".to_owned());
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1));
    if effective != Some("0") {
        return Err("only root may make network namespaces, and this is not root".to_owned());
    }
    for program in ["ip", "iptables"] {
        program_path(program).ok_or_else(|| missing(program))?;
    }
    let spaces = Namespaces::try_create(1)?;
    let source = spaces.host().to_string();
    let rules: [&[&str]; 3] = [
        &[
            "-m",
            "statistic",
            "--mode",
            "random",
            "--probability",
            "0.5",
            "-j",
            "DROP",
        ],
        &[
            "-m",
            "statistic",
            "--mode",
            "nth",
            "--every",
            "2",
            "--packet",
            "0",
            "-j",
            "DROP",
        ],
        &["-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset"],
    ];
    for rule in rules {
        spaces.iptables(0, &[&["-A", CHAIN, "-s", &source], rule].concat())?;
    }
    let name = spaces.name(0);
    let space = File::open(format!("/run/netns/{name}")).map_err(|error| format!("/run/netns/{name}: {error}"))?;
    let entered =
        std::thread::spawn(move || move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)));
    match entered.join() {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("a thread may not enter a namespace: {error}")),
        Err(_) => Err("a thread may not enter a namespace".to_owned()),
    }
}

/// Removes what runs left that were killed.
fn sweep() {
    let Ok(names) = ip(&["netns", "list"]) else { return };
    for name in names.lines().filter_map(|line| line.split_whitespace().next()) {
        if owner_has_died(name) {
            // Another run may be sweeping as well.
            let _ = ip(&["netns", "delete", name]);
        }
    }
}

/// Whether the name is one of ours, and the process in it no longer runs. An id that was given out again does not count.
fn owner_has_died(name: &str) -> bool {
    let mut parts = name.split('-');
    let (Some(PREFIX), Some(owner), Some(start)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    owner
        .parse()
        .is_ok_and(|owner| start_of(owner).is_none_or(|running| running != start))
}

/// When a process started, in the kernel's ticks since boot.
fn start_of(id: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name before it may hold anything, so fields are counted from its end: `starttime` is field 22 of proc(5).
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split_whitespace().nth(19).map(ToOwned::to_owned)
}

/// Whether a route of `ip route` other than the default one leads to an address.
fn covers(route: &str, address: Ipv4Addr) -> bool {
    // Words such as `unreachable` may come first. A default route has no prefix, only a gateway.
    let mut words = route.split_whitespace().take_while(|word| *word != "default");
    let Some(prefix) = words.find(|word| word.starts_with(|first: char| first.is_ascii_digit())) else {
        return false;
    };
    let (network, length) = prefix.split_once('/').unwrap_or((prefix, "32"));
    match (network.parse::<Ipv4Addr>(), length.parse::<u32>()) {
        (Ok(network), Ok(length @ 1..=32)) => (network.to_bits() ^ address.to_bits()) >> (32 - length) == 0,
        _ => false,
    }
}

/// Sums the packets of the rules for one source in a listing of iptables.
fn struck_in(listing: &str, source: Ipv4Addr) -> u64 {
    let source = source.to_string();
    listing
        .lines()
        .filter(|line| line.split_whitespace().any(|word| word == source))
        .filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok())
        .sum()
}

fn ip(arguments: &[&str]) -> Result<String, String> {
    let ip = program_path("ip").ok_or_else(|| missing("ip"))?;
    let output = Command::new(ip)
        .args(arguments)
        .output()
        .map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("`ip {}` says: {}", arguments.join(" "), said.trim()))
}

fn missing(program: &str) -> String {
    format!("`{program}` is not installed (on Debian: apt-get install iproute2 iptables; `cargo xtask test` does it)")
}

/// Where a program of the system lies. Some paths leave out the folders that only root needs.
fn program_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_covers_the_addresses_of_its_prefix() {
        let address = Ipv4Addr::new(10, 201, 7, 254);
        assert!(covers("10.0.0.0/8 via 192.0.2.1 dev eth0", address));
        assert!(covers("10.201.7.254 dev tun0 scope link", address));
        assert!(covers("unreachable 10.201.0.0/16", address));
        assert!(!covers(
            "10.201.6.0/24 dev br0 proto kernel scope link src 10.201.6.1",
            address
        ));
        assert!(!covers("default via 10.201.7.254 dev eth0", address));
        assert!(!covers("", address));
    }

    #[test]
    fn only_the_rules_of_the_source_are_counted() {
        let listing = "\
Chain AMESH (1 references)
    pkts      bytes target     prot opt in     out     source               destination
       7      231 DROP       0    --  *      *       10.201.7.1           0.0.0.0/0            statistic mode random
      30      231 DROP       0    --  *      *       10.201.7.11          0.0.0.0/0
       2       80 REJECT     6    --  *      *       10.201.7.1           0.0.0.0/0            reject-with tcp-reset
";
        assert_eq!(struck_in(listing, Ipv4Addr::new(10, 201, 7, 1)), 9);
        assert_eq!(struck_in(listing, Ipv4Addr::new(10, 201, 7, 2)), 0);
    }

    #[test]
    fn a_name_is_left_over_only_when_its_process_has_died() {
        let own = std::process::id();
        let start = start_of(own).unwrap();
        assert!(!owner_has_died(&format!("amesh-{own}-{start}-201-7-0")));
        assert!(
            owner_has_died(&format!("amesh-{own}-1{start}-201-7-0")),
            "another process had the id"
        );
        assert!(!owner_has_died("somebody-else"));
        assert!(!owner_has_died("amesh"));
    }
}
