//! Every kind of problem, with its line.

use super::*;

#[test]
fn the_model_sentence() {
    let found = Setup::new(format!(
        "{MINIMAL}\n[[issuers]]\nurl = \"https://b\"\naudience = \"\"\n"
    ))
    .problems(&[]);
    assert_eq!(
        found,
        [
            "authmesh.toml:7: issuers[1].audience is empty: a token for any service would be accepted. Name your \
          audience, or set danger.any_audience = true."
        ]
    );
    // Missing altogether: the line is that of the section.
    let found = Setup::new(format!("{MINIMAL}\n[[issuers]]\nurl = \"https://b\"\n")).problems(&[]);
    assert!(
        found[0].starts_with("authmesh.toml:5: issuers[1].audience is missing: "),
        "{found:?}"
    );
}

#[test]
fn an_empty_audience_is_lifted_by_the_danger_switch_with_a_warning() {
    let setup = Setup::new("[[issuers]]\nurl = \"https://a\"\n[danger]\nany_audience = true\n");
    assert!(setup.load(&[]).unwrap().config.issuers[0].audience.is_empty());
    let warnings = setup.warnings(&[]);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("authmesh.toml:1: issuers[0].audience is empty, and danger.any_audience is on"));
}

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_the_file() {
    let text = "[server]\nlisten = 1\ndrain = 5\nexplian = true\n[cache]\nverdict_bytes = \"1KiB\"\n[[issuers]]\nurl = \"ftp://a\"\n\
                [[routes]]\nmethods = [\"get\", 3]\n";
    let found = Setup::new(text).problems(&[("AUTHMESH_LOG_FORMAT", "xml")]);
    let lines: Vec<&str> = found.iter().map(|line| line.split(": ").next().unwrap()).collect();
    let line = |n: u32| format!("authmesh.toml:{n}");
    assert_eq!(
        lines,
        [
            &line(2),
            &line(3),
            &line(4),
            &line(6),
            &line(7),
            &line(8),
            &line(9),
            &line(10),
            &line(10),
            "AUTHMESH_LOG_FORMAT"
        ],
        "{found:#?}"
    );
}

#[test]
fn unknown_keys_get_a_suggestion() {
    one(
        "[server]\nlisen = 1\n",
        "authmesh.toml:5: server.lisen is not a setting: did you mean \"listen\"?",
    );
    one(
        "[sever]\n",
        "authmesh.toml:4: sever is not a setting: did you mean \"server\"?",
    );
    one(
        "[[isuers]]\n",
        "authmesh.toml:4: isuers is not a setting: did you mean \"issuers\"?",
    );
    one(
        "drain = \"5s\"\n",
        "authmesh.toml:4: issuers[0].drain is not a setting: did you mean server.drain?",
    );
    one(
        "[issuers.keys]\nmax_trust = 1\n",
        "authmesh.toml:5: issuers[0].keys.max_trust is not a setting",
    );
    one(
        "[log]\nxyz = 1\n",
        "authmesh.toml:5: log.xyz is not a setting. Known in [log]: level, format.",
    );
    one(
        "[server]\n\"headers.subject\" = \"a\"\n",
        "authmesh.toml:5: server.headers.subject is not a setting",
    );
    let found = Setup::new(format!("zzz = 1\n{MINIMAL}")).problems(&[]);
    assert!(
        found[0].starts_with("authmesh.toml:1: zzz is not a setting. Known at the top: cluster, server, "),
        "{found:?}"
    );
}

