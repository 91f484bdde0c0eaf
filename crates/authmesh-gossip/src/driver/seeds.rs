//! Seeds by name.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;

/// How long one name may take.
const LOOKUP_WITHIN: Duration = Duration::from_secs(2);
/// Addresses of one name that are used.
const MAX_ADDRESSES: usize = 256;

/// Looks all seeds up: the number and the addresses of each that has any. A name that has no address, now, is asked again in
/// the next round.
pub(crate) async fn look_up(seeds: &[String]) -> Vec<(usize, Vec<SocketAddr>)> {
    let mut found = Vec::new();
    for (number, seed) in seeds.iter().enumerate() {
        match timeout(LOOKUP_WITHIN, lookup_host(seed)).await {
            Ok(Ok(addresses)) => {
                let addresses: Vec<_> = addresses.take(MAX_ADDRESSES).collect();
                if !addresses.is_empty() {
                    found.push((number, addresses));
                }
            }
            Ok(Err(error)) => tracing::debug!(seed, %error, "gossip: a seed has no address"),
            Err(_) => tracing::debug!(seed, "gossip: the look-up of a seed takes too long"),
        }
    }
    found
}
