//! A logout token makes one mark, which derives from it alone; a replay changes nothing. And a token of one kind never passes
//! for one of the other.

use std::sync::Arc;
use std::time::Duration;

use authmesh::clock::ManualClock;
use authmesh::jose::{Algorithm, AlgorithmSet};
use authmesh::memory::Cluster;
use authmesh::ports::Log as _;
use authmesh::proto::crypto::ScopeKind;
use authmesh::proto::ident::Digest;
use authmesh::{
    AuthMesh, CommitState, Fault, LogoutError, LogoutRules, MarkQuery, Policy, RevokeError, Rules, Subject, VerifyError,
};
use authmesh_testkit::Op;
use serde_json::{Value, json};

use crate::support::{
    START, TestIssuer, Wire, builder, cluster_with, eventually, manual_clock, poll_once, soon, wired,
};

const CLIENT: &str = "web";
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

async fn node(name: &str, wire: &Arc<Wire>, issuer: &TestIssuer) -> AuthMesh {
    let node = builder(name, issuer).logout(issuer.url(), LogoutRules::for_clients([CLIENT]));
    node.join(Arc::clone(wire)).start().await.unwrap()
}

/// A logout token of `alice`'s session `s1`. `more` adds and replaces claims; `null` removes one.
fn logout_token(issuer: &TestIssuer, more: Value) -> String {
    let mut claims = json!({
        "aud": CLIENT, "sid": "s1", "jti": "j1", "exp": issuer.now() + 120, "events": { EVENT: {} },
    });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    issuer.sign(json!({ "typ": "logout+jwt" }), issuer.claims(claims))
}

async fn is_revoked(mesh: &AuthMesh, token: &str) -> bool {
    matches!(mesh.verifier().verify(token).await, Err(VerifyError::Revoked(_)))
}

fn made(mesh: &AuthMesh) -> u64 {
    mesh.stats().counts.statements_made
}

/// The root digest of every channel's marks, as the cluster keeps them.
async fn roots(cluster: &Cluster) -> Vec<Digest> {
    let heads = cluster.heads().await.unwrap();
    heads.into_iter().map(|head| head.unwrap().root).collect()
}

/// Every mark, as people see it: its key, its times, its note.
fn marks(mesh: &AuthMesh) -> Vec<Value> {
    let page = mesh.marks(MarkQuery::default());
    page.marks.iter().map(|mark| json!(mark)).collect()
}

#[tokio::test]
async fn a_logout_ends_the_session_on_every_node_and_no_other() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let wire = wired(&cluster);
    let (a, b) = (node("a", &wire, &issuer).await, node("b", &wire, &issuer).await);
    let own = issuer.token_with(json!({ "sid": "s1" }));
    let other = issuer.token_with(json!({ "sid": "s2" }));
    for token in [&own, &other] {
        b.verifier().verify(token).await.unwrap();
    }
    let receipt = a.back_channel_logout(logout_token(&issuer, json!({}))).await.unwrap();
    assert_eq!((receipt.state, receipt.scope), (CommitState::Committed, "session"));
    assert!(is_revoked(&a, &own).await);
    eventually("b has the mark", || is_revoked(&b, &own)).await;
    b.verifier().verify(&other).await.unwrap();

    let receipt = a
        .back_channel_logout(logout_token(&issuer, json!({ "sid": null })))
        .await
        .unwrap();
    assert_eq!(receipt.scope, "subject");
    eventually("b has the other mark", || is_revoked(&b, &other)).await;
    b.verifier()
        .verify(&issuer.token_with(json!({ "sub": "bob" })))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_replay_changes_nothing() {
    let clock = manual_clock();
    let (cluster, issuer) = (cluster_with(&clock), TestIssuer::at(clock.clone()));
    let wire = wired(&cluster);
    let (a, b) = (node("a", &wire, &issuer).await, node("b", &wire, &issuer).await);
    // Long enough to come again in another hour: a mark in our time, not the token's, would be another one.
    let token = logout_token(&issuer, json!({ "exp": START + 3 * 3600 }));
    let first = a.back_channel_logout(&token).await.unwrap();
    eventually("b has the mark", || async { b.stats().marks == 1 }).await;
    let (before, digests, statements) = (marks(&a), roots(&cluster).await, made(&a));
    assert_eq!((first.not_before, statements), (Some(START), 1));
    assert_eq!(before[0]["at"], START);
    assert_eq!(before[0]["by"], "back-channel logout");

    for wall in [START + 1, START + 2 * 3600] {
        clock.jump_to(wall);
        for node in [&a, &b] {
            let again = node.back_channel_logout(&token).await.unwrap();
            assert_eq!(again.state, CommitState::Committed);
            assert_eq!((again.not_before, again.expires), (first.not_before, first.expires));
        }
    }
    assert_eq!((made(&a), made(&b)), (statements, 0), "nothing was said");
    assert_eq!(roots(&cluster).await, digests, "the table has the same digests");
    assert_eq!((marks(&a), marks(&b)), (before.clone(), before));
}