#[test]
fn wrong_types_say_what_is_needed() {
    one(
        "[server]\nlisten = 8400\n",
        "authmesh.toml:5: server.listen is a number: write an address with a port",
    );
    one(
        "[server]\nexplain = \"true\"\n",
        "authmesh.toml:5: server.explain must be true or false (in the file without quotes)",
    );
    one(
        "[server]\nexplain = 1\n",
        "authmesh.toml:5: server.explain is a number: write true or false",
    );
    one(
        "[server]\ndrain = 1.5\n",
        "authmesh.toml:5: server.drain is a number with a fraction: write a duration",
    );
    one(
        "[server]\ndrain = 2020-01-01\n",
        "authmesh.toml:5: server.drain is a date or time",
    );
    one(
        "[server]\nmax_connections = \"5\"\n",
        "authmesh.toml:5: server.max_connections is text: write a whole number",
    );
    one(
        "[server]\nheaders = 1\n",
        "authmesh.toml:5: server.headers is a number, but [server.headers] is a section",
    );
    one(
        "[[server]]\n",
        "authmesh.toml:4: server is a list, but [server] is a section",
    );
    one(
        "[log]\nlevel = { a = 1 }\n",
        "authmesh.toml:5: log.level is a section: write one of error, warn",
    );
    one(
        "typ = true\n",
        "authmesh.toml:4: issuers[0].typ is true or false: write a list of media types",
    );
    one(
        "typ = [\"JWT\",\n[\"x\"]]\n",
        "authmesh.toml:5: issuers[0].typ[1] is not text: write media types",
    );
    let found = Setup::new("[issuers]\nurl = \"https://a\"\n").problems(&[]);
    assert_eq!(
        found,
        ["authmesh.toml:1: issuers may stand several times: write [[issuers]] with two brackets."]
    );
    let found = Setup::new("issuers = 3\n").problems(&[]);
    assert_eq!(
        found,
        ["authmesh.toml:1: issuers is a number: write a section [[issuers]] for each."]
    );
}

#[test]
fn durations_sizes_and_numbers_have_units_and_limits() {
    one(
        "[server]\ndrain = 30\n",
        "authmesh.toml:5: server.drain has no unit: write \"30s\"",
    );
    one(
        "[server]\ndrain = \"11m\"\n",
        "authmesh.toml:5: server.drain is above the greatest value, 10m",
    );
    one(
        "leeway = \"301s\"\n",
        "authmesh.toml:4: issuers[0].leeway is above the greatest value, 5m",
    );
    one(
        "keys.soft_lifetime = \"29s\"\n",
        "authmesh.toml:4: issuers[0].keys.soft_lifetime is shorter than lifetime_floor",
    );
    one(
        "max_token_lifetime = \"169h\"\n",
        "authmesh.toml:4: issuers[0].max_token_lifetime is above the greatest value, 168h",
    );
    one(
        "[cache]\nverdict_bytes = 64\n",
        "authmesh.toml:5: cache.verdict_bytes has no unit: write \"64MiB\"",
    );
    one(
        "[cache]\nverdict_bytes = \"65GiB\"\n",
        "authmesh.toml:5: cache.verdict_bytes is above the greatest value, 64GiB",
    );
    one(
        "[cache]\nmax_token_bytes = \"2MiB\"\n",
        "authmesh.toml:5: cache.max_token_bytes is above the greatest value, 1MiB",
    );
    for number in ["0", "1_000_001", "-1", "0xffff_ffff_ffff_ffff_ffff"] {
        one(
            &format!("[server]\nmax_connections = {number}\n"),
            if number.len() > 12 {
                "authmesh.toml:5:"
            } else {
                "authmesh.toml:5: server.max_connections is out of range: write a whole number from 1 to 1000000"
            },
        );
    }
}

#[test]
fn addresses() {
    for (text, part) in [
        ("", "is empty"),
        ("localhost:8400", "is not an IP address with a port"),
        ("127.0.0.1", "has no port"),
        (":8400", "has no address"),
        ("http://127.0.0.1:8400", "is a URL"),
        ("127.0.0.1:70000", "is not an IP address with a port"),
    ] {
        one(
            &format!("[server]\nlisten = \"{text}\"\n"),
            &format!("authmesh.toml:5: server.listen {part}"),
        );
    }
    assert_eq!(load("[admin]\nlisten = \"\"\n").config.admin.listen, None);
}

