//! The key ring file.

use authmesh::KeyRing;

use super::report::Report;
use crate::cli::text::{count, path_name};
use crate::config::Config;
use authmesh::keyring::{RingFile, is_open_to_others};

const TOPIC: &str = "key ring";

/// Checks the file, and returns what is in it.
pub(super) fn check(config: &Config, report: &mut Report) -> Option<KeyRing> {
    let Some(path) = &config.cluster.key_ring_file else {
        report.info(
            TOPIC,
            "no key ring file: the ring lives as long as the process, which is fine for a node alone",
        );
        return None;
    };
    let name = path_name(path);
    let ring = RingFile::read(path).map_err(|error| error.to_string());
    let ring = match ring.and_then(|file| file.ring()) {
        Ok(ring) => ring,
        Err(why) => {
            report.fail(TOPIC, why, "`authmesh keyring generate` makes one.");
            return None;
        }
    };
    if is_open_to_others(path) {
        report.warn(
            TOPIC,
            format!("key ring {name}: others than its owner may read it"),
            "`chmod 600` it, or mount the secret with mode 0400.",
        );
    }
    let more = match ring.key_ids().len().saturating_sub(1) {
        0 => String::new(),
        more => format!(", {} open", count(more as u64, "more key", "more keys")),
    };
    if let Some(seals) = ring.key_ids().next() {
        report.ok(TOPIC, format!("key ring {name}: key {seals} seals{more}"));
    }
    Some(ring)
}
