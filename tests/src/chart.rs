//! The Helm chart, rendered once for all tests by Helm 3 and by Helm 4, and judged against the schemas of Kubernetes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use aws_lc_rs::digest::{Context, SHA256};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::tools;

/// Versions of Kubernetes against which every manifest is judged: the oldest that the chart takes, and newer ones.
pub const KUBERNETES: [&str; 3] = ["1.30", "1.33", "1.36"];

/// What came out.
#[derive(Debug, Deserialize)]
pub struct Rendered {
    /// Each of `ci/*-values.yaml`, by its name.
    pub shapes: BTreeMap<String, Shape>,
    /// Manifests that break a schema.
    pub invalid: Vec<String>,
    /// Kinds for which there is no schema.
    pub unknown: Vec<String>,
    /// How many manifests were judged.
    pub judged: usize,
    /// How often each of the broken manifests was found.
    pub found: Vec<usize>,
    /// What Helm 3 and Helm 4 said about each of the values that must be refused.
    pub refusals: Vec<BTreeMap<String, Option<String>>>,
    /// What both have to complain about each shape.
    pub lint: BTreeMap<String, BTreeMap<String, Option<String>>>,
    /// `values.schema.json` as it should be.
    pub schema: String,
    /// `values.yaml`.
    pub values: Value,
    /// Further manifests, by the name of their file.
    pub manifests: BTreeMap<String, Vec<Value>>,
}

/// The chart in one shape.
#[derive(Debug, Deserialize)]
pub struct Shape {
    /// As Helm 3 renders it.
    pub helm3: Vec<Value>,
    /// As Helm 4 does.
    pub helm4: Vec<Value>,
    /// What Helm tells at the end.
    pub notes: String,
    /// The patch that adds a sidecar, where the shape has one.
    pub patch: Option<Value>,
}

impl Shape {
    /// The objects of a kind.
    pub fn all<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.helm3.iter().filter(move |object| object["kind"] == kind)
    }

    /// The object of this kind and name.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn one(&self, kind: &str, name: &str) -> &Value {
        self.find(kind, name)
            .unwrap_or_else(|| panic!("there is no {kind} {name}"))
    }

    /// The object of this kind and name, if there is one.
    pub fn find(&self, kind: &str, name: &str) -> Option<&Value> {
        self.helm3
            .iter()
            .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
    }

    /// `authmesh.toml`.
    ///
    /// # Panics
    ///
    /// When no ConfigMap holds it.
    pub fn config(&self) -> &str {
        self.all("ConfigMap")
            .find_map(|object| object["data"]["authmesh.toml"].as_str())
            .expect("a ConfigMap holds authmesh.toml")
    }

    /// Every pod that the shape makes or patches, as (whose, its labels, its spec).
    pub fn pods(&self) -> Vec<(String, &Value, &Value)> {
        let mut pods = Vec::new();
        for object in &self.helm3 {
            let of = match object["kind"].as_str() {
                Some("Pod") => object,
                Some("StatefulSet" | "Deployment" | "Job") => &object["spec"]["template"],
                _ => continue,
            };
            let whose = format!(
                "{} {}",
                object["kind"].as_str().unwrap(),
                object["metadata"]["name"].as_str().unwrap()
            );
            pods.push((whose, &of["metadata"]["labels"], &of["spec"]));
        }
        if let Some(patch) = &self.patch {
            let of = &patch["spec"]["template"];
            pods.push(("the patch".to_owned(), &of["metadata"]["labels"], &of["spec"]));
        }
        pods
    }

    /// The pod of a node, and its container.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn node(&self) -> (&Value, &Value) {
        self.pods()
            .into_iter()
            .find_map(|(_, _, spec)| {
                let containers = ["containers", "initContainers"].map(|list| spec[list].as_array());
                let node = containers
                    .into_iter()
                    .flatten()
                    .flatten()
                    .find(|one| one["name"] == "authmesh");
                node.map(|node| (spec, node))
            })
            .expect("some pod has a container named authmesh")
    }
}

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests lies in the repository")
        .to_owned()
}

/// The chart's directory.
pub fn directory() -> PathBuf {
    root().join("helm/authmesh")
}

/// The text of a file of the repository.
///
/// # Panics
///
/// When it cannot be read.
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Renders every shape, and has `refused` refused and `broken` found. Once for each content of the chart, whoever asks.
///
/// # Panics
///
/// When a tool is missing, or a shape cannot be rendered.
pub fn rendered(refused: &[Value], broken: &[Value]) -> &'static Rendered {
    static RENDERED: OnceLock<Rendered> = OnceLock::new();
    RENDERED.get_or_init(|| {
        let python = tools::python();
        let manifests = files(&root().join("docs/snippets"))
            .into_iter()
            .chain(files(&directory().join("examples")))
            .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
            // Envoy's own configuration is no manifest.
            .filter(|path| path.file_name().is_some_and(|name| name != "envoy.yaml"));
        let order = json!({
            "helm3": tools::helm3(),
            "chart": directory(),
            "authmesh": tools::authmesh_binary(),
            "versions": KUBERNETES,
            "bad": refused,
            "broken": broken,
            "manifests": manifests.collect::<Vec<_>>(),
        })
        .to_string();
        let text = cached(&order, || render(&python, &order));
        serde_json::from_str(&text).expect("what render.py prints")
    })
}

fn render(python: &Path, order: &str) -> String {
    let mut run = Command::new(python)
        .arg(root().join("tests/chart/render.py"))
        // Nothing may be written beside the sources.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python runs");
    run.stdin
        .take()
        .expect("stdin is piped")
        .write_all(order.as_bytes())
        .expect("render.py reads its order");
    let output = run.wait_with_output().expect("render.py ends");
    assert!(
        output.status.success(),
        "render.py failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("JSON is text")
}

/// Test runners that give each test a process of its own would otherwise render it for each. The name says what went in, so
/// that nothing old is ever read; a lock lets one process work while the others wait.
fn cached(order: &str, work: impl FnOnce() -> String) -> String {
    let mut all = Context::new(&SHA256);
    all.update(order.as_bytes());
    for folder in ["helm/authmesh", "tests/chart", "docs/snippets"] {
        for file in files(&root().join(folder)) {
            all.update(file.to_string_lossy().as_bytes());
            all.update(&fs::read(&file).expect("a file of the repository"));
        }
    }
    let settings = Command::new(tools::authmesh_binary())
        .args(["config", "default"])
        .output()
        .expect("authmesh runs");
    all.update(&settings.stdout);
    let name: String = all.finish().as_ref()[..12]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let folder = tools::target_dir().join("tmp/chart");
    fs::create_dir_all(&folder).expect("target/tmp/chart");
    let lock = File::create(folder.join("lock")).expect("a lock file");
    lock.lock().expect("a lock");
    let path = folder.join(format!("{name}.json"));
    if let Ok(text) = fs::read_to_string(&path) {
        return text;
    }
    let text = work();
    // Those of older contents are of no use any more.
    for old in files(&folder).iter().filter(|file| file.extension().is_some()) {
        let _ = fs::remove_file(old);
    }
    fs::write(&path, &text).expect("what was rendered");
    text
}

/// Every file below a folder, in order.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("an entry of a folder").path();
            if path.is_dir() {
                if path.file_name().is_some_and(|name| name != "__pycache__") {
                    folders.push(path);
                }
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
