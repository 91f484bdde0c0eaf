//! The survey, on a real server.

use std::time::Duration;

use authmesh_redis::survey::{Missing, Survey, Tested, survey};
use authmesh_redis::{RedisConfig, Secret};

use crate::server::Server;

async fn surveyed(config: RedisConfig) -> Survey {
    survey(&config).await.expect("the settings are right")
}

/// As a user with these rules.
async fn as_user(server: &Server, rules: &[&str]) -> Survey {
    let mut setuser = redis::cmd("ACL");
    setuser.arg("SETUSER").arg("node").arg("reset").arg("on").arg(">s3cret");
    setuser.arg(rules);
    setuser.exec_async(&mut server.raw().await).await.unwrap();
    surveyed(server.config().username("node").password(Secret::new("s3cret"))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_described_and_nothing_is_left_in_it() {
    let server = Server::with(&["--maxmemory-policy", "allkeys-lru", "--maxmemory", "100mb"]).await;
    let found = surveyed(server.config()).await;
    assert!(
        found.silent.is_empty() && found.slots.is_none() && found.topology.is_none(),
        "{found:?}"
    );
    let [one] = &found.servers[..] else {
        panic!("{found:?}");
    };
    assert_eq!(one.address, server.address().to_string());
    assert!(
        one.primary && !one.cluster && !one.loading && one.persistent == Some(false),
        "{one:?}"
    );
    assert!(one.version.split('.').count() >= 2, "{one:?}");
    assert_eq!((one.replicas, one.maxmemory), (0, 100 << 20));
    assert!(one.used_memory > 0);
    assert_eq!(one.settings["maxmemory-policy"], "allkeys-lru");
    assert_eq!(one.settings["min-replicas-to-write"], "0");
    // One machine, one clock.
    let ahead = one.clock_ahead_millis.unwrap().unsigned_abs();
    assert!(u128::from(ahead) <= one.clock_uncertainty.as_millis() + 2, "{one:?}");
    assert_eq!(one.permissions.user.as_deref(), Some("default"));
    assert_eq!(
        (one.permissions.tested, &one.permissions.missing[..]),
        (Tested::DryRun, &[][..])
    );
    let keys: u64 = redis::cmd("DBSIZE").query_async(&mut server.raw().await).await.unwrap();
    assert_eq!(keys, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_user_lacks_is_found_in_every_way_of_asking() {
    let server = Server::start().await;
    for (more, tested) in [
        (&["+@all"][..], Tested::DryRun),
        (&["+@all", "-acl"], Tested::Queued),
        (&["+@all", "-acl", "-multi"], Tested::Executed),
    ] {
        let rules = |rules: &[&'static str]| [more, rules].concat();
        let found = as_user(&server, &rules(&["~authmesh:*", "&authmesh:*"])).await;
        let permissions = &found.servers[0].permissions;
        assert_eq!(
            (permissions.tested, &permissions.missing[..]),
            (tested, &[][..]),
            "{more:?}"
        );
        assert_eq!(permissions.user.as_deref(), Some("node"));

        let found = as_user(&server, &rules(&["~authmesh:*", "&authmesh:*", "-xadd", "-hgetall"])).await;
        let missing = [Missing::Command("xadd".into()), Missing::Command("hgetall".into())];
        assert_eq!(found.servers[0].permissions.missing, missing, "{more:?}");

        let found = as_user(&server, &rules(&["~other:*", "&other:*"])).await;
        let root = || "authmesh:1:authmesh".to_owned();
        let missing = [Missing::Keys(root()), Missing::Channels(root())];
        assert_eq!(found.servers[0].permissions.missing, missing, "{more:?}");

        let keys: u64 = redis::cmd("DBSIZE").query_async(&mut server.raw().await).await.unwrap();
        assert_eq!(keys, 0, "{more:?}");
    }
}

/// The permissions that the documentation of the crate lists are all that is asked for, and each of them is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_permissions_that_are_listed_are_those_that_are_asked_for() {
    let (_, listed) = include_str!("../../src/lib.rs").split_once("//! ```text\n").unwrap();
    let (listed, _) = listed.split_once("//! ```").unwrap();
    let rules: Vec<&str> = listed
        .split_whitespace()
        // 7.0 does not know the last one; the library goes on without.
        .filter(|word| !matches!(*word, "//!" | "+client|setinfo"))
        .collect();
    let server = Server::start().await;
    let least = as_user(&server, &rules).await;
    assert_eq!(least.servers[0].permissions.tested, Tested::Executed);
    assert_eq!(least.servers[0].permissions.missing, [], "{least:?}");
    // What the survey itself needs, and what only a cluster does.
    let spared = ["+hello", "+info", "+asking", "+cluster|slots", "+cluster|info"];
    for rule in rules
        .iter()
        .filter(|rule| rule.starts_with('+') && !spared.contains(rule))
    {
        let rest: Vec<&str> = rules.iter().copied().filter(|other| other != rule).collect();
        let found = as_user(&server, &rest).await;
        let missing = [Missing::Command(rule[1..].to_owned())];
        assert_eq!(found.servers[0].permissions.missing, missing, "without {rule}");
    }
}

/// The rules that the documentation of the server gives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_may_not_be_read_are_absent() {
    let server = Server::start().await;
    let found = as_user(
        &server,
        &["~authmesh:*", "&authmesh:*", "+@all", "-@admin", "-@dangerous", "+info"],
    )
    .await;
    let one = &found.servers[0];
    assert_eq!(one.permissions.missing, [], "{one:?}");
    assert_eq!(
        one.settings.get("maxmemory-policy").map(String::as_str),
        Some("noeviction"),
        "from INFO"
    );
    assert!(!one.settings.contains_key("min-replicas-to-write"), "{one:?}");
    assert_eq!(one.persistent, None, "{one:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_answer_is_named_with_the_reason() {
    let mut server = Server::start().await;
    let wrong = surveyed(server.config().username("nobody").password(Secret::new("s3cret"))).await;
    assert!(wrong.servers.is_empty());
    assert!(
        wrong.silent[0].refused && wrong.silent[0].why.contains("redis.username"),
        "{wrong:?}"
    );
    assert!(!format!("{wrong:?}").contains("s3cret"));

    server.freeze();
    let frozen = surveyed(server.config().connect_timeout(Duration::from_millis(200))).await;
    assert!(frozen.servers.is_empty() && !frozen.silent[0].refused, "{frozen:?}");
    server.thaw();

    server.kill();
    let gone = surveyed(server.config()).await;
    assert_eq!(gone.silent[0].address, server.address().to_string());
    assert!(gone.silent[0].why.contains("refused"), "{gone:?}");
}
