//! The command line: what parses, and what no error repeats.

use std::io::ErrorKind;

use super::forge::{claims, key_file, token};
use super::{Broken, authmesh};
use crate::cli::io::{Exit, Io};

#[test]
fn the_definition_of_the_commands_is_sound() {
    use clap::CommandFactory as _;
    crate::cli::Cli::command().debug_assert();
}

#[test]
fn help_and_version_are_answers() {
    let help = authmesh(&["--help"]).run();
    assert_eq!(help.exit, Exit::Yes);
    for word in ["serve", "token", "revoke", "marks", "status", "config", "Examples:"] {
        assert!(help.stdout.contains(word), "{word}: {help:?}");
    }
    for command in [
        &["token", "verify"][..],
        &["token", "explain"],
        &["revoke"],
        &["marks", "list"],
        &["marks", "explain"],
        &["status"],
        &["warm"],
        &["presets"],
        &["config", "check"],
        &["config", "print"],
        &["config", "default"],
    ] {
        let help = authmesh(&[command, &["--help"]].concat()).run();
        assert_eq!(help.exit, Exit::Yes, "{command:?}");
        for word in ["Exit codes:", "Examples:"] {
            assert!(help.stdout.contains(word), "{command:?}: {help:?}");
        }
    }
    let version = authmesh(&["--version"]).run();
    version.says(Exit::Yes, concat!("authmesh ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn wrong_usage_is_2() {
    for args in [
        &[][..],
        &["frobnicate"],
        &["token"],
        &["token", "verify", "-"],
        &["token", "verify", "--jwks", "f", "--no-such-option", "-"],
        &["token", "verify", "--jwks", "f", "--leeway", "6m", "-"],
        &["token", "verify", "--jwks", "f", "--algorithms", "HS256", "-"],
        &["token", "verify", "--jwks", "f", "--algorithms", "", "-"],
        &["token", "verify", "--jwks", "f", "--audience", "", "-"],
        &["token", "verify", "--jwks", "f", "--now", "noon", "-"],
        &["token", "verify", "--jwks", "f", "--jws-only", "--audience", "a", "-"],
        &["token", "verify", "--jwks", "f", "--jws-only", "--leeway", "30s", "-"],
        &["token", "explain", "--issuer", "https://a"],
        &["token", "explain", "--leeway", "30s"],
        &["token", "explain", "--jwks", "f", "--url", "http://127.0.0.1:1"],
        &["token", "explain", "--config", "f", "--url", "http://127.0.0.1:1"],
        &["revoke"],
        &["revoke", "--subject", "a", "--session", "b"],
        &["revoke", "--subject", ""],
        &["revoke", "--kid", "a", "--thumbprint", "b"],
        &["marks"],
        &["marks", "list", "--kind", "user"],
        &["marks", "list", "--limit", "0"],
        &["marks", "list", "--limit", "100001"],
        &["marks", "explain"],
        &["marks", "explain", "--subject", "a", "--kid", "b"],
        &["revoke", "--token", "-", "--issuer", "https://a"],
        &["revoke", "--jti", "a", "--except-session", "b"],
        &["config"],
        &["config", "check", "a", "b"],
    ] {
        let ran = authmesh(args).run();
        assert_eq!((ran.exit, ran.stdout.as_str()), (Exit::Unknown, ""), "{args:?}");
        assert!(!ran.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn a_token_in_an_argument_is_refused_and_not_repeated() {
    let (_folder, keys) = key_file();
    let token = token(&claims());
    let with_value = format!("--token={token}");
    for args in [
        &["token", "verify", "--jwks", &keys, &token][..],
        &["token", "verify", "--jwks", &keys, "-", &token],
        &["token", "verify", "--jwks", &keys, &token, "-"],
        &["token", "verify", "--jwks", &keys, "--leeway", &token, "-"],
        &["token", "verify", "--jwks", &keys, "--typ", "jwt", &with_value],
        &["token", "verify", "--jwks", &token, "-"],
        &["token", "explain", &token],
        &["token", "explain", "--jwks", &keys, &token],
        &["token", "explain", "--token-file", &token],
        &["token", &token],
        &["revoke", "--token", &token],
        &["revoke", &with_value],
        &["marks", "explain", "--token", &token],
        &["revoke", &token],
        &["status", &token],
        &["warm", &token],
        &["warm", "--tokens", &token],
        &["config", "check", "a", &token],
        &[&token],
    ] {
        let ran = authmesh(args).stdin(token.as_str()).at("http://127.0.0.1:1").run();
        assert_eq!(ran.exit, Exit::Unknown, "{ran:?}");
        for part in token.split('.') {
            ran.hides(part);
        }
    }
    for args in [
        &["token", "verify", "--jwks", &keys, &token][..],
        &["token", "explain", &token],
        &["revoke", "--token", &token],
    ] {
        authmesh(args)
            .run()
            .fails("never from an argument: it would be visible in the process list");
    }
}

#[test]
fn a_typing_error_is_shown() {
    let ran = authmesh(&["tokn"]).run();
    assert!(ran.stderr.contains("tokn") && ran.stderr.contains("token"), "{ran:?}");
}

#[test]
fn verify_demands_the_dash() {
    let (_folder, keys) = key_file();
    authmesh(&["token", "verify", "--jwks", &keys])
        .stdin(token(&claims()))
        .run()
        .fails("write `-` as the last argument");
}

#[test]
fn an_output_that_goes_away_is_no_panic_and_no_yes() {
    for (kind, noted) in [(ErrorKind::BrokenPipe, false), (ErrorKind::StorageFull, true)] {
        let Ok(crate::cli::Command::Tool(tool)) =
            crate::cli::usage::parse(["authmesh", "config", "default"].map(Into::into))
        else {
            panic!("does not parse");
        };
        let mut stderr = Vec::new();
        let exit = crate::cli::run(
            tool,
            &mut Io {
                stdin: &mut [].as_slice(),
                stdout: &mut Broken(kind),
                stderr: &mut stderr,
                interactive: false,
                env: Vec::new(),
                now: 0,
            },
        );
        assert_eq!((exit, !stderr.is_empty()), (Exit::Unknown, noted), "{kind:?}");
    }
}
