//! A provider that a token named: its keys come from the public internet, or from nowhere.

use authmesh::ports::{KeyFetch, KeySource, UpstreamFault};
use authmesh_oidc::presets;

use crate::providers::entra_v2;
use crate::stand_in::StandIn;
use crate::{Token, World};

#[tokio::test]
async fn a_tenant_of_a_template_is_verified_as_one_that_was_configured() {
    let template = presets::entra_any_tenant()
        .unwrap()
        .audience("6e74172b-be56-4843-9ff4-e66a39bb12e3")
        .template()
        .unwrap();
    let claims = entra_v2(0);
    let provider = template.provider(claims["iss"].as_str().unwrap()).unwrap();
    // The name is pinned, by the operator's own word, to the stand-in on loopback.
    let world = World::of("entra", provider).await;
    let token = Token {
        typ: Some("JWT"),
        claims: entra_v2(world.now),
    };
    assert_eq!(world.verify(&token).await, "accepted");
    let foreign = token.but(serde_json::json!({"tid": "72f988bf-86f1-41af-91ab-2d7cd011db47"}));
    assert_eq!(world.verify(&foreign).await, "wrong_claim");
    world.end().await;
}

#[tokio::test]
async fn a_name_of_a_template_that_leads_into_the_private_network_is_not_asked() {
    let stand_in = StandIn::start("keycloak").await;
    let http = stand_in.client(true);
    // localhost is the one name that every machine looks up as its own.
    let source =
        authmesh_oidc::HttpKeySource::jwks_url("https://localhost/jwks", &http.only_public_addresses().unwrap());
    let error = source.unwrap().fetch(KeyFetch::default()).await.unwrap_err();
    assert_eq!(error.fault, UpstreamFault::Configuration, "{}", error.what);
    assert!(stand_in.asked().is_empty());
}
