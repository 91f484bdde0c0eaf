//! Nodes of authmesh.

use std::sync::Arc;

use authmesh::{AuthMesh, KeyRing, Rules, Verifier};
use authmesh_oidc::{HttpClient, HttpKeySource};
use authmesh_redis::{RedisAdapter, RedisConfig};
use authmesh_tests::idp_double::{AUDIENCE, IdpDouble};

use crate::load::Node;

/// One node with its own HTTP client, as a process of its own would have.
pub(crate) struct Own {
    verifier: Verifier,
    _mesh: AuthMesh,
}

/// Starts so many nodes that share a Redis, or nothing.
pub(crate) async fn start(count: usize, idp: &IdpDouble, redis: Option<&str>) -> Vec<Arc<Own>> {
    let ring = KeyRing::new([1; 32], [[2; 32]]).expect("a key ring");
    let mut nodes = Vec::new();
    for index in 0..count {
        let http = HttpClient::builder().danger_allow_http(true).build().expect("a client");
        let source = HttpKeySource::discover(&idp.issuer(), &http).expect("a source");
        let mut builder = AuthMesh::builder()
            .name(format!("n{index:02}"))
            .cluster("bench")
            .key_ring(ring.clone())
            .issuer(idp.issuer(), Arc::new(source), Rules::for_audiences([AUDIENCE]));
        if let Some(url) = redis {
            let config = RedisConfig::new(url).expect("a URL").cluster("bench");
            builder = builder.join(Arc::new(RedisAdapter::lazy(config).expect("an adapter")));
        }
        let mesh = builder.start().await.expect("a node");
        nodes.push(Arc::new(Own {
            verifier: mesh.verifier(),
            _mesh: mesh,
        }));
    }
    // As a load balancer does: nobody is sent to a node that is not ready.
    for node in &nodes {
        while !node._mesh.is_ready() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
    nodes
}

impl Node for Own {
    async fn verify(&self, token: &str) -> Result<(), String> {
        self.verifier
            .verify(token)
            .await
            .map(drop)
            .map_err(|error| error.to_string())
    }
}
