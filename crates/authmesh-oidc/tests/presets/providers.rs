//! What each provider's tokens look like, and the classic mistakes with them.

use authmesh_oidc::presets::{self, Preset};
use serde_json::{Value, json};

use crate::{Token, World};

const TENANT: &str = "8eaef023-2b34-4da1-9baa-8bc8c9d6a490";
const OTHER_TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

/// Verifies good tokens, and mistakes with the word for their refusal.
async fn check(
    recorded: &str,
    preset: Preset,
    asked: &[&str],
    good: impl Fn(u64) -> Vec<Token>,
    mistakes: impl Fn(&Token, u64) -> Vec<(Token, &'static str)>,
) {
    let world = World::of(recorded, preset.build().unwrap()).await;
    let good = good(world.now);
    for token in &good {
        assert_eq!(world.verify(token).await, "accepted", "{}", token.claims);
    }
    let token = &good[0];
    let now = world.now;
    let mut all = mistakes(token, now);
    // Wherever it comes from.
    all.extend([
        (token.but(json!({"exp": now - 600})), "expired"),
        (token.but(json!({"exp": null})), "missing_claim"),
        (token.but(json!({"iss": "https://evil.example.com"})), "wrong_issuer"),
        (token.of_type("logout+jwt"), "wrong_type"),
        (token.but(json!({"exp": now + 40 * 86_400})), "lifetime_too_long"),
    ]);
    for (token, refusal) in all {
        assert_eq!(world.verify(&token).await, refusal, "{:?} {}", token.typ, token.claims);
    }
    assert_eq!(world.end().await, asked, "asked for once");
}

fn token(typ: &'static str, claims: Value) -> Token {
    Token { typ: Some(typ), claims }
}

#[tokio::test]
async fn oidc() {
    let preset = presets::oidc("https://login.example.com").unwrap().audience("orders");
    let asked = [
        "https://login.example.com/.well-known/openid-configuration",
        "https://login.example.com/keys",
    ];
    check(
        "oidc",
        preset,
        &asked,
        |now| {
            let claims = json!({"iss": "https://login.example.com", "sub": "alice", "aud": "orders", "client_id": "app",
                "jti": "1", "iat": now, "exp": now + 300});
            vec![token("at+jwt", claims)]
        },
        |good, _| {
            vec![
                (good.but(json!({"aud": "billing"})), "wrong_audience"),
                (good.but(json!({"aud": null})), "missing_claim"),
                (good.but(json!({"iss": "https://login.example.com/"})), "wrong_issuer"),
            ]
        },
    )
    .await;
}

#[tokio::test]
async fn auth0() {
    let api = "https://orders.example.com";
    let preset = presets::auth0("acme.eu.auth0.com").unwrap().audience(api);
    let asked = [
        "https://acme.eu.auth0.com/.well-known/openid-configuration",
        "https://acme.eu.auth0.com/.well-known/jwks.json",
    ];
    check(
        "auth0",
        preset,
        &asked,
        |now| {
            let userinfo = "https://acme.eu.auth0.com/userinfo";
            let own = json!({"iss": "https://acme.eu.auth0.com/", "sub": "auth0|123456", "aud": [api, userinfo],
                "azp": "my_client_id", "iat": now, "exp": now + 86_400, "scope": "openid profile read:orders"});
            let rfc9068 =
                token("at+jwt", own.clone()).but(json!({"azp": null, "client_id": "my_client_id", "jti": "73Wak"}));
            let machine = token("JWT", own.clone())
                .but(json!({"sub": "my_client_id@clients", "aud": api, "gty": "client-credentials"}));
            vec![token("JWT", own), rfc9068, machine]
        },
        |good, _| {
            let id = json!({"aud": "my_client_id", "azp": null, "nonce": "n", "email": "a@example.com", "sid": "s"});
            vec![
                (good.but(id), "wrong_audience"),
                (
                    good.but(json!({"aud": "https://billing.example.com"})),
                    "wrong_audience",
                ),
                (good.but(json!({"iss": "https://acme.eu.auth0.com"})), "wrong_issuer"),
                (good.but(json!({"iss": "https://other.eu.auth0.com/"})), "wrong_issuer"),
            ]
        },
    )
    .await;
}

#[tokio::test]
async fn okta() {
    let preset = presets::okta("acme.okta.com", "default")
        .unwrap()
        .audience("api://default");
    let asked = [
        "https://acme.okta.com/oauth2/default/.well-known/openid-configuration",
        "https://acme.okta.com/oauth2/default/v1/keys",
    ];
    check(
        "okta",
        preset,
        &asked,
        |now| {
            let claims = json!({"ver": 1, "jti": "AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE",
                "iss": "https://acme.okta.com/oauth2/default", "aud": "api://default", "sub": "alice@example.com",
                "iat": now, "exp": now + 3_600, "cid": "0oabucvyc38HLL1ef0h7", "uid": "00uid4BxXw6I6TV4m0g3", "scp": ["openid"]});
            vec![Token { typ: None, claims }]
        },
        |good, _| {
            // An app that named itself as the audience of its authorization server.
            let id = json!({"cid": null, "uid": null, "scp": null, "jti": "ID.1", "amr": ["pwd"], "idp": "00o1"});
            let org = json!({"iss": "https://acme.okta.com", "aud": "https://acme.okta.com"});
            vec![
                (good.but(id), "missing_claim"),
                (good.but(json!({"aud": "0oabucvyc38HLL1ef0h7"})), "wrong_audience"),
                (good.but(org), "wrong_issuer"),
                (good.of_type("application/okta-internal-at+jwt"), "wrong_type"),
                (good.but(json!({"iss": "https://acme.okta.com/oauth2/other"})), "wrong_issuer"),
            ]
        },
    )
    .await;
}

#[tokio::test]
async fn keycloak() {
    let preset = presets::keycloak("sso.example.com", "acme").unwrap().audience("orders");
    let asked = [
        "https://sso.example.com/realms/acme/.well-known/openid-configuration",
        "https://sso.example.com/realms/acme/protocol/openid-connect/certs",
    ];
    check(
        "keycloak",
        preset,
        &asked,
        |now| {
            let claims = json!({"exp": now + 300, "iat": now, "auth_time": now - 5, "jti": "onrtac:1", "iss": "https://sso.example.com/realms/acme",
                "aud": ["orders", "account"], "sub": "f2a7c1de-0000-4000-8000-000000000001", "typ": "Bearer", "azp": "shop", "sid": "s1", "acr": "1",
                "realm_access": {"roles": ["offline_access"]}, "scope": "openid email profile", "preferred_username": "alice"});
            vec![token("JWT", claims.clone()), token("at+jwt", claims)]
        },
        |good, _| {
            let mut all: Vec<_> = ["ID", "Refresh", "Offline", "Logout", "DPoP", "Serialized-ID", "bearer"]
                .map(|typ| (good.but(json!({"typ": typ})), "wrong_claim"))
                .into();
            all.extend([
                // A client that asks for itself.
                (good.but(json!({"typ": "ID", "aud": "orders", "azp": "orders"})), "wrong_claim"),
                (good.but(json!({"typ": null})), "missing_claim"),
                (good.but(json!({"aud": "account"})), "wrong_audience"),
                (good.but(json!({"iss": "https://sso.example.com/realms/other"})), "wrong_issuer"),
            ]);
            all
        },
    )
    .await;
}

#[tokio::test]
async fn entra() {
    let preset = presets::entra(TENANT)
        .unwrap()
        .audience("6e74172b-be56-4843-9ff4-e66a39bb12e3");
    let asked = [
        format!("https://login.microsoftonline.com/{TENANT}/v2.0/.well-known/openid-configuration"),
        format!("https://login.microsoftonline.com/{TENANT}/discovery/v2.0/keys"),
    ];
    check(
        "entra",
        preset,
        &asked.each_ref().map(String::as_str),
        |now| vec![token("JWT", entra_v2(now)), token("JWT", entra_v2(now)).but(json!({"exp": now + 28 * 3_600}))],
        |good, _| {
            vec![
                // The id token of an app that is its own API.
                (good.but(json!({"azp": null, "azpacr": null, "scp": null, "nonce": "n"})), "missing_claim"),
                (good.but(json!({"aud": "00000003-0000-0000-c000-000000000000"})), "wrong_audience"),
                (good.but(json!({"tid": OTHER_TENANT})), "wrong_claim"),
                (good.but(json!({"ver": "1.0"})), "wrong_claim"),
                (
                    good.but(json!({"iss": format!("https://login.microsoftonline.com/{OTHER_TENANT}/v2.0"), "tid": OTHER_TENANT})),
                    "wrong_issuer",
                ),
                (good.but(json!({"iss": format!("https://sts.windows.net/{TENANT}/"), "ver": "1.0"})), "wrong_issuer"),
            ]
        },
    )
    .await;
}

pub(crate) fn entra_v2(now: u64) -> Value {
    json!({"aud": "6e74172b-be56-4843-9ff4-e66a39bb12e3", "iss": format!("https://login.microsoftonline.com/{TENANT}/v2.0"),
        "iat": now, "nbf": now, "exp": now + 4_500, "aio": "AXQAi/8IAAAA", "azp": "6e74172b-be56-4843-9ff4-e66a39bb12e3", "azpacr": "0",
        "name": "Abe Lincoln", "oid": "690222be-ff1a-4d56-abd1-7e4f7d38e474", "preferred_username": "abeli@example.com", "rh": "I",
        "scp": "access_as_user", "sub": "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ", "tid": TENANT, "uti": "fqiBqXLPj0eQa82S-IYFAA", "ver": "2.0"})
}

#[tokio::test]
async fn entra_v1() {
    let preset = presets::entra_v1(TENANT).unwrap().audience("api://orders");
    let asked = [
        format!("https://login.microsoftonline.com/{TENANT}/.well-known/openid-configuration"),
        format!("https://login.microsoftonline.com/{TENANT}/discovery/keys"),
    ];
    check(
        "entra-v1",
        preset,
        &asked.each_ref().map(String::as_str),
        |now| {
            let claims = json!({"aud": "api://orders", "iss": format!("https://sts.windows.net/{TENANT}/"), "iat": now, "nbf": now, "exp": now + 3_900,
                "acr": "1", "amr": ["wia"], "appid": "75dbe77f-10a3-4e59-85fd-8c127544f17c", "appidacr": "0", "name": "abeli",
                "oid": "02223b6b-aa1d-42d4-9ec0-1b2bb9194438", "scp": "user_impersonation", "sub": "l3_roISQU222bULS9yi2k0XpqpOiMz5H3ZACo1GeXA",
                "tid": TENANT, "uti": "FVsGxYXI30-TuikuuUoFAA", "ver": "1.0"});
            vec![token("JWT", claims)]
        },
        |good, _| {
            vec![
                (good.but(json!({"appid": null})), "missing_claim"),
                (good.but(json!({"aud": "https://graph.microsoft.com"})), "wrong_audience"),
                (good.but(json!({"tid": OTHER_TENANT})), "wrong_claim"),
                (good.but(json!({"ver": "2.0"})), "wrong_claim"),
                (good.but(json!({"iss": format!("https://sts.windows.net/{TENANT}")})), "wrong_issuer"),
                (good.but(json!({"iss": format!("https://sts.windows.net/{OTHER_TENANT}/")})), "wrong_issuer"),
            ]
        },
    )
    .await;
}

#[tokio::test]
async fn google() {
    let app = "1008719970978-hb24n2dstb40o45d4feuo2ukqmcc6381.apps.googleusercontent.com";
    let preset = presets::google().unwrap().audience(app);
    let asked = [
        "https://accounts.google.com/.well-known/openid-configuration",
        "https://www.googleapis.com/oauth2/v3/certs",
    ];
    check(
        "google",
        preset,
        &asked,
        |now| {
            let claims = json!({"iss": "https://accounts.google.com", "azp": app, "aud": app, "sub": "110169484474386276334",
                "email": "testuser@example.com", "email_verified": true, "iat": now, "exp": now + 3_600, "name": "Test User"});
            vec![token("JWT", claims)]
        },
        |good, _| {
            vec![
                (good.but(json!({"aud": "another-app.apps.googleusercontent.com"})), "wrong_audience"),
                (good.but(json!({"iss": "accounts.google.com"})), "wrong_issuer"),
                (good.of_type("at+jwt"), "wrong_type"),
            ]
        },
    )
    .await;
}

#[tokio::test]
async fn cognito() {
    let pool = "eu-central-1_AbCdEf123";
    let issuer = format!("https://cognito-idp.eu-central-1.amazonaws.com/{pool}");
    let preset = presets::cognito("eu-central-1", pool)
        .unwrap()
        .audience("3n4b5urk1ft4fl3mg5e62d9ado");
    let asked = [
        format!("{issuer}/.well-known/openid-configuration"),
        format!("{issuer}/.well-known/jwks.json"),
    ];
    check(
        "cognito",
        preset,
        &asked.each_ref().map(String::as_str),
        |now| {
            let claims = json!({"sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "cognito:groups": ["admin"], "iss": issuer, "version": 2,
                "client_id": "3n4b5urk1ft4fl3mg5e62d9ado", "origin_jti": "o1", "event_id": "e1", "token_use": "access",
                "scope": "aws.cognito.signin.user.admin phone openid", "auth_time": now, "exp": now + 3_600, "iat": now, "jti": "j1",
                "username": "my-test-user"});
            vec![Token { typ: None, claims }]
        },
        |good, _| {
            let id = json!({"token_use": "id", "aud": "3n4b5urk1ft4fl3mg5e62d9ado", "client_id": null, "email": "a@example.com"});
            vec![
                (good.but(id), "missing_claim"),
                (good.but(json!({"token_use": "id"})), "wrong_claim"),
                (good.but(json!({"client_id": "1example23456789"})), "wrong_audience"),
                // aud would fit, but it is not where the pool says for whom it is.
                (good.but(json!({"client_id": "1example23456789", "aud": "3n4b5urk1ft4fl3mg5e62d9ado"})), "wrong_audience"),
                (good.but(json!({"iss": "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Other1234"})), "wrong_issuer"),
            ]
        },
    )
    .await;
}

#[tokio::test]
async fn clerk() {
    let preset = presets::clerk("clerk.example.com")
        .unwrap()
        .audience("https://app.example.com");
    check(
        "clerk",
        preset,
        &["https://clerk.example.com/.well-known/jwks.json"],
        |now| {
            let claims = json!({"azp": "https://app.example.com", "exp": now + 60, "fva": [7, -1], "iat": now, "iss": "https://clerk.example.com",
                "jti": "1234567890", "nbf": now - 10, "sid": "sess_123", "sts": "active", "sub": "user_123", "v": 2});
            vec![token("JWT", claims)]
        },
        |good, now| {
            vec![
                (good.but(json!({"azp": "https://evil.example.com"})), "wrong_audience"),
                (good.but(json!({"azp": null})), "missing_claim"),
                (good.but(json!({"azp": "https://app.example.com/"})), "wrong_audience"),
                // A token of a JWT template, for another service.
                (good.but(json!({"sid": null, "aud": "hasura", "exp": now + 600})), "missing_claim"),
                (good.but(json!({"iss": "https://other.clerk.accounts.dev"})), "wrong_issuer"),
            ]
        },
    )
    .await;
}

#[tokio::test]
async fn frontegg() {
    let preset = presets::frontegg("acme.frontegg.com")
        .unwrap()
        .audience("b6adfe4c-d695-4c04-b95f-3ec9fd0c6cca");
    check(
        "frontegg",
        preset,
        &["https://acme.frontegg.com/.well-known/jwks.json"],
        |now| {
            let claims = json!({"sub": "user-123-456", "name": "Alice", "email": "a@example.com", "email_verified": true, "type": "userToken",
                "tenantId": "tenant-1", "tenantIds": ["tenant-1"], "roles": ["Admin"], "permissions": ["fe.secure.read"], "metadata": {},
                "aud": "b6adfe4c-d695-4c04-b95f-3ec9fd0c6cca", "iss": "https://acme.frontegg.com", "iat": now, "exp": now + 3_600});
            let machine = token("JWT", claims.clone()).but(json!({"type": "tenantApiToken", "createdByUserId": "u1", "email": null}));
            vec![token("JWT", claims), machine]
        },
        |good, _| {
            vec![
                (good.but(json!({"type": "userAccessToken"})), "wrong_claim"),
                (good.but(json!({"type": null})), "missing_claim"),
                (good.but(json!({"tenantId": null})), "missing_claim"),
                (good.but(json!({"aud": "another-environment"})), "wrong_audience"),
                (good.but(json!({"iss": "https://other.frontegg.com"})), "wrong_issuer"),
            ]
        },
    )
    .await;
}

#[tokio::test]
async fn hydra() {
    let preset = presets::hydra("https://acme.projects.oryapis.com")
        .unwrap()
        .audience("https://orders.example.com");
    let asked = [
        "https://acme.projects.oryapis.com/.well-known/openid-configuration",
        "https://acme.projects.oryapis.com/.well-known/jwks.json",
    ];
    check(
        "hydra",
        preset,
        &asked,
        |now| {
            let claims = json!({"aud": ["https://orders.example.com"], "client_id": "4d1f9c2e", "exp": now + 3_600, "ext": {}, "iat": now,
                "iss": "https://acme.projects.oryapis.com", "jti": "j1", "nbf": now, "scp": ["openid", "offline"], "sub": "alice"});
            vec![token("JWT", claims)]
        },
        |good, _| {
            let id = json!({"client_id": null, "ext": null, "scp": null, "at_hash": "h", "auth_time": 1, "sid": "s"});
            vec![
                (good.but(id), "missing_claim"),
                (good.but(json!({"aud": []})), "wrong_audience"),
                (good.but(json!({"aud": ["4d1f9c2e"]})), "wrong_audience"),
                (good.but(json!({"iss": "https://acme.projects.oryapis.com/"})), "wrong_issuer"),
            ]
        },
    )
    .await;
}