/// A node that does not have the mark yet says it again: the same one, so the table does not change.
#[tokio::test]
async fn two_nodes_make_the_same_mark_of_one_token() {
    let clock = manual_clock();
    let (cluster, issuer) = (cluster_with(&clock), TestIssuer::at(clock.clone()));
    let (one, other) = (wired(&cluster), wired(&cluster));
    let (a, b) = (node("a", &one, &issuer).await, node("b", &other, &issuer).await);
    let token = logout_token(&issuer, json!({ "exp": START + 3 * 3600 }));
    other.faults().cut();
    let said_alone = b.back_channel_logout(&token).await.unwrap();
    assert_eq!(said_alone.state, CommitState::Unconfirmed);
    clock.advance(Duration::from_secs(4000));
    a.back_channel_logout(&token).await.unwrap();
    let digests = roots(&cluster).await;
    other.faults().clear();
    eventually("b has said it", || async { b.stats().outbox == 0 }).await;
    assert_eq!((made(&a), made(&b)), (1, 1));
    assert_eq!(roots(&cluster).await, digests);
}

#[tokio::test]
async fn a_replay_before_the_commit_waits_for_it() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let wire = wired(&cluster);
    let a = node("a", &wire, &issuer).await;
    let token = logout_token(&issuer, json!({}));
    wire.faults().on(Op::Commit).fail();
    for _ in 0..2 {
        let receipt = a.back_channel_logout(&token).await.unwrap();
        assert_eq!(receipt.state, CommitState::Unconfirmed);
    }
    assert_eq!(made(&a), 1, "the second waited for the first");
    let waiting = {
        let (a, token) = (a.clone(), token.clone());
        tokio::spawn(async move { a.back_channel_logout(&token).await.unwrap() })
    };
    wire.faults().clear();
    let receipt = soon("the commit", waiting).await.unwrap();
    // It may have come just too late for the 2 s of this caller; then the next one is told.
    if receipt.state == CommitState::Unconfirmed {
        eventually("it is committed", || async { a.stats().outbox == 0 }).await;
    }
    let receipt = a.back_channel_logout(&token).await.unwrap();
    assert_eq!((receipt.state, made(&a)), (CommitState::Committed, 1));
}

/// The mark that covers it is another one, and nobody has confirmed that.
#[tokio::test]
async fn what_covers_a_logout_must_be_committed_too() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let wire = wired(&cluster);
    let a = node("a", &wire, &issuer).await;
    let token = logout_token(&issuer, json!({ "sid": null, "iat": issuer.now() - 10 }));
    wire.faults().on(Op::Commit).fail();
    let receipt = a.revoke(Subject::new(issuer.url(), "alice")).await.unwrap();
    assert_eq!(receipt.state, CommitState::Unconfirmed);
    let receipt = a.back_channel_logout(&token).await.unwrap();
    assert_eq!((receipt.state, made(&a)), (CommitState::Unconfirmed, 1));
    wire.faults().clear();
    eventually("it is committed", || async { a.stats().outbox == 0 }).await;
    let receipt = a.back_channel_logout(&token).await.unwrap();
    assert_eq!((receipt.state, made(&a)), (CommitState::Committed, 1));
}

#[tokio::test]
async fn callers_that_come_together_make_one_statement() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let a = node("a", &wired(&cluster), &issuer).await;
    let token = logout_token(&issuer, json!({}));
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let (a, token) = (a.clone(), token.clone());
            tokio::spawn(async move { a.back_channel_logout(token).await })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap().state, CommitState::Committed);
    }
    assert_eq!(made(&a), 1);
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_nothing_back() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let a = node("a", &wired(&cluster), &issuer).await;
    assert!(a.wait_for_keys(Duration::from_secs(5)).await);
    let own = issuer.token_with(json!({ "sid": "s1" }));
    assert!(
        poll_once(a.back_channel_logout(logout_token(&issuer, json!({}))))
            .await
            .is_none()
    );
    assert!(is_revoked(&a, &own).await);
}

