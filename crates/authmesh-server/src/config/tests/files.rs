//! The file itself, and files that it names.

use super::*;

#[test]
fn a_file_that_is_not_there_or_not_a_file_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let load = |path: &std::path::Path| Config::load(Some(path), vars(&[])).unwrap_err().to_string();

    let absent = load(&folder.path().join("absent.toml"));
    assert!(
        absent.contains("absent.toml: the configuration file does not exist. Name another"),
        "{absent}"
    );
    let below = load(&folder.path().join("absent/authmesh.toml"));
    assert!(below.contains("does not exist"), "{below}");
    let directory = load(folder.path());
    assert!(
        directory.ends_with("the configuration file is a directory."),
        "{directory}"
    );
    let device = load(std::path::Path::new("/dev/null"));
    assert!(device.ends_with("is not a regular file."), "{device}");
}

#[test]
fn a_file_that_is_not_text_names_the_line() {
    let found = Setup::new(b"[server]\n# caf\xe9\n").problems(&[]);
    assert_eq!(
        found,
        ["authmesh.toml:2: the configuration file is not UTF-8 text: save it as UTF-8."]
    );
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    let found = Setup::new("#".repeat((1 << 20) + 1)).problems(&[]);
    assert_eq!(
        found,
        ["authmesh.toml: the configuration file is larger than 1048576 bytes."]
    );
}

#[test]
fn bad_toml_names_line_and_column_and_nothing_of_the_line() {
    let found = Setup::new("[server]\nlisten = \"127.0.0.1:1\"\n[admin]\ntoken_file = hunter2hunter2\n").problems(&[]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("authmesh.toml:4:14: is not valid TOML: "),
        "{found:?}"
    );
    assert!(!found[0].contains("hunter2"), "{found:?}");
    // Several at once, in order; and nothing else from a file that was not understood.
    let found = Setup::new("a = \nb = 1\nb = 2\n[x\n").problems(&[]);
    assert!(found.len() >= 3, "{found:?}");
    assert!(found.iter().all(|line| line.contains("is not valid TOML")), "{found:?}");
    assert!(
        found[0].starts_with("authmesh.toml:1:") && found[1].starts_with("authmesh.toml:3:1: "),
        "{found:?}"
    );
}

#[test]
fn the_admin_credential_comes_from_its_file() {
    let setup = Setup::new(format!("[admin]\ntoken_file = \"token\"\n{MINIMAL}"))
        .with("token", "\n a-long-admin-credential \n");
    let loaded = setup.load(&[]).unwrap();
    assert_eq!(
        loaded.config.admin.token.as_ref().unwrap().expose(),
        "a-long-admin-credential"
    );
    assert!(!format!("{loaded:?}{}", loaded.print()).contains("a-long-admin"));

    // The variable wins, with a warning.
    let env = [("AUTHMESH_ADMIN_TOKEN", "another-admin-credential")];
    let loaded = setup.load(&env).unwrap();
    assert_eq!(loaded.config.admin.token.unwrap().expose(), "another-admin-credential");
    assert!(setup.warnings(&env)[0].starts_with("authmesh.toml:2: admin.token_file is not read"));
}

#[test]
fn a_credential_file_is_refused_without_showing_it() {
    for (content, part) in [
        (&b"hunter2"[..], "whose content is shorter than 16 bytes"),
        (b"  \n", "whose content is empty"),
        (b"hunter2hunter2 hunter2hunter2", "whose content has a space"),
        (b"hunter2hunter2hunter2\xff", "that is not text"),
        (&[b'h'; 5000], "larger than 4160 bytes"),
        (&[b'h'; 4100], "longer than 4096 bytes"),
    ] {
        let found = Setup::new(format!("[admin]\ntoken_file = \"token\"\n{MINIMAL}"))
            .with("token", content)
            .problems(&[]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("authmesh.toml:2: admin.token_file names a file ") && found[0].contains(part),
            "{found:?}"
        );
        assert!(!found[0].contains("hunter2"), "{found:?}");
    }
}

#[test]
fn files_of_settings_must_be_readable_files_beside_the_configuration() {
    let text = format!("[cluster]\nkey_ring_file = \"ring\"\n{MINIMAL}http.ca_file = \".\"\n");
    let found = Setup::new(&text).problems(&[]);
    assert_eq!(
        found,
        [
            "authmesh.toml:2: cluster.key_ring_file names a file that does not exist.",
            "authmesh.toml:6: issuers[0].http.ca_file names a file that is a directory.",
        ]
    );
    let setup = Setup::new(format!("[cluster]\nkey_ring_file = \"ring\"\n{MINIMAL}")).with("ring", "");
    let path = setup.load(&[]).unwrap().config.cluster.key_ring_file.unwrap();
    assert_eq!(
        path,
        setup.folder.path().join("ring"),
        "relative to the file, not to the working directory"
    );
}

#[test]
fn a_pipe_does_not_block_the_start() {
    // The standard library cannot make a pipe with a name; a socket has one and is not a regular file either.
    let setup = Setup::new(format!("[admin]\ntoken_file = \"socket\"\n{MINIMAL}"));
    let _socket = std::os::unix::net::UnixListener::bind(setup.folder.path().join("socket")).unwrap();
    let found = setup.problems(&[]);
    assert_eq!(
        found,
        ["authmesh.toml:2: admin.token_file names a file that is not a regular file."]
    );
}
