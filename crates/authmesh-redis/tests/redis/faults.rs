//! A server that freezes, dies and comes back.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use authmesh::ports::{Log, PortError};
use authmesh_redis::{ConnectError, RedisAdapter, RedisConfig};
use authmesh_tests::ports::Port;
use tokio::net::{TcpListener, TcpStream};

use crate::fixture::{broken, commits, dropping, eventually, head, rings_again, soon, subscribe};
use crate::server::Server;

#[tokio::test]
async fn a_commit_to_a_frozen_server_is_unknown_and_the_connection_recovers() {
    let server = Server::start().await;
    let adapter = server.adapter(server.config()).await;
    commits(&adapter, dropping(1)).await;
    server.freeze();
    let since = Instant::now();
    let answer = soon("an answer without an answer", adapter.commit(dropping(2))).await;
    assert!(matches!(answer, Err(PortError::Unknown(_))), "{answer:?}");
    assert!(since.elapsed() >= Duration::from_millis(900), "it was given its time");
    // From now on nothing is sent: there is no connection.
    let answer = soon("an answer", adapter.commit(dropping(3))).await;
    assert!(matches!(answer, Err(PortError::Unavailable(_))), "{answer:?}");
    server.thaw();
    eventually("commits go on", async || adapter.commit(dropping(4)).await.is_ok()).await;
}

#[tokio::test]
async fn a_dead_server_is_unavailable_and_found_again() {
    let mut server = Server::start().await;
    let adapter = server.adapter(server.config()).await;
    commits(&adapter, dropping(1)).await;
    server.kill();
    eventually("the loss is noticed", async || {
        matches!(adapter.heads().await, Err(PortError::Unavailable(_)))
    })
    .await;
    let refused = RedisAdapter::connect(server.config()).await.unwrap_err();
    assert!(
        matches!(&refused, ConnectError::Unavailable(text) if text.contains("refused")),
        "{refused}"
    );
    server.restart().await;
    eventually("heads can be read", async || adapter.heads().await.is_ok()).await;
    assert_eq!(head(&adapter).await, None, "the new server is empty, and says so");
}

/// Connections through it begin slowly, and are as fast as any from then on.
async fn slow_to_connect(server: &Server) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (front, back) = (listener.local_addr().unwrap(), server.address());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(300)).await;
                let mut server = TcpStream::connect(back).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    front
}

#[tokio::test]
async fn a_caller_with_less_patience_than_a_connection_takes_does_not_keep_it_from_being_made() {
    let server = Server::start().await;
    let front = slow_to_connect(&server).await;
    let adapter = RedisAdapter::lazy(RedisConfig::new(&format!("redis://{front}")).unwrap()).unwrap();
    let impatient = async || tokio::time::timeout(Duration::from_millis(200), adapter.heads()).await;
    assert!(impatient().await.is_err(), "a connection takes longer");
    eventually("an impatient caller is answered", async || {
        matches!(impatient().await, Ok(Ok(_)))
    })
    .await;
}

#[tokio::test]
async fn a_node_can_start_while_the_server_is_away() {
    let port = Port::reserve();
    let config = RedisConfig::new(&format!("redis://{}", port.address())).unwrap();
    let adapter = RedisAdapter::lazy(config).unwrap();
    for _ in 0..3 {
        let answer = soon("an answer", adapter.heads()).await;
        assert!(matches!(answer, Err(PortError::Unavailable(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn the_bus_notices_a_frozen_server_and_rings_again() {
    let server = Server::start().await;
    let adapter = server.adapter(server.config()).await;
    let mut bells = subscribe(&adapter).await;
    rings_again(&adapter, &mut bells).await;
    server.freeze();
    let since = Instant::now();
    broken(&mut bells).await;
    let noticed = since.elapsed();
    // 250 ms until the next heartbeat and 1 s of silence; the rest is for a busy machine.
    assert!(noticed < Duration::from_secs(5), "noticed after {noticed:?}");
    server.thaw();
    // Whatever rang in between was missed.
    broken(&mut bells).await;
    rings_again(&adapter, &mut bells).await;
}

#[tokio::test]
async fn the_bus_survives_a_dead_server_and_a_killed_connection() {
    let mut server = Server::start().await;
    let adapter = server.adapter(server.config()).await;
    let mut bells = subscribe(&adapter).await;
    server.kill();
    broken(&mut bells).await;
    server.restart().await;
    broken(&mut bells).await;
    rings_again(&adapter, &mut bells).await;

    let mut raw = server.raw().await;
    let killed: i64 = redis::cmd("CLIENT")
        .arg(&["KILL", "TYPE", "pubsub"])
        .query_async(&mut raw)
        .await
        .unwrap();
    assert_eq!(killed, 1, "the bus has a connection of its own");
    broken(&mut bells).await;
    broken(&mut bells).await;
    rings_again(&adapter, &mut bells).await;

    drop(bells);
    eventually("the connection goes with the stream", async || {
        let clients: String = redis::cmd("CLIENT")
            .arg(&["LIST", "TYPE", "pubsub"])
            .query_async(&mut raw)
            .await
            .unwrap();
        clients.trim().is_empty()
    })
    .await;
}
