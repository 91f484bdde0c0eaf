//! `authmesh status`.

use serde_json::{Value, json};

use super::stub::Stub;
use super::{CREDENTIAL, authmesh};
use crate::cli::io::Exit;

fn stats() -> Value {
    json!({
        "node": "orders-5d", "version": "0.4.1", "uptime_seconds": 7_300,
        "counts": { "hits": 98_700, "verified": 1_204, "blind_hits": 2, "blind_verified": 1, "refused": 12, "revoked": 1, "could_not_ask": 0, "more": 1 },
        "hit_rate": 0.987, "verdicts": 1_000, "verdict_bytes": 1_572_864, "entries": 0, "entry_bytes": 0, "marks": 1,
        "outbox": 0,
    })
}

fn health() -> Value {
    json!({
        "status": "ok", "coherent": true, "blind_for_seconds": null, "ready": true,
        "issuers": [
            { "issuer": "https://login.example.com", "keys": 3, "skipped": ["keys[3]: use is not sig"], "generation": 17,
              "age_seconds": 245, "source": "l2", "trusted": true, "trusted_seconds": 86_155, "failures": 0, "circuit_open": false,
              "trouble": null },
        ],
        "upstreams": [{ "issuer": "https://partner.example.com", "failures": 0, "open": false, "trouble": null }],
    })
}

fn members() -> Value {
    json!({ "members": [
        { "node": "orders-5d", "incarnation": "a1", "address": "", "version": "0.4.1", "age_seconds": 0, "live": true, "this": true },
        { "node": "orders-7\u{1b}", "incarnation": "b2", "address": "10.0.0.7:7946", "version": "0.4.1", "age_seconds": 12,
          "live": false, "this": false },
    ] })
}

fn node(stats: (u16, &Value), health: (u16, &Value), members: (u16, &Value)) -> Stub {
    Stub::start(&[
        ("/v1/stats", stats.0, stats.1.to_string()),
        ("/v1/health", health.0, health.1.to_string()),
        ("/v1/members", members.0, members.1.to_string()),
    ])
}

#[test]
fn a_node_that_cannot_ask_for_its_members_still_tells_how_it_is() {
    let away = json!({ "title": "store", "detail": "Redis at 127.0.0.1:1 cannot be reached" });
    let mut blind = health();
    blind["status"] = json!("blind");
    blind["coherent"] = json!(false);
    blind["blind_for_seconds"] = json!(7);
    let stub = node((200, &stats()), (200, &blind), (503, &away));
    let ran = authmesh(&["status"]).at(&stub.url).run();
    assert_eq!(ran.exit, Exit::No, "{ran:?}");
    assert!(
        ran.stdout.contains("blind for 7 s") && ran.stdout.contains("members unknown"),
        "{ran:?}"
    );
    assert!(ran.stdout.contains("Redis at 127.0.0.1:1 cannot be reached"), "{ran:?}");
    let stub = node((200, &stats()), (200, &blind), (503, &away));
    let ran = authmesh(&["status", "--json"]).at(&stub.url).run();
    let shown: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.exit, &shown["members"]), (Exit::No, &Value::Null), "{ran:?}");
}

#[test]
fn a_node_in_good_order() {
    let stub = node((200, &stats()), (200, &health()), (200, &members()));
    authmesh(&["status"]).at(&stub.url).run().says(
        Exit::Yes,
        "node orders-5d   ok, coherent, ready   1 of 2 nodes live   issuers 2 of 2 ok\n\
         \x20 up       2 h, version 0.4.1\n\
         \x20 hit rate 98.7 %\n\
         \x20 answers  98,700 hits, 1,204 verified, 12 refused, 1 revoked, 3 while blind, 0 without an answer of the issuer\n\
         \x20 memory   1,000 verdicts (1.5 MiB), 0 entries (0 B), 1 mark\n\
         \n\
         node        live   seen        version   address\n\
         orders-5d   yes    this node   0.4.1     -\n\
         orders-7?   no     12 s ago    0.4.1     10.0.0.7:7946\n\
         \n\
         issuer                      trusted   for    keys   left out   keys age   from   generation   circuit   failures\n\
         https://login.example.com   yes       23 h   3      1          4 min      l2     17           closed    0\n\
         \n\
         asked about tokens            circuit   failures\n\
         https://partner.example.com   closed    0\n",
    );
    let seen = stub.seen();
    let targets: Vec<_> = seen
        .iter()
        .map(|seen| (seen.method.as_str(), seen.target.as_str()))
        .collect();
    assert_eq!(
        targets,
        [("GET", "/v1/health"), ("GET", "/v1/members"), ("GET", "/v1/stats")]
    );
    assert!(seen.iter().all(|seen| seen.bearer == format!("Bearer {CREDENTIAL}")));
}

