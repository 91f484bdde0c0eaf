//! An outage is never a verdict: who cannot be asked about is told to come back, not that the token is bad.

use std::time::{Duration, Instant};

use authmesh_tests::client::Answer;
use authmesh_tests::forge;
use authmesh_tests::idp::{Failure, Order};
use authmesh_tests::stack::Stack;

/// How long authmesh may take to notice that the identity provider is back.
const RECOVERY_WITHIN: Duration = Duration::from_secs(30);

#[track_caller]
fn expect_come_back_later(answer: &Answer, why: &str) {
    answer.expect(503, why);
    let wait = answer.header("retry-after");
    assert!(
        wait.parse::<u32>().is_ok_and(|seconds| (1..=120).contains(&seconds)),
        "{why}: Retry-After is {wait:?}"
    );
}

/// Asks until the token passes. Every answer on the way must be "come back later".
async fn expect_recovery(stack: &Stack, token: &str) {
    let started = Instant::now();
    loop {
        let answer = stack.get(token).await;
        if answer.status == 200 {
            return;
        }
        expect_come_back_later(&answer, "while authmesh has not noticed yet");
        assert!(
            started.elapsed() < RECOVERY_WITHIN,
            "no recovery within {} s",
            RECOVERY_WITHIN.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_provider_that_is_down_and_back() {
    let mut stack = Stack::start().await;
    let cached = stack.idp.token(Order::default()).await;
    let unseen = stack
        .idp
        .token(Order {
            client: "bob",
            ..Order::default()
        })
        .await;
    stack.get(&cached).await.expect(200, "before");
    let fetches = stack.idp.counters().await.jwks;

    stack.idp.rotate(true).await;
    let unknown = stack.idp.token(Order::default()).await;
    assert_eq!(
        stack.idp.counters().await.jwks,
        fetches,
        "authmesh has not seen the new key: the test rests on it"
    );
    stack.idp.stop();

    stack
        .get(&cached)
        .await
        .expect(200, "a cached verdict, with the identity provider down");
    stack
        .get(&unseen)
        .await
        .expect(200, "a first sight of a token whose key is known");
    // More than once: the second answer must not be a remembered "no such key".
    for _ in 0..3 {
        expect_come_back_later(&stack.get(&unknown).await, "a key that nobody can be asked about");
    }
    let forged = forge::with_broken_signature(&cached);
    stack
        .get(&forged)
        .await
        .expect(401, "a bad signature under a known key is a verdict, outage or not");

    stack.idp.restart().await;
    expect_recovery(&stack, &unknown).await;
    stack.get(&cached).await.expect(200, "after");
    assert!(stack.authmesh.process().is_alive(), "recovered without a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_provider_that_answers_nonsense() {
    for failure in [Failure::Error, Failure::Reset, Failure::Hang] {
        let stack = Stack::start().await;
        let cached = stack.idp.token(Order::default()).await;
        stack.get(&cached).await.expect(200, "before");
        stack.idp.rotate(true).await;
        let unknown = stack.idp.token(Order::default()).await;

        stack.idp.fail(failure).await;
        expect_come_back_later(&stack.get(&unknown).await, &format!("{failure:?}"));
        stack.get(&cached).await.expect(200, "a cached verdict");
        stack.idp.fail(Failure::None).await;
        expect_recovery(&stack, &unknown).await;
    }
}

/// The budget for unknown keys is there against attackers. It must not become their weapon.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_invented_keys_neither_reaches_the_provider_nor_starves_a_rotation() {
    let stack = Stack::start().await;
    let good = stack.idp.token(Order::default()).await;
    stack.get(&good).await.expect(200, "before");
    let before = stack.idp.counters().await.jwks;
    for number in 0..100 {
        let answer = stack.get(&forge::with_kid(&good, &format!("invented-{number}"))).await;
        assert!([401, 503].contains(&answer.status), "an invented key: {answer:?}");
    }
    let caused = stack.idp.counters().await.jwks - before;
    assert!(
        caused <= 20,
        "100 invented keys caused {caused} fetches at the identity provider"
    );
    stack.get(&good).await.expect(200, "a known key, during the flood");

    stack.idp.rotate(true).await;
    let fresh = stack.idp.token(Order::default()).await;
    expect_recovery(&stack, &fresh).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn authmesh_itself_down_is_not_a_verdict_either() {
    let mut stack = Stack::start().await;
    let token = stack.idp.token(Order::default()).await;
    stack.get(&token).await.expect(200, "before");
    stack.authmesh.process().kill();
    expect_come_back_later(&stack.get(&token).await, "nginx, without authmesh");
}
