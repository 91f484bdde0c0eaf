//! authmesh beside its peers: builds the program of `tests/rivals`, which holds both, and runs it.
//!
//! ```text
//! cargo bench -p authmesh-tests --bench peers -- [--json FILE] [--quick] [--part hits|generic|redis|memory|web|nginx]
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::{Command, ExitCode};

use authmesh_tests::rivals;

fn main() -> ExitCode {
    let Some(program) = rivals::build("authmesh-peers") else {
        eprintln!("peers: the other crates do not build, see above");
        return ExitCode::FAILURE;
    };
    let arguments = std::env::args_os().skip(1);
    match Command::new(program).args(arguments).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => {
            eprintln!("peers: ended with {status}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("peers: did not start: {error}");
            ExitCode::FAILURE
        }
    }
}
