//! Every setting from the environment, and the order of precedence.

use super::super::kind::Kind;
use super::super::schema::{Fallback, Setting};
use super::super::table::SETTINGS;
use super::super::units::{parse_duration, show_duration, show_size};
use super::super::{Source, WhenBlind};
use super::*;

/// A value for a setting that differs from its default, in the form of a variable, with its form in TOML.
fn another(setting: &Setting, file: &str) -> (String, String) {
    let quoted = |text: &str| (text.to_owned(), format!("\"{text}\""));
    // Twice the default contradicts nothing.
    let default = match setting.fallback {
        Fallback::Sdk(default) => default(),
        _ => String::new(),
    };
    match setting.kind {
        Kind::Bool if default == "true" => ("false".into(), "false".into()),
        Kind::Count { .. } if !default.is_empty() => {
            let twice = (default.parse::<u64>().unwrap() * 2).to_string();
            (twice.clone(), twice)
        }
        Kind::Duration { .. } if !default.is_empty() => quoted(&show_duration(parse_duration(&default).unwrap() * 2)),
        Kind::Bool if matches!(setting.fallback, Fallback::Is("true")) => ("false".into(), "false".into()),
        Kind::Bool => ("true".into(), "true".into()),
        Kind::Count { max, .. } => (max.to_string(), max.to_string()),
        Kind::Duration { max, .. } => quoted(&show_duration(max)),
        Kind::Size { max, .. } => quoted(&show_size(max)),
        Kind::Address { .. } => quoted("127.0.0.2:1"),
        Kind::File => quoted(file),
        Kind::OneOf(words) => quoted(words[words.len() - 1]),
        Kind::WhenBlind => quoted("serve 30m"),
        Kind::Secret { .. } => ("a-long-admin-credential".into(), "\"(redacted)\"".into()),
        Kind::Word { .. } if setting.path.ends_with("url") || setting.path.ends_with("endpoint") => {
            quoted("https://other.example.com")
        }
        Kind::Word { .. } if setting.path == "routes[].path" => quoted("/other"),
        Kind::Word { .. } if setting.path == "marks.snapshot" => quoted("/other"),
        Kind::Word { .. } if setting.path == "telemetry.sample" => quoted("0.5"),
        Kind::Word { .. } => quoted("other"),
        Kind::Words { .. } if setting.path.ends_with("algorithms") => ("ES256".into(), "[\"ES256\"]".into()),
        Kind::Words { .. } if setting.path.ends_with("methods") => ("PUT, GET".into(), "[\"PUT\", \"GET\"]".into()),
        Kind::Words { .. } if setting.path == "redis.url" => ("rediss://b".into(), "[\"rediss://b\"]".into()),
        Kind::Words { .. } if setting.path == "gossip.seeds" => ("a:1, b:2".into(), "[\"a:1\", \"b:2\"]".into()),
        Kind::Words { .. } if setting.path == "possession.origins" => {
            ("https://a, https://b".into(), "[\"https://a\", \"https://b\"]".into())
        }
        Kind::Words { .. } if setting.path == "telemetry.attributes" => {
            ("a=1, b=2".into(), "[\"a=1\", \"b=2\"]".into())
        }
        Kind::Words { .. } => ("one, two".into(), "[\"one\", \"two\"]".into()),
    }
}

