//! A provider that a token named: its keys come from the public internet, or from nowhere.

use authmesh::ports::{KeyFetch, KeySource, TokenSource, UpstreamFault};
use authmesh_oidc::{ClientAuth, presets};

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

/// The metadata of version 1.0 is not where its issuer is; its userinfo endpoint stands in it all the same.
#[tokio::test]
async fn a_providers_other_endpoints_are_found_where_its_keys_are() {
    let tenant = "8eaef023-2b34-4da1-9baa-8bc8c9d6a490";
    let provider = presets::entra_v1(tenant)
        .unwrap()
        .audience("api://orders")
        .build()
        .unwrap();
    let stand_in = StandIn::start("entra-v1").await;
    let userinfo = provider.userinfo(&stand_in.client(false)).unwrap();
    let error = userinfo.ask("opaque").await.unwrap_err();
    assert!(
        error.what.contains("404"),
        "the stand-in has no such page: {}",
        error.what
    );
    assert_eq!(
        stand_in.asked(),
        [
            format!("https://login.microsoftonline.com/{tenant}/.well-known/openid-configuration"),
            format!("https://login.microsoftonline.com/{tenant}/openid/userinfo"),
        ]
    );
    let auth = ClientAuth::client_secret_basic("orders", "hunter2").unwrap();
    let introspection = provider.introspection(auth, &stand_in.client(false)).unwrap();
    let error = introspection.ask("opaque").await.unwrap_err();
    assert!(error.what.contains("names no introspection_endpoint"), "{}", error.what);
}
