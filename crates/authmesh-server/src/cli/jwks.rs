//! A JWK set in a file.

use std::fs::File;
use std::path::Path;

use authmesh::jose::{KeySet, KeySetError, KeySetLimits};

use super::io::{Failure, Io, read};
use super::text::{path_name, plain};

/// How many keys that are left out are named; the rest is counted.
const MAX_NAMED: usize = 8;

/// Reads a JWK set. Keys that are left out are named on standard error.
pub(super) fn load(path: &Path, io: &mut Io<'_>) -> Result<KeySet, Failure> {
    let limits = KeySetLimits::default();
    let limit = limits.max_document_bytes as u64;
    let name = path_name(path);

    let document = File::open(path).and_then(|file| read(file, limit + 1));
    let document = document.map_err(|error| {
        Failure::said(format!(
            "{name}: the key set cannot be read: {}. Name a file with a JWK set, as the issuer's jwks_uri serves it",
            plain(&error.to_string())
        ))
    })?;
    let keys = KeySet::parse(&document, &limits).map_err(|error| {
        Failure::said(match error {
            // The file was not read to its end, so its length is not known, and no option raises the limit.
            KeySetError::DocumentTooLong { .. } => {
                format!("{name}: the file is longer than {limit} bytes; check that it is a JWK set")
            }
            error => format!("{name}: {}", plain(&error.to_string())),
        })
    })?;

    for key in keys.skipped().iter().take(MAX_NAMED) {
        io.note(&format!("{name}: {} (this key is left out)", plain(&key.to_string())))?;
    }
    if let Some(more @ 1..) = keys.skipped().len().checked_sub(MAX_NAMED) {
        io.note(&format!("{name}: {more} more keys are left out"))?;
    }
    Ok(keys)
}
