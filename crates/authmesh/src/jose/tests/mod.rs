//! Tests of keys, key sets and verification, with keys made on the spot. The published vectors run in `tests/vectors.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod jwk;
mod keys;
mod set;
mod verify;
