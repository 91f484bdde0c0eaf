//! What a verdict in memory takes: builds the program of `tests/rivals` that counts, and runs it.
//!
//! ```text
//! cargo bench -p authmesh-tests --bench memory -- [--json FILE] [--quick]
//! ```

use std::process::ExitCode;

use authmesh_tests::rivals;

fn main() -> ExitCode {
    rivals::run("authmesh-memory", &[])
}
