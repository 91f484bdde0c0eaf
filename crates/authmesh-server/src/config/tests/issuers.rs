//! Presets, keys, and issuers that are asked about tokens.

use std::collections::BTreeSet;
use std::time::Duration;

use authmesh::{KeyPolicy, Rules, UpstreamRules};
use authmesh_oidc::presets;

use super::super::preset::parameters;
use super::super::schema::settings_of;
use super::super::{AuthMethod, Source};
use super::*;

const ASKED: &str = "validate = \"introspection\"\n[issuers.upstream]\nclient_id = \"orders\"\n";
const SECRET: (&str, &str) = ("AUTHMESH_ISSUERS_0_UPSTREAM_CLIENT_SECRET", "s3cr3t");

/// What is set by the file alone, beside a preset.
fn preset(text: &str) -> Setup {
    Setup::new(format!("[[issuers]]\naudience = \"orders-api\"\n{text}"))
}

#[test]
fn the_keys_of_an_issuer_have_every_setting_of_the_sdk_and_its_defaults() {
    // A field that is no setting does not build (`asked::key_policy`); a setting that is no field is left over (`build`).
    assert_eq!(load("").config.issuers[0].keys, KeyPolicy::DEFAULT);
    let more =
        "[issuers.keys]\nsoft_lifetime = \"2m\"\nrefresh_ahead_percent = 20\nunknown_kid_burst = 5\nabsent_cap = 7\n";
    let keys = load(more).config.issuers[0].keys;
    let expected = KeyPolicy {
        soft_lifetime: Duration::from_secs(120),
        refresh_ahead_percent: 20,
        unknown_kid_burst: 5,
        absent_cap: 7,
        ..KeyPolicy::DEFAULT
    };
    assert_eq!(keys, expected);
}

#[test]
fn keys_that_contradict_each_other_are_refused_at_the_line_that_does_it() {
    one(
        "[issuers.keys]\nattempts = 2\nlifetime_ceiling = \"48h\"\n",
        "authmesh.toml:6: issuers[0].keys.max_trust_age must be longer than lifetime_ceiling: a set would lose its trust",
    );
    one(
        "[issuers.keys]\nattempts = 11\n",
        "authmesh.toml:5: issuers[0].keys.attempts must be 1 to 10",
    );
    one(
        "[issuers.keys]\nunknown_kid_burst = 2\n",
        "authmesh.toml:5: issuers[0].keys.reserve must be less than unknown_kid_burst",
    );
    one(
        "[issuers.keys]\ndeadline = \"0s\"\n",
        "authmesh.toml:5: issuers[0].keys.deadline must be more than zero",
    );
    let env = [("AUTHMESH_ISSUERS_0_KEYS_MIN_INTERVAL", "1m")];
    let found = Setup::new(MINIMAL).problems(&env);
    assert!(
        found[0].starts_with("AUTHMESH_ISSUERS_0_KEYS_MIN_INTERVAL: issuers[0].keys.min_interval is longer than"),
        "{found:?}"
    );
}

#[test]
fn every_parameter_of_every_preset_is_a_setting_and_no_setting_is_left_over() {
    let mut known = BTreeSet::new();
    for name in presets::names() {
        let preset = presets::Preset::named(name).unwrap();
        let mut text = format!("[issuers.preset]\nname = \"{name}\"\n");
        for parameter in preset.parameters() {
            known.insert(parameter.name.to_owned());
            text.push_str(&format!("{} = \"{}\"\n", parameter.name, parameter.example));
        }
        let loaded = super::issuers::preset(&text)
            .load(&[])
            .unwrap_or_else(|problems| panic!("{problems}"));
        let issuer = &loaded.config.issuers[0];
        let provider = issuer.preset.as_ref().unwrap().provider(&issuer.audience).unwrap();
        assert_eq!(issuer.url, provider.issuer, "{name}");
        assert_eq!(issuer.typ, provider.rules.types, "{name}");
        assert_eq!(issuer.required_claims, provider.rules.required_claims, "{name}");
        assert_eq!(issuer.max_token_lifetime, provider.rules.max_token_lifetime, "{name}");
        assert_eq!(issuer.algorithms.len(), provider.rules.algorithms.len(), "{name}");
        // What it prints loads to the same.
        let again = Setup::new(loaded.print()).load(&[]).unwrap_or_else(|p| panic!("{p}"));
        assert_eq!(format!("{:?}", loaded.config), format!("{:?}", again.config), "{name}");
    }
    let settings: BTreeSet<String> = parameters().map(str::to_owned).collect();
    assert_eq!(settings, known);
}

