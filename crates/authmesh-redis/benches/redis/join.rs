//! How long a node takes to join a cluster with many revocations.

use std::sync::Arc;
use std::time::Instant;

use authmesh_tests::bench::{Figure, median};

use crate::server::Server;
use crate::{coherent, node, revoke, spread, start};

const AT_ONCE: usize = 512;

pub(crate) async fn measure(server: &Server, marks: usize, joins: usize) -> Vec<Figure> {
    let first = node(server).await;
    spread(0..marks, AT_ONCE, |n| {
        let mesh = first.clone();
        async move { revoke(&mesh, n).await }
    })
    .await;
    first.shutdown().await;
    let (mut loaded, mut proven) = (Vec::new(), Vec::new());
    for _ in 0..joins {
        let adapter = server.adapter(server.config()).await;
        let begin = Instant::now();
        let joined = start(Arc::clone(&adapter), adapter).await;
        while !joined.is_ready() {
            assert!(begin.elapsed() < crate::SOON, "the marks are never loaded");
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        loaded.push(begin.elapsed().as_secs_f64());
        coherent(&joined).await;
        proven.push(begin.elapsed().as_secs_f64());
        assert_eq!(joined.stats().marks, marks);
        joined.shutdown().await;
    }
    vec![
        Figure::new(format!("join with {marks} marks from Redis"), median(&loaded), "s").at_most(2.0),
        Figure::new(
            format!("join with {marks} marks from Redis, until coherent"),
            median(&proven),
            "s",
        ),
    ]
}
