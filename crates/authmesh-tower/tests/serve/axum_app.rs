//! An axum service behind the layer: extractors, policies, the request scope.

use authmesh::Subject;
use authmesh_tower::axum::{Auth, Fresh, FreshWithin, Guarded, OptionalAuth, RequireScope};
use authmesh_tower::{AuthExt as _, AuthLayer, Protect as _, RequestScope, RoutePolicy, TokenSource};
use axum::extract::{Request, State};
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde::Deserialize;
use serde_json::json;

use crate::world::{ISSUER, Server, World};

#[derive(Debug, Deserialize)]
struct Claims {
    tenant: String,
}

authmesh_tower::scope!(struct Read = "orders:read");
authmesh_tower::scope!(struct Write = "orders:write");

async fn hello(auth: Auth<Claims>) -> String {
    format!("{} of {}", auth.subject().unwrap(), auth.claims().tenant)
}

async fn who(auth: OptionalAuth) -> String {
    let subject = auth.as_ref().and_then(|auth| auth.subject());
    subject.unwrap_or("nobody").to_owned()
}

#[tokio::test]
async fn a_token_opens_the_door_and_its_claims_are_read() {
    let world = World::new().await;
    let app = Router::new().route("/", get(hello)).layer(world.mesh.layer());
    let server = Server::start(app).await;

    let token = world.token(json!({"tenant": "acme"}));
    for _ in 0..2 {
        let reply = server.get("/", &token).await;
        assert_eq!((reply.status, &*reply.body), (200, "alice of acme"));
        assert_eq!(reply.header("x-authmesh-outcome"), None, "nobody asked for it");
    }

    let none = server.ask("GET /", &[]).await;
    assert_eq!((none.status, &*none.problem()), (401, "no-credential"));
    assert_eq!(none.header("www-authenticate"), Some("Bearer realm=\"authmesh\""));
    assert_eq!(none.header("cache-control"), Some("no-store"));

    let forged = server.get("/", &world.forged()).await;
    assert_eq!((forged.status, &*forged.problem()), (401, "bad-signature"));

    let unfit = server.get("/", &world.token(json!({"tenant": 7}))).await;
    assert_eq!((unfit.status, &*unfit.problem()), (401, "unfit-claims"));
    assert!(!unfit.body.contains('7'), "no word of a claim: {}", unfit.body);
}

#[tokio::test]
async fn a_revoked_token_closes_it_again() {
    let world = World::new().await;
    let app = Router::new().route("/", get(who)).layer(world.mesh.layer());
    let server = Server::start(app).await;
    let token = world.token(json!({}));
    assert_eq!(server.get("/", &token).await.status, 200);
    world.mesh.revoke(Subject::new(ISSUER, "alice")).await.unwrap();
    let reply = server.get("/", &token).await;
    assert_eq!((reply.status, &*reply.problem()), (401, "revoked"));
}

#[tokio::test]
async fn an_optional_token_may_be_missing_and_may_not_be_bad() {
    let world = World::new().await;
    let app = Router::new()
        .route("/", get(who))
        .route("/option", get(async |auth: Option<Auth>| auth.is_some().to_string()))
        .route("/must", get(async |_: Auth| "in"))
        .layer(world.mesh.layer().optional().unwrap());
    let server = Server::start(app).await;
    let token = world.token(json!({}));
    assert_eq!(server.get("/", &token).await.body, "alice");
    assert_eq!(server.ask("GET /", &[]).await.body, "nobody");
    assert_eq!(server.ask("GET /option", &[]).await.body, "false");
    assert_eq!(server.get("/option", &token).await.body, "true");
    assert_eq!(server.get("/must", &token).await.body, "in");
    for (path, headers, problem) in [
        ("GET /must", &[][..], "no-credential"),
        ("GET /", &[("authorization", "Bearer x")], "malformed"),
        ("GET /", &[("authorization", "Bearer x y")], "invalid-request"),
        ("GET /", &[("authorization", "DPoP x")], "malformed"),
        ("GET /", &[("authorization", "dpop")], "invalid-request"),
    ] {
        assert_eq!(server.ask(path, headers).await.problem(), problem, "{headers:?}");
    }
}

