//! The table, the default file and the printed configuration agree with each other.

use std::time::Duration;

use super::super::kind::Kind;
use super::super::problem::{Location, Report};
use super::super::schema::{self, Fallback};
use super::super::sections::{GROUPS, SECTIONS};
use super::super::table::SETTINGS;
use super::super::{Access, Level, LogFormat, Source, WhenBlind, default_file};
use super::*;

#[test]
fn every_default_and_every_example_of_the_table_passes_its_own_check() {
    for setting in SETTINGS {
        let text = match &setting.fallback {
            Fallback::Is(text) => (*text).to_owned(),
            Fallback::Sdk(default) => default(),
            Fallback::Computed { example, .. } | Fallback::Unset { example } => (*example).to_owned(),
            Fallback::Required { example, .. } => (*example).to_owned(),
        };
        if !matches!(setting.kind, Kind::Secret { .. }) {
            let mut report = Report::default();
            let given = setting.kind.read(&text, Location::Missing);
            let value = setting.kind.check(setting.path, &given, &mut report);
            assert!(value.is_some(), "{}: {:?}", setting.path, report.into_list());
        }
    }
}

#[test]
fn the_table_is_in_order() {
    let mut seen = Vec::new();
    for setting in SETTINGS {
        assert!(
            SECTIONS.iter().any(|s| s.path == setting.section()),
            "{} has no section",
            setting.path
        );
        assert!(
            setting.doc.ends_with('.'),
            "{}: documentation is a sentence",
            setting.path
        );
        if seen.last() != Some(&setting.section()) {
            assert!(
                !seen.contains(&setting.section()),
                "{} stands apart from its section",
                setting.path
            );
            seen.push(setting.section());
        }
        if let Some(group) = setting.group() {
            assert!(GROUPS.iter().any(|g| g.name == group), "{}", setting.path);
        }
        if let Fallback::Required {
            unless: Some(switch), ..
        } = &setting.fallback
        {
            assert!(matches!(schema::setting(switch).unwrap().kind, Kind::Bool), "{switch}");
        }
    }
    let sections: Vec<&str> = SECTIONS.iter().map(|section| section.path).collect();
    assert_eq!(seen, sections, "sections and settings stand in the same order");
}

#[test]
fn paths_and_variables_are_unique() {
    let mut names: Vec<String> = SETTINGS.iter().map(|setting| setting.variable(0)).collect();
    let mut paths: Vec<&str> = SETTINGS.iter().map(|setting| setting.path).collect();
    names.sort();
    paths.sort_unstable();
    names.dedup();
    paths.dedup();
    assert_eq!((names.len(), paths.len()), (SETTINGS.len(), SETTINGS.len()));
}

