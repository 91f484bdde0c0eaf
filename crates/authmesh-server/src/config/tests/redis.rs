//! The section `[redis]`.

use std::time::Duration;

use super::*;

/// What every node with a Redis has.
const KEY_RING: &str = "[cluster]\nkey_ring_file = \"ring\"\n";

fn setup(redis: &str) -> Setup {
    Setup::new(format!("{MINIMAL}{KEY_RING}[redis]\n{redis}"))
        .with("ring", "")
        .with("password", " s3cret-of-redis\n")
        .with("pem", "")
}

/// The problems of a file that has `redis` from line 7 on.
fn one_of(redis: &str, expected: &str) {
    let found = setup(redis).problems(&[]);
    assert_eq!(found.len(), 1, "{redis}\n{found:#?}");
    assert!(found[0].starts_with(expected), "{found:#?}\nexpected: {expected}");
}

#[test]
fn every_setting_of_redis_arrives() {
    let setup = setup(
        "url = [\"rediss://a:6379\", \"rediss://b:6380\"]\nusername = \"node\"\npassword_file = \"password\"\n\
         ca_file = \"pem\"\nclient_cert_file = \"pem\"\nclient_key_file = \"pem\"\nprefix = \"prod.auth\"\n\
         connect_timeout = \"2s\"\nresponse_timeout = \"300ms\"\nlog_entries = 512\n\
         [danger]\nany_eviction_policy = true\n",
    );
    let loaded = setup.load(&[]).unwrap_or_else(|problems| panic!("{problems}"));
    let file = |name: &str| Some(setup.folder.path().join(name));
    let redis = loaded.config.redis.as_ref().unwrap();
    assert_eq!(redis.urls, ["rediss://a:6379", "rediss://b:6380"]);
    assert_eq!(redis.username.as_deref(), Some("node"));
    assert_eq!(redis.password_file, file("password"));
    assert_eq!(redis.ca_file, file("pem"));
    assert_eq!(redis.client_certificate, Option::zip(file("pem"), file("pem")));
    assert_eq!(redis.prefix, "prod.auth");
    assert_eq!(redis.connect_timeout, Duration::from_secs(2));
    assert_eq!(redis.response_timeout, Duration::from_millis(300));
    assert_eq!(redis.log_entries, 512);
    assert!(loaded.config.danger.any_eviction_policy);

    assert!(!loaded.print().contains("s3cret"), "{}", loaded.print());
    let again = Setup::new(loaded.print()).load(&[]).unwrap_or_else(|p| panic!("{p}"));
    assert_eq!(format!("{:?}", loaded.config), format!("{:?}", again.config));
}

#[test]
fn the_defaults_of_redis() {
    let redis = setup("url = \"redis://127.0.0.1\"\n").load(&[]).unwrap().config.redis;
    let redis = redis.unwrap();
    assert_eq!((&redis.username, &redis.password_file), (&None, &None));
    assert_eq!((&redis.ca_file, &redis.client_certificate), (&None, &None));
    assert_eq!(redis.prefix, "authmesh");
    assert_eq!(redis.connect_timeout, Duration::from_secs(1));
    assert_eq!(redis.response_timeout, Duration::from_secs(1));
    assert_eq!(redis.log_entries, 4096);
}

#[test]
fn all_of_redis_comes_from_the_environment_too() {
    let setup = Setup::new(MINIMAL).with("ring", "").with("password", "s3cret");
    let path = |name: &str| setup.folder.path().join(name).display().to_string();
    let (ring, password) = (path("ring"), path("password"));
    let loaded = setup.load(&[
        ("AUTHMESH_CLUSTER_KEY_RING_FILE", &ring),
        ("AUTHMESH_REDIS_URL", "rediss://a, rediss://b"),
        ("AUTHMESH_REDIS_USERNAME", "node"),
        ("AUTHMESH_REDIS_PASSWORD_FILE", &password),
        ("AUTHMESH_REDIS_CA_FILE", &password),
        ("AUTHMESH_REDIS_CLIENT_CERT_FILE", &password),
        ("AUTHMESH_REDIS_CLIENT_KEY_FILE", &password),
        ("AUTHMESH_REDIS_PREFIX", "p"),
        ("AUTHMESH_REDIS_CONNECT_TIMEOUT", "3s"),
        ("AUTHMESH_REDIS_RESPONSE_TIMEOUT", "4s"),
        ("AUTHMESH_REDIS_LOG_ENTRIES", "200"),
        ("AUTHMESH_DANGER_ANY_EVICTION_POLICY", "true"),
    ]);
    let config = loaded.unwrap_or_else(|problems| panic!("{problems}")).config;
    let redis = config.redis.unwrap();
    assert_eq!(redis.urls, ["rediss://a", "rediss://b"]);
    assert!(redis.username.is_some() && redis.password_file.is_some() && redis.ca_file.is_some());
    assert!(redis.client_certificate.is_some() && config.danger.any_eviction_policy);
    assert_eq!((redis.prefix.as_str(), redis.log_entries), ("p", 200));
    assert_eq!(redis.connect_timeout, Duration::from_secs(3));
    assert_eq!(redis.response_timeout, Duration::from_secs(4));
}

