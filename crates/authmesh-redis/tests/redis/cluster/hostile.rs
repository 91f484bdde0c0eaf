//! Servers that only claim to be a cluster: cut off from it, or leading astray.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use authmesh::ports::{Log, PortError};
use authmesh_redis::{RedisAdapter, RedisConfig};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::fixture::{dropping, eventually, soon};

const INFO: &str =
    "redis_version:7.0.15\r\nrole:master\r\nmaxmemory_policy:noeviction\r\ncluster_enabled:1\r\nconnected_slaves:0";

type Says = Arc<dyn Fn(&[String]) -> String + Send + Sync>;

/// Answers as it is told, in the wire protocol of Redis.
async fn fake(listener: TcpListener, says: impl Fn(&[String]) -> String + Send + Sync + 'static) {
    let says: Says = Arc::new(says);
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(serve(client, Arc::clone(&says)));
    }
}

async fn serve(client: TcpStream, says: Says) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    loop {
        let count = length(&mut client).await?;
        let mut words = Vec::new();
        for _ in 0..count {
            let mut word = vec![0; length(&mut client).await? + 2];
            client.read_exact(&mut word).await?;
            word.truncate(word.len() - 2);
            words.push(String::from_utf8_lossy(&word).into_owned());
        }
        let answer = match (words[0].as_str(), words.get(1).map(String::as_str)) {
            ("HELLO", _) => "%1\r\n$5\r\nproto\r\n:3\r\n".to_owned(),
            ("CLIENT", _) => "+OK\r\n".to_owned(),
            ("INFO", _) => text(INFO),
            _ => says(&words),
        };
        client.get_mut().write_all(answer.as_bytes()).await?;
    }
}

/// `*3` or `$5`, and the end of the line.
async fn length(client: &mut BufReader<TcpStream>) -> std::io::Result<usize> {
    let mut line = String::new();
    if client.read_line(&mut line).await? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line[1..].trim_end().parse().expect("a length"))
}

fn text(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

fn slots(at: SocketAddr) -> String {
    let host = text(&at.ip().to_string());
    format!(
        "*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n{host}:{}\r\n{}",
        at.port(),
        text("id")
    )
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn adapter(seeds: &[SocketAddr]) -> RedisAdapter {
    let url = |address: &SocketAddr| format!("redis://{address}");
    let config = RedisConfig::new(&url(&seeds[0])).unwrap();
    RedisAdapter::lazy(config.seeds(seeds[1..].iter().map(url)).unwrap()).unwrap()
}

/// Trap 15: a primary that was deposed while it was cut off names itself, and answers fastest.
#[tokio::test]
async fn a_node_that_is_cut_off_is_not_asked_who_serves_what() {
    let ((cut, cut_at), (sound, sound_at)) = (listener().await, listener().await);
    tokio::spawn(fake(cut, move |words| match words[1].as_str() {
        "SLOTS" => slots(cut_at),
        "INFO" => text("cluster_state:fail\r\n"),
        _ => "-CLUSTERDOWN The cluster is down\r\n".to_owned(),
    }));
    tokio::spawn(fake(sound, move |words| match words[1].as_str() {
        "SLOTS" => slots(sound_at),
        "INFO" => text("cluster_state:ok\r\n"),
        _ => "*0\r\n".to_owned(),
    }));
    for seeds in [[cut_at, sound_at], [sound_at, cut_at]] {
        let adapter = adapter(&seeds);
        let heads = soon("heads", adapter.heads()).await;
        assert!(heads.is_ok(), "{heads:?}");
    }
    // Alone it is better than nothing, and says what is wrong.
    let alone = adapter(&[cut_at]);
    let heads = soon("an answer", alone.heads()).await;
    assert!(
        matches!(&heads, Err(PortError::Unavailable(text)) if text.contains("CLUSTERDOWN")),
        "{heads:?}"
    );
}

/// A server that sends everything on, for ever, and one that asks to try again for ever.
#[tokio::test]
async fn bounded_everything_a_request_is_not_sent_around_for_ever() {
    let (listener, at) = listener().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(fake(listener, move |words| {
        match (words[0].as_str(), words[1].as_str()) {
            ("CLUSTER", "SLOTS") => slots(at),
            ("CLUSTER", _) => text("cluster_state:ok\r\n"),
            ("XREVRANGE", _) => {
                count.fetch_add(1, Ordering::Relaxed);
                format!("-MOVED 115 {at}\r\n")
            }
            _ => "-TRYAGAIN Multiple keys request during rehashing of slot\r\n".to_owned(),
        }
    }));
    let adapter = adapter(&[at]);
    let heads = soon("an answer", adapter.heads()).await;
    assert!(matches!(heads, Err(PortError::Unavailable(_))), "{heads:?}");
    let sent = asked.load(Ordering::Relaxed);
    assert!(sent <= 64 * 5, "{sent} requests for 64 heads");
    let began = Instant::now();
    let committed = soon("an answer", adapter.commit(dropping(1))).await;
    assert!(matches!(committed, Err(PortError::Unavailable(_))), "{committed:?}");
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "three attempts within 100 ms, and a busy machine"
    );
    // Nothing of it sticks: the connection is as good as before.
    eventually("it is answered again", async || {
        matches!(adapter.heads().await, Err(PortError::Unavailable(_)))
    })
    .await;
}
