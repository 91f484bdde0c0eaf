//! Where secrets are, and where they are not.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use authmesh_tests::chart::{self, Shape};
use authmesh_tests::tools;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::cases::rendered;

/// (the name of the Secret, its key, its value)
fn values(shape: &Shape) -> Vec<(String, String, Vec<u8>)> {
    let mut all = Vec::new();
    for secret in shape.all("Secret") {
        let name = secret["metadata"]["name"].as_str().unwrap();
        for (key, value) in secret["data"].as_object().into_iter().flatten() {
            let value = STANDARD.decode(value.as_str().unwrap()).expect("base64");
            all.push((name.to_owned(), key.clone(), value));
        }
        for (key, value) in secret["stringData"].as_object().into_iter().flatten() {
            all.push((
                name.to_owned(),
                key.clone(),
                value.as_str().unwrap().as_bytes().to_vec(),
            ));
        }
    }
    all
}

#[test]
fn no_secret_stands_anywhere_but_in_a_secret() {
    let mut looked_for = 0;
    for (shape_name, shape) in &rendered().shapes {
        let elsewhere: String = shape
            .helm3
            .iter()
            .filter(|object| object["kind"] != "Secret")
            .map(ToString::to_string)
            .collect();
        for (secret, key, value) in values(shape) {
            let text = String::from_utf8(value).expect("text");
            // Passwords and keys as they are; of files each part that is long enough to be one.
            for part in text
                .split(|c: char| !c.is_ascii_alphanumeric() && !"+/=".contains(c))
                .filter(|part| part.len() >= 20)
            {
                looked_for += 1;
                assert!(!elsewhere.contains(part), "{shape_name}: {key} of {secret}");
            }
        }
        // In particular not in the environment, which every crash report shows.
        for (whose, _, pod) in shape.pods() {
            assert!(!pod.to_string().contains("secretKeyRef"), "{shape_name}: {whose}");
        }
    }
    assert!(looked_for > 50, "{looked_for}");
}

#[test]
fn every_secret_that_a_pod_mounts_is_made_here_or_named_by_the_user() {
    for (shape_name, shape) in &rendered().shapes {
        let mut made: BTreeSet<String> = shape
            .all("Secret")
            .map(|secret| secret["metadata"]["name"].as_str().unwrap().to_owned())
            .collect();
        made.extend(
            shape
                .all("Certificate")
                .map(|certificate| certificate["spec"]["secretName"].as_str().unwrap().to_owned()),
        );
        let given = fs::read_to_string(chart::directory().join(format!("ci/{shape_name}-values.yaml"))).unwrap();
        for (whose, _, pod) in shape.pods() {
            for volume in pod["volumes"].as_array().into_iter().flatten() {
                let projected = volume["projected"]["sources"].as_array().into_iter().flatten();
                let names = projected
                    .map(|source| &source["secret"]["name"])
                    .chain([&volume["secret"]["secretName"]]);
                for name in names.filter_map(Value::as_str) {
                    assert!(
                        made.contains(name) || given.contains(name),
                        "{shape_name}: {whose} mounts {name}, which nobody makes"
                    );
                }
            }
        }
        // And what is made is used.
        let pods: String = shape.pods().iter().map(|(_, _, pod)| pod.to_string()).collect();
        for name in made {
            assert!(
                pods.contains(&format!("\"{name}\"")),
                "{shape_name}: nobody uses {name}"
            );
        }
    }
}

#[test]
fn a_generated_key_ring_is_one_and_another_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = BTreeSet::new();
    for (shape_name, shape) in &rendered().shapes {
        let Some((_, _, ring)) = values(shape).into_iter().find(|(_, key, _)| key == "key-ring") else {
            assert_eq!(
                shape_name, "redis-client-secret",
                "only where a secret is given none is made"
            );
            continue;
        };
        let path = folder.path().join(shape_name);
        fs::write(&path, &ring).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let status = Command::new(tools::authmesh_binary())
            .args(["keyring", "status"])
            .arg(&path)
            .output()
            .unwrap();
        assert!(
            status.status.success(),
            "{shape_name}: {}",
            String::from_utf8_lossy(&status.stderr)
        );
        assert!(seen.insert(ring), "{shape_name}: the same ring twice");
        let secret = shape
            .all("Secret")
            .find(|secret| secret["data"]["key-ring"].is_string())
            .unwrap();
        assert_eq!(
            secret["metadata"]["annotations"]["helm.sh/resource-policy"], "keep",
            "{shape_name}"
        );
    }
}
