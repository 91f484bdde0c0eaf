//! Over a real actix-web server on loopback: what passes, what is refused, and what happens to a request between the two.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::time::Duration;

use actix_web::dev::{ServerHandle, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::{App, Error, FromRequest as _, HttpServer, web};
use authmesh::{AuthMesh, Subject};
use authmesh_actix::{
    Auth, CertificateThumbprint, Fresh, NoClaims, OptionalAuth, Protect as _, Protection, Rejection, RequireScope,
    RoutePolicy, TokenSource,
};
use authmesh_testkit::TestIssuer;
use authmesh_tests::guesses::{self, Reply};
use authmesh_tower::head::RequestHead;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;
use tokio::io::AsyncReadExt as _;

authmesh_actix::scope!(struct Write = "orders:write");

async fn node() -> (AuthMesh, TestIssuer) {
    let issuer = TestIssuer::new();
    let mesh = issuer.add_to(AuthMesh::builder()).start().await.unwrap();
    (mesh, issuer)
}

/// A running server; it ends with this.
struct Server(SocketAddr, ServerHandle);

impl Drop for Server {
    fn drop(&mut self) {
        // It is told; nobody waits.
        let stopping = self.1.stop(false);
        tokio::spawn(stopping);
    }
}

impl Server {
    fn start<F, T, B>(app: F) -> Self
    where
        F: Fn() -> App<T> + Send + Clone + 'static,
        T: ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse<B>, Error = Error, InitError = ()>
            + 'static,
        B: actix_web::body::MessageBody + 'static,
    {
        let (told, bound) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let server = HttpServer::new(app).workers(2).disable_signals();
                let server = server.bind(("127.0.0.1", 0)).unwrap();
                let address = server.addrs()[0];
                let running = server.run();
                told.send((address, running.handle())).unwrap();
                running.await.unwrap();
            });
        });
        let (address, handle) = bound.recv().unwrap();
        Self(address, handle)
    }

    async fn ask(&self, line: &str, headers: &[(&str, &str)]) -> Reply {
        guesses::ask(self.0, line, &owned(headers)).await
    }

    async fn get(&self, path: &str, token: &str) -> Reply {
        let bearer = format!("Bearer {token}");
        self.ask(&format!("GET {path}"), &[("authorization", &bearer)]).await
    }
}

fn owned(headers: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    headers.iter().map(own).collect()
}

/// A token of alice that was altered in its signature.
fn forged(issuer: &TestIssuer) -> String {
    let (one, other) = (issuer.token("alice"), issuer.token("mallory"));
    let (input, _) = one.rsplit_once('.').unwrap();
    let (_, signature) = other.rsplit_once('.').unwrap();
    format!("{input}.{signature}")
}

#[tokio::test]
async fn what_would_need_a_guess_is_refused_with_a_reason() {
    let (mesh, issuer) = node().await;
    let guard = mesh.guard().token_source(
        TokenSource::header()
            .or_cookie("session")
            .or_websocket()
            .danger_or_query("access_token"),
    );
    let server = Server::start(move || {
        App::new()
            .wrap(Protection::new(guard.clone()))
            .route("/", web::get().to(async |_: Auth| "in"))
    });
    guesses::check(server.0, &issuer.token("alice")).await;
}

#[tokio::test]
async fn each_extractor_demands_what_it_says_and_all_share_one_verification() {
    #[derive(serde::Deserialize)]
    struct Claims {
        tenant: u32,
    }
    let (mesh, issuer) = node().await;
    let protected = mesh.clone();
    let server = Server::start(move || {
        App::new()
            .wrap(Protection::new(protected.guard().explain(true)))
            .route(
                "/claims",
                web::get().to(async |auth: Auth<Claims>, again: Auth, option: OptionalAuth| {
                    assert_eq!(option.as_ref().unwrap().subject(), again.subject());
                    format!("{} {}", auth.subject().unwrap(), auth.claims().tenant)
                }),
            )
            .route("/write", web::get().to(async |_: RequireScope<Write>| "in"))
            .route("/fresh", web::get().to(async |_: Fresh| "in"))
    });
    let token = issuer.token_with(json!({"sub": "alice", "tenant": 7}));
    let reply = server.get("/claims", &token).await;
    assert_eq!(
        (reply.body.as_str(), reply.header("x-authmesh-outcome")),
        ("alice 7", Some("verified"))
    );
    let counts = mesh.stats().counts;
    assert_eq!((counts.verified, counts.hits), (1, 0), "one request, one verification");
    let reply = server.get("/claims", &token).await;
    assert_eq!(reply.header("x-authmesh-outcome"), Some("hit"));
    assert_eq!(server.get("/fresh", &token).await.body, "in");
    let counts = mesh.stats().counts;
    assert_eq!(
        (counts.verified, counts.hits),
        (2, 2),
        "the middleware took a hit, and the extractor verified again"
    );

    assert_eq!(
        server.get("/claims", &issuer.token("bob")).await.problem(),
        "unfit-claims"
    );
    let refused = server.get("/write", &token).await;
    assert_eq!((refused.status, &*refused.problem()), (403, "insufficient-scope"));
    assert!(refused.header("www-authenticate").unwrap().contains("orders:write"));
    let writer = issuer.token_with(json!({"scope": "orders:write"}));
    assert_eq!(server.get("/write", &writer).await.body, "in");
    assert_eq!(server.get("/write", &forged(&issuer)).await.status, 401);
}

