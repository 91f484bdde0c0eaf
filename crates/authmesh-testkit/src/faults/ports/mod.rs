//! The ports in front. A method that is not forwarded by name does not compile, or fails the linter where the trait has a
//! body for it: each `impl` denies `clippy::missing_trait_methods`.

mod bus;
mod gossip;
mod keys;
mod log;
mod members;
mod store;
mod tokens;
