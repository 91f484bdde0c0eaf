//! The adapter over real sockets on loopback: the port's promises, sixteen nodes, loss, and what strangers send.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod builder;
mod mesh;
mod strangers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use authmesh::ports::{BoxFuture, Gossip};
use authmesh_gossip::{GossipConfig, SwimGossip};
use authmesh_tests::conformance::{self, gossip};

/// An address on loopback that no other test and no other process uses: the port is fixed, the rest is ours.
fn address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id() % 16_384;
    // 127.64.0.0/10, with 256 addresses for each process.
    let ip = 0x7f40_0000_u32 | (process << 8) | (n % 254 + 1);
    SocketAddr::from((ip.to_be_bytes(), 7946 + (n / 254) as u16))
}

/// Settings that make a test short.
fn config(bind: SocketAddr, seeds: &[SocketAddr]) -> GossipConfig {
    GossipConfig {
        bind,
        seeds: seeds.iter().map(ToString::to_string).collect(),
        probe_period: Duration::from_millis(500),
        probe_rtt: Duration::from_millis(200),
        suspicion: Duration::from_millis(1500),
        ..GossipConfig::default()
    }
}

struct Sockets;

impl gossip::Factory for Sockets {
    fn nodes(&self, nodes: usize) -> BoxFuture<'_, Vec<Arc<dyn Gossip>>> {
        let addresses: Vec<_> = (0..nodes).map(|_| address()).collect();
        let adapters = addresses.iter().map(|at| {
            let gossip = SwimGossip::new(config(*at, &addresses[..1])).expect("the settings fit");
            Arc::new(gossip) as Arc<dyn Gossip>
        });
        Box::pin(std::future::ready(adapters.collect()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gossip_over_sockets_keeps_its_promises() {
    conformance::gossip::suite(&Sockets).await;
}