#[tokio::test]
async fn a_logout_token_gives_access_to_nothing() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let a = node("a", &wired(&cluster), &issuer).await;
    let claims = issuer.claims(json!({ "jti": "j1", "sid": "s1" }));
    let events = issuer.claims(json!({ "jti": "j1", "sid": "s1", "events": { EVENT: {} } }));
    // Its audience and its times are those of an access token: the type alone, the events alone, and both.
    let forged = [
        issuer.sign(json!({ "typ": "logout+jwt" }), claims.clone()),
        issuer.sign(json!({ "typ": "JWT" }), events.clone()),
        issuer.sign(json!({ "typ": null }), events.clone()),
        issuer.sign(json!({ "typ": "application/Logout+JWT" }), events),
    ];
    // A policy that names the type does not open the door.
    let mut lax = Rules::danger_any_audience();
    lax.types = ["logout+jwt", "JWT"].map(str::to_owned).to_vec();
    let mut policy = Policy::default();
    policy.issuers.insert(issuer.url().into(), lax);
    let lax = a.verifier_for(policy).unwrap();
    for token in &forged {
        for (name, verifier) in [("own", a.verifier()), ("lax", lax.clone())] {
            assert_eq!(
                verifier.verify(token).await.unwrap_err(),
                VerifyError::WrongType,
                "{name}"
            );
        }
    }
    a.verifier().verify(issuer.sign(json!({}), claims)).await.unwrap();
}

#[tokio::test]
async fn an_access_token_or_an_id_token_logs_nobody_out() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let a = node("a", &wired(&cluster), &issuer).await;
    let access = issuer.sign(
        json!({ "typ": "at+jwt" }),
        issuer.claims(json!({ "aud": CLIENT, "jti": "j1", "events": { EVENT: {} } })),
    );
    let id = issuer.token_with(json!({ "aud": CLIENT, "sid": "s1", "jti": "j1", "nonce": "n" }));
    let disguised = logout_token(&issuer, json!({ "nonce": "n" }));
    for (token, code) in [
        (access, "wrong_type"),
        (id, "no_logout_event"),
        (disguised, "has_nonce"),
    ] {
        let error = a.back_channel_logout(token).await.unwrap_err();
        assert_eq!((error.code(), error.fault()), (code, Fault::Token));
    }
    assert_eq!((made(&a), a.stats().marks), (0, 0));
    assert_eq!(a.stats().counts.logouts_refused, 3);
}

#[tokio::test]
async fn one_issuer_logs_nobody_out_of_another() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let (other, third) = (issuer.other(), TestIssuer::new());
    let a = builder("a", &issuer)
        .issuer(other.url(), other.source(), other.rules())
        .logout(issuer.url(), LogoutRules::for_clients([CLIENT]))
        .join(Arc::new(cluster))
        .start()
        .await
        .unwrap();
    let refused = async |token: String| a.back_channel_logout(token).await.unwrap_err();
    // Known, and not listened to.
    assert_eq!(
        refused(logout_token(&other, json!({}))).await,
        VerifyError::WrongIssuer.into()
    );
    // By its own key, in the name of the first.
    let forged = logout_token(&other, json!({ "iss": issuer.url() }));
    assert_eq!(refused(forged).await, VerifyError::BadSignature.into());
    let forged = logout_token(&third, json!({}));
    assert_eq!(refused(forged).await, VerifyError::BadSignature.into());
    // The same session of the other issuer goes on.
    a.back_channel_logout(logout_token(&issuer, json!({}))).await.unwrap();
    a.verifier()
        .verify(&other.token_with(json!({ "sid": "s1" })))
        .await
        .unwrap();
    assert!(is_revoked(&a, &issuer.token_with(json!({ "sid": "s1" }))).await);
}