#[test]
fn a_node_in_trouble_is_1() {
    let mut ill = health();
    ill["status"] = "blind".into();
    ill["coherent"] = false.into();
    ill["ready"] = false.into();
    ill["blind_for_seconds"] = 90.into();
    ill["issuers"][0]["trusted"] = false.into();
    ill["issuers"][0]["trouble"] = "connection refused".into();
    ill["issuers"][0]["circuit_open"] = true.into();
    ill["upstreams"][0] =
        json!({ "issuer": "https://partner.example.com", "failures": 7, "open": true, "trouble": "HTTP 500" });
    let mut late = stats();
    late["outbox"] = 2.into();
    late["hit_rate"] = Value::Null;
    for status in [200, 503] {
        let stub = node((200, &late), (status, &ill), (200, &members()));
        let ran = authmesh(&["status"]).at(&stub.url).run();
        assert_eq!(ran.exit, Exit::No, "{ran:?}");
        for says in [
            "blind, blind for 1 min, not ready",
            "issuers 0 of 2 ok",
            "  no        -     3 ",
            "https://partner.example.com   open      7\n",
            "  trouble  https://partner.example.com: HTTP 500\n",
            "  hit rate -\n",
            "  outbox   2 statements wait for its commit\n",
            "  trouble  https://login.example.com: connection refused\n",
        ] {
            assert!(ran.stdout.contains(says), "{says}: {ran:?}");
        }
    }
    ill["blind_for_seconds"] = Value::Null;
    let stub = node((200, &late), (200, &ill), (200, &members()));
    assert!(
        authmesh(&["status"])
            .at(&stub.url)
            .run()
            .stdout
            .contains("blind since its start")
    );
}

#[test]
fn a_node_that_gossips_says_by_which_road_it_is_coherent_and_whom_it_waits_for() {
    let mut stats = stats();
    stats["gossip"] =
        json!({ "members": 2, "up": 1, "ring": 1_204, "unpositioned": 3, "lost_statements": 1, "counts": {} });
    let gossip = |changes: Value| {
        let mut health = health();
        health["gossip"] = json!({
            "joined": true, "forgotten": false, "vouched": true, "coherent_by_redis": false, "coherent_by_gossip": true,
            "members": 2, "waits_for": [], "evidence_age_ms": 140, "redis_proof_age_seconds": 65,
        });
        for (name, value) in changes.as_object().unwrap() {
            health["gossip"][name] = value.clone();
        }
        health
    };
    let said = |health: &Value| {
        let stub = node((200, &stats), (200, health), (200, &members()));
        authmesh(&["status"]).at(&stub.url).run().stdout
    };
    let text = said(&gossip(json!({})));
    let rows = "  lease    by gossip, newest proof by Redis 1 min ago\n\
                \x20 view     2 other members, 1 found, oldest evidence of one 140 ms old\n\
                \x20 ring     1,204 statements, 3 without a position in the log, 1 lost\n";
    assert!(text.contains(rows), "{text}");
    assert!(!text.contains("  waits    "), "{text}");

    let late = json!({
        "joined": false, "coherent_by_gossip": false, "waits_for": ["b", "c\u{1b}"], "evidence_age_ms": null,
        "redis_proof_age_seconds": null,
    });
    let text = said(&gossip(late));
    let rows = "  lease    none\n\
                \x20 view     2 other members, 1 found, without evidence of each, not taken in yet\n\
                \x20 waits    for b, c?\n";
    assert!(text.contains(rows), "{text}");

    let both = said(&gossip(json!({ "coherent_by_redis": true })));
    assert!(both.contains("  lease    by Redis and by gossip, newest"), "{both}");
    let forgotten = said(&gossip(json!({ "forgotten": true })));
    assert!(
        forgotten.contains("  trouble  the other nodes have forgotten this one"),
        "{forgotten}"
    );
}

#[test]
fn json_is_the_three_answers() {
    let stub = node((200, &stats()), (200, &health()), (200, &members()));
    let ran = authmesh(&["status", "--json"]).at(&stub.url).run();
    assert_eq!(ran.exit, Exit::Yes, "{ran:?}");
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        answer,
        json!({ "stats": stats(), "health": health(), "members": members()["members"] })
    );
}

#[test]
fn a_node_that_does_not_answer_is_2() {
    let problem = json!({ "title": "Unauthorized" });
    for (stats, health, members) in [
        ((401, &problem), (200, &health()), (200, &members())),
        ((200, &stats()), (401, &problem), (200, &members())),
        ((200, &stats()), (200, &health()), (500, &problem)),
    ] {
        let stub = node(stats, health, members);
        authmesh(&["status"]).at(&stub.url).run().fails("Unauthorized");
    }
    let stub = node((200, &stats()), (503, &problem), (200, &members()));
    authmesh(&["status"])
        .at(&stub.url)
        .run()
        .fails("something else than this command expects");
    authmesh(&["status"])
        .at("http://127.0.0.1:1")
        .run()
        .fails("could not be reached");
}

#[test]
fn plain_http_to_another_machine_is_warned_of() {
    // Ends before anything is sent: there is nobody to ask.
    let revoke = |url: &str| authmesh(&["revoke", "--whole-issuer"]).at(url).run();
    for url in [
        "http://node.example:8500",
        "http://10.0.0.7:8500",
        "http://localhost.example",
        "http://[2001:db8::1]",
    ] {
        revoke(url).fails("is asked over plain http").fails("add --yes");
    }
    for url in [
        "http://localhost:8500",
        "http://127.9.9.9",
        "http://[::1]:8500",
        "https://node.example",
    ] {
        let ran = revoke(url);
        ran.fails("add --yes");
        assert!(!ran.stderr.contains("warning"), "{ran:?}");
    }
}
