//! The section `[gossip]`.

use std::time::Duration;

use super::*;

/// What every node with gossip has.
const KEY_RING: &str = "[cluster]\nkey_ring_file = \"ring\"\n";

fn setup(gossip: &str) -> Setup {
    Setup::new(format!("{MINIMAL}{KEY_RING}[gossip]\n{gossip}")).with("ring", "")
}

/// The only problem of a file that has `gossip` from line 7 on.
fn one_of(gossip: &str, expected: &str) {
    let found = setup(gossip).problems(&[]);
    assert_eq!(found.len(), 1, "{gossip}\n{found:#?}");
    assert!(found[0].starts_with(expected), "{found:#?}\nexpected: {expected}");
}

#[test]
fn every_setting_of_gossip_arrives() {
    let setup = setup(
        "bind = \"0.0.0.0:7946\"\nadvertise = \"10.0.0.7:0\"\nseeds = [\"authmesh.prod.svc:7946\", \"10.0.0.8:7946\"]\n\
         expect = 3\nprobe_period = \"2s\"\nprobe_rtt = \"500ms\"\nsuspicion = \"8s\"\n",
    );
    let loaded = setup.load(&[]).unwrap_or_else(|problems| panic!("{problems}"));
    let gossip = loaded.config.gossip.as_ref().unwrap();
    assert_eq!(gossip.bind.to_string(), "0.0.0.0:7946");
    assert_eq!(gossip.advertise.unwrap().to_string(), "10.0.0.7:0");
    assert_eq!(gossip.seeds, ["authmesh.prod.svc:7946", "10.0.0.8:7946"]);
    assert_eq!(gossip.expect, Some(3));
    assert_eq!(gossip.probe_period, Duration::from_secs(2));
    assert_eq!(gossip.probe_rtt, Duration::from_millis(500));
    assert_eq!(gossip.suspicion, Duration::from_secs(8));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);

    let again = Setup::new(loaded.print()).load(&[]).unwrap_or_else(|p| panic!("{p}"));
    assert_eq!(format!("{:?}", loaded.config), format!("{:?}", again.config));
}

#[test]
fn the_defaults_of_gossip_are_those_of_its_adapter() {
    let setup = Setup::new(format!(
        "{MINIMAL}{KEY_RING}[redis]\nurl = \"redis://127.0.0.1\"\n[gossip]\nbind = \"0.0.0.0:7946\"\n"
    ))
    .with("ring", "");
    let gossip = setup.load(&[]).unwrap().config.gossip.unwrap();
    let adapter = authmesh_gossip::GossipConfig::default();
    assert_eq!(
        (gossip.probe_period, gossip.probe_rtt, gossip.suspicion),
        (adapter.probe_period, adapter.probe_rtt, adapter.suspicion)
    );
    assert_eq!((gossip.bind, gossip.advertise), (adapter.bind, adapter.advertise));
    assert!(gossip.seeds.is_empty() && gossip.expect.is_none());
}

#[test]
fn all_of_gossip_comes_from_the_environment_too() {
    let setup = Setup::new(MINIMAL).with("ring", "");
    let ring = setup.folder.path().join("ring").display().to_string();
    let loaded = setup.load(&[
        ("AUTHMESH_CLUSTER_KEY_RING_FILE", &ring),
        ("AUTHMESH_GOSSIP_BIND", "[::]:7946"),
        ("AUTHMESH_GOSSIP_ADVERTISE", "10.0.0.7:7946"),
        ("AUTHMESH_GOSSIP_SEEDS", "a:1, b:2"),
        ("AUTHMESH_GOSSIP_EXPECT", "5"),
        ("AUTHMESH_GOSSIP_PROBE_PERIOD", "100ms"),
        ("AUTHMESH_GOSSIP_PROBE_RTT", "50ms"),
        ("AUTHMESH_GOSSIP_SUSPICION", "100ms"),
    ]);
    let gossip = loaded.unwrap_or_else(|problems| panic!("{problems}")).config.gossip;
    let gossip = gossip.unwrap();
    assert_eq!(
        (gossip.bind.to_string().as_str(), gossip.expect),
        ("[::]:7946", Some(5))
    );
    assert_eq!(gossip.seeds, ["a:1", "b:2"]);
    assert_eq!(gossip.advertise.unwrap().to_string(), "10.0.0.7:7946");
    assert_eq!(gossip.probe_period, Duration::from_millis(100));
    assert_eq!(gossip.probe_rtt, Duration::from_millis(50));
    assert_eq!(gossip.suspicion, Duration::from_millis(100));
}

