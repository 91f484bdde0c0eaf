//! Signing out: this device, every other device, and what the identity provider tells us (back-channel logout).
//!
//! `cargo run -p authmesh-examples --example logout`. The guide is `docs/logout.md`.

use authmesh::{AuthMesh, CommitState, Fault, LogoutRules, Receipt, Session, Subject};
use authmesh_examples::{Error, Login, ctrl_c, listen, try_this};
use authmesh_tower::Protect as _;
use authmesh_tower::axum::Auth;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Form, Router};
use serde::Deserialize;
use tokio::net::TcpListener;

/// The client ID under which our provider knows this service: the audience of its logout tokens.
pub const CLIENT_ID: &str = "example-client";

async fn hello(auth: Auth) -> String {
    format!("hello, {}", auth.subject().unwrap_or("somebody"))
}

/// What the caller is told: done everywhere, or not known yet. It is in force on **this** node in any case, and reaches the others
/// by itself; 202 says that nobody has confirmed it so far.
fn told(receipt: &Receipt) -> StatusCode {
    match receipt.state {
        CommitState::Committed => StatusCode::NO_CONTENT,
        _ => StatusCode::ACCEPTED,
    }
}

/// This device: the session that the token names, with every token of it.
async fn sign_out(State(mesh): State<AuthMesh>, auth: Auth) -> Result<StatusCode, StatusCode> {
    // An issuer that names no session: revoke the token alone (`authmesh::Token`).
    let session = auth.session().ok_or(StatusCode::CONFLICT)?;
    let receipt = mesh
        .revoke(Session::new(auth.issuer(), session))
        .why("signed out")
        .await;
    receipt.as_ref().map(told).map_err(|_| StatusCode::SERVICE_UNAVAILABLE)
}

/// "I lost my phone": every session of the user but the one at hand.
async fn sign_out_others(State(mesh): State<AuthMesh>, auth: Auth) -> Result<StatusCode, StatusCode> {
    let subject = auth.subject().ok_or(StatusCode::CONFLICT)?;
    let mut order = mesh
        .revoke(Subject::new(auth.issuer(), subject))
        .why("signed out elsewhere");
    if let Some(session) = auth.session() {
        order = order.except_session(session);
    }
    order
        .await
        .as_ref()
        .map(told)
        .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)
}

#[derive(Deserialize)]
struct Logout {
    logout_token: String,
}

/// OpenID Connect Back-Channel Logout 1.0: the provider posts a token that says which session ended. It is the credential, so
/// this route is not behind the layer. The same token again changes nothing.
async fn back_channel(State(mesh): State<AuthMesh>, Form(form): Form<Logout>) -> StatusCode {
    match mesh.back_channel_logout(&form.logout_token).await {
        // Not known to stand in the log: the provider shall ask again.
        Ok(receipt) if receipt.state != CommitState::Committed => StatusCode::SERVICE_UNAVAILABLE,
        Ok(_) => StatusCode::OK,
        Err(error) if error.fault() == Fault::Token => StatusCode::BAD_REQUEST,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Serves until the process is told to stop.
pub async fn run(login: Login, listener: TcpListener) -> Result<(), Error> {
    let mesh = login
        .add_to(AuthMesh::builder())
        // Whose logout tokens are taken, and as which client we are addressed.
        .logout(login.issuer(), LogoutRules::for_clients([CLIENT_ID]))
        .start()
        .await?;
    let app = Router::new()
        .route("/", get(hello))
        .route("/sign-out", post(sign_out))
        .route("/sign-out/others", post(sign_out_others))
        .layer(mesh.layer())
        .route("/back-channel-logout", post(back_channel))
        .with_state(mesh.clone());
    axum::serve(listener, app).with_graceful_shutdown(ctrl_c()).await?;
    mesh.shutdown().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let (login, listener) = (Login::from_env(), listen().await?);
    let laptop = login.token("alice", "orders:read", "laptop");
    let phone = login.token("alice", "orders:read", "phone");
    try_this(&listener, "200", "", &phone, "/");
    try_this(
        &listener,
        "204: alice lost her phone",
        "-X POST",
        &laptop,
        "/sign-out/others",
    );
    try_this(&listener, "401 from now on", "", &phone, "/");
    try_this(&listener, "200: the laptop stays signed in", "", &laptop, "/");
    try_this(&listener, "204: until it signs out", "-X POST", &laptop, "/sign-out");
    run(login, listener).await
}
