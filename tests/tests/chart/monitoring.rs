//! Alerts and dashboard: rules that hold, and metrics that a node really exports.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use authmesh_tests::authmesh::{Authmesh, Shared};
use authmesh_tests::chart;
use authmesh_tests::fleet;
use authmesh_tests::idp::{Idp, Order};
use authmesh_tests::ports::Port;
use authmesh_tests::redis_server::RedisServer;
use authmesh_tests::tools;
use serde_json::Value;

use super::cases::{NAME, rendered};

fn groups() -> Value {
    rendered().shapes["redis-mtls"].one("PrometheusRule", NAME)["spec"].clone()
}

fn alerts() -> Vec<Value> {
    groups()["groups"][0]["rules"].as_array().unwrap().clone()
}

fn promtool(folder: &Path, arguments: &[&str]) -> (bool, String) {
    tools::require("promtool");
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

#[test]
fn the_alerts_fire_when_they_should_and_only_then() {
    let folder = tempfile::tempdir().unwrap();
    let mut groups = groups();
    // JSON is YAML.
    fs::write(folder.path().join("whole.yaml"), groups.to_string()).unwrap();
    let (good, said) = promtool(folder.path(), &["check", "rules", "whole.yaml"]);
    assert!(good, "{said}");

    // What alerts say to people is for people to judge.
    for rule in groups["groups"][0]["rules"].as_array_mut().unwrap() {
        rule.as_object_mut().unwrap().remove("annotations");
    }
    fs::write(folder.path().join("alerts.yaml"), groups.to_string()).unwrap();
    fs::write(
        folder.path().join("test.yaml"),
        chart::read("helm/authmesh/alerts_test.yaml"),
    )
    .unwrap();
    let (good, said) = promtool(folder.path(), &["test", "rules", "test.yaml"]);
    assert!(good, "{said}");

    // The tests can fail: without its condition an alert is found out.
    for rule in groups["groups"][0]["rules"].as_array_mut().unwrap() {
        if rule["alert"] == "AuthmeshNodeBlind" {
            rule["expr"] = "vector(1) < 0".into();
        }
    }
    fs::write(folder.path().join("alerts.yaml"), groups.to_string()).unwrap();
    let (good, said) = promtool(folder.path(), &["test", "rules", "test.yaml"]);
    assert!(!good && said.contains("AuthmeshNodeBlind"), "{said}");
}

#[test]
fn every_alert_is_tested_both_ways_and_explained() {
    let tests = chart::read("helm/authmesh/alerts_test.yaml");
    let operations = chart::read("docs/operations.md");
    let alerts = alerts();
    assert!(alerts.len() >= 12, "{}", alerts.len());
    for alert in &alerts {
        let name = alert["alert"].as_str().unwrap();
        let cases: Vec<&str> = tests.split(&format!("alertname: {name}\n")).skip(1).collect();
        let silent = cases
            .iter()
            .filter(|case| {
                case.lines()
                    .take(2)
                    .any(|line| line.trim_end().ends_with("exp_alerts: []"))
            })
            .count();
        assert!(
            silent > 0 && cases.len() > silent,
            "{name}: {} cases, {silent} of them silent",
            cases.len()
        );
        let section = operations.split(&format!("\n### {name}\n")).nth(1);
        let section = section.unwrap_or_else(|| panic!("docs/operations.md has no section {name}"));
        let section = section.split("\n#").next().unwrap();
        for part in ["**Means**", "**Users see**", "**Do**"] {
            assert!(section.contains(part), "docs/operations.md, {name}: {part} is missing");
        }
        let link = alert["annotations"]["runbook_url"].as_str().unwrap();
        assert!(
            link.ends_with(&format!("docs/operations.md#{}", name.to_lowercase())),
            "{link}"
        );
        for text in ["summary", "description"] {
            assert!(alert["annotations"][text].is_string(), "{name}: {text}");
        }
        assert!(
            ["warning", "critical"].contains(&alert["labels"]["severity"].as_str().unwrap()),
            "{name}"
        );
    }
    // And no section is of an alert that is gone.
    for heading in operations.lines().filter_map(|line| line.strip_prefix("### Authmesh")) {
        let name = format!("Authmesh{heading}");
        assert!(
            alerts.iter().any(|alert| alert["alert"] == name.as_str()),
            "docs/operations.md explains {name}"
        );
    }
}

#[test]
fn an_alert_can_be_left_out_and_a_threshold_changed() {
    let spec = &rendered().shapes["monitoring"].one("PrometheusRule", NAME)["spec"];
    let rules = spec["groups"][0]["rules"].as_array().unwrap();
    assert_eq!(rules.len() + 1, alerts().len());
    assert!(!spec.to_string().contains("AuthmeshMissRateHigh"));
    let blind = rules.iter().find(|rule| rule["alert"] == "AuthmeshNodeBlind").unwrap();
    assert!(blind["expr"].as_str().unwrap().ends_with("> 20"), "{blind}");
    assert!(spec.to_string().contains("https://runbooks.example.com/authmesh#"));
}

/// A metric with its labels, as far as a query names them.
type Wanted = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// The metrics of ours in a query, and the values of labels that it compares with.
fn wanted(query: &str, into: &mut Wanted) {
    let mut rest = query;
    while let Some(at) = rest.find("authmesh_") {
        let end = rest[at..]
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .map_or(rest.len(), |length| at + length);
        let labels = into.entry(rest[at..end].to_owned()).or_default();
        rest = &rest[end..];
        let Some(inside) = rest.strip_prefix('{').and_then(|inside| inside.split_once('}')) else {
            continue;
        };
        for matcher in inside.0.split(", ") {
            let Some((label, value)) = matcher.split_once('=') else {
                continue;
            };
            let values = labels.entry(label.trim().to_owned()).or_default();
            let value = value.trim_start_matches('~').trim_matches('"');
            // What a query leaves to the reader, or to any text, says nothing.
            if !value.starts_with('$') && value != ".+" && label != "job" {
                values.extend(value.split('|').map(str::to_owned));
            }
        }
    }
}

fn of_dashboard(into: &mut Wanted) {
    let dashboard: Value = serde_json::from_str(&chart::read("helm/authmesh/dashboards/authmesh.json")).unwrap();
    let mut queries = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            queries += 1;
            wanted(target["expr"].as_str().unwrap(), into);
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        wanted(variable["query"].as_str().unwrap(), into);
    }
    assert!(queries > 20, "{queries}");
}

