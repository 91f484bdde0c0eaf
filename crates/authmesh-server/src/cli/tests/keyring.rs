//! `authmesh keyring`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::authmesh;
use super::forge::{ISSUER, file};
use crate::cli::io::Exit;
use authmesh::keyring::RingFile;

fn ids(path: &Path) -> Vec<String> {
    let ring = RingFile::read(path).unwrap().ring().unwrap();
    ring.key_ids().map(|id| id.to_string()).collect()
}

#[test]
fn a_new_file_is_for_its_owner_alone_and_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ring");
    let name = path.to_str().unwrap();
    let ran = authmesh(&["keyring", "generate", name]).run();
    assert_eq!(ran.exit, Exit::Yes, "{ran:?}");
    let before = fs::read_to_string(&path).unwrap();
    ran.hides(before.lines().nth(2).unwrap().split('"').nth(1).unwrap());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    authmesh(&["keyring", "generate", name]).run().fails("exists already");
    assert_eq!(fs::read_to_string(&path).unwrap(), before);

    let ran = authmesh(&["keyring", "generate"]).run();
    assert_eq!(ran.exit, Exit::Yes, "{ran:?}");
    fs::write(&path, &ran.stdout).unwrap();
    assert_eq!(ids(&path).len(), 1, "what is printed is a key ring");
}

#[test]
fn a_rotation_from_its_begin_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ring");
    let name = path.to_str().unwrap();
    authmesh(&["keyring", "generate", name]).run();
    let naming = RingFile::read(&path).unwrap().ring().unwrap().naming_id();
    let old = ids(&path)[0].clone();

    let ran = authmesh(&["keyring", "generate", "--add", "--standby", name]).run();
    let new = ids(&path)[1].clone();
    assert_eq!(ids(&path), [&*old, &new]);
    assert!(ran.stdout.contains(&format!("key {new} opens.")), "{ran:?}");

    let ran = authmesh(&["keyring", "promote", &new, name]).run();
    assert!(ran.stdout.contains(&format!("key {new} seals from now on")), "{ran:?}");
    assert_eq!(ids(&path), [&*new, &old]);

    let ran = authmesh(&["keyring", "remove", &old, name]).run();
    assert_eq!(ran.exit, Exit::Yes, "{ran:?}");
    assert_eq!(ids(&path), [&*new]);
    // The last one stays, and so does a file that was asked for a key that it does not have.
    authmesh(&["keyring", "remove", &new, name])
        .run()
        .fails("no sealing key");
    authmesh(&["keyring", "promote", &old, name])
        .run()
        .fails("there is no sealing key with the ID");

    let ran = authmesh(&["keyring", "generate", "--add", name]).run();
    assert!(ran.stdout.contains("seals from now on"), "{ran:?}");
    assert_eq!(ids(&path)[1], new);
    assert_eq!(RingFile::read(&path).unwrap().ring().unwrap().naming_id(), naming);
}

#[test]
fn wrong_usage_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("absent");
    let name = name.to_str().unwrap();
    authmesh(&["keyring", "generate", "--add"]).run().fails("FILE");
    authmesh(&["keyring", "generate", "--standby", name])
        .run()
        .fails("--add");
    authmesh(&["keyring", "generate", "--add", name])
        .run()
        .fails("cannot be read");
    // A key in place of its ID is not repeated.
    authmesh(&["keyring", "generate", name]).run();
    let key = "B".repeat(44);
    let ran = authmesh(&["keyring", "promote", &key, name]).run();
    ran.fails("it is no ID").hides(&key);
}

#[test]
fn the_status_of_a_file_names_its_keys_and_shows_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ring");
    let name = path.to_str().unwrap();
    authmesh(&["keyring", "generate", name]).run();
    authmesh(&["keyring", "generate", "--add", name]).run();
    let keys = ids(&path);
    let naming = RingFile::read(&path).unwrap().ring().unwrap().naming_id();
    let ran = authmesh(&["keyring", "status", name]).run();
    ran.says(
        Exit::Yes,
        &format!(
            "key ring {name}   naming key {naming}\nkey                use\n{}   seals\n{}   opens\n",
            keys[0], keys[1]
        ),
    );
    assert_eq!(ran.stderr, "");

    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let ran = authmesh(&["keyring", "status", name]).run();
    assert!(ran.stderr.contains("chmod 600"), "{ran:?}");

    // The configuration names it too; without a Redis there is nothing to count.
    let config = format!("[cluster]\nkey_ring_file = \"{name}\"\n[[issuers]]\nurl = \"{ISSUER}\"\naudience = \"a\"\n");
    let (_folder, config) = file("authmesh.toml", config);
    let ran = authmesh(&["keyring", "status", "--config", &config]).run();
    assert!(ran.stdout.contains(&format!("{}   seals", keys[0])), "{ran:?}");
}

#[test]
fn a_redis_that_is_not_there_is_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("ring").to_str().unwrap().to_owned();
    authmesh(&["keyring", "generate", &name]).run();
    let config = format!(
        "[cluster]\nkey_ring_file = \"{name}\"\n[redis]\nurl = \"redis://127.0.0.1:1\"\n[[issuers]]\nurl = \
         \"{ISSUER}\"\naudience = \"a\"\n"
    );
    let (_folder, config) = file("authmesh.toml", config);
    authmesh(&["keyring", "status", "--config", &config])
        .run()
        .fails("cannot be reached");
}