#[test]
fn own_settings_win_over_a_preset_and_the_environment_can_name_one() {
    let setup = preset("leeway = \"5s\"\nalgorithms = \"RS256\"\n[issuers.preset]\nname = \"auth0\"\n");
    let loaded = setup
        .load(&[("AUTHMESH_ISSUERS_0_PRESET_TENANT", "acme.eu.auth0.com")])
        .unwrap();
    let issuer = &loaded.config.issuers[0];
    assert_eq!(issuer.url, "https://acme.eu.auth0.com/");
    assert_eq!((issuer.leeway, issuer.algorithms.len()), (Duration::from_secs(5), 1));
    assert_eq!(issuer.required_claims, ["sub"]);
    let of = |setting: &str| loaded.effective.iter().find(|e| e.setting == setting).unwrap();
    assert_eq!(of("issuers[0].url").source, Source::Preset("auth0".into()));
    assert!(matches!(of("issuers[0].leeway").source, Source::File { line: 3, .. }));
    assert!(loaded.print().contains("# preset auth0\n"), "{}", loaded.print());

    let env = [
        ("AUTHMESH_ISSUERS_0_PRESET_NAME", "google"),
        ("AUTHMESH_ISSUERS_0_AUDIENCE", "client"),
    ];
    let loaded = Setup::new("").load(&env).unwrap();
    assert_eq!(loaded.config.issuers[0].url, "https://accounts.google.com");
}

#[test]
fn what_is_wrong_with_a_preset_is_said_once_and_names_what_there_is() {
    for (text, expected) in [
        (
            "[issuers.preset]\nname = \"auth1\"\n",
            "authmesh.toml:4: issuers[0].preset.name is not a preset. There are: oidc, auth0, ",
        ),
        (
            "[issuers.preset]\nname = \"auth0\"\nrealm = \"x\"\n",
            "authmesh.toml:5: issuers[0].preset.realm is not a parameter of the preset auth0. It has: tenant",
        ),
        (
            "[issuers.preset]\nname = \"auth0\"\ntenant = \"https://secret-place\"\n",
            "authmesh.toml:5: issuers[0].preset.tenant must be a host name",
        ),
        (
            "[issuers.preset]\nname = \"okta\"\ndomain = \"acme.okta.com\"\n",
            "authmesh.toml:4: issuers[0].preset.server is missing: the preset okta needs it",
        ),
        (
            "url = \"https://other.example.com\"\n[issuers.preset]\nname = \"google\"\n",
            "authmesh.toml:3: issuers[0].url is another than the preset makes: \"https://accounts.google.com\"",
        ),
    ] {
        let found = preset(text).problems(&[]);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with(expected), "{found:#?}\n{expected}");
        assert!(!found[0].contains("secret-place"), "{found:?}");
    }
    let found = preset("[issuers.preset]\nname = \"auth0\"\nteant = \"x\"\n").problems(&[]);
    assert!(
        found[0].contains("tenant is missing: the preset auth0 needs it"),
        "{found:#?}"
    );
    assert!(
        found[1].contains("preset.teant is not a setting: did you mean \"tenant\""),
        "{found:#?}"
    );
    one(
        "[issuers.preset]\ntenant = \"a.b\"\n",
        "authmesh.toml:5: issuers[0].preset.tenant is a parameter of a preset, and none is named",
    );
}

#[test]
fn an_issuer_that_is_asked_has_the_defaults_of_the_sdk() {
    let loaded = Setup::new(format!("{MINIMAL}{ASKED}")).load(&[SECRET]).unwrap();
    let upstream = loaded.config.issuers[0].upstream.as_ref().unwrap();
    assert!(!upstream.userinfo && !upstream.signed && upstream.opaque && upstream.endpoint.is_none());
    assert_eq!(
        (upstream.client_id.as_deref(), upstream.auth_method),
        (Some("orders"), AuthMethod::Basic)
    );
    assert_eq!(upstream.client_secret.as_ref().unwrap().expose(), SECRET.1);
    let mut sdk = UpstreamRules::new(Rules::danger_any_audience());
    // Until the server says what is demanded of tokens, none is accepted.
    sdk.tokens = Rules::for_audiences([""]);
    assert_eq!(upstream.rules, sdk);
    assert!(!format!("{loaded:?}").contains(SECRET.1));
    assert!(!loaded.print().contains(SECRET.1) && loaded.print().contains("#client_secret = (redacted)"));

    let more = format!("{ASKED}lifetime = \"1m\"\nstale_for = \"0s\"\ncalls = 3\nclient_secret_file = \"secret\"\n");
    let setup = Setup::new(format!("{MINIMAL}{more}")).with("secret", "short\n");
    let upstream = setup.load(&[]).unwrap().config.issuers.remove(0).upstream.unwrap();
    assert_eq!(upstream.client_secret.unwrap().expose(), "short");
    assert_eq!(
        (upstream.rules.lifetime, upstream.rules.calls),
        (Duration::from_secs(60), 3)
    );
    assert_eq!(upstream.rules.stale_for, Duration::ZERO);
}