/// Invariant 1: what a request remembers is no way past a revocation.
#[tokio::test]
async fn a_token_that_is_revoked_between_two_asks_of_one_request_is_refused_by_the_second() {
    let (mesh, issuer) = node().await;
    let (protected, url) = (mesh.clone(), issuer.url().to_owned());
    let server = Server::start(move || {
        let (revoking, url) = (protected.clone(), url.clone());
        App::new().wrap(protected.protect()).route(
            "/",
            web::get().to(move |auth: Auth, request: actix_web::HttpRequest| {
                let (mesh, url) = (revoking.clone(), url.clone());
                async move {
                    mesh.revoke(Subject::new(&url, auth.subject().unwrap())).await.unwrap();
                    let second = Auth::<NoClaims>::extract(&request).await;
                    second.map(|_| "in")
                }
            }),
        )
    });
    let reply = server.get("/", &issuer.token("alice")).await;
    assert_eq!((reply.status, &*reply.problem()), (401, "revoked"));
}

#[tokio::test]
async fn policies_of_nested_middlewares_add_up_in_any_order() {
    let (mesh, issuer) = node().await;
    let server = Server::start(move || {
        let plain = || mesh.guard();
        let strict = || {
            Protection::new(
                plain()
                    .policy(RoutePolicy::authenticated().scopes_all(["orders:write"]))
                    .unwrap(),
            )
        };
        let open = || Protection::new(plain().policy(RoutePolicy::public()).unwrap());
        let lax = || Protection::new(plain().optional().unwrap());
        let handler = || web::get().to(async |_: Auth| "in");
        App::new()
            .service(web::resource("/1").wrap(open()).wrap(strict()).route(handler()))
            .service(web::resource("/2").wrap(strict()).wrap(lax()).route(handler()))
            .service(
                web::scope("/3")
                    .wrap(strict())
                    .service(web::resource("").wrap(open()).route(handler())),
            )
            .service(
                web::resource("/open")
                    .wrap(open())
                    .route(web::get().to(async || "open")),
            )
            .service(
                web::resource("/lax")
                    .wrap(lax())
                    .route(web::get().to(async |auth: OptionalAuth| auth.as_ref().map_or("nobody", |_| "somebody"))),
            )
    });
    let (writer, reader) = (
        issuer.token_with(json!({"scope": "orders:write"})),
        issuer.token("alice"),
    );
    for path in ["/1", "/2", "/3"] {
        assert_eq!(server.get(path, &writer).await.body, "in", "{path}");
        assert_eq!(
            server.get(path, &reader).await.problem(),
            "insufficient-scope",
            "{path}"
        );
        assert_eq!(
            server.ask(&format!("GET {path}"), &[]).await.problem(),
            "no-credential",
            "{path}"
        );
    }
    assert_eq!(server.get("/open", "garbage").await.body, "open");
    assert_eq!(server.ask("GET /lax", &[]).await.body, "nobody");
    assert_eq!(server.get("/lax", &reader).await.body, "somebody");
    assert_eq!(
        server.get("/lax", "garbage").await.status,
        401,
        "a bad token is never taken for none"
    );
}

#[tokio::test]
async fn an_extractor_without_a_middleware_passes_nobody() {
    let (_, issuer) = node().await;
    let server = Server::start(|| {
        App::new()
            .route("/", web::get().to(async |_: Auth| "in"))
            .route("/fresh", web::get().to(async |_: Fresh| "in"))
            .route("/optional", web::get().to(async |_: OptionalAuth| "in"))
    });
    for path in ["/", "/fresh", "/optional"] {
        let reply = server.get(path, &issuer.token("alice")).await;
        assert_eq!((reply.status, &*reply.problem()), (500, "not-protected"), "{path}");
    }
}