/// Keys, algorithms and the limit of size are those of access tokens.
#[tokio::test]
async fn a_signature_that_is_not_accepted_for_access_logs_nobody_out() {
    let issuer = TestIssuer::new();
    let mut rules = issuer.rules();
    rules.algorithms = AlgorithmSet::of(&[Algorithm::ES256]);
    let a = AuthMesh::builder()
        .clock(issuer.clock())
        .issuer(issuer.url(), issuer.source(), rules)
        .logout(issuer.url(), LogoutRules::for_clients([CLIENT]))
        .start()
        .await
        .unwrap();
    let good = logout_token(&issuer, json!({}));
    let header = |header| issuer.sign(header, issuer.claims(json!({})));
    for (token, code) in [
        (good.clone(), "unsupported"),
        (header(json!({ "alg": "none" })), "unsupported"),
        (header(json!({ "alg": "HS256" })), "unsupported"),
        (header(json!({ "crit": ["exp"] })), "unsupported"),
        (header(json!({ "alg": "ES256", "kid": "k9" })), "unknown_key"),
        (format!("{good}.x"), "malformed"),
        ("x".repeat(16 * 1024 + 1), "too_large"),
    ] {
        let error = a.back_channel_logout(token).await.unwrap_err();
        assert_eq!((error.code(), error.fault()), (code, Fault::Token));
    }
    assert_eq!(a.stats().marks, 0);
}

#[tokio::test]
async fn a_later_login_of_the_session_stands() {
    let clock = manual_clock();
    let (cluster, issuer) = (cluster_with(&clock), TestIssuer::at(clock.clone()));
    let a = node("a", &wired(&cluster), &issuer).await;
    // The issuer's clock is behind ours: what counts is its own.
    let token = logout_token(&issuer, json!({ "iat": START - 20 }));
    a.back_channel_logout(&token).await.unwrap();
    for (iat, void) in [(START - 21, true), (START - 20, true), (START - 19, false)] {
        let token = issuer.token_with(json!({ "sid": "s1", "iat": iat }));
        assert_eq!(is_revoked(&a, &token).await, void, "{iat}");
    }
}

#[tokio::test]
async fn an_outage_of_the_issuer_is_no_verdict_about_a_logout() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    issuer.fail();
    let a = node("a", &wired(&cluster), &issuer).await;
    let error = a
        .back_channel_logout(logout_token(&issuer, json!({})))
        .await
        .unwrap_err();
    assert!(
        matches!(error, LogoutError::Token(VerifyError::CouldNotAsk { .. })),
        "{error:?}"
    );
    assert_eq!(error.fault(), Fault::Service);
    assert!(error.retry_after().is_some());
    assert_eq!(a.stats().counts.logouts_failed, 1);
}

#[tokio::test]
async fn a_full_table_and_a_shutdown_are_no_verdict_either() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let a = builder("a", &issuer)
        .logout(issuer.url(), LogoutRules::for_clients([CLIENT]))
        .mark_cap(1)
        .join(Arc::new(cluster))
        .start()
        .await
        .unwrap();
    a.back_channel_logout(logout_token(&issuer, json!({}))).await.unwrap();
    let other = logout_token(&issuer, json!({ "sid": "s2" }));
    let error = a.back_channel_logout(&other).await.unwrap_err();
    assert_eq!(error, LogoutError::Mark(RevokeError::Full { cap: 1 }));
    assert_eq!(error.fault(), Fault::Service);
    a.shutdown().await;
    let error = a
        .back_channel_logout(logout_token(&issuer, json!({})))
        .await
        .unwrap_err();
    assert_eq!(error, LogoutError::Mark(RevokeError::ShutDown));
}

#[tokio::test]
async fn rules_of_an_unknown_issuer_start_nothing() {
    let issuer = TestIssuer::new();
    let node = builder("a", &issuer).logout("https://else.test", LogoutRules::for_clients([CLIENT]));
    assert_eq!(node.start().await.unwrap_err().setting, "logout");
}

/// The clock of a node may jump: the mark is the token's.
#[tokio::test]
async fn the_mark_is_kept_as_long_as_a_token_of_the_session_can_live() {
    let clock: Arc<ManualClock> = manual_clock();
    let (cluster, issuer) = (cluster_with(&clock), TestIssuer::at(clock.clone()));
    let a = node("a", &wired(&cluster), &issuer).await;
    let own = issuer.token_with(json!({ "sid": "s1", "exp": START + 86_400 }));
    let receipt = a.back_channel_logout(logout_token(&issuer, json!({}))).await.unwrap();
    assert!(receipt.expires > START + 86_400 + 30, "{receipt:?}");
    clock.advance(Duration::from_secs(86_399));
    let found = a.verifier().verify(&own).await.unwrap_err();
    assert_eq!(found, VerifyError::Revoked(ScopeKind::Session));
}