#[test]
fn an_issuer_that_is_asked_needs_a_credential_from_a_file_or_the_environment() {
    let asked = format!("{MINIMAL}{ASKED}");
    let found = Setup::new(&asked).problems(&[]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("issuers[0].upstream.client_secret_file is missing, and so is private_key_file"));
    let found = Setup::new(format!("{MINIMAL}validate = \"introspection\"\n")).problems(&[SECRET]);
    assert!(
        found[0].contains("issuers[0].upstream.client_id is missing"),
        "{found:?}"
    );
    let found = Setup::new(format!("{asked}client_secret = \"in-the-file\"\n")).problems(&[]);
    assert!(
        found
            .iter()
            .any(|line| line.contains("must not stand in the file") && line.contains(SECRET.0)),
        "{found:?}"
    );
    assert!(!found.iter().any(|line| line.contains("in-the-file")));
    let key = Setup::new(format!("{asked}private_key_file = \"key\"\n")).with("key", "hunter2");
    let found = key.problems(&[]);
    assert!(
        found[0].contains("private_key_file names a file that cannot be used"),
        "{found:?}"
    );
    assert!(!found[0].contains("hunter2"));
    let found = key.problems(&[SECRET]);
    assert!(
        found
            .iter()
            .any(|line| line.contains("and a client secret are both set")),
        "{found:?}"
    );
    let found = Setup::new(format!("{asked}client_secret_file = \"s\"\n"))
        .with("s", "a b\n")
        .problems(&[]);
    assert!(
        found[0].contains("client_secret_file names a file whose content has a space"),
        "{found:?}"
    );
}

#[test]
fn what_contradicts_itself_about_asking_is_refused_with_the_reason_of_the_sdk() {
    let refused = |more: &str| Setup::new(format!("{MINIMAL}{ASKED}{more}")).problems(&[SECRET]);
    for (more, expected) in [
        (
            "soft_timeout = \"20s\"\n",
            "issuers[0].upstream.soft_timeout is not below hard_timeout",
        ),
        ("stale_for = \"2h\"\n", "issuers[0].upstream.stale_for is over 1 h"),
        ("lifetime = \"0s\"\n", "issuers[0].upstream.lifetime is zero"),
    ] {
        let found = refused(more);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with(&format!("authmesh.toml:7: {expected}")),
            "{found:?}"
        );
    }
    let two = format!(
        "{ASKED}[[issuers]]\nurl = \"https://b\"\naudience = \"x\"\nvalidate = \"introspection\"\n[issuers.upstream]\nclient_id = \"b\"\n"
    );
    let env = [SECRET, ("AUTHMESH_ISSUERS_1_UPSTREAM_CLIENT_SECRET", "b")];
    let found = Setup::new(format!("{MINIMAL}{two}")).problems(&env);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("issuers[1].upstream.opaque is on for issuers[0] too"),
        "{found:?}"
    );
    Setup::new(format!("{MINIMAL}{two}opaque = false\n"))
        .load(&env)
        .unwrap();
    let found = Setup::new(format!("{MINIMAL}{ASKED}[issuers.logout]\nclient_ids = \"web\"\n")).problems(&[SECRET]);
    assert!(found[0].contains("its logout tokens cannot be checked"), "{found:?}");
}

#[test]
fn settings_that_say_nothing_are_warned_of() {
    let found = Setup::new(format!("{MINIMAL}[issuers.upstream]\nclient_id = \"orders\"\n")).warnings(&[]);
    assert!(
        found[0].contains("issuers[0].upstream.client_id is set, but the issuer's tokens are checked by"),
        "{found:?}"
    );
    let found = Setup::new(format!("{MINIMAL}validate = \"userinfo\"\n")).warnings(&[]);
    assert!(
        found[0].contains("tells neither for whom an opaque token was made"),
        "{found:?}"
    );
    let text = "[[issuers]]\nurl = \"https://a\"\nvalidate = \"userinfo\"\n[danger]\nany_audience = true\nwithout_issued_at = true\n";
    let loaded = Setup::new(text).load(&[]).unwrap();
    assert!(loaded.config.issuers[0].upstream.as_ref().unwrap().userinfo);
    assert!(
        loaded
            .warnings
            .iter()
            .all(|warning| !warning.setting.ends_with("validate"))
    );
}

#[test]
fn no_setting_of_an_issuer_takes_a_secret_from_the_file() {
    let secrets: Vec<_> = settings_of(Some("issuers"))
        .filter(|setting| setting.key().contains("secret") && !setting.key().ends_with("_file"))
        .collect();
    assert!(!secrets.is_empty());
    assert!(
        secrets
            .iter()
            .all(|setting| matches!(setting.kind, super::super::kind::Kind::Secret { .. }))
    );
}
