//! The rendered configuration, with the files that the rendered pod mounts, as the program sees it.

use std::fs;
use std::path::{Path, PathBuf};

use authmesh_tests::certificates::Authority;
use authmesh_tests::chart::Shape;
use authmesh_tests::process::command;
use authmesh_tests::tools;
use serde_json::Value;
use tempfile::TempDir;

use super::cases::rendered;

/// A folder in the place of a pod's root, with every secret file that the pod mounts and no other.
pub(crate) struct Root {
    folder: TempDir,
}

impl Root {
    /// What stands in a mounted file, by the name of the file; files of which it says nothing get something of their kind.
    pub(crate) fn of(shape: &Shape, content: impl Fn(&str) -> Option<String>) -> Self {
        let root = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let (pod, node) = shape.node();
        for mount in node["volumeMounts"].as_array().unwrap() {
            let volume = pod["volumes"]
                .as_array()
                .unwrap()
                .iter()
                .find(|volume| volume["name"] == mount["name"])
                .or_else(|| {
                    // A claim of the StatefulSet's.
                    assert_eq!(mount["name"], "authmesh-marks", "{mount}");
                    None
                });
            let folder = root.path(mount["mountPath"].as_str().unwrap());
            fs::create_dir_all(&folder).unwrap();
            let Some(volume) = volume else { continue };
            for source in volume["projected"]["sources"].as_array().into_iter().flatten() {
                for item in source["secret"]["items"].as_array().unwrap() {
                    root.put(&folder, item["path"].as_str().unwrap(), &content);
                }
            }
            // Of whole secrets, the keys that the shapes speak of.
            if volume["secret"].is_object() {
                for key in ["client-secret", "secret", "ca.crt"] {
                    root.put(&folder, key, &content);
                }
            }
        }
        root
    }

    fn put(&self, folder: &Path, name: &str, content: &impl Fn(&str) -> Option<String>) {
        let text = content(name).unwrap_or_else(|| "a-secret-that-is-long-enough".to_owned());
        fs::write(folder.join(name), text).unwrap();
    }

    /// A path of the pod, outside.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path.trim_start_matches('/'))
    }

    /// A text of the pod, with its paths outside.
    pub(crate) fn text(&self, text: &str) -> String {
        ["/run/secrets", "/var/lib/authmesh", "/etc/authmesh"]
            .iter()
            .fold(text.to_owned(), |text, path| {
                text.replace(path, &self.path(path).to_string_lossy())
            })
    }

    /// The variables of the node's container, with an address in the place of the pod's.
    pub(crate) fn variables(&self, node: &Value, ip: &str) -> Vec<(String, String)> {
        let mut known = Vec::<(String, String)>::new();
        for variable in node["env"].as_array().unwrap() {
            let name = variable["name"].as_str().unwrap();
            let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
                Some("metadata.name") => "orders-authmesh-0".to_owned(),
                Some("status.podIP") => ip.to_owned(),
                Some(other) => panic!("{other}"),
                None => self.text(variable["value"].as_str().unwrap()),
            };
            let value = known.iter().fold(value, |value, (name, known)| {
                value.replace(&format!("$({name})"), known)
            });
            known.push((name.to_owned(), value));
        }
        known
    }
}

/// A key ring, certificates, and one credential for everything else.
pub(crate) fn usual(authority: &Authority) -> impl Fn(&str) -> Option<String> {
    let ring = command(tools::authmesh_binary())
        .args(["keyring", "generate"])
        .output()
        .unwrap();
    let ring = String::from_utf8(ring.stdout).unwrap();
    let signed = authority.sign("node");
    let ca = fs::read_to_string(authority.certificate()).unwrap();
    let (certificate, key) = (
        fs::read_to_string(signed.certificate).unwrap(),
        fs::read_to_string(signed.key).unwrap(),
    );
    move |name| match name {
        "key-ring" => Some(ring.clone()),
        "ca.crt" | "redis-ca.crt" => Some(ca.clone()),
        "redis-client.crt" => Some(certificate.clone()),
        "redis-client.key" => Some(key.clone()),
        _ => None,
    }
}

/// So every file that it names is mounted, and every number is one.
#[test]
fn every_rendered_configuration_is_accepted() {
    let authority = Authority::new();
    let content = usual(&authority);
    for (shape_name, shape) in &rendered().shapes {
        let root = Root::of(shape, &content);
        let (_, node) = shape.node();
        fs::write(root.path("/etc/authmesh/authmesh.toml"), root.text(shape.config())).unwrap();
        let ip = if shape_name.contains("ipv6") {
            "2001:db8::9"
        } else {
            "10.0.0.9"
        };
        let mut check = command(tools::authmesh_binary());
        check.args(["config", "check"]);
        check.envs(
            root.variables(node, ip)
                .into_iter()
                .filter(|(name, _)| name != "POD_IP"),
        );
        let output = check.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{shape_name}: {said}\n{}", shape.config());
    }
}

#[test]
fn the_configuration_says_what_the_values_say() {
    let shapes = &rendered().shapes;
    let says = |shape: &str, lines: &[&str]| {
        for line in lines {
            let config = shapes[shape].config();
            assert!(
                config.lines().any(|own| own == *line),
                "{shape} lacks {line}:\n{config}"
            );
        }
    };
    says(
        "minimal",
        &[
            "name = \"orders-authmesh\"",
            "url = [\"rediss://redis.example.com:6379\"]",
            "listen = \"127.0.0.1:8500\"",
        ],
    );
    assert!(
        !shapes["minimal"].config().contains("expect"),
        "beside Redis nobody is expected"
    );
    says(
        "gossip-only",
        &["expect = 3", "seeds = [\"orders-authmesh-gossip.prod.svc:7946\"]"],
    );
    says("gossip-hpa", &["expect = 5", "probe_period = \"500ms\""]);
    says(
        "persistent-ipv6",
        &[
            "name = \"orders-prod\"",
            "listen = \"[::]:8400\"",
            "bind = \"[::]:7946\"",
        ],
    );
    says(
        "many-settings",
        &[
            "max_connections = 1000000",
            "explain = true",
            "audience = [\"orders-api\", \"billing-api\"]",
            "client_id = \"orders \\\"api\\\"\"",
            "listen = \"0.0.0.0:8700\"",
            "per_second = 50",
            "[issuers.preset]",
            "endpoint = \"http://otel-collector.monitoring.svc:4318\"",
            "email = \"\"",
        ],
    );
    says("locked-down", &["listen = \"\""]);
    for absent in ["[redis]", "[gossip]"] {
        assert!(!shapes["single"].config().contains(absent));
    }
}

#[test]
fn the_schema_knows_every_setting_of_the_program_and_every_value_of_the_chart() {
    let path = authmesh_tests::chart::directory().join("values.schema.json");
    let wanted = &rendered().schema;
    if std::env::var_os("AUTHMESH_BLESS").is_some() {
        fs::write(&path, wanted).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap() == *wanted,
        "helm/authmesh/values.schema.json is not what tests/chart/schema.py makes of values.yaml and of `authmesh config default`: run this \
         test once with AUTHMESH_BLESS=1, and commit the file"
    );
}
