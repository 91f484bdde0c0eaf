//! Many issuers, in virtual time: those that are learned by a template, hundreds side by side, and warming.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

// This program uses a part of it.
#[allow(dead_code, unused_imports)]
#[path = "../support/mod.rs"]
mod support;

mod garbage;
mod isolation;
mod provider;
mod templates;
mod warming;
