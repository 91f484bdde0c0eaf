//! The key ring file.
//!
//! ```toml
//! naming  = "<32 random bytes, base64>"
//! sealing = ["<32 random bytes, base64>", "<an older key that still opens>"]
//! ```

use std::path::Path;

use authmesh::KeyRing;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::ServeError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    naming: String,
    sealing: Vec<String>,
}

/// Reads a ring. No error repeats anything of the file's content.
pub(super) fn read(path: &Path) -> Result<KeyRing, ServeError> {
    let refuse = |why: &str| ServeError::new(format!("key ring {}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| refuse(&error.to_string()))?;
    let file: File =
        toml::from_str(&text).map_err(|_| refuse("is not TOML with `naming = \"...\"` and `sealing = [\"...\"]`"))?;
    let secret = |encoded: &str| -> Option<[u8; 32]> { STANDARD.decode(encoded).ok()?.try_into().ok() };
    let naming = secret(&file.naming).ok_or_else(|| refuse("`naming` is not 32 bytes in base64"))?;
    let sealing: Option<Vec<_>> = file.sealing.iter().map(|key| secret(key)).collect();
    let sealing = sealing.ok_or_else(|| refuse("a key of `sealing` is not 32 bytes in base64"))?;
    KeyRing::new(naming, sealing).map_err(|error| refuse(&error.to_string()))
}