#[test]
fn the_defaults_are_those_of_the_documentation() {
    let config = load("[[routes]]\npath = \"/\"\n").config;
    assert_eq!(config.cluster.name, "authmesh");
    assert!(!config.cluster.node.is_empty());
    assert_eq!(config.cluster.key_ring_file, None);
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8400");
    assert_eq!((config.server.cookie, config.server.explain), (None, false));
    assert_eq!(config.server.drain, Duration::from_secs(5));
    assert_eq!(config.server.max_connections, 10_000);
    assert_eq!(config.server.request_timeout, Duration::from_secs(10));
    let headers = config.server.headers;
    let headers = [
        headers.subject,
        headers.issuer,
        headers.client,
        headers.scopes,
        headers.session,
        headers.email,
        headers.expires,
    ];
    let names = ["Subject", "Issuer", "Client", "Scopes", "Session", "Email", "Expires"];
    assert_eq!(headers, names.map(|name| Some(format!("X-Auth-{name}"))));
    assert_eq!(config.possession.dpop, authmesh::possession::DpopRules::default());
    assert!(config.possession.origins.is_empty() && config.possession.client_cert_header.is_none());
    assert_eq!(config.admin.listen.unwrap().to_string(), "127.0.0.1:8500");
    assert_eq!(config.admin.token, None);
    assert_eq!(
        (config.cache.verdict_bytes, config.cache.entry_bytes),
        (64 << 20, 64 << 20)
    );
    assert_eq!(config.cache.max_token_bytes, 16 << 10);
    assert_eq!(config.cache.max_verdict_age, Duration::from_secs(300));
    let issuer = &config.issuers[0];
    assert_eq!(issuer.audience, ["orders-api"]);
    assert_eq!(issuer.algorithms.len(), 9);
    assert!(issuer.typ.is_empty() && issuer.required_claims.is_empty() && issuer.jwks_url.is_none());
    assert!(!issuer.require_bound);
    assert_eq!(issuer.leeway, Duration::from_secs(30));
    assert_eq!(issuer.max_token_lifetime, Duration::from_secs(24 * 3600));
    assert_eq!(issuer.keys, authmesh::KeyPolicy::DEFAULT);
    assert!(issuer.preset.is_none() && issuer.upstream.is_none());
    assert_eq!(issuer.http.connect_timeout, Duration::from_secs(2));
    assert_eq!(issuer.http.total_timeout, Duration::from_secs(5));
    assert_eq!(issuer.http.ca_file, None);
    let route = &config.routes[0];
    assert_eq!((route.access, route.sensitive), (Access::Authenticated, false));
    assert_eq!(route.when_blind, WhenBlind::Serve(Duration::from_secs(300)));
    assert!(route.methods.is_empty() && route.scopes.is_empty() && route.any_scope.is_empty());
    assert!(route.audience.is_empty() && route.host.is_none() && route.max_age.is_none());
    assert_eq!((config.log.level, config.log.format), (Level::Info, LogFormat::Text));
    assert!(!config.danger.any_audience && !config.danger.allow_http && !config.danger.any_eviction_policy);
    assert!(config.redis.is_none() && config.gossip.is_none(), "a node stands alone");
}

#[test]
fn a_sensitive_route_denies_when_blind() {
    let route = load("[[routes]]\npath = \"/\"\nsensitive = true\n")
        .config
        .routes
        .remove(0);
    assert_eq!(route.when_blind, WhenBlind::Deny);
}

/// Fills in what the default file leaves empty.
fn filled() -> String {
    default_file()
        .replacen("\nurl = \"\"\n", "\nurl = \"https://login.example.com\"\n", 1)
        .replacen("\naudience = \"\"\n", "\naudience = \"orders-api\"\n", 1)
}

#[test]
fn the_default_file_asks_for_an_issuer_and_for_nothing_else() {
    let found = Setup::new(default_file()).problems(&[]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("issuers[0].url is empty"), "{found:?}");
    assert!(found[1].contains("issuers[0].audience is empty"), "{found:?}");
}

