//! Traces and metrics of a running node: what leaves, what must not, and what it costs a request.

mod collector;
mod double;
mod metrics;
mod traces;
