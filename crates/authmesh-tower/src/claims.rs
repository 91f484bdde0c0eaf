//! Claims that nobody reads.

use serde::Deserialize;

/// Stands for claims where none are read: they are not parsed either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub struct NoClaims;
