//! A collector over HTTP: it gets what it should, and when it is slow or away nobody waits for it.

use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message as _;
use tracing_subscriber::layer::SubscriberExt as _;

use super::super::World;
use super::double::Collector;
use crate::config::Config;
use crate::serve::Metrics;
use crate::serve::telemetry::Exporters;

fn config(collector: &str, more: &[(&str, &str)]) -> Config {
    let settings = [
        ("ISSUERS_0_URL", "https://login.example.com"),
        ("ISSUERS_0_AUDIENCE", "orders-api"),
        ("CLUSTER_NODE", "n7"),
        ("TELEMETRY_ENDPOINT", collector),
        ("TELEMETRY_ATTRIBUTES", "deployment.environment.name=test"),
    ];
    let all = settings.iter().chain(more);
    let environment = all.map(|(name, value)| (format!("AUTHMESH_{name}"), (*value).to_owned()));
    Config::load(None, environment).unwrap().config
}

fn no_env(_: &str) -> Option<String> {
    None
}

#[tokio::test]
async fn a_collector_gets_spans_and_metrics_over_http_and_the_last_ones_at_a_stop() {
    let collector = Collector::start(true).await;
    let exporters = Exporters::new(&config(&collector.url, &[]), no_env).unwrap();
    let metrics = Metrics::with(&exporters).unwrap();
    let subscriber = tracing_subscriber::registry().with(exporters.layer());
    let guard = tracing::subscriber::set_default(subscriber);
    let world = World::new(&[]).await;
    metrics.meter().u64_counter("authmesh.test").build().add(7, &[]);
    let token = world.token("alice", "read");
    assert_eq!(world.verify(Some(&token), &[]).await.status(), 200);
    world.mesh.shutdown().await;
    drop(guard);
    exporters.stop(&metrics).await;

    let mut names = Vec::new();
    for body in collector.bodies("traces").await {
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        for resource in request.resource_spans {
            let attributes = resource.resource.unwrap().attributes;
            let of = |name: &str| {
                let found = attributes.iter().find(|attribute| attribute.key == name);
                match found.and_then(|attribute| attribute.value.as_ref()?.value.clone()) {
                    Some(Value::StringValue(value)) => value,
                    other => panic!("{name}: {other:?}"),
                }
            };
            assert_eq!(of("service.name"), "authmesh");
            assert_eq!(of("service.instance.id"), "n7");
            assert_eq!(of("deployment.environment.name"), "test");
            names.extend(
                resource
                    .scope_spans
                    .into_iter()
                    .flat_map(|scope| scope.spans)
                    .map(|span| span.name),
            );
        }
    }
    assert!(names.contains(&"authmesh.verify".to_owned()), "{names:?}");
    assert!(names.contains(&"GET /verify".to_owned()), "{names:?}");
    let metrics = super::metrics::decode(&collector.bodies("metrics").await);
    assert!(
        metrics.iter().any(|metric| metric.name == "authmesh.test"),
        "{metrics:?}"
    );
}

#[tokio::test]
async fn a_collector_that_hangs_delays_no_request_and_bounds_the_stop() {
    let collector = Collector::start(false).await;
    let exporters = Exporters::new(&config(&collector.url, &[("TELEMETRY_METRICS", "false")]), no_env).unwrap();
    let metrics = Metrics::with(&exporters).unwrap();
    let exporters = std::sync::Arc::new(exporters);
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(exporters.layer()));
    let world = World::new(&[]).await;
    assert_eq!(
        world.verify(Some(&world.token("first", "read")), &[]).await.status(),
        200
    );
    let flushing = std::sync::Arc::clone(&exporters);
    let flush = tokio::task::spawn_blocking(move || flushing.flush_traces());
    // It has the first spans now, and does not answer.
    collector.bodies("traces").await;
    for at in 0..50 {
        let token = world.token(&format!("user-{at}"), "read");
        let answer = tokio::time::timeout(Duration::from_secs(2), world.verify(Some(&token), &[])).await;
        assert_eq!(answer.expect("nobody waits for a collector").status(), 200);
    }
    assert!(!flush.is_finished(), "the collector holds the export all the time");
    world.mesh.shutdown().await;
    let stopping = Instant::now();
    exporters.stop(&metrics).await;
    assert!(stopping.elapsed() < Duration::from_secs(6), "{:?}", stopping.elapsed());
    collector.release();
    flush.await.unwrap();
}

#[tokio::test]
async fn the_environment_of_opentelemetry_counts_where_no_setting_does() {
    let mut plain = config("http://127.0.0.1:9", &[]);
    let traces = |config: &Config, env: &[(&str, &str)]| {
        let env: Vec<(String, String)> = env
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect();
        Exporters::new(config, move |name| {
            env.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
        })
        .map(|exporters| exporters.sends())
        .map_err(|error| error.to_string())
    };
    assert_eq!(traces(&plain, &[]), Ok((true, true)));
    assert_eq!(traces(&plain, &[("OTEL_SDK_DISABLED", "true")]), Ok((false, false)));
    plain.telemetry.endpoint = None;
    assert_eq!(traces(&plain, &[]), Ok((false, false)));
    let named = |name| [(name, "http://127.0.0.1:9")];
    assert_eq!(traces(&plain, &named("OTEL_EXPORTER_OTLP_ENDPOINT")), Ok((true, true)));
    assert_eq!(
        traces(&plain, &named("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")),
        Ok((true, false))
    );
    assert_eq!(
        traces(&plain, &named("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")),
        Ok((false, true))
    );
    let grpc = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ];
    assert!(traces(&plain, &grpc).unwrap_err().contains("only http/protobuf"));
}