#[test]
fn the_default_file_with_an_issuer_is_the_default() {
    let loaded = Setup::new(filled())
        .load(&[])
        .unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(format!("{:?}", loaded.config), format!("{:?}", load("").config));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn every_line_of_the_default_file_may_be_uncommented() {
    // A preset stands in place of a URL, and has the parameters of one provider.
    let (head, rest) = filled()
        .split_once("[issuers.preset]\n")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let (presets, rest) = rest.split_once("\n# How the issuer is asked.\n").unwrap();
    assert!(presets.contains("\n#frontend_api = "), "{presets}");
    let text: String = format!("{head}\n{rest}")
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let shown = SETTINGS
        .iter()
        .filter(|setting| !matches!(setting.kind, Kind::Secret { .. }));
    for setting in shown.filter(|setting| setting.section() != "issuers[].preset") {
        let line = format!("\n{} = ", setting.key());
        assert!(text.contains(&line), "{} is missing", setting.path);
    }
    // The files that the examples name are not here; these are the only lines that may be refused.
    let missing = Setup::new(&text).problems(&[]);
    assert!(
        missing
            .iter()
            .all(|line| line.contains("names a file that does not exist")),
        "{missing:?}"
    );
    assert_eq!(
        missing.len(),
        SETTINGS.iter().filter(|s| matches!(s.kind, Kind::File)).count()
    );

    let text: String = text
        .lines()
        .map(|line| match line.starts_with("key_ring_file = ") {
            true => "key_ring_file = \"ring\"",
            false => line,
        })
        .filter(|line| !line.contains("_file = \"/"))
        .map(|line| format!("{line}\n"))
        .collect();
    // The example of a route asks for an audience list of its own, which is empty by default.
    let loaded = Setup::new(text)
        .with("ring", "")
        .load(&[])
        .unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(loaded.config.routes[0].path, "/admin");
    assert_eq!(loaded.config.server.cookie.as_deref(), Some("auth_token"));
    assert!(loaded.config.redis.is_some());
}

#[test]
fn the_default_file_fits_a_screen() {
    for line in default_file().lines() {
        assert!(line.chars().count() <= 102, "{line}");
        assert!(!line.ends_with(' '), "{line:?}");
    }
}

#[test]
fn the_printed_configuration_loads_to_the_same_values() {
    let setup = Setup::new(format!(
        "{MINIMAL}required_claims = [\"a \\\"b\\\"\", \"c\\\\d\"]\nkeys.soft_lifetime = \"90s\"\n\
         [[issuers]]\nurl = \"https://b\"\naudience = [\"x\", \"y\"]\nhttp = {{ ca_file = \"ca.pem\" }}\n\
         [[routes]]\npath = \"/admin\"\nsensitive = true\nmax_age = \"0s\"\n\
         [[routes]]\npath = \"/\"\naccess = \"public\"\n\
         [admin]\nlisten = \"\"\n[server]\nheaders.email = \"\"\n[log]\nformat = \"json\"\n"
    ))
    .with("ca.pem", "");
    let first = setup
        .load(&[("AUTHMESH_CACHE_VERDICT_BYTES", "3MiB")])
        .unwrap_or_else(|p| panic!("{p}"));
    let again = Setup::new(first.print())
        .load(&[])
        .unwrap_or_else(|p| panic!("{p}\n{}", first.print()));
    assert_eq!(format!("{:?}", first.config), format!("{:?}", again.config));
}

#[test]
fn every_value_has_its_source() {
    let setup = Setup::new(format!("{MINIMAL}[server]\ndrain = \"7s\"\nexplain = true\n"));
    let loaded = setup
        .load(&[
            ("AUTHMESH_SERVER_EXPLAIN", "false"),
            ("AUTHMESH_ADMIN_TOKEN", "a-long-admin-credential"),
        ])
        .unwrap();
    let of = |setting: &str| loaded.effective.iter().find(|e| e.setting == setting).unwrap();
    assert!(matches!(of("issuers[0].url").source, Source::File { line: 2, .. }));
    assert!(matches!(of("server.drain").source, Source::File { line: 5, .. }));
    assert_eq!(
        of("server.explain").source,
        Source::Env("AUTHMESH_SERVER_EXPLAIN".into())
    );
    assert_eq!(of("server.explain").value.as_deref(), Some("false"));
    assert_eq!(of("server.listen").source, Source::Default);
    assert_eq!(of("server.cookie").value, None);
    assert_eq!(of("admin.token").value.as_deref(), Some("\"(redacted)\""));
    assert!(of("admin.token").secret);

    let text = loaded.print();
    assert!(text.contains("\ndrain = \"7s\""), "{text}");
    assert!(text.contains("authmesh.toml:5\n"), "{text}");
    assert!(text.contains("# from AUTHMESH_SERVER_EXPLAIN\n"), "{text}");
    assert!(text.contains("#token = (redacted)"), "{text}");
    assert!(!text.contains("a-long-admin"), "{text}");
    assert!(!format!("{loaded:?}").contains("a-long-admin"));
}

#[test]
fn every_setting_is_printed_once_per_section() {
    let setup = Setup::new(format!(
        "{MINIMAL}[[issuers]]\nurl = \"https://b\"\naudience = \"x\"\n[[routes]]\npath = \"/\"\n"
    ));
    let loaded = setup.load(&[]).unwrap();
    let expected: usize = SETTINGS
        .iter()
        .map(|s| if s.group() == Some("issuers") { 2 } else { 1 })
        .sum();
    assert_eq!(loaded.effective.len(), expected);
    assert_eq!(loaded.print().matches("\n[[issuers]]\n").count(), 2);
    assert_eq!(loaded.print().matches("\n[issuers.keys]\n").count(), 2);
}
