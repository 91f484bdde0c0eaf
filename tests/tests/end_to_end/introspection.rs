//! Opaque tokens: their provider is asked about them, and what it says is kept within bounds.

use std::time::{Duration, Instant};

use authmesh_tests::authmesh::{Authmesh, Shared};
use authmesh_tests::client::Answer;
use authmesh_tests::idp::{Failure, Idp, Order};
use serde_json::json;
use tempfile::TempDir;

/// How long an answer counts here, and how much longer while the provider is away.
const LIFETIME: Duration = Duration::from_secs(3);
const STALE_FOR: Duration = Duration::from_secs(4);
/// What a busy machine may add to a bound.
const SLACK: Duration = Duration::from_secs(10);

struct World {
    idp: Idp,
    node: Authmesh,
    folder: TempDir,
}

impl World {
    async fn start() -> Self {
        Self::with_secret("carol-test-secret").await
    }

    /// A node that asks the provider as the client carol, with this secret.
    async fn with_secret(secret: &str) -> Self {
        let idp = Idp::start().await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, format!("{secret}\n")).unwrap();
        let upstream = format!(
            "\n[issuers.upstream]\nclient_id = \"carol\"\nauth_method = \"client_secret_post\"\nclient_secret_file = {file:?}\n\
             lifetime = \"{}s\"\nstale_for = \"{}s\"\ninactive_lifetime = \"1s\"\nbackoff_ceiling = \"1s\"\n",
            LIFETIME.as_secs(),
            STALE_FOR.as_secs(),
        );
        let shared = Shared {
            issuer: "validate = \"introspection\"\n",
            more: &upstream,
            ..Shared::default()
        };
        Self {
            node: Authmesh::start_shared(&idp.issuer(), shared).await,
            idp,
            folder,
        }
    }

    async fn token(&self) -> String {
        self.idp.opaque_token(Order::default()).await
    }

    /// Asks until somebody answers with this status. Every answer on the way is for `judge`.
    async fn until(&self, status: u16, token: &str, at_most: Duration, mut judge: impl FnMut(&Answer)) -> Answer {
        let began = Instant::now();
        loop {
            let answer = self.node.verify(token).await;
            if answer.status == status {
                return answer;
            }
            judge(&answer);
            assert!(began.elapsed() < at_most, "no {status} within {at_most:?}: {answer:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opaque_token_is_asked_about_once_and_refused_a_lifetime_after_its_provider_ended_it() {
    let world = World::start().await;
    let token = world.token().await;
    let first = world.node.verify(&token).await;
    assert_eq!(
        first.expect(200, "an opaque token").header("x-authmesh-outcome"),
        "verified"
    );
    assert_eq!(first.header("x-auth-client"), "alice");
    assert_eq!(first.header("x-auth-issuer"), world.idp.issuer());
    assert_eq!(first.header("x-auth-scopes"), "orders:read");
    let second = world.node.verify(&token).await;
    assert_eq!(second.expect(200, "the same again").header("x-authmesh-outcome"), "hit");
    assert_eq!(world.idp.counters().await.introspection, 1);

    world.node.verify("no-token-of-anybody").await.expect(401, "garbage");
    let billing = Order {
        audience: "billing-api",
        ..Order::default()
    };
    let billing = world.idp.opaque_token(billing).await;
    world
        .node
        .verify(&billing)
        .await
        .expect(401, "a token for another service");

    world.idp.revoke("alice", &token).await;
    let on_the_way = |answer: &Answer| {
        answer.expect(200, "what the provider said counts for its lifetime");
    };
    world.until(401, &token, LIFETIME + SLACK, on_the_way).await;
    world.node.verify(&token).await.expect(401, "and so it stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_by_authmesh_is_in_force_at_once() {
    let world = World::start().await;
    let (token, other) = (world.token().await, world.token().await);
    world.node.verify(&token).await.expect(200, "before");
    world.node.verify(&other).await.expect(200, "before");
    world
        .node
        .revoke(&json!({ "token": token, "why": "end-to-end test" }))
        .await;
    world.node.verify(&token).await.expect(401, "at the very next request");
    world
        .node
        .verify(&other)
        .await
        .expect(200, "another token of the client");
    world.idp.fail(Failure::Error).await;
    world
        .node
        .verify(&token)
        .await
        .expect(401, "while the provider is away, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_provider_is_down_answers_are_stale_inside_the_cap_and_then_503() {
    let world = World::start().await;
    let (token, unseen) = (world.token().await, world.token().await);
    world.node.verify(&token).await.expect(200, "before");
    let asked = Instant::now();
    world.idp.fail(Failure::Error).await;
    let mut stale = 0;
    let ended = world
        .until(503, &token, LIFETIME + STALE_FOR + SLACK, |answer| {
            let outcome = answer
                .expect(200, "an outage is no verdict")
                .header("x-authmesh-outcome");
            let age: u64 = answer.header("x-authmesh-age").parse().unwrap();
            match outcome {
                "stale" => {
                    stale += 1;
                    assert!(age >= LIFETIME.as_secs(), "stale after {age} s");
                    assert!(age <= (LIFETIME + STALE_FOR).as_secs(), "beyond the cap: {age} s");
                }
                outcome => assert!(outcome == "hit" && age <= LIFETIME.as_secs(), "{outcome} after {age} s"),
            }
        })
        .await;
    assert!(stale > 0, "no stale answer was given");
    assert!(
        asked.elapsed() >= LIFETIME + STALE_FOR,
        "the cap was not used: {:?}",
        asked.elapsed()
    );
    assert!(ended.header("retry-after").parse::<u32>().is_ok(), "{ended:?}");
    world
        .node
        .verify(&unseen)
        .await
        .expect(503, "a token that nobody could be asked about");

    world.idp.fail(Failure::None).await;
    let later = |answer: &Answer| {
        answer.expect(503, "while authmesh has not noticed yet");
    };
    world.until(200, &token, SLACK + SLACK, later).await;
    world.until(200, &unseen, SLACK, later).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_warm_before_anybody_waits_and_status_and_doctor_tell_of_the_provider() {
    let world = World::start().await;
    let (token, ended) = (world.token().await, world.token().await);
    world.idp.revoke("alice", &ended).await;
    let file = world.folder.path().join("tokens");
    std::fs::write(&file, format!("{token}\n\n{ended}\n")).unwrap();
    let (code, said, noted) = world.node.command(&["warm", "--tokens", file.to_str().unwrap()]);
    assert_eq!((code, noted.as_str()), (0, ""), "{said}");
    assert!(said.contains("tokens   1 of 2 tokens accepted"), "{said}");
    assert!(said.contains("refused  1 inactive"), "{said}");
    assert!(!said.contains(&token));
    let warm = world.node.verify(&token).await;
    assert_eq!(warm.expect(200, "warmed").header("x-authmesh-outcome"), "hit");

    // What could not be judged is neither accepted nor refused.
    std::fs::write(&file, world.token().await).unwrap();
    world.idp.fail(Failure::Error).await;
    let (code, said, _) = world
        .node
        .command(&["warm", "--no-keys", "--tokens", file.to_str().unwrap()]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("tokens   0 of 1 token accepted") && said.contains("lacking  1 could_not_ask"),
        "{said}"
    );
    assert!(!said.contains("refused"), "{said}");
    world.idp.fail(Failure::None).await;

    let (code, said, _) = world.node.command(&["status"]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("asked about tokens") && said.contains(&world.idp.issuer()),
        "{said}"
    );
    let (_, said, _) = world.node.command(&["doctor"]);
    assert!(
        said.contains("introspection answers") && said.contains("it answers about tokens"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_the_provider_refuses_is_an_outage_and_the_doctor_names_it() {
    let world = World::with_secret("not-the-secret").await;
    let token = world.token().await;
    world
        .node
        .verify(&token)
        .await
        .expect(503, "our own fault is no verdict about the token");
    let (code, said, _) = world.node.command(&["doctor"]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("refuses the credentials of") && said.contains("carol"),
        "{said}"
    );
    assert!(!said.contains("not-the-secret"), "{said}");
}
