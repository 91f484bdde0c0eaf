//! authmesh beside its peers: builds the program of `tests/rivals`, which holds both, and runs it.
//!
//! ```text
//! cargo bench -p authmesh-tests --bench peers -- [--json FILE] [--quick] [--part hits|generic|redis|web|nginx]
//! ```

use std::process::ExitCode;

use authmesh_tests::rivals;

fn main() -> ExitCode {
    let server = rivals::build_server();
    if server.is_none() {
        eprintln!("peers: the server does not build, see above");
        return ExitCode::FAILURE;
    }
    let server = server.map(|server| ("AUTHMESH_BIN", server));
    rivals::run("authmesh-peers", server.as_slice())
}
