//! The Helm chart and the snippets for proxies, with real programs: Helm 3 and 4, the schemas of Kubernetes, promtool, Valkey's scripts on a
//! real cluster, Caddy, HAProxy, Envoy. Only Kubernetes itself is missing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cases;
mod config;
mod documents;
mod gateways;
mod live;
mod manifests;
mod monitoring;
mod refusals;
mod secrets;
