//! Tokens of several issuers: some that are known by name, and the tenants of a provider, which are learned.
//!
//! `cargo run -p authmesh-examples --example many_issuers`. The guide is `docs/many-issuers.md`.

use authmesh::ports::{UpstreamError, UpstreamFault};
use authmesh::{AuthMesh, IssuerTemplate, KeyPolicy, Rules};
use authmesh_examples::{Error, ctrl_c, listen, try_this};
use authmesh_testkit::TestIssuer;
use authmesh_tower::Protect as _;
use authmesh_tower::axum::Auth;
use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;

/// What `iss` looks like for the tenants of a provider.
const TENANTS: &str = "https://login.example.com/{tenant}";

/// Who issues tokens to callers of this service.
#[derive(Debug, Clone)]
pub struct Issuers {
    /// The employees' own.
    pub staff: TestIssuer,
    /// The shop's, whose tokens are for another audience name.
    pub shop: TestIssuer,
    /// A tenant that nobody has configured.
    pub acme: TestIssuer,
}

impl Issuers {
    /// Three in this process. A real service has none of this: it names URLs.
    pub fn embedded() -> Self {
        let named = |url: &str| TestIssuer::builder().url(url);
        Self {
            staff: named("https://staff.example.com").build(),
            shop: named("https://shop.example.com").audience("shop-api").build(),
            acme: named("https://login.example.com/acme").build(),
        }
    }
}

/// Who, and in whose name: the same subject of two issuers is two people.
async fn who(auth: Auth) -> String {
    format!("{} of {}", auth.subject().unwrap_or("somebody"), auth.issuer())
}

/// Serves until the process is told to stop.
pub async fn run(issuers: Issuers, listener: TcpListener) -> Result<(), Error> {
    let Issuers { staff, shop, acme } = issuers;
    // `iss` decides, byte by byte, before anybody is asked. Each issuer has rules of its own: a token of the shop is
    // measured by the shop's, whatever it claims. With providers: `.oidc("https://staff.example.com", rules)`.
    let tenants = move |iss: &str| {
        // Given is the exact `iss`, written by a stranger: ask at public addresses only, see the guide.
        if iss == acme.url() {
            return Ok(acme.source());
        }
        Err(UpstreamError::new(UpstreamFault::Configuration, "no such tenant"))
    };
    let mesh = AuthMesh::builder()
        .issuer(staff.url(), staff.source(), Rules::for_audiences(["api"]))
        .issuer(shop.url(), shop.source(), Rules::for_audiences(["shop-api"]))
        // Name the tenants where you can: nothing that a stranger writes then causes a call.
        .issuer_template(
            IssuerTemplate::new(TENANTS).allow("tenant", ["acme", "globex"]),
            tenants,
            KeyPolicy::default(),
            Rules::for_audiences(["api"]),
        )
        .start()
        .await?;
    // A part of the service for one issuer alone: a policy of its own, and verdicts of its own.
    let mut staff_only = mesh.verifier().policy().clone();
    staff_only.issuers.retain(|issuer, _| issuer == staff.url());
    let staff_only = mesh.verifier_for(staff_only)?;
    let app = Router::new()
        .route("/", get(who))
        .layer(mesh.layer())
        .merge(Router::new().route("/staff", get(who)).layer(staff_only.layer()));
    axum::serve(listener, app).with_graceful_shutdown(ctrl_c()).await?;
    mesh.shutdown().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let (issuers, listener) = (Issuers::embedded(), listen().await?);
    let [staff, shop, acme] = [&issuers.staff, &issuers.shop, &issuers.acme].map(|issuer| issuer.token("alice"));
    try_this(&listener, "200: alice of the staff's issuer", "", &staff, "/");
    try_this(&listener, "200: alice of the shop, another person", "", &shop, "/");
    try_this(&listener, "200: a tenant, learned from this token", "", &acme, "/");
    try_this(&listener, "200, and 401 for the other two", "", &staff, "/staff");
    try_this(&listener, "401", "", &shop, "/staff");
    run(issuers, listener).await
}