#[tokio::test]
async fn a_public_route_asks_nobody_until_a_handler_does() {
    let world = World::new().await;
    let app = Router::new()
        .route(
            "/",
            get(async |Extension(scope): Extension<RequestScope>| scope.stats().asked.to_string()),
        )
        .route("/who", get(who))
        .route("/must", get(async |_: Auth| "in"))
        .layer(world.mesh.layer().policy(RoutePolicy::public()).unwrap());
    let server = Server::start(app).await;
    assert_eq!(server.get("/", "not even a token").await.body, "0");
    assert_eq!(server.ask("GET /who", &[]).await.body, "nobody");
    assert_eq!(server.get("/who", &world.token(json!({}))).await.body, "alice");
    assert_eq!(server.get("/who", &world.forged()).await.problem(), "bad-signature");
    assert_eq!(server.ask("GET /must", &[]).await.problem(), "no-credential");
    assert_eq!(server.get("/must", &world.token(json!({}))).await.body, "in");
}

#[tokio::test]
async fn scopes_and_roles_are_demanded_by_layers_and_by_handlers() {
    let world = World::new().await;
    let needs = |policy: RoutePolicy| world.mesh.layer().policy(policy).unwrap();
    let plain = RoutePolicy::authenticated;
    let app = Router::new()
        .route(
            "/all",
            get(who).layer(needs(plain().scopes_all(["orders:read", "orders:write"]))),
        )
        .route(
            "/any",
            get(who).layer(needs(plain().scopes_any(["orders:read", "orders:write"]))),
        )
        .route(
            "/role",
            get(who).layer(needs(plain().roles_all(["clerk"]).roles_any(["day", "night"]))),
        )
        .route(
            "/deep",
            get(who).layer(needs(plain().roles_at_claim("/realm/roles").roles_any(["clerk"]))),
        )
        .route(
            "/read",
            get(async |auth: RequireScope<Read>| auth.subject().unwrap().to_owned()),
        )
        .route("/both", get(async |_: RequireScope<(Read, Write)>| "in"))
        .layer(world.mesh.layer());
    let server = Server::start(app).await;

    let rich = world.token(json!({
        "scope": "orders:read orders:write x", "roles": ["clerk", "night"], "realm": {"roles": "clerk"},
    }));
    for path in ["/all", "/any", "/role", "/deep", "/read", "/both"] {
        assert_eq!(server.get(path, &rich).await.status, 200, "{path}");
    }
    let reader = world.token(json!({"scope": "orders:read", "roles": ["clerk"], "realm": {"roles": ["clerks"]}}));
    for (path, problem, scope) in [
        ("/all", "insufficient-scope", "scope=\"orders:write\""),
        ("/role", "insufficient-role", ""),
        ("/deep", "insufficient-role", ""),
        ("/both", "insufficient-scope", "scope=\"orders:write\""),
    ] {
        let reply = server.get(path, &reader).await;
        assert_eq!((reply.status, &*reply.problem()), (403, problem), "{path}");
        let challenge = reply.header("www-authenticate").unwrap();
        assert!(challenge.contains("error=\"insufficient_scope\"") && challenge.ends_with(scope) || scope.is_empty());
    }
    assert_eq!(server.get("/any", &reader).await.status, 200);
    let poor = world.token(json!({"roles": "night"}));
    let reply = server.get("/any", &poor).await;
    assert!(
        reply
            .header("www-authenticate")
            .unwrap()
            .ends_with("scope=\"orders:read orders:write\"")
    );
    assert_eq!(server.get("/role", &poor).await.status, 403);
}

/// Everything that can ask does.
async fn everybody(
    _: Auth,
    _: Auth<Claims>,
    _: OptionalAuth<Claims>,
    _: RequireScope<Read>,
    _: FreshWithin<60>,
    request: Request,
) -> String {
    assert_eq!(request.auth().unwrap().verdict.subject(), Some("alice"));
    let stats = request.extensions().get::<RequestScope>().unwrap().stats();
    format!("{} {}", stats.asked, stats.verified)
}

