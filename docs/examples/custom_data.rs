//! Your own claims, and your own data in the same coherent cache: profiles with tags, and a write that leaves nothing old.
//!
//! `cargo run -p authmesh-examples --example custom_data`. The guide is `docs/cache-data.md`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use authmesh::{AuthMesh, Cache, Load, Namespace};
use authmesh_examples::{Error, Login, ctrl_c, listen, try_this};
use authmesh_tower::Protect as _;
use authmesh_tower::axum::Auth;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

/// The claims that this service reads, beside the registered ones. A token that does not fit is refused with 401.
#[derive(Debug, Deserialize)]
pub struct Claims {
    /// Whose employee the caller is.
    #[serde(default = "nobody")]
    tenant: String,
}

fn nobody() -> String {
    "none".to_owned()
}

/// What is cached.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Profile {
    /// How the user wants to be called.
    name: String,
    /// How often the database was asked for any profile: to show what the cache does.
    reads: u64,
}

/// Stands for your database.
#[derive(Debug, Default)]
pub struct Database(Mutex<(BTreeMap<String, String>, u64)>);

impl Database {
    fn read(&self, user: &str) -> Profile {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.1 += 1;
        let name = state.0.get(user).cloned().unwrap_or_else(|| user.to_owned());
        Profile { name, reads: state.1 }
    }

    fn write(&self, user: &str, name: String) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.0.insert(user.to_owned(), name);
    }
}

#[derive(Clone)]
struct App {
    profiles: Cache<Profile>,
    database: Arc<Database>,
}

/// The key of a user's profile. The tenant is a part of it: a subject is one's own within its tenant only.
fn key(auth: &Auth<Claims>) -> String {
    format!("{}/{}", auth.claims().tenant, auth.subject().unwrap_or_default())
}

/// From memory, from the cluster's second level, or from the database: asked by one node, for all.
async fn profile(State(app): State<App>, auth: Auth<Claims>) -> Result<Json<Profile>, StatusCode> {
    let (user, tag) = (key(&auth), format!("tenant:{}", auth.claims().tenant));
    let database = Arc::clone(&app.database);
    let load = {
        let user = user.clone();
        move || async move { Ok::<_, ()>(Load::new(database.read(&user)).tag(tag)) }
    };
    let profile = app.profiles.get_or_load(&user, load).await;
    profile
        .map(|profile| Json((*profile).clone()))
        .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)
}

/// Changes the database. `write` puts the key on hold in the whole cluster, runs the change, and voids the key before and after
/// it: whatever happens to this node meanwhile, no node serves the old name for long.
async fn rename(State(app): State<App>, auth: Auth<Claims>, name: String) -> StatusCode {
    let user = key(&auth);
    let (database, changed) = (Arc::clone(&app.database), user.clone());
    let change = move || async move { database.write(&changed, name) };
    match app.profiles.write([&user], change).await {
        Ok(written) if written.committed => StatusCode::NO_CONTENT,
        // Changed, and in force on this node; the others follow.
        Ok(_) => StatusCode::ACCEPTED,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Voids every profile of the caller's tenant, on every node, in one step.
async fn forget_tenant(State(app): State<App>, auth: Auth<Claims>) -> StatusCode {
    let tag = format!("tenant:{}", auth.claims().tenant);
    match app.profiles.invalidate_tag(&tag).await {
        Ok(_) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Serves until the process is told to stop.
pub async fn run(login: Login, listener: TcpListener) -> Result<(), Error> {
    let mesh = login.add_to(AuthMesh::builder()).start().await?;
    let app = App {
        // Declared once, with one type for one name.
        profiles: mesh.cache(Namespace::new("profiles").lifetime(Duration::from_secs(600)))?,
        database: Arc::default(),
    };
    let app = Router::new()
        .route("/me", get(profile).put(rename))
        .route("/tenant/forget", post(forget_tenant))
        .layer(mesh.layer())
        .with_state(app);
    axum::serve(listener, app).with_graceful_shutdown(ctrl_c()).await?;
    mesh.shutdown().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let (login, listener) = (Login::from_env(), listen().await?);
    let token = match &login {
        Login::Embedded(issuer) => issuer.mint().subject("alice").claim("tenant", "acme").sign(),
        Login::Provider { .. } => "$TOKEN".to_owned(),
    };
    try_this(
        &listener,
        "the database is read once, however often you ask",
        "",
        &token,
        "/me",
    );
    try_this(
        &listener,
        "204: the next read sees it",
        "-X PUT -d 'Alice L.'",
        &token,
        "/me",
    );
    try_this(
        &listener,
        "204: every profile of acme is read anew",
        "-X POST",
        &token,
        "/tenant/forget",
    );
    run(login, listener).await
}
