//! The snippets for Caddy, HAProxy and Envoy: who passes, who does not, and what the service behind learns.

use std::time::Duration;

use authmesh_tests::authmesh::Authmesh;
use authmesh_tests::client::{Answer, http, send};
use authmesh_tests::forge;
use authmesh_tests::gateway::{Gateway, Kind};
use authmesh_tests::idp::{Idp, Order};
use authmesh_tests::raw;
use authmesh_tests::upstream::Upstream;

const SOON: Duration = Duration::from_secs(10);
const NAMES: [&str; 7] = ["Subject", "Issuer", "Client", "Scopes", "Session", "Email", "Expires"];

struct World {
    gateway: Gateway,
    authmesh: Authmesh,
    idp: Idp,
    _upstream: Upstream,
}

impl World {
    async fn start(kind: Kind) -> Self {
        let idp = Idp::start().await;
        let authmesh = Authmesh::start(&idp.issuer()).await;
        let upstream = Upstream::start().await;
        let gateway = Gateway::start(kind, authmesh.address(), upstream.address()).await;
        Self {
            gateway,
            authmesh,
            idp,
            _upstream: upstream,
        }
    }

    async fn get(&self, path: &str, token: &str) -> Answer {
        send(http().get(self.gateway.url(path)).bearer_auth(token)).await
    }

    async fn raw(&self, path: &str, lines: &[String]) -> Answer {
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        raw::exchange(self.gateway.address(), &raw::get(path, &lines), SOON)
            .await
            .unwrap()
    }
}

/// Everything that a snippet promises, in one world: its programs take longer to start than all of this takes.
async fn keeps_its_promises(kind: Kind) {
    let mut world = World::start(kind).await;
    let reader = world.idp.token(Order::default()).await;
    let admin = Order {
        client: "bob",
        scope: "orders:read admin",
        ..Order::default()
    };
    let admin = world.idp.token(admin).await;

    // The service learns who calls, and the request is the client's own.
    let seen = world.get("/orders?page=2", &admin).await.seen_upstream();
    assert_eq!(
        (seen.method.as_str(), seen.target.as_str()),
        ("GET", "/orders?page=2"),
        "{kind:?}"
    );
    assert_eq!(seen.all("x-auth-subject"), ["bob"], "{kind:?}");
    assert_eq!(seen.all("x-auth-issuer"), [world.idp.issuer()], "{kind:?}");
    assert_eq!(seen.all("x-auth-scopes"), ["orders:read admin"], "{kind:?}");
    assert_eq!(
        seen.all("x-auth-expires"),
        [forge::claims(&admin)["exp"].to_string()],
        "{kind:?}"
    );

    // Bodies and methods pass.
    let post = http().post(world.gateway.url("/orders")).bearer_auth(&reader);
    let seen = send(post.body(vec![b'x'; 200_000])).await.seen_upstream();
    assert_eq!((seen.method.as_str(), seen.body_bytes), ("POST", 200_000), "{kind:?}");

    // What a client says about its identity does not.
    let scopeless = Order {
        scope: "",
        ..Order::default()
    };
    let scopeless = world.idp.token(scopeless).await;
    let mut lines = vec![format!("Authorization: Bearer {scopeless}")];
    for name in NAMES {
        lines.extend(["X-Auth-", "x-auth-", "X_Auth_", "x_auth_"].map(|prefix| format!("{prefix}{name}: forged")));
    }
    let seen = world.raw("/orders", &lines).await.seen_upstream();
    assert_eq!(seen.all("x-auth-subject"), ["alice"], "{kind:?}");
    assert!(
        seen.all("x-auth-scopes").iter().all(|scopes| scopes.is_empty()),
        "{kind:?}"
    );
    let passed: Vec<_> = seen
        .headers
        .iter()
        .filter(|(_, value)| value.contains("forged") || value.contains("http.reverse_proxy"))
        .collect();
    assert!(passed.is_empty(), "{kind:?}: forged headers got through: {passed:?}");

    // Who may not pass is told why.
    let nobody = send(http().get(world.gateway.url("/orders"))).await;
    let challenge = nobody.expect(401, "no token").header("www-authenticate");
    assert!(
        challenge.starts_with("Bearer") && !challenge.contains("error="),
        "{kind:?}: {challenge:?}"
    );
    for bad in [
        forge::with_broken_signature(&reader),
        forge::unsigned(&reader, "none"),
        forge::with_claim(&reader, "sub", "root"),
    ] {
        let refused = world.get("/orders", &bad).await;
        let challenge = refused.expect(401, "a bad token").header("www-authenticate");
        assert!(challenge.contains("invalid_token"), "{kind:?}: {challenge:?}");
        assert_eq!(refused.header("cache-control"), "no-store", "{kind:?}");
    }
    let lacking = world.get("/admin/users", &reader).await;
    let challenge = lacking.expect(403, "a scope is lacking").header("www-authenticate");
    assert!(challenge.contains("scope=\"admin\""), "{kind:?}: {challenge:?}");
    world
        .get("/admin/users", &admin)
        .await
        .expect(200, "the scope is there");

    // A protected path cannot be disguised, neither by its spelling nor by headers that tell another one.
    let bearer = format!("Authorization: Bearer {reader}");
    for path in [
        "/admin",
        "/admin?x",
        "/%61dmin",
        "//admin",
        "/./admin",
        "/orders/../admin",
        "/orders/%2e%2e/admin",
        "/orders/..%2fadmin",
    ] {
        let answer = world.raw(path, std::slice::from_ref(&bearer)).await;
        // A redirection to the plain spelling is as good as a refusal.
        assert!(
            [307, 400, 403].contains(&answer.status),
            "{kind:?}: {path} reached the service: {answer:?}"
        );
    }
    for lie in [
        "X-Forwarded-Uri: /orders",
        "X-Forwarded-Method: GET",
        "X-Original-URI: /orders",
        "X-Original-URL: http://x/orders",
        "X_Forwarded_Uri: /orders",
    ] {
        let answer = world.raw("/admin", &[bearer.clone(), lie.to_owned()]).await;
        assert!(
            [400, 403].contains(&answer.status),
            "{kind:?}: {lie} opened /admin: {answer:?}"
        );
    }
    let both = [bearer.clone(), format!("Authorization: Bearer {admin}")];
    let answer = world.raw("/admin", &both).await;
    assert!(
        [400, 401, 403].contains(&answer.status),
        "{kind:?}: two credentials: {answer:?}"
    );

    // A revocation holds at once.
    let revocation = serde_json::json!({ "subject": "bob", "why": "test" });
    world.authmesh.revoke(&revocation).await;
    world.get("/orders", &admin).await.expect(401, "revoked");

    // An outage is never a verdict, and never lets anybody through.
    world.authmesh.process().kill();
    let away = world.get("/orders", &reader).await;
    assert!([502, 503].contains(&away.status), "{kind:?}: {away:?}");
    if kind != Kind::Caddy {
        away.expect(503, "nobody can tell");
    }

    let log = world.gateway.log();
    for token in [&reader, &admin] {
        assert!(
            !log.contains(forge::signature(token)),
            "{kind:?}: the log shows a token"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn caddy_keeps_the_promises_of_its_snippet() {
    keeps_its_promises(Kind::Caddy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_keeps_the_promises_of_its_snippet() {
    keeps_its_promises(Kind::Haproxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_keeps_the_promises_of_its_snippet() {
    keeps_its_promises(Kind::Envoy).await;
}
