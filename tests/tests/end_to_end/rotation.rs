//! Key rotation at the identity provider, while clients go on calling.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use authmesh_tests::client::{http, try_send};
use authmesh_tests::idp::Order;
use authmesh_tests::stack::Stack;
use tokio::task::JoinSet;

/// Callers at the same time, each with one request under way and a pause after it.
const CALLERS: usize = 8;
const PAUSE: Duration = Duration::from_millis(5);
/// Requests that must succeed in each phase before the test goes on.
const PER_PHASE: u64 = 200;
/// Far more than a phase takes. A load that stands still fails the test here.
const PHASE_WITHIN: Duration = Duration::from_secs(60);

/// A constant, bounded load with a token that may be exchanged.
struct Load {
    shared: Arc<Shared>,
    callers: JoinSet<()>,
}

struct Shared {
    /// The token in use, and how often it was exchanged or withdrawn.
    token: Mutex<(String, u64)>,
    /// Whether the token in use is signed by a published key.
    valid: AtomicBool,
    stop: AtomicBool,
    passed: AtomicU64,
    failures: Mutex<Vec<String>>,
}

impl Load {
    fn start(url: &str, token: String) -> Self {
        let shared = Arc::new(Shared {
            token: Mutex::new((token, 0)),
            valid: AtomicBool::new(true),
            stop: AtomicBool::new(false),
            passed: AtomicU64::new(0),
            failures: Mutex::default(),
        });
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            callers.spawn(call(shared.clone(), url.to_owned()));
        }
        Self { shared, callers }
    }

    /// From now on answers to the present token count no more: its key is about to leave the set.
    fn withdraw(&self) {
        let mut token = self.shared.token.lock().unwrap();
        token.1 += 1;
        self.shared.valid.store(false, Ordering::SeqCst);
    }

    /// From now on calls carry this token, and every answer but 200 is a failure.
    fn exchange(&self, fresh: String) {
        let mut token = self.shared.token.lock().unwrap();
        *token = (fresh, token.1 + 1);
        self.shared.valid.store(true, Ordering::SeqCst);
    }

    /// Waits until the load has passed [`PER_PHASE`] more times.
    async fn phase(&self) {
        let goal = self.shared.passed.load(Ordering::SeqCst) + PER_PHASE;
        let reached = async {
            while self.shared.passed.load(Ordering::SeqCst) < goal && self.shared.failures.lock().unwrap().is_empty() {
                tokio::time::sleep(PAUSE).await;
            }
        };
        let in_time = tokio::time::timeout(PHASE_WITHIN, reached).await.is_ok();
        let failures = self.shared.failures.lock().unwrap();
        assert!(
            failures.is_empty(),
            "valid tokens were refused: {:#?}",
            &failures[..failures.len().min(5)]
        );
        assert!(
            in_time,
            "fewer than {PER_PHASE} calls passed within {} s",
            PHASE_WITHIN.as_secs()
        );
    }

    async fn stop(mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        while let Some(caller) = self.callers.join_next().await {
            caller.unwrap();
        }
        let failures = self.shared.failures.lock().unwrap();
        assert!(
            failures.is_empty(),
            "{} valid tokens were refused: {:#?}",
            failures.len(),
            failures.first()
        );
    }
}

async fn call(shared: Arc<Shared>, url: String) {
    let client = http();
    while !shared.stop.load(Ordering::SeqCst) {
        let (token, number, counts) = {
            let token = shared.token.lock().unwrap();
            (token.0.clone(), token.1, shared.valid.load(Ordering::SeqCst))
        };
        let answer = try_send(client.get(&url).bearer_auth(token)).await;
        // Read after the answer: a token that was withdrawn while the request was under way owes nobody anything.
        let still_counts = counts && shared.token.lock().unwrap().1 == number;
        match answer {
            Ok(answer) if answer.status == 200 => {
                shared.passed.fetch_add(u64::from(still_counts), Ordering::SeqCst);
            }
            other if still_counts => shared.failures.lock().unwrap().push(format!("{other:?}")),
            _ => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_with_overlap_costs_no_valid_token_its_pass() {
    let stack = Stack::start().await;
    let old = stack.idp.token(Order::default()).await;
    let load = Load::start(&stack.nginx.url("/orders"), old.clone());
    load.phase().await;

    stack.idp.rotate(true).await;
    // Both keys are published: the old token counts on, beside the new one.
    load.phase().await;
    let fresh = stack.idp.token(Order::default()).await;
    load.exchange(fresh);
    load.phase().await;
    stack
        .get(&old)
        .await
        .expect(200, "a token of the old key, which is still published");

    stack.idp.retire().await;
    load.phase().await;
    load.stop().await;
    let fetches = stack.idp.counters().await.jwks;
    assert!(
        (2..=4).contains(&fetches),
        "one fetch at the start, one for the new key: {fetches} were made"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_without_overlap_costs_no_valid_token_its_pass() {
    let stack = Stack::start().await;
    let old = stack.idp.token(Order::default()).await;
    let load = Load::start(&stack.nginx.url("/orders"), old.clone());
    load.phase().await;

    load.withdraw();
    stack.idp.rotate(false).await;
    let fresh = stack.idp.token(Order::default()).await;
    // All callers turn up with an unknown key at the same time.
    load.exchange(fresh);
    load.phase().await;
    stack
        .get(&old)
        .await
        .expect(401, "a key that left the set voids the verdicts that it signed");

    load.phase().await;
    load.stop().await;
    let fetches = stack.idp.counters().await.jwks;
    assert!(
        (2..=4).contains(&fetches),
        "one fetch at the start, one for the new key: {fetches} were made"
    );
}

/// A key that left the set is not only unknown to newcomers: what it signed, and was cached, is void as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_by_the_operator_voids_what_a_withdrawn_key_signed() {
    let stack = Stack::start().await;
    let old = stack.idp.token(Order::default()).await;
    stack.get(&old).await.expect(200, "before");
    assert_eq!(stack.authmesh.verify(&old).await.header("x-authmesh-outcome"), "hit");
    stack.idp.rotate(false).await;
    stack.get(&old).await.expect(200, "nobody has told authmesh yet");

    let refresh = stack
        .authmesh
        .admin(reqwest::Method::POST, "/v1/keys/refresh", None)
        .await;
    assert!((200..300).contains(&refresh.status), "{refresh:?}");
    stack
        .get(&old)
        .await
        .expect(401, "a cached verdict of a key that left the set");
}