/// So that a metric that is renamed is renamed here as well.
#[tokio::test(flavor = "multi_thread")]
async fn alerts_and_dashboard_name_only_metrics_that_a_node_exports() {
    let mut all = Wanted::new();
    of_dashboard(&mut all);
    for alert in alerts() {
        wanted(alert["expr"].as_str().unwrap(), &mut all);
    }
    assert!(all.len() > 20, "{all:?}");

    // A node with everything on: Redis, gossip, keys of an issuer, a provider that is asked, logout.
    let (idp, provider) = (Idp::start().await, Idp::start().await);
    let redis = RedisServer::start(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let ring = fleet::key_ring(folder.path());
    fs::write(folder.path().join("secret"), "alice-test-secret").unwrap();
    let gossip = Port::reserve();
    let more = format!(
        "\n[gossip]\nbind = \"{}\"\n\n[[issuers]]\nurl = \"{}\"\naudience = \"orders-api\"\nvalidate = \"introspection\"\n\n\
         [issuers.upstream]\nclient_id = \"alice\"\nclient_secret_file = \"{}\"\nauth_method = \"client_secret_post\"\n",
        gossip.address(),
        provider.issuer(),
        folder.path().join("secret").display(),
    );
    let node = Authmesh::start_shared(
        &idp.issuer(),
        Shared {
            node: "a",
            redis: &[redis.url()],
            key_ring: &ring.to_string_lossy(),
            more: &more,
            ..Shared::default()
        },
    )
    .await;
    let token = idp.token(Order::default()).await;
    node.verify(&token).await.expect(200, "a good token");
    let metrics = node.get("/metrics").await.expect(200, "metrics").body.clone();

    let mut missing = Vec::new();
    for (metric, labels) in &all {
        let lines: Vec<&str> = metrics
            .lines()
            .filter(|line| {
                line.strip_prefix(metric.as_str())
                    .is_some_and(|rest| rest.starts_with('{'))
            })
            .collect();
        if lines.is_empty() {
            missing.push(metric.clone());
        }
        for (label, values) in labels.iter().filter(|(label, _)| *label != "job") {
            for value in values {
                if !lines.iter().any(|line| line.contains(&format!("{label}=\"{value}\""))) {
                    missing.push(format!("{metric} with {label}={value:?}"));
                }
            }
            if !lines.is_empty() && !lines.iter().any(|line| line.contains(&format!("{label}=\""))) {
                missing.push(format!("{metric} with the label {label}"));
            }
        }
    }
    assert!(missing.is_empty(), "no node exports {missing:#?}\n{metrics}");
}

#[test]
fn the_dashboard_is_one() {
    let map = rendered().shapes["monitoring"].one("ConfigMap", &format!("{NAME}-dashboard"));
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    let dashboard: Value = serde_json::from_str(map["data"]["authmesh.json"].as_str().unwrap()).unwrap();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_i64().unwrap()), "an ID twice");
        assert!(!panel["title"].as_str().unwrap().is_empty());
    }
}
