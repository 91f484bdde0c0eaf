//! Trap 36: who revoked what, why, and how far it reaches. Batches are carried out whole or not at all; a mark spares whom
//! it says and nobody else.

use std::collections::BTreeSet;
use std::sync::Arc;

use authmesh::memory::Cluster;
use authmesh::proto::crypto::ScopeKind;
use authmesh::{
    AuthMesh, BatchError, Client, CommitState, JwtId, MarkInfo, MarkQuery, RevocationOrder, RevokeError, Session,
    SigningKey, Subject, Token, VerifyError, WholeIssuer,
};
use serde_json::json;

use crate::support::{TestIssuer, builder, es256, eventually, node, twin};

async fn is_revoked(mesh: &AuthMesh, token: &str) -> bool {
    matches!(mesh.verifier().verify(token).await, Err(VerifyError::Revoked(_)))
}

fn list(mesh: &AuthMesh, query: MarkQuery) -> Vec<MarkInfo> {
    let (mut query, mut all) = (query, Vec::new());
    loop {
        let page = mesh.marks(query);
        all.extend(page.marks);
        match page.next {
            Some(next) => query.after = Some(next),
            None => return all,
        }
    }
}

#[tokio::test]
async fn a_batch_gives_one_receipt_each_in_their_order() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let (a, b) = (node("a", &cluster, &issuer).await, node("b", &cluster, &issuer).await);
    let (alice, bob, kept) = (
        issuer.token_with(json!({})),
        issuer.token_with(json!({"sub": "bob", "jti": "j1"})),
        issuer.token_with(json!({"sid": "s1"})),
    );
    let receipts = a
        .revoke_all([
            RevocationOrder::new(Subject::new(issuer.url(), "alice"))
                .except_session("s1")
                .why("lost phone")
                .by("jo"),
            RevocationOrder::new(JwtId::new(issuer.url(), "j1")),
        ])
        .why("leak")
        .by("security")
        .await
        .unwrap();
    assert_eq!(
        receipts.iter().map(|receipt| receipt.scope).collect::<Vec<_>>(),
        ["subject", "jti"]
    );
    for receipt in &receipts {
        assert_eq!(receipt.state, CommitState::Committed);
        assert_eq!(receipt.not_before.is_some(), receipt.scope == "subject");
    }
    for mesh in [&a, &b] {
        eventually("both are known", || async {
            is_revoked(mesh, &alice).await && is_revoked(mesh, &bob).await
        })
        .await;
        mesh.verifier().verify(&kept).await.unwrap();
        let notes: Vec<_> = list(mesh, MarkQuery::default())
            .into_iter()
            .map(|mark| (mark.kind, mark.by, mark.why, mark.except.is_some()))
            .collect();
        assert!(
            notes.contains(&("subject", "jo".into(), "lost phone".into(), true)),
            "{notes:?}"
        );
        assert!(
            notes.contains(&("jti", "security".into(), "leak".into(), false)),
            "{notes:?}"
        );
    }
}

#[tokio::test]
async fn a_batch_is_carried_out_whole_or_not_at_all() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let mesh = builder("a", &issuer)
        .mark_cap(3)
        .join(Arc::new(cluster))
        .start()
        .await
        .unwrap();
    let users = |n: usize| (0..n).map(|n| Subject::new(issuer.url(), format!("user-{n}")));
    let token = issuer.token_with(json!({"sub": "user-0"}));

    let full = mesh.revoke_all(users(4)).await.unwrap_err();
    assert_eq!(
        full,
        BatchError {
            at: None,
            error: RevokeError::Full { cap: 3 }
        }
    );
    let orders = [
        RevocationOrder::new(Subject::new(issuer.url(), "user-0")),
        RevocationOrder::new(Subject::new("https://elsewhere.test", "user-1")),
    ];
    let unknown = mesh.revoke_all(orders).await.unwrap_err();
    assert_eq!(
        unknown,
        BatchError {
            at: Some(1),
            error: RevokeError::UnknownIssuer
        }
    );
    assert!(
        unknown.to_string().starts_with("revocation 2 of the batch: "),
        "{unknown}"
    );
    let long = mesh.revoke_all(users(1001)).await.unwrap_err();
    assert!(matches!(
        long,
        BatchError {
            at: None,
            error: RevokeError::BadValue(_)
        }
    ));
    assert_eq!((mesh.stats().marks, mesh.stats().counts.statements_made), (0, 0));
    mesh.verifier().verify(&token).await.unwrap();
    assert_eq!(mesh.stats().outbox, 0, "what was refused holds no room");

    assert_eq!(mesh.revoke_all(users(3)).await.unwrap().len(), 3);
    assert!(is_revoked(&mesh, &token).await);
    assert_eq!(
        mesh.revoke_all(users(3)).await.unwrap().len(),
        3,
        "what is held merges at the cap too"
    );
    assert_eq!(mesh.revoke_all(users(0)).await.unwrap(), []);
}