#[tokio::test]
async fn a_request_is_verified_once_however_many_ask() {
    let world = World::new().await;
    let read = RoutePolicy::authenticated().scopes_any(["orders:read"]);
    let app = Router::new()
        .route("/", get(everybody))
        .route(
            "/fresh",
            get(async |_: Fresh, _: Fresh, Extension(scope): Extension<RequestScope>| {
                format!("{} {}", scope.stats().asked, scope.stats().verified)
            }),
        )
        .layer(world.mesh.layer().policy(read).unwrap())
        .layer(world.mesh.layer())
        .layer(world.mesh.layer());
    let server = Server::start(app).await;
    let token = world.token(json!({"scope": "orders:read", "tenant": "acme"}));
    let counts = || world.mesh.stats().counts;
    for hits in 0..3 {
        assert_eq!(server.get("/", &token).await.body, "9 1");
        assert_eq!((counts().verified, counts().hits), (1, hits));
    }
    // The layers' answer came from memory, so `Fresh` has the token verified; the second `Fresh` shares that.
    assert_eq!(server.get("/fresh", &token).await.body, "5 2");
    assert_eq!((counts().verified, counts().hits), (2, 3));
    let unknown = world.token(json!({"scope": "orders:read", "sub": "bob"}));
    assert_eq!(
        server.get("/fresh", &unknown).await.body,
        "5 1",
        "the layer had to verify it anyway"
    );
}

#[tokio::test]
async fn revoked_between_two_asks_of_one_request_the_second_is_refused() {
    let world = World::new().await;
    let mesh = world.mesh.clone();
    let handler = async move |auth: Auth, request: Request| {
        assert!(request.auth().is_ok());
        mesh.revoke(Subject::new(ISSUER, "alice")).await.unwrap();
        assert!(auth.answer().ended_now().is_some());
        let scope = request.extensions().get::<RequestScope>().unwrap().stats();
        assert_eq!(scope.verified, 1, "nothing was asked again");
        request.auth().unwrap_err().problem().to_owned()
    };
    let revoke = {
        let mesh = world.mesh.clone();
        axum::middleware::from_fn(move |request: Request, next: axum::middleware::Next| {
            let mesh = mesh.clone();
            async move {
                mesh.revoke(Subject::new(ISSUER, "bob")).await.unwrap();
                next.run(request).await
            }
        })
    };
    let app = Router::new()
        .route("/", get(handler))
        .route("/extractor", get(who).layer(revoke.clone()))
        .route("/layer", get(async || "in").layer(world.mesh.layer()).layer(revoke))
        .layer(world.mesh.layer());
    let server = Server::start(app).await;
    assert_eq!(server.get("/", &world.token(json!({}))).await.body, "revoked");
    for path in ["/extractor", "/layer"] {
        let reply = server.get(path, &world.token(json!({"sub": "bob", "jti": path}))).await;
        assert_eq!((reply.status, &*reply.problem()), (401, "revoked"), "{path}");
    }
}

#[tokio::test]
async fn another_token_in_the_same_request_is_another_caller() {
    let world = World::new().await;
    let bob = format!("Bearer {}", world.token(json!({"sub": "bob"})));
    let becomes = |value: String| {
        axum::middleware::from_fn(move |mut request: Request, next: axum::middleware::Next| {
            request.headers_mut().insert("authorization", value.parse().unwrap());
            next.run(request)
        })
    };
    let app = Router::new()
        .route("/bob", get(who).layer(world.mesh.layer()).layer(becomes(bob)))
        .route(
            "/forged",
            get(who)
                .layer(world.mesh.layer())
                .layer(becomes(format!("Bearer {}", world.forged()))),
        )
        .layer(world.mesh.layer());
    let server = Server::start(app).await;
    let alice = world.token(json!({}));
    assert_eq!(server.get("/bob", &alice).await.body, "bob");
    assert_eq!(server.get("/forged", &alice).await.problem(), "bad-signature");
}

