//! The service under load: axum that says hello, behind one of the middlewares, on one thread of one processor.

use std::io::Write as _;
use std::sync::Arc;

use authmesh_tower::Protect as _;
use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde_json::Value;

use crate::verifiers::{ByHand, Checker, Moka, mesh, resource_server};

pub(crate) const NONE: &str = "none";
pub(crate) const AUTHMESH: &str = "authmesh";
pub(crate) const BY_HAND: &str = "moka";
pub(crate) const CHECK: &str = "jsonwebtoken";
pub(crate) const TOWER: &str = "tower-oauth2-resource-server";

/// Serves until it is killed. Says on standard output where.
pub(crate) fn serve(which: &str, keys: &str) {
    let keys: Value = serde_json::from_str(keys).expect("a key set");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let hello = Router::new().route("/", get(async || "hello"));
        let app = match which {
            NONE => hello,
            AUTHMESH => {
                let mesh = mesh(&keys).await;
                hello.layer(mesh.layer())
            }
            BY_HAND => {
                let cache = Arc::new(ByHand::new(Moka::new(10_000), &keys));
                hello.layer(from_fn(move |mut request: Request, next: Next| {
                    let cache = Arc::clone(&cache);
                    async move {
                        let Some(token) = bearer(&request) else {
                            return unauthorized();
                        };
                        let claims = cache.verify(token.as_bytes());
                        request.extensions_mut().insert(claims);
                        next.run(request).await
                    }
                }))
            }
            CHECK => {
                let checker = Arc::new(Checker::new(&keys));
                hello.layer(from_fn(move |mut request: Request, next: Next| {
                    let checker = Arc::clone(&checker);
                    async move {
                        let Some(token) = bearer(&request) else {
                            return unauthorized();
                        };
                        let claims = checker.check(token.as_bytes());
                        request.extensions_mut().insert(claims);
                        next.run(request).await
                    }
                }))
            }
            TOWER => hello.layer(resource_server(&keys).await.into_layer()),
            other => panic!("nobody here is called {other}"),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("an address"));
        std::io::stdout().flush().expect("somebody reads");
        axum::serve(listener, app).await.expect("it serves");
    });
}

fn bearer(request: &Request) -> Option<&str> {
    request
        .headers()
        .get(AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")
}

fn unauthorized() -> Response {
    StatusCode::UNAUTHORIZED.into_response()
}
