#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::str::FromStr;

use axum::body::Body;
use http::header::{ACCEPT, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use jsonwebtoken::crypto::aws_lc;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;
use tower::ServiceExt;

use super::*;

const BASE: &str = "http://127.0.0.1:8600";

fn issuer() -> DevIssuer {
    DevIssuer::new(BASE).unwrap()
}

struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    body: String,
}

async fn send(issuer: &DevIssuer, request: Request<Body>) -> Answer {
    let response = issuer.router().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

async fn get(issuer: &DevIssuer, path: &str) -> Answer {
    send(issuer, Request::get(path).body(Body::empty()).unwrap()).await
}

async fn post(issuer: &DevIssuer, path: &str, form: &str) -> Answer {
    let request = Request::post(path).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    send(issuer, request.body(Body::from(form.to_owned())).unwrap()).await
}

async fn jwks(issuer: &DevIssuer) -> JwkSet {
    serde_json::from_str(&get(issuer, "/jwks").await.body).unwrap()
}

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Checks the signature with the key that the header names, without the process-wide provider.
fn verifies(token: &str, set: &JwkSet) -> bool {
    let header = part(token, 0);
    let Some(jwk) = set.find(header["kid"].as_str().unwrap()) else {
        return false;
    };
    let alg = Algorithm::from_str(header["alg"].as_str().unwrap()).unwrap();
    let key = DecodingKey::from_jwk(jwk).unwrap();
    let (message, signature) = token.rsplit_once('.').unwrap();
    (aws_lc::DEFAULT_PROVIDER.verifier_factory)(&alg, &key)
        .unwrap()
        .verify(message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
        .is_ok()
}

/// RFC 7638, computed by hand over the raw document.
fn thumbprint(jwk: &Jwk) -> String {
    let raw = serde_json::to_value(jwk).unwrap();
    let names: &[&str] = match raw["kty"].as_str().unwrap() {
        "RSA" => &["e", "kty", "n"],
        "EC" => &["crv", "kty", "x", "y"],
        "OKP" => &["crv", "kty", "x"],
        other => panic!("{other}"),
    };
    let members: Vec<String> = names.iter().map(|name| format!("\"{name}\":{}", raw[*name])).collect();
    let json = format!("{{{}}}", members.join(","));
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, json.as_bytes());
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn every_algorithm_verifies_with_the_published_set() {
    let issuer = issuer();
    let set = jwks(&issuer).await;
    assert_eq!(set.keys.len(), 3);
    for alg in DevAlg::ALL {
        let answer = post(&issuer, "/token", &format!("alg={}", alg.name())).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        assert!(verifies(&answer.body, &set), "{alg:?}");

        let (message, signature) = answer.body.rsplit_once('.').unwrap();
        assert!(
            !verifies(&format!("{message}x.{signature}"), &set),
            "{alg:?}: any change must show"
        );
    }
}

#[tokio::test]
async fn key_ids_begin_the_thumbprint() {
    let issuer = issuer();
    let set = jwks(&issuer).await;
    for (jwk, prefix) in set.keys.iter().zip(["dev-rs256-", "dev-es256-", "dev-eddsa-"]) {
        let kid = jwk.common.key_id.as_deref().unwrap();
        assert_eq!(kid, format!("{prefix}{}", &thumbprint(jwk)[..8]));
    }
    let published: Vec<_> = set.keys.iter().map(|jwk| jwk.common.key_id.clone().unwrap()).collect();
    assert_eq!(published, issuer.kids());
}

#[tokio::test]
async fn the_set_holds_public_members_only() {
    let raw: Value = serde_json::from_str(&get(&issuer(), "/jwks").await.body).unwrap();
    for key in raw["keys"].as_array().unwrap() {
        let mut names: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        let expected: &[&str] = match key["kty"].as_str().unwrap() {
            "RSA" => &["alg", "e", "kid", "kty", "n", "use"],
            "EC" => &["alg", "crv", "kid", "kty", "use", "x", "y"],
            _ => &["alg", "crv", "kid", "kty", "use", "x"],
        };
        assert_eq!(names, expected);
    }
}

#[tokio::test]
async fn a_token_without_any_field_says_what_the_defaults_say() {
    let issuer = issuer();
    let bare = send(&issuer, Request::post("/token").body(Body::empty()).unwrap()).await;
    for token in [bare.body, post(&issuer, "/token", "").await.body] {
        let header = part(&token, 0);
        assert_eq!(header["alg"], "RS256");
        assert_eq!(header["typ"], "at+jwt");
        assert_eq!(header["kid"], issuer.kids()[0]);
        let claims = part(&token, 1);
        for (name, value) in [
            ("iss", BASE),
            ("sub", "alice"),
            ("aud", "dev-api"),
            ("scope", "read"),
            ("client_id", "dev-client"),
        ] {
            assert_eq!(claims[name], value, "{name}");
        }
        assert_eq!(claims["nbf"], claims["iat"]);
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3_600);
        assert_eq!(claims["jti"].as_str().unwrap().len(), 22);
        assert_eq!(
            claims.as_object().unwrap().len(),
            9,
            "nothing that was not asked for: {claims}"
        );
    }
}

#[tokio::test]
async fn every_field_reaches_its_claim() {
    let form = "sub=b%C3%B6b&aud=orders&ttl=1&scope=a+b&sid=s1&jti=j1&client_id=c1&email=b%40example.com";
    let claims = part(&post(&issuer(), "/token", form).await.body, 1);
    for (name, value) in [
        ("sub", "böb"),
        ("aud", "orders"),
        ("scope", "a b"),
        ("sid", "s1"),
        ("jti", "j1"),
        ("client_id", "c1"),
        ("email", "b@example.com"),
    ] {
        assert_eq!(claims[name], value, "{name}");
    }
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 1);
}