#[test]
fn issuers_are_checked() {
    let none = Setup::new("").problems(&[]);
    assert!(
        none.len() == 1 && none[0].starts_with("authmesh.toml: issuers is missing: "),
        "{none:?}"
    );
    let no_file = Config::load(None, vars(&[])).unwrap_err().to_string();
    assert!(no_file.starts_with("configuration: issuers is missing: "), "{no_file}");

    one(
        "[[issuers]]\nurl = \"https://login.example.com\"\naudience = \"x\"\n",
        "authmesh.toml:5: issuers[1].url is the same as issuers[0].url",
    );
    one(
        "[[issuers]]\nurl = \"http://b\"\naudience = \"x\"\n",
        "authmesh.toml:5: issuers[1].url is plain HTTP",
    );
    one(
        "jwks_url = \"http://b\"\n",
        "authmesh.toml:4: issuers[0].jwks_url is plain HTTP",
    );
    one(
        "jwks_url = \"https://me:pw@b\"\n",
        "authmesh.toml:4: issuers[0].jwks_url has a user name or password",
    );
    one(
        "[[issuers]]\nurl = \"https://b?x=1\"\naudience = \"x\"\n",
        "authmesh.toml:5: issuers[1].url has a query",
    );
    one(
        "algorithms = []\n",
        "authmesh.toml:4: issuers[0].algorithms has 0 entries: 1 to 9 are allowed",
    );
    one(
        "algorithms = [\"RS256\",\n\"none\"]\n",
        "authmesh.toml:5: issuers[0].algorithms[1] is \"none\": an unsigned token",
    );
    one(
        "algorithms = \"HS256\"\n",
        "authmesh.toml:4: issuers[0].algorithms[0] is symmetric (HS*)",
    );
    one(
        "algorithms = [\"RS256\", \"RS256\"]\n",
        "authmesh.toml:4: issuers[0].algorithms[1] stands there twice",
    );
    one(
        "keys = { soft_lifetime = \"1h\", max_trust_age = \"1h\" }\n",
        "authmesh.toml:4: issuers[0].keys.max_trust_age must be longer than lifetime_ceiling",
    );
    // Only the one that was written is pointed at.
    one(
        "keys.soft_lifetime = \"24h\"\n",
        "authmesh.toml:4: issuers[0].keys.soft_lifetime is longer than lifetime_ceiling",
    );
    one(
        "http.connect_timeout = \"6s\"\n",
        "authmesh.toml:4: issuers[0].http.connect_timeout must be less than issuers[0].http.total_timeout or the same, which is 5s",
    );
    assert_eq!(load("http.connect_timeout = \"5s\"\n").config.issuers.len(), 1);
}

#[test]
fn there_are_at_most_512_issuers_and_256_routes() {
    let issuers = |n: usize| -> String {
        (0..n)
            .map(|i| format!("[[issuers]]\nurl = \"https://i{i}\"\naudience = \"x\"\n"))
            .collect()
    };
    assert_eq!(Setup::new(issuers(512)).load(&[]).unwrap().config.issuers.len(), 512);
    let found = Setup::new(issuers(513)).problems(&[]);
    assert_eq!(
        found,
        ["authmesh.toml:1: issuers has 513 entries: at most 512 are allowed."]
    );
    // What lies beyond the limit is not looked at.
    let found = Setup::new(format!("{}[[issuers]]\nurl = 1\n", issuers(512))).problems(&[]);
    assert_eq!(found.len(), 1, "{found:?}");
    let routes = |n: usize| -> String { (0..n).map(|i| format!("[[routes]]\npath = \"/r{i}\"\n")).collect() };
    assert_eq!(load(&routes(256)).config.routes.len(), 256);
    one(
        &routes(257),
        "authmesh.toml:4: routes has 257 entries: at most 256 are allowed",
    );
}

#[test]
fn plain_http_is_lifted_by_the_danger_switch_with_a_warning() {
    let setup =
        Setup::new("[[issuers]]\nurl = \"http://127.0.0.1:1\"\naudience = \"x\"\n[danger]\nallow_http = true\n");
    let warnings = setup.warnings(&[]);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("authmesh.toml:2: issuers[0].url is plain HTTP, and danger.allow_http is on"));
}