#[test]
fn credentials_in_a_url_are_refused_and_not_repeated() {
    for url in ["redis://:s3cret@h", "rediss://node:s3cret@h:1/0", "redis://s3cret@h"] {
        let found = setup(&format!("url = \"{url}\"\n")).problems(&[]);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(
            found[0].starts_with("authmesh.toml:7: redis.url[0] has a user name or password")
                || found[0].starts_with("authmesh.toml:7: redis.url has a user name or password"),
            "{found:#?}"
        );
        assert!(found[0].contains("redis.password_file") && !found[0].contains("s3cret"));
    }
}

#[test]
fn a_shared_redis_needs_a_shared_key_ring() {
    one(
        "[redis]\nurl = \"redis://127.0.0.1\"\n",
        "authmesh.toml:5: cluster.key_ring_file is missing: nodes that share a Redis need the same key ring. Make one \
         with `authmesh keyring generate FILE`",
    );
}

#[test]
fn settings_that_do_nothing_are_refused() {
    one_of(
        "prefix = \"p\"\nusername = \"node\"\n",
        "authmesh.toml:8: redis.username is set, but redis.url is not",
    );
    one_of(
        "url = []\npassword_file = \"password\"\n",
        "authmesh.toml:8: redis.password_file is set, but redis.url is not",
    );
    one_of(
        "url = \"redis://127.0.0.1\"\nca_file = \"pem\"\n",
        "authmesh.toml:8: redis.ca_file is set, but redis.url asks for no TLS",
    );
    one_of(
        "url = \"rediss://h\"\nclient_cert_file = \"pem\"\n",
        "authmesh.toml:8: redis.client_cert_file is set, but redis.client_key_file is not",
    );
    one_of(
        "url = \"rediss://h\"\nclient_key_file = \"pem\"\n",
        "authmesh.toml:8: redis.client_key_file is set, but redis.client_cert_file is not",
    );
    one_of(
        "url = [\"rediss://h\", \"redis://i\"]\n",
        "authmesh.toml:7: redis.url has URLs with TLS and URLs without",
    );
    one_of(
        "url = \"redis://127.0.0.1\"\npassword_file = \"ring\"\n",
        "authmesh.toml:8: redis.password_file names a file that is empty",
    );
    one_of(
        "url = \"redis://127.0.0.1\"\nlog_entries = 127\n",
        "authmesh.toml:8: redis.log_entries is out of range",
    );
}

#[test]
fn redis_without_tls_on_another_machine_gets_a_warning() {
    for (url, warns) in [
        ("redis://127.0.0.1:6379", false),
        ("redis://localhost", false),
        ("redis://[::1]:6379", false),
        ("rediss://redis.example.com", false),
        ("redis://redis.example.com", true),
        ("redis://10.0.0.7:6379", true),
        ("redis://localhost.example.com", true),
    ] {
        let warnings = setup(&format!("url = \"{url}\"\n")).warnings(&[]);
        assert_eq!(!warnings.is_empty(), warns, "{url}: {warnings:?}");
        if warns {
            assert!(
                warnings[0].starts_with("authmesh.toml:7: redis.url goes to another machine without TLS"),
                "{warnings:?}"
            );
        }
    }
    let danger = setup("url = \"rediss://h\"\n[danger]\nany_eviction_policy = true\n").warnings(&[]);
    assert!(danger[0].contains("Redis may evict revocations"), "{danger:?}");
}
