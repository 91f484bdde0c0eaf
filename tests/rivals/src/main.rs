//! Many nodes of another crate in one process, driven line by line from standard input.
//!
//! ```text
//! authmesh-rivals WHICH NODES ISSUER AUDIENCE
//! ```
//!
//! A line in is a number and a piece of work as JSON, a line out is the number and what came of it. Pieces run side by side.
//! Each node has its own verifier, as each process of a fleet has. Everything is as the crate's own example sets it up;
//! `jwt-authorizer-1s` is the same with the one setting changed that its name says.

#![forbid(unsafe_code)]
// A benchmark has no caller that could handle an error better.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../benches/keys/load.rs"]
mod load;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use jwt_authorizer::{Authorizer, JwtAuthorizer, Refresh, RegisteredClaims, Validation};
use load::{Node, Work, carry_out};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tower::util::BoxCloneSyncService;
use tower::{Layer as _, ServiceExt as _};
use tower_oauth2_resource_server::server::OAuth2ResourceServer;
use tower_oauth2_resource_server::tenant::TenantConfiguration;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [which, nodes, issuer, audience] = &arguments[..] else {
        panic!("usage: authmesh-rivals WHICH NODES ISSUER AUDIENCE")
    };
    let nodes: usize = nodes.parse().expect("a number of nodes");
    match which.as_str() {
        "jwt-authorizer" => drive(started(nodes, || JwtAuthorizerNode::start(issuer, audience, None)).await).await,
        "jwt-authorizer-1s" => {
            let interval = Some(Duration::from_secs(1));
            drive(started(nodes, || JwtAuthorizerNode::start(issuer, audience, interval)).await).await;
        }
        "tower-oauth2-resource-server" => drive(started(nodes, || TowerNode::start(issuer, audience)).await).await,
        other => panic!("nobody here is called {other}"),
    }
}

async fn started<N: Node, F: Future<Output = N>>(nodes: usize, start: impl Fn() -> F) -> Vec<Arc<N>> {
    let mut all = Vec::new();
    for _ in 0..nodes {
        all.push(Arc::new(start().await));
    }
    all
}

async fn drive<N: Node>(nodes: Vec<Arc<N>>) {
    println!("ready");
    let nodes: Arc<[Arc<N>]> = nodes.into();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await.expect("standard input can be read") {
        let (number, work): (u64, Work) = serde_json::from_str(&line).expect("a number and a piece of work");
        let nodes = Arc::clone(&nodes);
        tokio::spawn(async move {
            let outcome = carry_out(&nodes, &work).await;
            println!("{}", serde_json::to_string(&(number, outcome)).expect("JSON"));
        });
    }
}

struct JwtAuthorizerNode(Authorizer<RegisteredClaims>);

impl JwtAuthorizerNode {
    async fn start(issuer: &str, audience: &str, refresh_interval: Option<Duration>) -> Self {
        let validation = Validation::new().iss(&[issuer]).aud(&[audience]);
        let mut builder: JwtAuthorizer = JwtAuthorizer::from_oidc(issuer).validation(validation);
        if let Some(refresh_interval) = refresh_interval {
            builder = builder.refresh(Refresh {
                refresh_interval,
                ..Refresh::default()
            });
        }
        Self(builder.build().await.expect("the provider is up"))
    }
}

impl Node for JwtAuthorizerNode {
    async fn verify(&self, token: &str) -> Result<(), String> {
        self.0
            .check_auth(token)
            .await
            .map(drop)
            .map_err(|error| error.to_string())
    }
}

type Guarded = BoxCloneSyncService<Request<String>, Response<String>, Infallible>;

struct TowerNode(Guarded);

impl TowerNode {
    async fn start(issuer: &str, audience: &str) -> Self {
        let tenant = TenantConfiguration::builder(issuer).audiences(&[audience]);
        let tenant = tenant.build().await.expect("the provider is up");
        let server = <OAuth2ResourceServer>::builder().add_tenant(tenant).build().await;
        let layer = server.expect("a configuration").into_layer();
        let service = tower::service_fn(async |_: Request<String>| Ok(Response::new(String::new())));
        Self(BoxCloneSyncService::new(layer.layer(service)))
    }
}

impl Node for TowerNode {
    async fn verify(&self, token: &str) -> Result<(), String> {
        let request = Request::builder().header("Authorization", format!("Bearer {token}"));
        let request = request.body(String::new()).expect("a request");
        match self.0.clone().oneshot(request).await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(answer.status().to_string()),
        }
    }
}