#[test]
fn identity_headers_are_checked() {
    one(
        "[server.headers]\nsubject = \"Cookie\"\n",
        "authmesh.toml:5: server.headers.subject is a header with a meaning of its own",
    );
    one(
        "[server.headers]\nsubject = \"a b\"\n",
        "authmesh.toml:5: server.headers.subject is not a header name",
    );
    one(
        "[server.headers]\nsubject = \"x-auth-email\"\n",
        "authmesh.toml:5: server.headers.subject is the same header as server.headers.email",
    );
    one(
        "[server.headers]\nemail = \"X-A\"\nissuer = \"x-a\"\n",
        "authmesh.toml:5: server.headers.email is the same header as server.headers.issuer",
    );
    let headers = load("[server.headers]\nsubject = \"\"\nemail = \"\"\n")
        .config
        .server
        .headers;
    assert_eq!((headers.subject, headers.email), (None, None));
}

#[test]
fn listeners_are_checked() {
    let setup = |text: &str| Setup::new(format!("{MINIMAL}{text}"));
    let token = [("AUTHMESH_ADMIN_TOKEN", "a-long-admin-credential")];
    let same = setup("[server]\nlisten = \"0.0.0.0:1\"\n[admin]\nlisten = \"127.0.0.1:1\"\n");
    let found = same.problems(&token);
    assert_eq!(
        found,
        ["authmesh.toml:7: admin.listen is the same port as server.listen: give the admin API a port of its own."]
    );
    let all = setup("[server]\nlisten = \"127.0.0.1:1\"\n[admin]\nlisten = \"[::]:1\"\n").problems(&token);
    assert!(
        all.len() == 1 && all[0].contains("is the same port as server.listen"),
        "{all:?}"
    );
    // Without a credential there is no admin listener to collide with.
    let warnings = same.warnings(&[]);
    assert!(
        warnings.len() == 1 && warnings[0].contains("the admin API is off"),
        "{warnings:?}"
    );
    let both_free = setup("[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n");
    assert!(both_free.warnings(&token).is_empty());
    let open = setup("[admin]\nlisten = \"0.0.0.0:1\"\n").warnings(&token);
    assert!(
        open.len() == 1 && open[0].starts_with("authmesh.toml:5: admin.listen can be reached"),
        "{open:?}"
    );
}

#[test]
fn a_credential_does_not_stand_in_the_file() {
    let found = problems("[admin]\ntoken = \"hunter2hunter2hunter2\"\n");
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("authmesh.toml:5: admin.token must not stand in the file"),
        "{found:?}"
    );
    assert!(
        found[0].contains("admin.token_file") && found[0].contains("AUTHMESH_ADMIN_TOKEN"),
        "{found:?}"
    );
    assert!(!found[0].contains("hunter2"));
}

#[test]
fn ordinary_settings_give_no_warning() {
    assert!(load("").warnings.is_empty());
}

#[test]
fn one_mistake_is_one_problem() {
    // What depends on a refused setting is not judged.
    let found = Setup::new("[[issuers]]\nurl = \"https://a\"\n[danger]\nany_audience = \"yes\"\n").problems(&[]);
    assert!(
        found.len() == 1 && found[0].contains(":4: danger.any_audience must be"),
        "{found:?}"
    );
    let text = "[[issuers]]\nurl = \"http://a\"\naudience = \"x\"\n[danger]\nallow_http = \"yes\"\n";
    let found = Setup::new(text).problems(&[]);
    assert!(
        found.len() == 1 && found[0].contains(":5: danger.allow_http must be"),
        "{found:?}"
    );
    one(
        "[[routes]]\npath = \"/\"\nhost = \"a b\"\n[[routes]]\npath = \"/a\"\n",
        "authmesh.toml:6: routes[0].host is not a host name",
    );
    one(
        "[admin]\nlisten = \"0.0.0.0:1\"\ntoken_file = \"absent\"\n",
        "authmesh.toml:6: admin.token_file names a file that does not exist",
    );
}
