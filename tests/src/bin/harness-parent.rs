//! Starts a supervised process, prints its id, and waits to be killed: for the test that nothing outlives a test run.

use std::io::Read;

use authmesh_tests::process::{Process, command};

fn main() -> std::io::Result<()> {
    let mut sleep = command("sleep");
    sleep.arg("600");
    let process = Process::spawn("sleep", sleep);
    println!("{}", process.id());
    std::io::stdin().read_to_end(&mut Vec::new()).map(drop)
}