#[test]
fn the_variable_of_each_setting_works_and_wins_over_the_file() {
    // Presets, and the file of a secret, have tests of their own: they make no sense alone, and what is in it is not shown.
    let own = |path: &str| path.starts_with("issuers[].preset.") || path == "issuers[].upstream.client_secret_file";
    for setting in SETTINGS.iter().filter(|setting| !own(setting.path)) {
        // What concerns Redis or gossip makes sense only where there is one, and what is sealed only with a key ring.
        let road = match setting.section() {
            "redis" => "[cluster]\nkey_ring_file = \"content\"\n[redis]\nurl = \"rediss://a\"\n",
            "gossip" => "[cluster]\nkey_ring_file = \"content\"\n[gossip]\nbind = \"127.0.0.1:1\"\nexpect = 2\n",
            "marks" => "[cluster]\nkey_ring_file = \"content\"\n",
            _ => "",
        };
        let setup = Setup::new(format!(
            "{MINIMAL}[[routes]]\npath = \"/\"\n[[issuers]]\nurl = \"https://two\"\naudience = [\"one\", \"two\"]\n\
             {road}"
        ))
        .with("content", "a-long-admin-credential");
        let file = setup.folder.path().join("content").display().to_string();
        let (text, toml) = another(setting, &file);
        let name = setting.variable(0);
        // What concerns asking about tokens is of use only where somebody is asked.
        let base: &[(&str, &str)] = match (setting.section(), setting.key()) {
            ("issuers[].upstream", "client_secret" | "private_key_file") => {
                &[("AUTHMESH_ISSUERS_0_VALIDATE", "userinfo")]
            }
            ("issuers[].upstream", _) => &[
                ("AUTHMESH_ISSUERS_0_VALIDATE", "introspection"),
                ("AUTHMESH_ISSUERS_0_UPSTREAM_CLIENT_ID", "orders"),
                ("AUTHMESH_ISSUERS_0_UPSTREAM_CLIENT_SECRET", "s3cr3t"),
            ],
            _ => &[],
        };
        let mut env = base.to_vec();
        env.push((name.as_str(), text.as_str()));
        // Neither makes sense alone: access = "public" must have no demand, and a floor must stay below its ceiling.
        match setting.path {
            "redis.client_cert_file" => env.push(("AUTHMESH_REDIS_CLIENT_KEY_FILE", &file)),
            "redis.client_key_file" => env.push(("AUTHMESH_REDIS_CLIENT_CERT_FILE", &file)),
            "gossip.probe_period" => env.push(("AUTHMESH_GOSSIP_SUSPICION", "1m")),
            "gossip.probe_rtt" => env.extend([
                ("AUTHMESH_GOSSIP_PROBE_PERIOD", "1m"),
                ("AUTHMESH_GOSSIP_SUSPICION", "1m"),
            ]),
            _ => {}
        }
        if setting.path == "logout.listen" {
            env.push(("AUTHMESH_ISSUERS_0_LOGOUT_CLIENT_IDS", "web"));
        }
        if setting.path.ends_with("http.connect_timeout") {
            env.push(("AUTHMESH_ISSUERS_0_HTTP_TOTAL_TIMEOUT", "1m"));
        }
        let loaded = setup.load(&env).unwrap_or_else(|problems| panic!("{name}: {problems}"));
        let path = setting.numbered(0);
        let effective = loaded.effective.iter().find(|e| e.setting == path).unwrap();
        assert_eq!(effective.source, Source::Env(name.clone()), "{path}");
        assert_eq!(effective.value.as_deref(), Some(toml.as_str()), "{path}");
        let plain = setup.load(base).unwrap();
        assert_ne!(
            format!("{:?}", loaded.config),
            format!("{:?}", plain.config),
            "{name} changes the typed configuration"
        );
    }
}

#[test]
fn the_environment_alone_is_enough() {
    let env = [
        ("AUTHMESH_ISSUERS_0_URL", "https://a"),
        ("AUTHMESH_ISSUERS_0_AUDIENCE", "x, y"),
        ("AUTHMESH_ISSUERS_1_URL", "https://b"),
        ("AUTHMESH_ISSUERS_1_AUDIENCE", "x"),
        ("AUTHMESH_ROUTES_0_PATH", "/"),
        ("AUTHMESH_ROUTES_0_WHEN_BLIND", "deny"),
    ];
    let config = Config::load(None, vars(&env)).unwrap().config;
    assert_eq!(config.issuers.len(), 2);
    assert_eq!(config.issuers[0].audience, ["x", "y"]);
    assert_eq!(config.routes[0].when_blind, WhenBlind::Deny);
}

#[test]
fn a_variable_names_the_file() {
    let setup = Setup::new(MINIMAL);
    let path = setup.file().display().to_string();
    let loaded = Config::load(None, vars(&[("AUTHMESH_CONFIG", &path)])).unwrap();
    assert_eq!(loaded.config.issuers[0].url, "https://login.example.com");
    // An argument wins.
    let loaded = setup.load(&[("AUTHMESH_CONFIG", "does-not-exist.toml")]).unwrap();
    assert_eq!(loaded.config.issuers.len(), 1);
}

#[test]
fn a_variable_adds_to_a_section_of_the_file_or_a_section() {
    let setup = Setup::new(MINIMAL);
    let config = setup
        .load(&[
            ("AUTHMESH_ISSUERS_0_LEEWAY", "0s"),
            ("AUTHMESH_ISSUERS_1_URL", "https://b"),
            ("AUTHMESH_ISSUERS_1_AUDIENCE", "b"),
        ])
        .unwrap()
        .config;
    assert_eq!((config.issuers.len(), config.issuers[0].leeway.as_secs()), (2, 0));
    assert_eq!(config.issuers[0].audience, ["orders-api"]);
}

#[test]
fn a_bad_value_in_the_file_does_not_matter_where_a_variable_wins() {
    let setup = Setup::new(format!("{MINIMAL}[server]\nlisten = 1\n"));
    assert!(setup.load(&[("AUTHMESH_SERVER_LISTEN", "127.0.0.1:1")]).is_ok());
    assert!(setup.load(&[]).is_err());
}

