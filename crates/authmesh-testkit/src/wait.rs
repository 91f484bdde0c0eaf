//! Waiting, but not for ever.

use std::time::Duration;

/// Far more than anything in memory needs, on a busy machine too.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Looks again and again until `holds`. For what comes about by itself, such as a revocation on another node: a fixed
/// sleep in its place would be too long or too short.
///
/// # Panics
/// After [`DEADLINE`], with `what` in the message.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let looking = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    soon(what, looking).await;
}

/// Waits for a future.
///
/// # Panics
/// After [`DEADLINE`], with `what` in the message.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {DEADLINE:?}: {what}"),
    }
}