#[tokio::test]
async fn an_inner_layer_that_looks_elsewhere_takes_what_the_outer_one_was_told() {
    let world = World::new().await;
    let read = RoutePolicy::authenticated().scopes_all(["orders:read"]);
    let inner = world.mesh.layer().policy(read).unwrap();
    let by_cookie = TokenSource::header().or_cookie("session");
    let app = Router::new()
        .route("/", get(who).layer(inner))
        .layer(world.mesh.layer().token_source(by_cookie));
    let server = Server::start(app).await;
    let cookie = |token: String| format!("session={token}");
    let reader = cookie(world.token(json!({"scope": "orders:read"})));
    assert_eq!(server.ask("GET /", &[("cookie", &reader)]).await.body, "alice");
    let other = cookie(world.token(json!({})));
    assert_eq!(
        server.ask("GET /", &[("cookie", &other)]).await.problem(),
        "insufficient-scope"
    );
    assert_eq!(server.ask("GET /", &[]).await.problem(), "no-credential");
}

#[tokio::test]
async fn the_token_also_comes_by_cookie_and_under_danger_by_query() {
    let world = World::new().await;
    let source = TokenSource::header()
        .or_cookie("session")
        .danger_or_query("access_token");
    let app = Router::new()
        .route("/", get(who))
        .layer(world.mesh.layer().token_source(source));
    let server = Server::start(app).await;
    let token = world.token(json!({}));
    let by_cookie = server
        .ask("GET /", &[("cookie", &format!("a=b; session={token}"))])
        .await;
    assert_eq!((&*by_cookie.body, by_cookie.header("cache-control")), ("alice", None));
    let by_query = server.ask(&format!("GET /?access_token={token}"), &[]).await;
    assert_eq!(
        (&*by_query.body, by_query.header("cache-control")),
        ("alice", Some("no-store"))
    );
}

#[tokio::test]
async fn an_answer_explains_itself_where_it_is_asked_to() {
    let world = World::new().await;
    let app = Router::new()
        .route("/", post(who))
        .layer(world.mesh.layer().explain(true));
    let server = Server::start(app).await;
    let bearer = format!("Bearer {}", world.token(json!({})));
    for outcome in ["verified", "hit"] {
        let reply = server.ask("POST /", &[("authorization", &bearer)]).await;
        assert_eq!(reply.header("x-authmesh-outcome"), Some(outcome));
    }
}

#[tokio::test]
async fn a_refusal_looks_as_the_innermost_layer_wants_it() {
    let world = World::new().await;
    let teapot = |rejection: &authmesh_tower::Rejection, _: &authmesh_tower::head::RequestHead<'_>| {
        let body = rejection.problem().to_owned().into();
        http::Response::builder().status(418).body(body).unwrap()
    };
    let app = Router::new()
        .route("/", get(async |_: RequireScope<Read>| "in"))
        .layer(world.mesh.layer().map_rejection(teapot));
    let server = Server::start(app).await;
    let by_layer = server.get("/", &world.forged()).await;
    assert_eq!((by_layer.status, &*by_layer.body), (418, "bad-signature"));
    let by_extractor = server.get("/", &world.token(json!({}))).await;
    assert_eq!((by_extractor.status, &*by_extractor.body), (418, "insufficient-scope"));
    assert_eq!(by_extractor.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn a_guarded_handler_brings_its_layer() {
    let world = World::new().await;
    let layer = world
        .mesh
        .layer()
        .policy(RoutePolicy::authenticated().scopes_all(["orders:read"]))
        .unwrap();
    let app = Router::new()
        .route(
            "/",
            get(async |Guarded(auth): Guarded<Auth>, State(_): State<AuthLayer>| auth.subject().unwrap().to_owned()),
        )
        .with_state(layer);
    let server = Server::start(app).await;
    assert_eq!(
        server
            .get("/", &world.token(json!({"scope": "orders:read"})))
            .await
            .body,
        "alice"
    );
    assert_eq!(
        server.get("/", &world.token(json!({}))).await.problem(),
        "insufficient-scope"
    );
    assert_eq!(server.ask("GET /", &[]).await.problem(), "no-credential");
    assert_eq!(server.get("/", &world.forged()).await.problem(), "bad-signature");
}