#[test]
fn without_redis_gossip_has_to_know_how_many_found_the_cluster() {
    one_of(
        "bind = \"127.0.0.1:7946\"\nseeds = \"a:1\"\n",
        "authmesh.toml:7: gossip.expect is missing: without Redis nobody knows who else there should be",
    );
    // Beside Redis it does nothing.
    let both = "[redis]\nurl = \"redis://127.0.0.1\"\n[gossip]\nbind = \"127.0.0.1:7946\"\nexpect = 3\n";
    let warnings = Setup::new(format!("{MINIMAL}{KEY_RING}{both}"))
        .with("ring", "")
        .warnings(&[]);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].starts_with("authmesh.toml:10: gossip.expect is not looked at"),
        "{warnings:?}"
    );
}

#[test]
fn gossip_needs_a_shared_key_ring() {
    one(
        "[gossip]\nbind = \"127.0.0.1:7946\"\nseeds = \"a:1\"\nexpect = 3\n",
        "authmesh.toml:5: cluster.key_ring_file is missing: nodes that gossip need the same key ring. Make one with \
         `authmesh keyring generate FILE`",
    );
}

#[test]
fn settings_of_gossip_that_do_nothing_are_refused() {
    let expected = [
        (
            "expect = 3\n",
            "authmesh.toml:7: gossip.expect is set, but gossip.bind is not",
        ),
        (
            "seeds = \"a:1\"\n",
            "authmesh.toml:7: gossip.seeds is set, but gossip.bind is not",
        ),
        (
            "bind = \"\"\nadvertise = \"10.0.0.7:7946\"\n",
            "authmesh.toml:8: gossip.advertise is set, but gossip.bind is not",
        ),
    ];
    for (gossip, expected) in expected {
        one_of(gossip, expected);
    }
    // Turned off, and defaults written out.
    assert!(setup("bind = \"\"\n").load(&[]).unwrap().config.gossip.is_none());
    assert!(setup("seeds = []\nsuspicion = \"3s\"\n").load(&[]).is_ok());
}

#[test]
fn settings_of_gossip_fit_each_other() {
    let good = "bind = \"127.0.0.1:7946\"\nseeds = \"a:1\"\nexpect = 3\n";
    for (more, expected) in [
        (
            "advertise = \"0.0.0.0:7946\"\n",
            "authmesh.toml:10: gossip.advertise is the address that stands for all",
        ),
        (
            "advertise = \"[::1]:7946\"\n",
            "authmesh.toml:10: gossip.advertise cannot be reached by a socket that is bound to gossip.bind",
        ),
        (
            "probe_rtt = \"1s\"\n",
            "authmesh.toml:10: gossip.probe_rtt does not fit: gossip.probe_rtt, which is 1s, must be less than \
             gossip.probe_period, which is 1s",
        ),
        (
            "suspicion = \"900ms\"\n",
            "authmesh.toml:10: gossip.suspicion does not fit: gossip.probe_period, which is 1s, must be at most \
             gossip.suspicion, which is 900ms",
        ),
        (
            "[admin]\nlisten = \"127.0.0.1:7946\"\n",
            "authmesh.toml:7: gossip.bind is the same port as admin.listen",
        ),
        (
            "[server]\nlisten = \"0.0.0.0:7946\"\n",
            "authmesh.toml:7: gossip.bind is the same port as server.listen",
        ),
    ] {
        one_of(&format!("{good}{more}"), expected);
    }
    assert!(setup(good).load(&[]).is_ok());
    let all = good.replace("127.0.0.1", "[::]");
    assert!(
        setup(&format!("{all}advertise = \"10.0.0.7:7946\"\n"))
            .load(&[])
            .is_ok()
    );
}

#[test]
fn a_seed_that_is_none_is_named_by_its_place() {
    one_of(
        "bind = \"127.0.0.1:7946\"\nexpect = 3\nseeds = [\"a:1\", \"s3cret\"]\n",
        "authmesh.toml:9: gossip.seeds[1] has no port: write it as in \"authmesh.prod.svc:7946\"",
    );
}

#[test]
fn a_node_that_can_find_nobody_is_warned_of() {
    let warnings = setup("bind = \"127.0.0.1:7946\"\nexpect = 3\n").warnings(&[]);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("gossip.seeds is empty"), "{warnings:?}");
    let alone = setup("bind = \"127.0.0.1:7946\"\nexpect = 1\n").warnings(&[]);
    assert!(alone.is_empty(), "{alone:?}");
}
