//! An authority of the tests' own, and what it signs, made by `openssl`.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::tools;

/// A certificate and its private key, both PEM.
#[derive(Debug, Clone)]
pub struct Signed {
    /// The certificate.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// A certificate authority in a folder that goes with it.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
    own: Signed,
}

impl Authority {
    /// A new authority, which nobody else trusts.
    pub fn new() -> Self {
        tools::require("openssl");
        let folder = TempDir::new().expect("a fresh folder for certificates");
        let own = files(folder.path(), "authority");
        let mut request = request(&own, "authority");
        request.args(["-addext", "basicConstraints=critical,CA:TRUE"]);
        request.args(["-addext", "keyUsage=critical,keyCertSign"]);
        run(request);
        Self { folder, own }
    }

    /// Its certificate.
    pub fn certificate(&self) -> &Path {
        &self.own.certificate
    }

    /// A certificate for 127.0.0.1 and `localhost`, for servers and clients.
    pub fn sign(&self, name: &str) -> Signed {
        let signed = files(self.folder.path(), name);
        let mut request = request(&signed, name);
        request.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        request.args(["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]);
        request.arg("-CA").arg(&self.own.certificate);
        request.arg("-CAkey").arg(&self.own.key);
        run(request);
        signed
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

fn files(folder: &Path, name: &str) -> Signed {
    Signed {
        certificate: folder.join(format!("{name}.pem")),
        key: folder.join(format!("{name}.key")),
    }
}

fn request(files: &Signed, name: &str) -> Command {
    let mut request = Command::new("openssl");
    request.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
    ]);
    request.args(["-nodes", "-days", "2", "-subj", &format!("/CN={name}")]);
    request.arg("-keyout").arg(&files.key);
    request.arg("-out").arg(&files.certificate);
    request
}

fn run(mut command: Command) {
    let done = command.output().expect("openssl runs");
    assert!(
        done.status.success(),
        "openssl failed: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}
