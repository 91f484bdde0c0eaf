//! Spans: of misses and slow paths only.
//!
//! A hit makes none. Where nobody collects them, a span costs one comparison with the level that `tracing` has at its greatest,
//! and what is behind it (a signature check, a call of L2, a request) costs thousands of times as much.

/// Makes a span of level debug. All have one target, so that they can be chosen without the debug log: `authmesh::trace=debug`.
macro_rules! span {
    ($name:literal $($fields:tt)*) => {
        tracing::debug_span!(target: "authmesh::trace", $name $($fields)*)
    };
}

pub(crate) use span;

/// What a field is told that is known at the end only.
pub(crate) use tracing::field::Empty;
