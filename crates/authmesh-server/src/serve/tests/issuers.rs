//! What becomes of an issuer's configuration.

use std::path::Path;

use authmesh::Rules;
use authmesh::jose::AlgorithmSet;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::issuer::{rules, token_source, upstream_rules};
use crate::config::Config;

/// A configuration of these settings alone, each a variable without its prefix.
fn config(settings: &[(&str, &str)]) -> Config {
    let environment = settings
        .iter()
        .map(|(name, value)| (format!("AUTHMESH_{name}"), (*value).to_owned()));
    Config::load(None, environment)
        .unwrap_or_else(|problems| panic!("{problems}"))
        .config
}

const COGNITO: [(&str, &str); 4] = [
    ("ISSUERS_0_PRESET_NAME", "cognito"),
    ("ISSUERS_0_PRESET_REGION", "eu-central-1"),
    ("ISSUERS_0_PRESET_POOL", "eu-central-1_AbCdEf123"),
    ("ISSUERS_0_AUDIENCE", "app-one,app-two"),
];

#[test]
fn what_a_preset_demands_beyond_settings_stays_whatever_is_set_beside_it() {
    let plain = &config(&COGNITO).issuers[0];
    let provider = plain.preset.as_ref().unwrap().provider(&plain.audience).unwrap();
    assert_eq!(rules(plain).unwrap(), provider.rules);
    // Not the rules that anybody could write down: token_use and client_id are among them.
    assert_ne!(provider.rules.clone().audience_claim("aud"), provider.rules);

    let own = [("ISSUERS_0_LEEWAY", "3s"), ("ISSUERS_0_REQUIRED_CLAIMS", "tenant")];
    let own = &config(&[&COGNITO[..], &own].concat()).issuers[0];
    let mut expected = provider.rules.clone();
    expected.leeway = std::time::Duration::from_secs(3);
    expected.required_claims = vec!["tenant".into()];
    assert_eq!(rules(own).unwrap(), expected);
    assert_ne!(expected, Rules::for_audiences(["app-one", "app-two"]));
}

#[test]
fn an_issuer_without_a_preset_has_the_rules_that_are_set() {
    let issuer = &config(&[("ISSUERS_0_URL", "https://a"), ("ISSUERS_0_AUDIENCE", "x")]).issuers[0];
    let mut expected = Rules::for_audiences(["x"]);
    expected.algorithms = AlgorithmSet::ALL;
    assert_eq!(rules(issuer).unwrap(), expected);
}

const ASKED: [(&str, &str); 4] = [
    ("ISSUERS_0_URL", "https://login.example.com"),
    ("ISSUERS_0_AUDIENCE", "orders-api"),
    ("ISSUERS_0_VALIDATE", "introspection"),
    ("ISSUERS_0_UPSTREAM_CLIENT_ID", "orders"),
];

/// What such an issuer is asked, in its own words.
fn identity(more: &[(&str, &str)]) -> String {
    let config = config(&[&ASKED[..], more].concat());
    let issuer = &config.issuers[0];
    let source = token_source(issuer, issuer.upstream.as_ref().unwrap(), false).unwrap();
    source.identity()
}

fn private_key(folder: &Path) -> String {
    let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(der.as_ref())
    );
    let path = folder.join("key.pem");
    std::fs::write(&path, pem).unwrap();
    path.display().to_string()
}

#[test]
fn an_issuer_is_asked_where_and_as_whom_the_settings_say() {
    let secret = ("ISSUERS_0_UPSTREAM_CLIENT_SECRET", "s3cr3t");
    let by_discovery = identity(&[secret]);
    assert_eq!(
        by_discovery,
        "introspection of https://login.example.com as \"orders\" by client_secret_basic"
    );
    let post = [secret, ("ISSUERS_0_UPSTREAM_AUTH_METHOD", "client_secret_post")];
    assert!(identity(&post).ends_with("by client_secret_post"));
    let given = [
        secret,
        ("ISSUERS_0_UPSTREAM_ENDPOINT", "https://other.example.com/introspect"),
    ];
    assert!(identity(&given).starts_with("introspection at https://other.example.com/introspect as"));
    let signed = [secret, ("ISSUERS_0_UPSTREAM_SIGNED", "true")];
    assert!(identity(&signed).ends_with("signed by https://login.example.com for \"orders\""));

    let folder = tempfile::tempdir().unwrap();
    let key = private_key(folder.path());
    let key = ("ISSUERS_0_UPSTREAM_PRIVATE_KEY_FILE", key.as_str());
    assert!(identity(&[key]).ends_with("by private_key_jwt"));
    let audience = ("ISSUERS_0_UPSTREAM_ASSERTION_AUDIENCE", "https://login.example.com");
    assert!(identity(&[key, given[1], audience]).contains("at https://other.example.com/introspect"));

    let preset = [
        ("ISSUERS_0_URL", "https://acme.projects.oryapis.com"),
        ("ISSUERS_0_PRESET_NAME", "hydra"),
        ("ISSUERS_0_PRESET_ISSUER", "https://acme.projects.oryapis.com"),
        secret,
    ];
    assert!(identity(&preset).starts_with("introspection of https://acme.projects.oryapis.com as"));

    let userinfo = [("ISSUERS_0_VALIDATE", "userinfo")];
    assert_eq!(identity(&userinfo), "userinfo of https://login.example.com");
}

#[test]
fn what_is_demanded_of_tokens_is_the_same_whether_a_signature_is_checked_or_an_issuer_asked() {
    let secret = ("ISSUERS_0_UPSTREAM_CLIENT_SECRET", "s3cr3t");
    for (more, opaque, without) in [
        (&[][..], true, false),
        (&[("ISSUERS_0_UPSTREAM_OPAQUE", "false")], false, false),
        (&[("DANGER_WITHOUT_ISSUED_AT", "true")], true, true),
    ] {
        let config = config(&[&ASKED[..], &[secret], more].concat());
        let issuer = &config.issuers[0];
        let made = upstream_rules(issuer, issuer.upstream.as_ref().unwrap(), &config.danger).unwrap();
        let mut expected = rules(issuer).unwrap().opaque(opaque);
        if without {
            expected = expected.danger_without_issued_at();
        }
        assert_eq!(made.tokens, expected, "{more:?}");
        made.check(&issuer.url).unwrap();
    }
}
