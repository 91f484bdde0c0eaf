//! Tokens that a provider calls bound (RFC 9449 section 6.2, RFC 8705 section 3.2): the binding travels with what is shared.

use authmesh::possession::{Presentation, RequestUri, Scheme};
use authmesh::{AuthMesh, Level, VerifyError};
use serde_json::json;

use super::provider::{S, Says, World, active_with, pass};
use crate::support::{Holder, Request, START};

const URI: &str = "https://api.example.com/";

async fn present(mesh: &AuthMesh, holder: &Holder, token: &str, jti: &str) -> Result<Level, VerifyError> {
    let request = Request {
        token,
        method: "GET",
        uri: URI,
        at: START,
        jti,
    };
    let proof = holder.proof(&request);
    let presentation = Presentation::new(token, Scheme::Dpop)
        .proofs([&proof])
        .request("GET", RequestUri::absolute(URI));
    mesh.verifier()
        .answer_presented(&presentation)
        .await
        .map(|answer| answer.level)
}

#[tokio::test(start_paused = true)]
async fn an_opaque_token_is_bound_on_every_node_and_from_every_level() {
    let world = World::new();
    let holder = Holder::new();
    let said = active_with(json!({"cnf": holder.cnf(), "token_type": "DPoP"}));
    world.provider.says("bound", Says::Active(said));
    let (a, b) = (world.node("a").await, world.node("b").await);
    let mut levels = Vec::new();
    for (n, mesh) in [&a, &a, &b, &b].into_iter().enumerate() {
        assert_eq!(mesh.verifier().verify("bound").await.unwrap_err(), VerifyError::Bound);
        levels.push(present(mesh, &holder, "bound", &n.to_string()).await.unwrap());
        let foreign = present(mesh, &Holder::new(), "bound", "x").await.unwrap_err();
        assert_eq!(foreign.code(), "invalid_dpop_proof");
        assert_eq!(mesh.verifier().verify("bound").await.unwrap_err(), VerifyError::Bound);
    }
    assert_eq!(world.provider.calls(), 1, "the answer is shared, not the proof");
    assert_eq!(
        levels,
        [Level::L1; 4],
        "the refused call before it brought the verdict into memory"
    );
    // While the provider is away, too.
    world.provider.goes_down();
    pass(301 * S).await;
    assert_eq!(a.verifier().verify("bound").await.unwrap_err(), VerifyError::Bound);
}

#[tokio::test(start_paused = true)]
async fn what_a_provider_says_of_a_binding_is_understood_or_refused() {
    let world = World::new();
    let mesh = world.node("a").await;
    for (n, more) in [
        json!({"cnf": {}}),
        json!({"cnf": {"jwk": {"kty": "EC"}}}),
        json!({"cnf": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}),
        // It says so, and does not say by which key.
        json!({"token_type": "DPoP"}),
        json!({"typ": "dpop", "cnf": {"x5t#S256": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}),
    ]
    .into_iter()
    .enumerate()
    {
        let token = format!("odd-{n}");
        world.provider.says(&token, Says::Active(active_with(more.clone())));
        let refused = mesh.verifier().verify(&token).await.unwrap_err();
        assert_eq!(refused.code(), "unsupported_binding", "{more}");
    }
    world
        .provider
        .says("plain", Says::Active(active_with(json!({"token_type": "Bearer"}))));
    mesh.verifier().verify("plain").await.unwrap();
}

/// The token's own word counts as well: an answer that leaves it out, or says `null`, makes no bearer token of it.
#[tokio::test(start_paused = true)]
async fn a_provider_takes_no_binding_away_that_the_token_itself_tells() {
    use base64::Engine as _;
    let world = World::new();
    let mesh = world.node("a").await;
    let (holder, other) = (Holder::new(), Holder::new());
    let part = |value: serde_json::Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({"iss": super::provider::ISSUER, "aud": "api", "cnf": holder.cnf()});
    let token = format!("{}.{}.AA", part(json!({"alg": "ES256"})), part(claims));
    for (n, (more, code)) in [
        (json!({}), "bound"),
        (json!({"cnf": holder.cnf()}), "bound"),
        (json!({"cnf": other.cnf()}), "unsupported_binding"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut said = active_with(more);
        if n == 0 {
            // `active_with` leaves members out that are null; this one is there.
            said.claims = String::from_utf8(said.claims)
                .unwrap()
                .replacen('{', "{\"cnf\":null,", 1)
                .into_bytes();
        }
        world.provider.says(&token, Says::Active(said));
        mesh.verifier().invalidate(&token).await.unwrap();
        let refused = mesh.verifier().verify(&token).await.unwrap_err();
        assert_eq!(refused.code(), code, "{n}");
    }
}