#[tokio::test]
async fn a_thousand_go_at_once_and_are_listed_page_by_page() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let mesh = node("a", &cluster, &issuer).await;
    let users = (0..1000).map(|n| Subject::new(issuer.url(), format!("user-{n}")));
    let receipts = mesh.revoke_all(users).await.unwrap();
    assert_eq!(receipts.len(), 1000);
    mesh.revoke(Session::new(issuer.url(), "s1")).await.unwrap();
    mesh.clear().await.unwrap();
    for limit in [0, 1, 7, 1000, usize::MAX] {
        let marks = list(
            &mesh,
            MarkQuery {
                limit,
                ..MarkQuery::default()
            },
        );
        assert_eq!(marks.len(), 1001, "{limit}: the tag of `clear` is none of them");
        let ids: BTreeSet<_> = marks.iter().map(|mark| &mark.id).collect();
        assert_eq!(ids.len(), 1001, "each of them once");
    }
    let of = |kind| {
        list(
            &mesh,
            MarkQuery {
                kind: Some(kind),
                ..MarkQuery::default()
            },
        )
        .len()
    };
    assert_eq!(
        (of(ScopeKind::Session), of(ScopeKind::Tag), of(ScopeKind::Client)),
        (1, 1, 0)
    );
    assert_eq!(mesh.marks(MarkQuery::default()).marks.len(), 100);
}

#[tokio::test]
async fn whoever_knows_the_value_learns_what_stands_against_it() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let mesh = node("a", &cluster, &issuer).await;
    let token = issuer.token_with(json!({"sid": "s1"}));
    mesh.revoke(Subject::new(issuer.url(), "alice"))
        .except_session("s1")
        .by("jo")
        .await
        .unwrap();
    mesh.revoke(Subject::new(issuer.url(), "alice"))
        .not_before(issuer.now() - 3600)
        .await
        .unwrap();
    mesh.revoke(Client::new(issuer.url(), "app")).await.unwrap();
    mesh.revoke(WholeIssuer::new(issuer.url()))
        .not_before(issuer.now() - 7200)
        .why("incident")
        .await
        .unwrap();
    mesh.revoke(Token::new(&*token)).await.unwrap();
    let kinds = |marks: Vec<MarkInfo>| marks.into_iter().map(|mark| mark.kind).collect::<Vec<_>>();

    let alice = mesh.explain_marks(Subject::new(issuer.url(), "alice")).await.unwrap();
    assert_eq!((&*alice[0].by, &alice[0].except, &*alice[1].by), ("", &None, "jo"));
    assert_eq!(
        (alice[0].scope.as_str(), alice[2].why.as_str()),
        (alice[1].scope.as_str(), "incident")
    );
    assert_eq!(kinds(alice), ["subject", "subject", "issuer"]);
    assert_eq!(
        kinds(mesh.explain_marks(Subject::new(issuer.url(), "bob")).await.unwrap()),
        ["issuer"]
    );
    assert_eq!(
        kinds(mesh.explain_marks(WholeIssuer::new(issuer.url())).await.unwrap()),
        ["issuer"]
    );
    assert_eq!(
        kinds(mesh.explain_marks(Token::new(&*token)).await.unwrap()),
        ["token", "issuer"]
    );
    let elsewhere = mesh
        .explain_marks(Subject::new("https://elsewhere.test", "alice"))
        .await;
    assert_eq!(elsewhere.unwrap_err(), RevokeError::UnknownIssuer);
    let garbage = mesh.explain_marks(Token::new("garbage")).await.unwrap_err();
    assert!(matches!(garbage, RevokeError::Token(VerifyError::Malformed(_))));
}

#[tokio::test]
async fn the_preview_counts_what_this_node_holds_and_changes_nothing() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let mesh = node("a", &cluster, &issuer).await;
    for n in 0..30 {
        let client = if n % 3 == 0 { "app" } else { "other" };
        let token = issuer.token_with(json!({"sub": format!("user-{n}"), "azp": client}));
        mesh.verifier().verify(&token).await.unwrap();
    }
    assert_eq!(mesh.preview(Client::new(issuer.url(), "app")).await.unwrap(), 10);
    assert_eq!(mesh.preview(WholeIssuer::new(issuer.url())).await.unwrap(), 30);
    assert_eq!(mesh.preview(Subject::new(issuer.url(), "user-1")).await.unwrap(), 1);
    assert_eq!(mesh.preview(Subject::new(issuer.url(), "nobody")).await.unwrap(), 0);
    assert_eq!((mesh.stats().marks, mesh.stats().counts.statements_made), (0, 0));
}

