//! The forward-auth port under hostile bytes: the right status, a live process, and no memory gone.

use std::time::Duration;

use authmesh_tests::client::Answer;
use authmesh_tests::dev::DevCluster;
use authmesh_tests::raw;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const SOON: Duration = Duration::from_secs(20);
const MIB: usize = 1024 * 1024;
/// How much the process may grow while it is attacked. One megabyte kept for each hostile connection would be 64 MiB.
const GROWTH_KIB: u64 = 48 * 1024;
/// Connections that begin a request and never end it.
const HALF_OPEN: usize = 200;

fn bearer(token: &[u8]) -> Vec<u8> {
    [b"Authorization: Bearer ".as_slice(), token].concat()
}

/// A refusal is one of these, or a connection that the server closed because it would not read on.
#[track_caller]
fn expect_refusal(answer: Option<Answer>, allowed: &[u16], why: &str) {
    if let Some(answer) = answer {
        assert!(
            allowed.contains(&answer.status),
            "{why}: expected one of {allowed:?}: {answer:?}"
        );
        assert!(
            !answer.has("x-auth-subject") || answer.header("x-auth-subject").is_empty(),
            "{why}: {answer:?}"
        );
    } else {
        assert!(allowed.contains(&431), "{why}: closed without an answer");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_tokens_get_the_right_answer_and_leave_no_trace() {
    let mut cluster = DevCluster::start(1).await;
    let address = cluster.address(0);
    let good = cluster.token(&[("sub", "alice")]).await;
    cluster.verify(0, &good).await.expect(200, "before");
    let before = cluster.process().resident_kib();

    let good_line = bearer(good.as_bytes());
    let twice: &[&[u8]] = &[&good_line, &bearer(b"other")];
    let twice_good: &[&[u8]] = &[&good_line, &good_line];
    let ask = async |headers: &[&[u8]]| raw::exchange(address, &raw::get("/verify", headers), SOON).await;

    let malformed: &[u16] = &[400, 401];
    let oversized: &[u16] = &[400, 401, 413, 431];
    expect_refusal(ask(&[&bearer(b"")]).await, malformed, "a token of 0 bytes");
    expect_refusal(
        ask(&[b"Authorization: Bearer"]).await,
        malformed,
        "a scheme and nothing else",
    );
    expect_refusal(ask(&[b"Authorization:"]).await, malformed, "an empty header");
    expect_refusal(ask(&[&bearer(b" . . ")]).await, malformed, "blanks in a token");
    expect_refusal(ask(&[&bearer(b"..")]).await, malformed, "three empty parts");
    expect_refusal(
        ask(&[&bearer("пароль.ключ.😀".as_bytes())]).await,
        malformed,
        "UTF-8 in a token",
    );
    expect_refusal(
        ask(&[&bearer(&[0xff, 0xfe, b'.', 0x80])]).await,
        malformed,
        "bytes that are no text",
    );
    expect_refusal(ask(&[&bearer(b"a\0b.c.d")]).await, malformed, "a zero byte");
    expect_refusal(
        ask(&[b"Authorization: Basic YWxpY2U6c2VjcmV0"]).await,
        &[401],
        "another scheme",
    );
    expect_refusal(
        ask(&[b"Authorization: Bearerx y"]).await,
        &[401],
        "a scheme that only begins alike",
    );
    expect_refusal(
        ask(twice).await,
        malformed,
        "two tokens, one of them good: which one would it be?",
    );
    expect_refusal(
        ask(twice_good).await,
        malformed,
        "the same token twice, by RFC 9110 section 5.3 no list header",
    );
    expect_refusal(
        ask(&[&bearer(&vec![b'.'; 200 * 1024])]).await,
        oversized,
        "200 KiB of dots",
    );
    expect_refusal(ask(&[&bearer(&vec![b'.'; MIB])]).await, oversized, "a million dots");
    expect_refusal(ask(&[&bearer(&vec![b'A'; MIB])]).await, oversized, "1 MiB of token");
    let mut nested = vec![b'['; 12 * 1024];
    nested.splice(0..0, *b"eyJhbGciOiJSUzI1NiJ9.");
    expect_refusal(ask(&[&bearer(&nested)]).await, malformed, "a payload that is no base64");
    let lowercase = [b"authorization: bearer ".as_slice(), good.as_bytes()].concat();
    assert_eq!(
        ask(&[&lowercase]).await.unwrap().status,
        200,
        "RFC 9110 section 11.1: a scheme has no case"
    );

    for target in [&b"/\xff\xfe"[..], b"/%zz", b"//", b"/a/../../..", &[b'/'; 64 * 1024]] {
        let line = [b"X-Forwarded-Uri: ".as_slice(), target].concat();
        let answer = ask(&[&good_line, &line]).await;
        let status = answer.map_or(431, |answer| answer.status);
        assert!(status < 500, "a strange original URI is answered with {status}");
    }

    // All the big ones again, at the same time.
    let mut attackers = JoinSet::new();
    for _ in 0..64 {
        attackers.spawn(async move {
            let request = raw::get("/verify", &[&bearer(&vec![b'A'; MIB])]);
            expect_refusal(
                raw::exchange(address, &request, SOON).await,
                &[400, 401, 413, 431],
                "1 MiB of token",
            );
        });
    }
    while let Some(attacker) = attackers.join_next().await {
        attacker.unwrap();
    }

    assert!(cluster.process().is_alive(), "the process did not survive");
    cluster
        .verify(0, &good)
        .await
        .expect(200, "a good token, after all that");
    let grown = cluster.process().resident_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB, "the process grew by {grown} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_connections_keep_nobody_out() {
    let mut cluster = DevCluster::start(1).await;
    let address = cluster.address(0);
    let good = cluster.token(&[("sub", "alice")]).await;
    cluster.verify(0, &good).await.expect(200, "before");
    let before = cluster.process().resident_kib();

    let mut half_open = Vec::new();
    for number in 0..HALF_OPEN {
        let mut connection = TcpStream::connect(address).await.unwrap();
        // Silence, half a line, half a head.
        let beginning: &[u8] = match number % 3 {
            0 => b"",
            1 => b"GET /ver",
            _ => b"GET /verify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ",
        };
        connection.write_all(beginning).await.unwrap();
        half_open.push(connection);
    }
    for _ in 0..20 {
        let line = bearer(good.as_bytes());
        let answer = raw::exchange(address, &raw::get("/verify", &[&line]), SOON)
            .await
            .unwrap();
        answer.expect(200, "a good request beside the half-open ones");
    }
    assert!(cluster.process().is_alive(), "the process did not survive");
    let grown = cluster.process().resident_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB, "the process grew by {grown} KiB");
    drop(half_open);
}