#[tokio::test]
async fn a_handler_that_panics_and_a_body_that_nobody_reads_disturb_nobody() {
    let (mesh, issuer) = node().await;
    let server = Server::start(move || {
        App::new()
            .wrap(mesh.protect())
            .route(
                "/panic",
                web::get().to(async |auth: Auth| -> &'static str { panic!("as {:?}", auth.subject()) }),
            )
            .route("/", web::get().to(async |_: Auth| "in"))
            .route("/", web::post().to(async |_: Auth| "in"))
    });
    let token = issuer.token("alice");
    let bearer = format!("Bearer {token}");
    for _ in 0..3 {
        let mut stream = guesses::send(server.0, "GET /panic", &owned(&[("authorization", &bearer)])).await;
        let mut bytes = Vec::new();
        // The connection ends without an answer.
        let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut bytes)).await;
        let _ = read.expect("the connection ends");
        assert!(bytes.is_empty());
        assert_eq!(server.get("/", &token).await.body, "in");
    }
    let forged = format!("Bearer {}", forged(&issuer));
    for (authorization, status) in [(&bearer, "200"), (&forged, "401"), (&bearer, "200")] {
        // A MiB is announced, and never comes.
        let headers = [("content-length", "1048576"), ("authorization", authorization)];
        let mut stream = guesses::send(server.0, "POST /", &owned(&headers)).await;
        let mut head = [0; 12];
        let read = tokio::time::timeout(Duration::from_secs(30), stream.read_exact(&mut head)).await;
        read.expect("the answer comes without the body").unwrap();
        assert_eq!(&head[9..], status.as_bytes());
    }
}

/// Its verification goes on, for whoever else waits, and costs one fetch of the keys.
#[tokio::test]
async fn a_client_that_leaves_while_its_token_is_verified_disturbs_nobody() {
    let (mesh, issuer) = node().await;
    let server = Server::start(move || {
        App::new()
            .wrap(mesh.protect())
            .route("/", web::get().to(async |_: Auth| "in"))
    });
    // A key that the node does not know yet, of an issuer that takes its time.
    issuer.rotate();
    let hanging = issuer.hang();
    let token = issuer.token("alice");
    let bearer = format!("Bearer {token}");
    let before = issuer.requests();
    let stream = guesses::send(server.0, "GET /", &owned(&[("authorization", &bearer)])).await;
    while issuer.requests() == before {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    drop(stream);
    hanging.lift();
    assert_eq!(server.get("/", &token).await.body, "in");
}

/// RFC 8705, with the certificate that a proxy tells (RFC 9440).
#[tokio::test]
async fn a_token_that_is_bound_to_a_certificate_needs_it_at_every_request() {
    let (mesh, issuer) = node().await;
    let guard = mesh
        .guard()
        .client_cert_header(http::HeaderName::from_static("client-cert"));
    let server = Server::start(move || {
        let protection = Protection::new(guard.clone());
        App::new()
            .wrap(protection)
            .route("/", web::get().to(async |_: Auth| "in"))
    });
    // What stands in for certificates: as long as one, and two of them.
    let (own, other) = ([0x30; 64], [[0x30; 64], [0x31; 64]].concat());
    let thumbprint = URL_SAFE_NO_PAD.encode(CertificateThumbprint::of_der(&own).0);
    let token = issuer.token_with(json!({"cnf": {"x5t#S256": thumbprint}}));
    let bearer = format!("Bearer {token}");
    for _ in 0..2 {
        for (certificate, status) in [(Some(&own[..]), 200), (Some(&other[..]), 401), (None, 401)] {
            let certificate = certificate.map(|der| format!(":{}:", STANDARD.encode(der)));
            let mut headers = vec![("authorization", bearer.as_str())];
            headers.extend(certificate.as_deref().map(|value| ("client-cert", value)));
            let reply = server.ask("GET /", &headers).await;
            assert_eq!(reply.status, status, "{headers:?} {reply:?}");
        }
    }
}

/// A user's own words, for the middleware and for extractors alike.
#[tokio::test]
async fn whoever_maps_refusals_maps_all_of_them() {
    let (mesh, issuer) = node().await;
    let guard = mesh
        .guard()
        .map_rejection(|rejection: &Rejection, head: &RequestHead<'_>| {
            let wants = head.headers.get("accept").map_or("", |accept| accept.to_str().unwrap());
            let mut response = http::Response::new(format!("{} {wants}", rejection.problem()).into());
            *response.status_mut() = http::StatusCode::IM_A_TEAPOT;
            response
        });
    let server = Server::start(move || {
        let protection = Protection::new(guard.clone());
        App::new()
            .wrap(protection)
            .route("/", web::get().to(async |_: RequireScope<Write>| "in"))
    });
    let bearer = format!("Bearer {}", issuer.token("alice"));
    for (headers, body) in [
        (&[("accept", "tea")][..], "no-credential tea"),
        (
            &[("authorization", &*bearer), ("accept", "tea")],
            "insufficient-scope tea",
        ),
    ] {
        let reply = server.ask("GET /", headers).await;
        assert_eq!((reply.status, reply.body.as_str()), (418, body));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
}