#[tokio::test]
async fn token_ids_differ() {
    let issuer = issuer();
    let id = |token: String| part(&token, 1)["jti"].clone();
    let first = id(issuer.mint(&DevClaims::default(), DevAlg::EdDsa).unwrap());
    let second = id(issuer.mint(&DevClaims::default(), DevAlg::EdDsa).unwrap());
    assert_ne!(first, second);
}

#[test]
fn the_clock_is_an_argument() {
    let claims = DevClaims {
        ttl: Duration::ZERO,
        ..DevClaims::default()
    };
    let token = issuer().mint_at(&claims, DevAlg::Es256, 1_000).unwrap();
    let claims = part(&token, 1);
    assert_eq!(
        (&claims["iat"], &claims["nbf"], &claims["exp"]),
        (&1_000.into(), &1_000.into(), &1_000.into())
    );
}

#[tokio::test]
async fn bad_fields_are_named_and_their_values_are_not_repeated() {
    let issuer = issuer();
    for (form, field) in [
        ("alg=none-secret", "alg must"),
        ("alg=HS256", "alg must"),
        ("alg=rs256", "alg must"),
        ("ttl=0", "ttl must"),
        ("ttl=86401", "ttl must"),
        ("ttl=%2B60", "ttl must"),
        ("ttl=secret", "ttl must"),
        ("ttl=99999999999999999999999", "ttl must"),
        ("sub=", "sub is empty"),
        ("sub=a&sub=secret", "sub is given twice"),
        ("role=secret", "role is no field"),
        ("a%0Ab=secret", "a\\nb is no field"),
    ] {
        let answer = post(&issuer, "/token", form).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{form}");
        assert!(answer.headers[CONTENT_TYPE].to_str().unwrap().starts_with("text/plain"));
        assert!(answer.body.starts_with(field), "{form}: {}", answer.body);
        assert!(!answer.body.contains("secret"), "{form}: {}", answer.body);
    }
    assert_eq!(post(&issuer, "/token", "ttl=86400").await.status, StatusCode::OK);
}

