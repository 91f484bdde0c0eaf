//! The listener for logout tokens, and what issuers say of theirs.

use super::*;

const TAKEN: &str = "[issuers.logout]\nclient_ids = [\"web\", \"app\"]\n";

#[test]
fn it_is_off_by_default_and_has_a_budget() {
    let config = load("").config;
    let logout = config.logout;
    assert_eq!(logout.listen, None);
    assert_eq!((logout.max_connections, logout.max_concurrent), (256, 64));
    assert_eq!((logout.per_second, logout.burst), (100, 200));
    let issuer = &config.issuers[0].logout;
    assert!(issuer.client_ids.is_empty() && !issuer.require_typ && issuer.require_exp);
}

#[test]
fn the_file_and_the_environment_turn_it_on() {
    let config = load(&format!(
        "{TAKEN}require_typ = true\n[logout]\nlisten = \"127.0.0.1:1\"\n"
    ))
    .config;
    assert_eq!(config.logout.listen.unwrap().to_string(), "127.0.0.1:1");
    assert_eq!(config.issuers[0].logout.client_ids, ["web", "app"]);
    assert!(config.issuers[0].logout.require_typ);

    let env = [
        ("AUTHMESH_LOGOUT_LISTEN", "127.0.0.1:2"),
        ("AUTHMESH_LOGOUT_BURST", "7"),
        ("AUTHMESH_ISSUERS_0_LOGOUT_CLIENT_IDS", "web"),
        ("AUTHMESH_ISSUERS_0_LOGOUT_REQUIRE_EXP", "false"),
    ];
    let loaded = Setup::new(MINIMAL).load(&env).unwrap();
    assert_eq!(loaded.config.logout.listen.unwrap().port(), 2);
    assert_eq!(loaded.config.logout.burst, 7);
    assert_eq!(loaded.config.issuers[0].logout.client_ids, ["web"]);
    assert!(!loaded.config.issuers[0].logout.require_exp);
    let printed = loaded.print();
    assert!(printed.contains("[issuers.logout]"), "{printed}");
    assert!(printed.contains("AUTHMESH_ISSUERS_0_LOGOUT_CLIENT_IDS"), "{printed}");
    assert!(printed.contains("burst = 7"), "{printed}");
}

#[test]
fn a_listener_that_could_accept_nothing_is_refused() {
    one(
        "[logout]\nlisten = \"127.0.0.1:1\"\n",
        "authmesh.toml:5: logout.listen is set, but no issuer has logout.client_ids",
    );
    // What is wrong with the list is said once.
    one(
        "[issuers.logout]\nclient_ids = [\" web\"]\n[logout]\nlisten = \"127.0.0.1:1\"\n",
        "authmesh.toml:5: issuers[0].logout.client_ids[0] begins or ends with a space",
    );
}

#[test]
fn clients_without_a_listener_are_warned_of() {
    let found = Setup::new(format!("{MINIMAL}{TAKEN}")).warnings(&[]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("issuers[0].logout.client_ids is set, but logout tokens are not taken"));
    let on = format!("{MINIMAL}{TAKEN}[logout]\nlisten = \"127.0.0.1:1\"\n");
    assert!(Setup::new(on).warnings(&[]).is_empty());
}

#[test]
fn it_has_a_port_of_its_own() {
    let with = |listen: &str| format!("{TAKEN}[logout]\nlisten = \"{listen}\"\n");
    for (listen, other) in [("0.0.0.0:8400", "server.listen"), ("127.0.0.1:8500", "admin.listen")] {
        let token = [("AUTHMESH_ADMIN_TOKEN", "0123456789abcdef")];
        let found = Setup::new(format!("{MINIMAL}{}", with(listen))).problems(&token);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with(&format!("authmesh.toml:7: logout.listen is the same port as {other}")),
            "{found:?}"
        );
    }
    // Without a credential the admin API is off.
    load(&with("127.0.0.1:8500"));
    for port in ["\"0\"", "8600", "\"x\""] {
        assert_eq!(problems(&format!("{TAKEN}[logout]\nlisten = {port}\n")).len(), 1);
    }
}

#[test]
fn limits_are_checked() {
    for key in ["max_connections", "max_concurrent", "per_second", "burst"] {
        one(
            &format!("[logout]\n{key} = 0\n"),
            &format!("authmesh.toml:5: logout.{key} is out of range"),
        );
    }
}
