//! The table of metrics, its page in the documentation, and what a running node exports are the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use authmesh::memory::{Cluster, FixedKeys, Hub};
use authmesh::proto::gossip::GossipConfig;
use authmesh::{AuthMesh, Confirm, KeyRing, MetricKind, Namespace, Rules, Subject, UpstreamRules};
use authmesh_oidc::{ClientAuth, HttpClient, Introspection};
use axum::body::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost::Message as _;

use super::super::{DevAlg, DevClaims, DevIssuer, ISSUER};
use super::double::{CLIENT_SECRET, Collector, OPAQUE, Provider};
use crate::config::Config;
use crate::serve::Metrics;
use crate::serve::telemetry::Exporters;

/// A metric as it came over the wire.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Came {
    pub(super) name: String,
    unit: String,
    meaning: String,
    kind: MetricKind,
    points: Vec<BTreeMap<String, String>>,
}

pub(super) fn decode(bodies: &[Bytes]) -> Vec<Came> {
    let requests = bodies
        .iter()
        .map(|body| ExportMetricsServiceRequest::decode(body.clone()).unwrap());
    let scopes = requests
        .flat_map(|request| request.resource_metrics)
        .flat_map(|resource| resource.scope_metrics);
    scopes
        .flat_map(|scope| scope.metrics)
        .map(|metric| {
            let (kind, points) = match metric.data.unwrap() {
                Data::Gauge(gauge) => (
                    MetricKind::Gauge,
                    attributes(gauge.data_points, |point| point.attributes),
                ),
                Data::Sum(sum) => {
                    let kind = match sum.is_monotonic {
                        true => MetricKind::Counter,
                        false => MetricKind::UpDownCounter,
                    };
                    (kind, attributes(sum.data_points, |point| point.attributes))
                }
                Data::Histogram(histogram) => (
                    MetricKind::Histogram,
                    attributes(histogram.data_points, |point| point.attributes),
                ),
                other => panic!("{other:?}"),
            };
            Came {
                name: metric.name,
                unit: metric.unit,
                meaning: metric.description,
                kind,
                points,
            }
        })
        .collect()
}

fn attributes<P>(points: Vec<P>, of: impl Fn(P) -> Vec<KeyValue>) -> Vec<BTreeMap<String, String>> {
    let text = |attribute: KeyValue| match attribute.value.and_then(|value| value.value) {
        Some(Value::StringValue(value)) => (attribute.key, value),
        other => panic!("{}: {other:?}", attribute.key),
    };
    points
        .into_iter()
        .map(|point| of(point).into_iter().map(text).collect())
        .collect()
}

