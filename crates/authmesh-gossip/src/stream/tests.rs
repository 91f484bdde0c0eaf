use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use authmesh::ports::GossipEvent;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::limits::{MAX_STREAMS, MAX_UNPROVEN, MAX_UNPROVEN_OF_ONE};
use super::*;
use crate::testing::{TestSeal, identity};

fn from() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 9], 5))
}

/// One key ring, and another random source each time, as two nodes have it.
fn seal() -> Arc<TestSeal> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    TestSeal::new("test", 9, NEXT.fetch_add(1, Ordering::Relaxed))
}

struct Served {
    counters: Arc<Counters>,
    requests: Arc<Mutex<Vec<Vec<u8>>>>,
    task: JoinHandle<()>,
}

/// Serves one stream; requests are answered with themselves, reversed.
fn served(stream: DuplexStream, seal: Arc<TestSeal>) -> Served {
    let (events, mut heard) = mpsc::channel(8);
    let counters = Arc::<Counters>::default();
    let acceptor = Acceptor {
        seal,
        counters: Arc::clone(&counters),
        events,
    };
    let permit = StreamLimits::default().admit(from().ip()).unwrap();
    let requests = Arc::<Mutex<Vec<Vec<u8>>>>::default();
    let asked_for = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Some(GossipEvent::Asked(asked)) = heard.recv().await {
            assert_eq!(asked.from, identity(1, 0).peer());
            asked_for.lock().unwrap().push(asked.request.clone());
            let mut answer = asked.request;
            answer.reverse();
            let _ = asked.answer.send(answer);
        }
    });
    let task = tokio::spawn(serve(stream, from(), acceptor, permit));
    Served {
        counters,
        requests,
        task,
    }
}

async fn pulls(stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> Result<Vec<u8>, StreamError> {
    pull(stream, &identity(1, 0), request, seal(), Arc::default()).await
}

#[tokio::test]
async fn requests_and_answers_of_every_size_arrive() {
    for length in [0, 1, CHUNK - 100, CHUNK, CHUNK + 1, 3 * CHUNK, MAX_LARGE] {
        let (a, b) = duplex(100_000);
        let served = served(b, seal());
        let request: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
        let answer = pulls(a, &request).await.unwrap();
        assert!(answer.iter().rev().eq(&request), "{length}");
        served.task.await.unwrap();
        assert_eq!(served.counters.streams_taken.get(), 1);
    }
}

#[tokio::test]
async fn a_request_beyond_the_limit_is_refused() {
    let (a, b) = duplex(100_000);
    let served = served(b, seal());
    assert!(pulls(a, &vec![0; MAX_LARGE + 300]).await.is_err());
    served.task.await.unwrap();
    assert_eq!(served.counters.malformed.get(), 1);
    assert!(served.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn another_cluster_gets_no_answer() {
    let (a, b) = duplex(100_000);
    let served = served(b, TestSeal::new("other", 9, 2));
    assert!(pulls(a, b"hello").await.is_err());
    served.task.await.unwrap();
    assert_eq!(
        (served.counters.unopened.get(), served.counters.streams_taken.get()),
        (1, 0)
    );
}

/// Carries bytes between two streams and keeps those of the asker.
async fn recorded() -> Vec<u8> {
    let (a, between_a) = duplex(100_000);
    let (between_b, b) = duplex(100_000);
    let served = served(b, seal());
    let recorder = tokio::spawn(async move {
        let (mut from_a, mut to_a) = tokio::io::split(between_a);
        let (mut from_b, mut to_b) = tokio::io::split(between_b);
        let back = tokio::spawn(async move { tokio::io::copy(&mut from_b, &mut to_a).await });
        let mut kept = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = from_a.read(&mut buffer).await {
            kept.extend_from_slice(&buffer[..length]);
            to_b.write_all(&buffer[..length]).await.unwrap();
        }
        back.abort();
        kept
    });
    pulls(a, b"revoke nothing").await.unwrap();
    served.task.await.unwrap();
    recorder.await.unwrap()
}

#[tokio::test]
async fn a_recorded_stream_does_not_count_again() {
    let kept = recorded().await;
    let (mut a, b) = duplex(100_000);
    let served = served(b, seal());
    a.write_all(&kept).await.unwrap();
    served.task.await.unwrap();
    assert_eq!(served.counters.malformed.get(), 1, "the nonces are others");
    assert!(served.requests.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_half_open_stream_ends_after_two_seconds() {
    let (_a, b) = duplex(100);
    let served = served(b, seal());
    let begun = tokio::time::Instant::now();
    served.task.await.unwrap();
    assert_eq!(begun.elapsed(), FIRST_FRAME_WITHIN);
    assert_eq!(served.counters.limited.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_endless_stream_ends_after_five_seconds() {
    let (mut a, b) = duplex(100_000);
    let served = served(b, seal());
    let begun = tokio::time::Instant::now();
    let mut nonces = Nonces::default();
    a.read_exact(&mut nonces.acceptor).await.unwrap();
    let writer = tokio::spawn(async move {
        let seal = seal();
        for number in 0_u32.. {
            let plain = [
                &[TAG][..],
                &nonces.acceptor,
                &nonces.asker,
                &[0],
                &number.to_be_bytes(),
                &[0],
                b"drip",
            ]
            .concat();
            let sealed = seal.seal(&plain);
            let length = u32::try_from(sealed.len()).unwrap();
            if a.write_all(&[&length.to_be_bytes()[..], &sealed].concat())
                .await
                .is_err()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    served.task.await.unwrap();
    assert_eq!(begun.elapsed(), EXCHANGE_WITHIN);
    writer.await.unwrap();
}

#[tokio::test]
async fn a_length_beyond_the_limit_is_refused_before_it_is_read() {
    for length in [0, 10, MAX_FRAME as u32 + 1, u32::MAX] {
        let (mut a, b) = duplex(100);
        let served = served(b, seal());
        a.write_all(&length.to_be_bytes()).await.unwrap();
        served.task.await.unwrap();
        assert_eq!(served.counters.malformed.get(), 1, "{length}");
    }
}

#[test]
fn streams_are_limited_by_address_and_in_all() {
    let limits = StreamLimits::default();
    let ip = |n: u8| IpAddr::from([10, 0, 0, n]);
    let mut of_one: Vec<_> = (0..20).filter_map(|_| limits.admit(ip(1))).collect();
    assert_eq!(of_one.len(), MAX_UNPROVEN_OF_ONE);
    let mut others: Vec<_> = (2..200).filter_map(|n| limits.admit(ip(n))).collect();
    assert_eq!(of_one.len() + others.len(), MAX_UNPROVEN);
    of_one[0].proven();
    others.iter_mut().for_each(limits::Permit::proven);
    let more: Vec<_> = (2..200).filter_map(|n| limits.admit(ip(n))).collect();
    assert_eq!(of_one.len() + others.len() + more.len(), MAX_STREAMS);
    drop((of_one, others, more));
    assert!(limits.admit(ip(1)).is_some(), "what is dropped is free again");
}