#[tokio::test]
async fn other_bodies_and_large_bodies_are_refused() {
    let issuer = issuer();
    let json = Request::post("/token")
        .header(CONTENT_TYPE, "application/json")
        .body(Body::from("{}"))
        .unwrap();
    assert_eq!(send(&issuer, json).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let large = format!("sub={}", "a".repeat(16 * 1024));
    assert_eq!(
        post(&issuer, "/token", &large).await.status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    assert_eq!(get(&issuer, "/token").await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn json_is_answered_where_it_is_asked_for() {
    let issuer = issuer();
    let plain = post(&issuer, "/token", "").await;
    assert!(plain.headers[CONTENT_TYPE].to_str().unwrap().starts_with("text/plain"));
    assert_eq!(plain.headers["cache-control"], "no-store");

    let request = Request::post("/token").header(ACCEPT, "text/html, application/json;q=0.9");
    let answer = send(&issuer, request.body(Body::empty()).unwrap()).await;
    let body: HashMap<String, Value> = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["expires_in"], 3_600);
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert!(verifies(body["access_token"].as_str().unwrap(), &jwks(&issuer).await));
}

#[tokio::test]
async fn rotation_replaces_every_key() {
    let issuer = issuer();
    let old_kids = issuer.kids();
    let old_token = issuer.mint(&DevClaims::default(), DevAlg::Es256).unwrap();
    let old_set = get(&issuer, "/jwks").await;

    let answer = post(&issuer, "/rotate", "").await;
    assert_eq!(answer.status, StatusCode::OK);
    let told: Vec<_> = answer.body.lines().map(str::to_owned).collect();
    assert_eq!(told, issuer.kids());
    for kid in &old_kids {
        assert!(!told.contains(kid), "{kid} is still there");
    }
    let set = jwks(&issuer).await;
    assert!(!verifies(&old_token, &set), "its key has left the set");
    assert!(verifies(
        &issuer.mint(&DevClaims::default(), DevAlg::Es256).unwrap(),
        &set
    ));
    assert_ne!(get(&issuer, "/jwks").await.headers[ETAG], old_set.headers[ETAG]);
}

#[tokio::test]
async fn the_set_can_be_asked_for_conditionally() {
    let issuer = issuer();
    let first = get(&issuer, "/jwks").await;
    assert_eq!(first.headers[CONTENT_TYPE], "application/jwk-set+json");
    assert_eq!(first.headers["cache-control"], "public, max-age=10");
    let again = || {
        let request = Request::get("/jwks").header(IF_NONE_MATCH, &first.headers[ETAG]);
        send(&issuer, request.body(Body::empty()).unwrap())
    };
    let unchanged = again().await;
    assert_eq!(
        (unchanged.status, unchanged.body.as_str()),
        (StatusCode::NOT_MODIFIED, "")
    );
    assert_eq!(unchanged.headers[ETAG], first.headers[ETAG]);
    issuer.rotate().unwrap();
    assert_eq!(again().await.status, StatusCode::OK);
}

#[tokio::test]
async fn discovery_names_the_issuer_and_its_addresses() {
    let document: Value =
        serde_json::from_str(&get(&issuer(), "/.well-known/openid-configuration").await.body).unwrap();
    assert_eq!(document["issuer"], BASE);
    assert_eq!(document["jwks_uri"], format!("{BASE}/jwks"));
    assert_eq!(document["token_endpoint"], format!("{BASE}/token"));
}

#[tokio::test]
async fn the_front_page_shows_a_command_that_works() {
    let page = get(&issuer(), "/").await.body;
    assert!(
        page.contains(&format!("T=$(curl -s -d sub=alice {BASE}/token)")),
        "{page}"
    );
    assert!(page.contains("Not for production"), "{page}");
}

#[test]
fn only_an_origin_can_be_an_issuer() {
    for bad in [
        "",
        "127.0.0.1:8600",
        "ftp://127.0.0.1",
        "http://",
        "http://u@127.0.0.1",
        "http://127.0.0.1/x",
    ] {
        assert_eq!(DevIssuer::new(bad).unwrap_err(), DevIssuerError::BadUrl, "{bad}");
    }
    assert_eq!(
        DevIssuer::new("http://[::1]:8600/").unwrap().issuer(),
        "http://[::1]:8600"
    );
}

#[test]
fn debug_output_holds_no_claim_and_no_key() {
    let issuer = issuer();
    let text = format!("{issuer:?} {:?}", DevClaims::default());
    assert!(text.contains(BASE) && !text.contains("alice"), "{text}");
    assert!(text.len() < 300, "no key fits in here: {text}");
}