/// Two nodes with everything: a log, gossip, an issuer with keys, a provider that is asked.
async fn exercised(metrics: &Metrics) -> [AuthMesh; 2] {
    let provider = Provider::start().await;
    let issuer = DevIssuer::new(ISSUER).unwrap();
    let jwks = super::super::jwks_of(&issuer).await;
    let (cluster, hub) = (Arc::new(Cluster::new()), Hub::new());
    let other = Metrics::new().unwrap();
    let start = |name: &'static str, metrics: &Metrics| {
        let http = HttpClient::builder().danger_allow_http(true).build().unwrap();
        let auth = ClientAuth::client_secret_basic("orders", CLIENT_SECRET).unwrap();
        let source = Introspection::at(&format!("{}/introspect", provider.url), auth, &http).unwrap();
        let mut rules = UpstreamRules::for_audiences(["orders-api"]);
        rules.tokens = Rules::for_audiences(["orders-api"]).opaque(true);
        AuthMesh::builder()
            .name(name)
            .join(Arc::clone(&cluster))
            .gossip(Arc::new(hub.node()))
            .gossip_config(GossipConfig::default())
            .key_ring(KeyRing::new([1; 32], [[2; 32]]).unwrap())
            .issuer(
                ISSUER,
                Arc::new(FixedKeys::new(jwks.clone())),
                Rules::for_audiences(["dev-api"]),
            )
            .upstream(&provider.url, Arc::new(source), rules)
            .meter(metrics.meter())
            .start()
    };
    let n1 = start("n1", metrics).await.unwrap();
    let n2 = start("n2", &other).await.unwrap();
    assert!(n1.wait_for_keys(Duration::from_secs(5)).await);
    let token = issuer.mint(&DevClaims::default(), DevAlg::Es256).unwrap();
    n1.verifier().verify(&token).await.unwrap();
    n1.verifier().verify(OPAQUE).await.unwrap();
    let cache = n1.cache::<u32>(Namespace::new("numbers")).unwrap();
    cache
        .get_or_load("one", || async { Ok::<_, std::fmt::Error>(1) })
        .await
        .unwrap();
    // Until each knows the other, there is nobody to confirm anything.
    loop {
        let receipt = n1
            .revoke(Subject::new(ISSUER, "bob"))
            .confirm(Confirm::AllLive)
            .await
            .unwrap();
        if !receipt.confirmed_by.is_empty() && receipt.missing.is_empty() {
            break;
        }
    }
    cache.remove("one").await.unwrap();
    [n1, n2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_node_exports_what_the_table_says_and_nothing_else() {
    let collector = Collector::start(true).await;
    let settings = [
        ("ISSUERS_0_URL", "https://login.example.com"),
        ("ISSUERS_0_AUDIENCE", "orders-api"),
        ("TELEMETRY_ENDPOINT", &collector.url),
        ("TELEMETRY_TRACES", "false"),
    ];
    let environment = settings.map(|(name, value)| (format!("AUTHMESH_{name}"), value.to_owned()));
    let config = Config::load(None, environment.into_iter()).unwrap().config;
    let exporters = Exporters::new(&config, |_| None).unwrap();
    let metrics = Metrics::with(&exporters).unwrap();
    let nodes = exercised(&metrics).await;
    let text = metrics.text().unwrap();
    exporters.stop(&metrics).await;
    for node in nodes {
        node.shutdown().await;
    }

    let came = decode(&collector.bodies("metrics").await);
    let exported: BTreeSet<&str> = came.iter().map(|metric| metric.name.as_str()).collect();
    let known: BTreeSet<&str> = authmesh::metrics().iter().map(|metric| metric.name).collect();
    assert_eq!(exported, known);
    for came in &came {
        let metric = authmesh::metrics()
            .iter()
            .find(|metric| metric.name == came.name)
            .unwrap();
        assert_eq!(
            (came.unit.as_str(), came.kind),
            (metric.unit, metric.kind),
            "{}",
            came.name
        );
        assert_eq!(came.meaning, metric.meaning, "{}", came.name);
        for point in &came.points {
            assert!(point.contains_key("node"), "{}: {point:?}", came.name);
            for (key, value) in point.iter().filter(|(key, _)| *key != "node") {
                let attribute = metric.attributes.iter().find(|attribute| attribute.name == key);
                let attribute = attribute.unwrap_or_else(|| panic!("{} has no {key}", came.name));
                let is_known = attribute.values.is_empty() || attribute.values.contains(&value.as_str());
                assert!(is_known, "{} {key}={value}", came.name);
            }
        }
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::UpDownCounter | MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        let line = format!("# TYPE {} {kind}\n", metric.prometheus_name());
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
    let types = text.lines().filter(|line| line.starts_with("# TYPE authmesh_"));
    assert_eq!(types.count(), known.len(), "{text}");
}

/// The page, as the table says.
fn page() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         <!-- Made from the table in crates/authmesh/src/telemetry/catalog.rs: `AUTHMESH_BLESS=1 cargo test -p authmesh-server \
         metrics` writes it. -->\n\n\
         Every metric of a node, by its name in OpenTelemetry and in Prometheus' text format (`/metrics`). Each has the attribute \
         `node` besides, the node's configured name. In Prometheus the dots of names and attributes are underscores. Times are in \
         seconds. Histograms time what is slow; a hit is counted, and not timed. Counters begin at 0 when the node starts.\n\n\
         A test compares this page with what a running node exports, both ways. [telemetry.md](telemetry.md) tells how metrics and \
         traces are sent to a collector.\n\n",
    );
    for metric in authmesh::metrics() {
        writeln!(page, "## `{}`\n", metric.name).unwrap();
        writeln!(page, "{}.\n", metric.meaning).unwrap();
        writeln!(page, "| | |\n| --- | --- |").unwrap();
        writeln!(page, "| Prometheus | `{}` |", metric.prometheus_name()).unwrap();
        writeln!(page, "| kind, unit | {}, `{}` |", metric.kind.as_str(), metric.unit).unwrap();
        for attribute in metric.attributes {
            let words: Vec<String> = attribute.values.iter().map(|value| format!("`{value}`")).collect();
            let said = match (words.is_empty(), attribute.about) {
                (true, about) => about.to_owned(),
                (false, "") => words.join(", "),
                (false, about) => format!("{} ({about})", words.join(", ")),
            };
            writeln!(page, "| `{}` | {said} |", attribute.name).unwrap();
        }
        if !metric.alarm.is_empty() {
            writeln!(page, "| look when | {} |", metric.alarm).unwrap();
        }
        page.push('\n');
    }
    format!("{}\n", page.trim_end())
}

#[test]
fn the_page_of_metrics_is_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
    if std::env::var_os("AUTHMESH_BLESS").is_some() {
        std::fs::write(path, page()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == page(),
        "docs/metrics.md is not what the table says: run this test with AUTHMESH_BLESS=1"
    );
}

#[test]
fn the_api_s_description_lists_every_counter() {
    let described: serde_json::Value = serde_json::from_str(include_str!("../../admin/openapi.json")).unwrap();
    let counters = serde_json::to_value(authmesh::Counts::default()).unwrap();
    let counters: BTreeSet<&str> = counters.as_object().unwrap().keys().map(String::as_str).collect();
    let mut found = 0;
    let mut open = vec![&described];
    while let Some(at) = open.pop() {
        if let Some(counts) = at.get("counts").and_then(|counts| counts.get("required")) {
            let listed: BTreeSet<&str> = counts
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|name| name.as_str())
                .collect();
            assert_eq!(listed, counters);
            found += 1;
        }
        match at {
            serde_json::Value::Object(fields) => open.extend(fields.values()),
            serde_json::Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    assert_eq!(found, 1);
}
