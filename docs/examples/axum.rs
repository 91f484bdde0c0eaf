//! An axum service behind authmesh: one layer, and handlers that say what they need.
//!
//! `cargo run -p authmesh-examples --example axum`. The guide is `docs/axum.md`.

use authmesh::AuthMesh;
use authmesh_examples::{Error, Login, ctrl_c, listen, try_this};
use authmesh_tower::Protect as _;
use authmesh_tower::axum::{Auth, Fresh, RequireScope};
use axum::Router;
use axum::routing::{delete, get};
use tokio::net::TcpListener;

// A scope is a type: a typing error in its name is one place, not twenty.
authmesh_tower::scope!(struct ReadOrders = "orders:read");
authmesh_tower::scope!(struct DeleteOrders = "orders:delete");

/// Any valid token.
async fn hello(auth: Auth) -> String {
    format!("hello, {}", auth.subject().unwrap_or("somebody"))
}

/// A scope. Without it: 403, and the answer names the scope that is lacking.
async fn orders(_: RequireScope<ReadOrders>) -> &'static str {
    "no orders"
}

/// Something that cannot be undone: the token is verified again for this request, and a node that cannot prove that it
/// knows every revocation refuses.
async fn delete_order(_: RequireScope<DeleteOrders>, _: Fresh) -> &'static str {
    "deleted"
}

/// Serves until the process is told to stop.
pub async fn run(login: Login, listener: TcpListener) -> Result<(), Error> {
    // One per process. For a fleet add `.redis(..)` or `.swim(..)`, and a key ring: nothing else here changes.
    let mesh = login.add_to(AuthMesh::builder()).start().await?;
    let app = Router::new()
        .route("/", get(hello))
        .route("/orders", get(orders))
        .route("/orders/{id}", delete(delete_order))
        .layer(mesh.layer())
        // What comes after the layer is open to everybody.
        .route("/health", get(async || "ok"));
    axum::serve(listener, app).with_graceful_shutdown(ctrl_c()).await?;
    // Says what is not said yet, and takes leave of the cluster.
    mesh.shutdown().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let (login, listener) = (Login::from_env(), listen().await?);
    let token = login.token("alice", "orders:read", "s1");
    try_this(&listener, "200: any valid token", "", &token, "/");
    try_this(&listener, "200: it has the scope", "", &token, "/orders");
    try_this(
        &listener,
        "403: it lacks orders:delete",
        "-X DELETE",
        &token,
        "/orders/7",
    );
    try_this(&listener, "401: no token of ours", "", "nonsense", "/");
    run(login, listener).await
}
