//! How many statements a node commits, beside how many entries a stream takes.

use std::time::Instant;

use authmesh_tests::bench::{Figure, median};

use crate::server::Server;
use crate::{node, revoke, spread};

const AT_ONCE: usize = 64;
const ROUNDS: usize = 20;
/// Bytes of a log entry with a mark of a subject, by whom and why, about.
const ENTRY: usize = 360;
/// As the logs are capped.
const CAP: usize = 4096;

pub(crate) async fn measure(server: &Server, commits: usize) -> Vec<Figure> {
    let mesh = node(server).await;
    let connection = server.raw().await;
    let entry = vec![7_u8; ENTRY];
    let each = commits / ROUNDS;
    let (mut made, mut added) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let numbers = round * each..(round + 1) * each;
        let begin = Instant::now();
        spread(numbers.clone(), AT_ONCE, |n| {
            let mesh = mesh.clone();
            async move { revoke(&mesh, n).await }
        })
        .await;
        made.push(each as f64 / begin.elapsed().as_secs_f64());

        let begin = Instant::now();
        spread(numbers, AT_ONCE, |n| {
            let (mut connection, entry) = (connection.clone(), entry.clone());
            async move {
                let mut add = redis::cmd("XADD");
                // As many streams as there are channels.
                add.arg(format!("bench:{}", n % 64)).arg("MAXLEN").arg("=").arg(CAP);
                add.arg("*").arg("e").arg(entry);
                add.exec_async(&mut connection).await.expect("the entry is added");
            }
        })
        .await;
        added.push(each as f64 / begin.elapsed().as_secs_f64());
    }
    assert_eq!(mesh.stats().marks, each * ROUNDS);
    mesh.shutdown().await;
    vec![Figure::new("commits of one node, 64 at once", median(&made), "/s").beside("bare XADD", median(&added))]
}