#[tokio::test]
async fn a_signing_key_is_revoked_by_either_of_its_names() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let mesh = node("a", &cluster, &issuer).await;
    let old = issuer.token_with(json!({}));
    issuer.new_key();
    issuer.publish();
    let (new, later) = (
        issuer.token_with(json!({})),
        issuer.token_with(json!({"iat": issuer.now() + 20})),
    );
    for token in [&old, &new, &later] {
        mesh.verifier().verify(token).await.unwrap();
    }
    let receipt = mesh.revoke(SigningKey::kid(issuer.url(), "k1")).await.unwrap();
    assert_eq!((receipt.scope, receipt.not_before.is_some()), ("key", true));
    assert!(is_revoked(&mesh, &old).await && !is_revoked(&mesh, &new).await);

    let thumbprint = {
        let verdict = mesh.verifier().verify(&new).await.unwrap();
        encode(verdict.key().unwrap().thumbprint)
    };
    let at = issuer.now();
    mesh.revoke(SigningKey::thumbprint(issuer.url(), &thumbprint))
        .not_before(at)
        .await
        .unwrap();
    assert!(is_revoked(&mesh, &new).await);
    assert!(
        !is_revoked(&mesh, &later).await,
        "it compares times, as a subject's mark does"
    );

    for bad in [&thumbprint[1..], &format!("{thumbprint}="), "", "not base64url!"] {
        let refused = mesh
            .revoke(SigningKey::thumbprint(issuer.url(), bad))
            .await
            .unwrap_err();
        assert!(matches!(refused, RevokeError::BadValue(_)), "{bad}: {refused}");
    }
    for (url, kid) in [(issuer.url(), "k9"), (issuer.url(), "")] {
        let refused = mesh.revoke(SigningKey::kid(url, kid)).await.unwrap_err();
        assert!(matches!(refused, RevokeError::UnknownKey(_)), "{kid}: {refused}");
    }
    let elsewhere = mesh
        .revoke(SigningKey::kid("https://elsewhere.test", "k1"))
        .await
        .unwrap_err();
    assert_eq!(elsewhere, RevokeError::UnknownIssuer);
}

fn encode(bytes: [u8; 32]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

#[tokio::test]
async fn a_spared_token_is_spared_alone_and_by_both_of_its_signatures() {
    let (cluster, issuer) = (Cluster::new(), es256());
    let other = issuer.other();
    let mesh = builder("a", &issuer)
        .issuer(other.url(), other.source(), other.rules())
        .join(Arc::new(cluster))
        .start()
        .await
        .unwrap();
    let token = |jti: &str| issuer.token_with(json!({"jti": jti}));
    let (kept, lost) = (token("kept"), token("lost"));
    for token in [&kept, &lost] {
        mesh.verifier().verify(token).await.unwrap();
    }
    let alice = || mesh.revoke(Subject::new(issuer.url(), "alice"));
    alice().except_token(&*kept).await.unwrap();
    assert!(is_revoked(&mesh, &lost).await);
    mesh.verifier().verify(&kept).await.unwrap();
    mesh.verifier().verify(twin(&kept)).await.unwrap();
    mesh.verifier()
        .max_age(std::time::Duration::ZERO)
        .verify(&kept)
        .await
        .unwrap();

    let marks = mesh.stats().marks;
    let (input, signature) = (kept.rsplit_once('.').unwrap().0, lost.rsplit_once('.').unwrap().1);
    let forged = alice().except_token(format!("{input}.{signature}")).await.unwrap_err();
    assert_eq!(forged, RevokeError::Token(VerifyError::BadSignature));
    let foreign = alice().except_token(other.token_with(json!({}))).await.unwrap_err();
    assert!(matches!(foreign, RevokeError::BadValue(_)), "{foreign}");
    let both = alice().except_token(&*kept).except_session("s1").await.unwrap_err();
    assert!(matches!(both, RevokeError::BadValue(_)), "{both}");
    assert_eq!(mesh.stats().marks, marks, "what was refused made no mark");

    alice().await.unwrap();
    assert!(
        is_revoked(&mesh, &kept).await,
        "a mark without the exception stands beside it"
    );
}
