//! An actix-web service behind authmesh: one middleware, and handlers that say what they need.
//!
//! `cargo run -p authmesh-examples --example actix`. The guide is `docs/actix.md`.

use actix_web::{App, HttpServer, Responder, web};
use authmesh::AuthMesh;
use authmesh_actix::{Auth, Fresh, Protect as _, RequireScope};
use authmesh_examples::{Error, Login, listen, try_this};
use tokio::net::TcpListener;

// A scope is a type: a typing error in its name is one place, not twenty.
authmesh_actix::scope!(struct ReadOrders = "orders:read");
authmesh_actix::scope!(struct DeleteOrders = "orders:delete");

/// Any valid token.
async fn hello(auth: Auth) -> impl Responder {
    format!("hello, {}", auth.subject().unwrap_or("somebody"))
}

/// A scope. Without it: 403, and the answer names the scope that is lacking.
async fn orders(_: RequireScope<ReadOrders>) -> impl Responder {
    "no orders"
}

/// Something that cannot be undone: the token is verified again for this request, and a node that cannot prove that it
/// knows every revocation refuses.
async fn delete_order(_: RequireScope<DeleteOrders>, _: Fresh) -> impl Responder {
    "deleted"
}

/// Serves until the process is told to stop.
pub async fn run(login: Login, listener: TcpListener) -> Result<(), Error> {
    // One per process, shared by all workers. For a fleet add `.redis(..)` or `.swim(..)`, and a key ring: nothing else here changes.
    let mesh = login.add_to(AuthMesh::builder()).start().await?;
    let protected = mesh.clone();
    let server = HttpServer::new(move || {
        App::new()
            // Not behind the middleware of the scope below: open to everybody.
            .route("/health", web::get().to(async || "ok"))
            .service(
                web::scope("")
                    .wrap(protected.protect())
                    .route("/", web::get().to(hello))
                    .route("/orders", web::get().to(orders))
                    .route("/orders/{id}", web::delete().to(delete_order)),
            )
    });
    // It ends at Ctrl-C by itself, when the requests under way are answered.
    let serving = server.workers(2).listen(listener.into_std()?)?.run();
    serving.await?;
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
