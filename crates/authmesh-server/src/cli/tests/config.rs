//! `authmesh config`.

use super::authmesh;
use super::forge::{ISSUER, file};
use crate::cli::io::Exit;

fn good() -> String {
    format!("[[issuers]]\nurl = \"{ISSUER}\"\naudience = \"orders-api\"\n")
}

#[test]
fn a_good_configuration_has_no_problems() {
    let (_folder, path) = file("authmesh.toml", good());
    for command in [
        authmesh(&["config", "check", &path]),
        authmesh(&["config", "check"]).env("AUTHMESH_CONFIG", &path),
    ] {
        let ran = command.run();
        assert_eq!(ran.exit, Exit::Yes, "{ran:?}");
        assert!(ran.stdout.starts_with("no problems: "), "{ran:?}");
    }
}

#[test]
fn every_problem_is_reported_with_its_place() {
    let (_folder, path) = file("authmesh.toml", "[server]\nlisten = \"x\"\nno_such_key = 1\n");
    for command in ["check", "print"] {
        let ran = authmesh(&["config", command, &path]).run();
        ran.says(Exit::No, "");
        assert!(ran.stderr.contains("authmesh.toml:2: server.listen"), "{ran:?}");
        assert!(
            ran.stderr.contains("authmesh.toml:3: ") && ran.stderr.contains(" problems\n"),
            "{ran:?}"
        );
    }
}

#[test]
fn a_file_that_is_not_there_is_2() {
    let (folder, _path) = file("authmesh.toml", "");
    let folder = folder.path().to_str().unwrap();
    for path in ["no-such-file.toml", folder] {
        authmesh(&["config", "check", path]).run().fails(path);
    }
    authmesh(&["config", "check"])
        .env("AUTHMESH_CONFIG", "no-such-file.toml")
        .run()
        .fails("no-such-file.toml");
}

#[test]
fn print_shows_sources_and_no_secret() {
    let (_folder, path) = file("authmesh.toml", good());
    let ran = authmesh(&["config", "print", &path])
        .env("AUTHMESH_ADMIN_TOKEN", "correct-horse-battery-staple")
        .env("AUTHMESH_ADMIN_LISTEN", "127.0.0.1:9999")
        .run();
    assert_eq!(ran.exit, Exit::Yes, "{ran:?}");
    assert!(
        ran.stdout.contains("127.0.0.1:9999") && ran.stdout.contains("AUTHMESH_ADMIN_LISTEN"),
        "{ran:?}"
    );
    ran.hides("correct-horse");
}

#[test]
fn the_default_file_says_what_is_missing() {
    let ran = authmesh(&["config", "default"]).run();
    assert_eq!(ran.exit, Exit::Yes);
    let (_folder, path) = file("authmesh.toml", &ran.stdout);
    let ran = authmesh(&["config", "check", &path]).run();
    assert_eq!(ran.exit, Exit::No, "{ran:?}");
    assert!(ran.stderr.contains("issuers[0].url"), "{ran:?}");
}
