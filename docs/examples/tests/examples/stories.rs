//! The examples that need nothing but themselves.

use authmesh_examples::Login;
use authmesh_testkit::{TestIssuer, forge};
use authmesh_tests::client::{http, send};
use axum::http::Method;
use serde_json::json;

use crate::{Example, actix_example, axum_example, custom_data, logout, many_issuers};

fn embedded() -> (TestIssuer, Login) {
    let issuer = TestIssuer::new();
    (issuer.clone(), Login::Embedded(issuer))
}

/// Two services that are the same to whoever asks them.
async fn says_what_a_guarded_service_says(app: &Example, login: &Login) {
    let reader = login.token("alice", "orders:read", "s1");
    let deleter = login.token("alice", "orders:delete", "s1");
    let hello = app.get("/", &reader).await;
    assert_eq!((hello.status, &*hello.body), (200, "hello, alice"));
    app.get("/orders", &reader).await.expect(200, "it has the scope");
    app.get("/orders", &deleter).await.expect(403, "it lacks the scope");
    let order = app.ask(Method::DELETE, "/orders/7", &deleter, "").await;
    order.expect(200, "it has the scope");
    let forged = forge::with_claim(&reader, "sub", "root");
    app.get("/", &forged).await.expect(401, "nobody signed it");
    let health = send(http().get(format!("{}/health", app.base))).await;
    health.expect(200, "it is open to everybody");
}

#[tokio::test]
async fn axum() {
    let (_, login) = embedded();
    let app = Example::start(|listener| axum_example::run(login.clone(), listener)).await;
    says_what_a_guarded_service_says(&app, &login).await;
}

#[tokio::test]
async fn actix() {
    let (_, login) = embedded();
    let app = Example::start(|listener| actix_example::run(login.clone(), listener)).await;
    says_what_a_guarded_service_says(&app, &login).await;
}

#[tokio::test]
async fn many_issuers() {
    let issuers = many_issuers::Issuers::embedded();
    let app = Example::start(|listener| many_issuers::run(issuers.clone(), listener)).await;
    for issuer in [&issuers.staff, &issuers.shop, &issuers.acme] {
        let answer = app.get("/", &issuer.token("alice")).await;
        assert_eq!(
            (answer.status, answer.body),
            (200, format!("alice of {}", issuer.url()))
        );
    }
    let staff = app.get("/staff", &issuers.staff.token("alice")).await;
    staff.expect(200, "it is the staff's");
    for issuer in [&issuers.shop, &issuers.acme] {
        let stranger = app.get("/staff", &issuer.token("alice")).await;
        stranger.expect(401, "it is none of the staff's");
    }
    // The shop's key, and the staff's name: each issuer is judged by its own keys.
    let forged = issuers
        .shop
        .token_with(json!({"iss": issuers.staff.url(), "aud": "api"}));
    app.get("/", &forged).await.expect(401, "the shop signed it");
    let stranger = TestIssuer::builder().url("https://login.example.com/strangers").build();
    app.get("/", &stranger.token("alice"))
        .await
        .expect(401, "the tenant is not on the list");
    assert_eq!(stranger.requests(), 0);
}

#[tokio::test]
async fn signing_out() {
    let (issuer, login) = embedded();
    let app = Example::start(|listener| logout::run(login.clone(), listener)).await;
    let [laptop, phone, tablet] = ["laptop", "phone", "tablet"].map(|session| login.token("alice", "", session));
    let bob = login.token("bob", "", "bobs");
    for token in [&laptop, &phone, &tablet, &bob] {
        app.get("/", token).await.expect(200, "it is good");
    }
    app.post("/sign-out", &phone).await.expect(204, "the phone signs out");
    app.get("/", &phone).await.expect(401, "it has signed out");
    app.get("/", &tablet).await.expect(200, "the tablet has not");
    app.post("/sign-out/others", &laptop)
        .await
        .expect(204, "the others are signed out");
    app.get("/", &tablet).await.expect(401, "it is another");
    app.get("/", &laptop).await.expect(200, "it is the one at hand");
    app.get("/", &bob).await.expect(200, "it is bob's");

    // The provider ends bob's session.
    let now = issuer.now();
    let claims = json!({
        "iss": issuer.url(), "aud": logout::CLIENT_ID, "iat": now, "exp": now + 120, "jti": "l1", "sid": "bobs",
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
    });
    let told = issuer.sign(json!({"typ": "logout+jwt"}), &claims);
    let post = |token: &str| {
        let request = http().post(format!("{}/back-channel-logout", app.base));
        send(
            request
                .header("content-type", "application/x-www-form-urlencoded")
                .body(format!("logout_token={token}")),
        )
    };
    post(&forge::with_claim(&told, "sid", "laptop"))
        .await
        .expect(400, "nobody signed it");
    post(&bob).await.expect(400, "an access token is no logout token");
    app.get("/", &laptop).await.expect(200, "nothing has happened");
    post(&told).await.expect(200, "the session has ended");
    app.get("/", &bob).await.expect(401, "its session has ended");
    app.get("/", &told)
        .await
        .expect(401, "a logout token is no access token");
}

#[tokio::test]
async fn custom_claims_and_custom_data() {
    let (issuer, login) = embedded();
    let app = Example::start(|listener| custom_data::run(login.clone(), listener)).await;
    let of = |subject: &str, tenant: &str| issuer.mint().subject(subject).claim("tenant", tenant).sign();
    let (alice, other) = (of("alice", "acme"), of("alice", "globex"));
    let reads = |answer: authmesh_tests::client::Answer| {
        answer.expect(200, "a profile");
        (
            answer.json()["name"].as_str().unwrap().to_owned(),
            answer.json()["reads"].as_u64().unwrap(),
        )
    };
    for _ in 0..3 {
        assert_eq!(
            reads(app.get("/me", &alice).await),
            ("acme/alice".into(), 1),
            "it is read once"
        );
    }
    assert_eq!(
        reads(app.get("/me", &other).await),
        ("globex/alice".into(), 2),
        "another tenant, another profile"
    );
    app.ask(Method::PUT, "/me", &alice, "Alice L.")
        .await
        .expect(204, "it is written");
    assert_eq!(reads(app.get("/me", &alice).await), ("Alice L.".into(), 3));
    app.post("/tenant/forget", &alice).await.expect(204, "the tag is void");
    assert_eq!(
        reads(app.get("/me", &alice).await),
        ("Alice L.".into(), 4),
        "it is read anew"
    );
    assert_eq!(
        reads(app.get("/me", &other).await),
        ("globex/alice".into(), 2),
        "its tag is another"
    );
    let unfit = issuer.mint().claim("tenant", 7).sign();
    app.get("/me", &unfit).await.expect(401, "a tenant is a string");
}
