//! Routes: what contradicts itself, and what can never match.

use super::*;

#[test]
fn routes_are_checked() {
    one(
        "[[routes]]\nhost = \"a\"\n",
        "authmesh.toml:4: routes[0].path is missing: name the prefix",
    );
    one(
        "[[routes]]\npath = \"admin\"\n",
        "authmesh.toml:5: routes[0].path does not begin with \"/\"",
    );
    one(
        "[[routes]]\npath = \"/\"\naccess = \"publik\"\n",
        "authmesh.toml:6: routes[0].access is not one of authenticated, public. Did you mean \"public\"?",
    );
    one(
        "[[routes]]\npath = \"/\"\naccess = \"public\"\nscopes = [\"a\"]\n",
        "authmesh.toml:7: routes[0].scopes has no meaning on a public route",
    );
    one(
        "[[routes]]\npath = \"/\"\naccess = \"public\"\nmax_age = \"1s\"\n",
        "authmesh.toml:7: routes[0].max_age has no meaning on a public route",
    );
    one(
        "[[routes]]\npath = \"/\"\naccess = \"public\"\nsensitive = true\n",
        "authmesh.toml:7: routes[0].sensitive has no meaning on a public route",
    );
    one(
        "[[routes]]\npath = \"/\"\naccess = \"public\"\nwhen_blind = \"deny\"\n",
        "authmesh.toml:7: routes[0].when_blind has no meaning on a public route",
    );
    one(
        "[[routes]]\npath = \"/\"\nsensitive = true\nwhen_blind = \"serve 1m\"\n",
        "authmesh.toml:7: routes[0].when_blind contradicts sensitive = true",
    );
    one(
        "[[routes]]\npath = \"/\"\nwhen_blind = \"serve\"\n",
        "authmesh.toml:6: routes[0].when_blind has no limit",
    );
    one(
        "[[routes]]\npath = \"/\"\nwhen_blind = \"serve 5\"\n",
        "authmesh.toml:6: routes[0].when_blind has a duration after \"serve\" that has no unit",
    );
    one(
        "[[routes]]\npath = \"/\"\nwhen_blind = \"serve 2h\"\n",
        "authmesh.toml:6: routes[0].when_blind has a duration after \"serve\" that is above the greatest value, 1h",
    );
    one(
        "[[routes]]\npath = \"/\"\nwhen_blind = \"allow\"\n",
        "authmesh.toml:6: routes[0].when_blind is neither",
    );
    one(
        "[[routes]]\npath = \"/\"\naudience = [\"orders-api\", \"x\"]\n",
        "authmesh.toml:6: routes[0].audience[1] is in no issuer's audience",
    );
    let both = load("[[routes]]\npath = \"/\"\nsensitive = true\nwhen_blind = \"deny\"\naudience = \"orders-api\"\n");
    assert!(both.config.routes[0].sensitive);
}

#[test]
fn a_route_that_can_never_match_is_a_problem() {
    let second = |first: &str, later: &str| format!("[[routes]]\n{first}\n[[routes]]\n{later}\n");
    for (first, later) in [
        ("path = \"/\"", "path = \"/admin\""),
        ("path = \"/a\"", "path = \"/a\""),
        ("path = \"/\"", "path = \"/a\"\nhost = \"h\""),
        (
            "path = \"/\"\nmethods = [\"GET\", \"PUT\"]",
            "path = \"/a\"\nmethods = \"GET\"",
        ),
        ("path = \"/\"\nhost = \"h\"", "path = \"/a\"\nhost = \"h\""),
    ] {
        let line = 6 + first.lines().count();
        let expected = format!("authmesh.toml:{line}: routes[1].path can never match: routes[0] (line 5)");
        one(&second(first, later), &expected);
    }
    for (first, later) in [
        ("path = \"/admin\"", "path = \"/\""),
        ("path = \"/a\"", "path = \"/ab\""),
        ("path = \"/\"\nmethods = [\"GET\"]", "path = \"/a\""),
        (
            "path = \"/\"\nmethods = [\"GET\"]",
            "path = \"/a\"\nmethods = [\"GET\", \"PUT\"]",
        ),
        ("path = \"/\"\nhost = \"h\"", "path = \"/a\""),
        ("path = \"/\"\nhost = \"h\"", "path = \"/a\"\nhost = \"g\""),
    ] {
        assert_eq!(load(&second(first, later)).config.routes.len(), 2, "{first} | {later}");
    }
}

#[test]
fn an_age_without_effect_is_a_warning() {
    let setup = Setup::new(format!("{MINIMAL}[[routes]]\npath = \"/\"\nmax_age = \"6m\"\n"));
    let warnings = setup.warnings(&[]);
    assert!(
        warnings.len() == 1 && warnings[0].starts_with("authmesh.toml:6: routes[0].max_age has no effect"),
        "{warnings:?}"
    );
}
