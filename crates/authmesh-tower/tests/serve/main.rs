//! Real servers behind the layer: axum and gRPC over loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod axum_app;
mod bad_input;
mod bound;
mod contract;
mod freshness;
mod grpc;
mod rollout;
mod websocket;
mod world;