#[test]
fn variables_of_others_and_of_client_commands_are_left_alone() {
    let setup = Setup::new(MINIMAL);
    let env = [
        ("PATH", "/bin"),
        ("AUTHMESH", "x"),
        ("AUTHMESH_URL", "http://127.0.0.1:8400"),
        ("AUTHMESH_ADMIN_URL", "http://127.0.0.1:8500"),
        ("AUTHMESH_LOG", "debug"),
        // Kubernetes sets these in every container of the namespace where a Service is named "authmesh".
        ("AUTHMESH_SERVICE_HOST", "10.0.0.1"),
        ("AUTHMESH_SERVICE_PORT_HTTP", "8400"),
        ("AUTHMESH_PORT", "tcp://10.0.0.1:8400"),
        ("AUTHMESH_PORT_8400_TCP_ADDR", "10.0.0.1"),
    ];
    assert!(setup.load(&env).is_ok());
}

#[test]
fn unknown_variables_are_errors_with_a_suggestion() {
    let setup = Setup::new(MINIMAL);
    let found = setup.problems(&[
        ("AUTHMESH_SERVER_LITSEN", "x"),
        ("AUTHMESH_ISSUERS_0_AUDIENC", "x"),
        ("AUTHMESH_WHATEVER_ELSE", "x"),
        ("AUTHMESH_REDIS_ULR", "x"),
        ("AUTHMESH_GOSSIP_BNID", "x"),
        ("AUTHMESH_ISSUERS_00_URL", "https://a"),
    ]);
    for part in [
        "AUTHMESH_SERVER_LITSEN: is not a variable of authmesh: did you mean AUTHMESH_SERVER_LISTEN?",
        "AUTHMESH_ISSUERS_0_AUDIENC: is not a variable of authmesh: did you mean AUTHMESH_ISSUERS_0_AUDIENCE?",
        "AUTHMESH_WHATEVER_ELSE: is not a variable of authmesh: remove it",
        "AUTHMESH_REDIS_ULR: is not a variable of authmesh: did you mean AUTHMESH_REDIS_URL?",
        "AUTHMESH_GOSSIP_BNID: is not a variable of authmesh: did you mean AUTHMESH_GOSSIP_BIND?",
        "AUTHMESH_ISSUERS_00_URL: is not a variable of authmesh: did you mean AUTHMESH_ISSUERS_0_URL?",
    ] {
        assert!(found.iter().any(|line| line.starts_with(part)), "{part}\n{found:#?}");
    }
    assert_eq!(found.len(), 6, "{found:#?}");
}

#[test]
fn numbers_go_on_without_a_gap_and_end_at_the_limit() {
    let setup = Setup::new(MINIMAL);
    let found = setup.problems(&[("AUTHMESH_ISSUERS_2_URL", "https://a")]);
    assert_eq!(
        found,
        ["AUTHMESH_ISSUERS_2_URL: issuers[2] is set, but there is no issuers[1]: number them from 0 without a gap."]
    );
    for number in ["512", "99999999999999999999"] {
        let found = setup.problems(&[(&format!("AUTHMESH_ISSUERS_{number}_URL"), "https://a")]);
        assert!(found[0].contains("at most 512 are allowed"), "{found:?}");
    }
}

#[test]
fn a_section_from_the_environment_that_lacks_something_is_located_there() {
    let setup = Setup::new(MINIMAL);
    let found = setup.problems(&[("AUTHMESH_ISSUERS_1_AUDIENCE", "b")]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("AUTHMESH_ISSUERS_1_AUDIENCE: issuers[1].url is missing: "),
        "{found:?}"
    );
}

#[test]
fn values_of_variables_are_checked_like_those_of_the_file() {
    let setup = Setup::new(MINIMAL);
    for (name, value, part) in [
        ("AUTHMESH_SERVER_EXPLAIN", "yes", "server.explain must be true or false"),
        (
            "AUTHMESH_SERVER_MAX_CONNECTIONS",
            "many",
            "server.max_connections is text: write a whole number",
        ),
        (
            "AUTHMESH_SERVER_MAX_CONNECTIONS",
            "0",
            "server.max_connections is out of range",
        ),
        ("AUTHMESH_SERVER_DRAIN", "5", "server.drain has no unit: write \"5s\""),
        ("AUTHMESH_SERVER_LISTEN", "", "server.listen is empty"),
        (
            "AUTHMESH_ISSUERS_0_AUDIENCE",
            "",
            "issuers[0].audience is empty: a token for any service",
        ),
        ("AUTHMESH_ISSUERS_0_AUDIENCE", "a,,b", "issuers[0].audience[1] is empty"),
        ("AUTHMESH_ADMIN_TOKEN", "short", "admin.token is shorter than 16 bytes"),
        (
            "AUTHMESH_ADMIN_TOKEN",
            "has a space in its middle",
            "admin.token has a space",
        ),
        ("AUTHMESH_ADMIN_TOKEN", "", "admin.token is empty"),
    ] {
        let found = setup.problems(&[(name, value)]);
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        assert!(found[0].starts_with(&format!("{name}: {part}")), "{name}: {found:?}");
    }
    let long = "x".repeat(65 * 1024);
    assert!(setup.problems(&[("AUTHMESH_CLUSTER_NAME", &long)])[0].contains("longer than 65536 bytes"));
}
