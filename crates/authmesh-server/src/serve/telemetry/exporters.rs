//! What a collector is sent. Settings count first, then the variables of OpenTelemetry's specification, as its SDK reads them.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{MetricExporter, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::{MeterProviderBuilder, PeriodicReader};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{BatchSpanProcessor, Sampler, SdkTracerProvider};
use tokio::sync::oneshot;
use tracing_subscriber::layer::Layer;

use super::client::Client;
use super::requests::Inbound;
use super::{Metrics, ServeError, spans_of};
use crate::config::{Config, Telemetry};

/// Time for what is still to be sent at a stop.
const FLUSH: Duration = Duration::from_secs(3);

/// Where traces and metrics go.
#[derive(Debug)]
pub(in crate::serve) struct Exporters {
    traces: Option<SdkTracerProvider>,
    metrics: Option<Collector>,
}

#[derive(Debug)]
struct Collector {
    client: Client,
    endpoint: Option<String>,
    resource: Resource,
}

impl Exporters {
    /// Nothing is sent.
    pub(in crate::serve) const fn none() -> Self {
        Self {
            traces: None,
            metrics: None,
        }
    }

    /// What the configuration and the environment ask for. To be called from inside the runtime. Starts a thread per signal,
    /// and sends nothing yet.
    pub(in crate::serve) fn new(config: &Config, env: impl Fn(&str) -> Option<String>) -> Result<Self, ServeError> {
        let settings = &config.telemetry;
        let is_set = |name: &str| env(name).is_some_and(|value| !value.trim().is_empty());
        if env("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(Self::none());
        }
        let named = settings.endpoint.is_some() || is_set("OTEL_EXPORTER_OTLP_ENDPOINT");
        let traces = settings.traces && (named || is_set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"));
        let metrics = settings.metrics && (named || is_set("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"));
        if !traces && !metrics {
            return Ok(Self::none());
        }
        if let Some(other) = env("OTEL_EXPORTER_OTLP_PROTOCOL").filter(|protocol| protocol != "http/protobuf") {
            return Err(ServeError::new(format!(
                "OTEL_EXPORTER_OTLP_PROTOCOL is {other:?}: only http/protobuf is spoken here. Name the collector's port for OTLP \
                 over HTTP, often 4318"
            )));
        }
        let collector = Collector {
            client: Client::new(settings)?,
            endpoint: settings.endpoint.clone(),
            resource: resource(config, &env),
        };
        let traces = match traces {
            true => Some(collector.tracer(settings)?),
            false => None,
        };
        if traces.is_some() {
            install_propagator(settings.propagate);
        }
        Ok(Self {
            traces,
            metrics: metrics.then_some(collector),
        })
    }

    /// Lets a registry of metrics be sent, too: every minute, or as OTEL_METRIC_EXPORT_INTERVAL says.
    pub(super) fn metrics_too(&self, builder: MeterProviderBuilder) -> Result<MeterProviderBuilder, ServeError> {
        let Some(collector) = &self.metrics else {
            return Ok(builder);
        };
        let exporter = MetricExporter::builder()
            .with_http()
            .with_http_client(collector.client.clone())
            .with_protocol(Protocol::HttpBinary);
        let exporter = match &collector.endpoint {
            Some(base) => exporter.with_endpoint(below(base, "v1/metrics")),
            None => exporter,
        };
        let exporter = exporter.build().map_err(refused)?;
        Ok(builder
            .with_reader(PeriodicReader::builder(exporter).build())
            .with_resource(collector.resource.clone()))
    }

    /// What takes spans in; nothing where no traces are sent.
    pub(in crate::serve) fn layer<S>(&self) -> Option<impl Layer<S> + Send + Sync + use<S>>
    where
        S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a> + Send + Sync,
    {
        let traces = self.traces.as_ref()?;
        Some(spans_of(traces.tracer("authmesh")))
    }

    /// Sends what is still to be sent, within [`FLUSH`].
    pub(in crate::serve) async fn stop(&self, metrics: &Metrics) {
        let (traces, provider) = (self.traces.clone(), metrics.provider.clone());
        let traces = traces.map(|traces| last_words(move || traces.shutdown_with_timeout(FLUSH)));
        let metrics = self.metrics.as_ref();
        let metrics = metrics.map(|_| last_words(move || provider.shutdown_with_timeout(FLUSH)));
        let deadline = tokio::time::Instant::now() + FLUSH;
        for (what, said) in [("traces", traces), ("metrics", metrics)] {
            let Some(said) = said else { continue };
            match tokio::time::timeout_at(deadline, said).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) => tracing::warn!(what, %error, "not all telemetry could be sent"),
                Ok(Err(_)) | Err(_) => {
                    tracing::warn!(what, "the collector did not take the last telemetry within {FLUSH:?}")
                }
            }
        }
    }

    /// Sends what there is now. For tests.
    #[cfg(test)]
    pub(in crate::serve) fn flush_traces(&self) {
        if let Some(traces) = &self.traces {
            let _ = traces.force_flush();
        }
    }

    /// Whether traces are sent, and metrics. For tests.
    #[cfg(test)]
    pub(in crate::serve) const fn sends(&self) -> (bool, bool) {
        (self.traces.is_some(), self.metrics.is_some())
    }
}

/// Runs what blocks in a thread of its own: the end of the runtime would wait for one of the runtime's.
fn last_words(shutdown: impl FnOnce() -> OTelSdkResult + Send + 'static) -> oneshot::Receiver<Result<(), String>> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        // Nobody waiting is no error.
        let _ = sender.send(shutdown().map_err(|error| error.to_string()));
    });
    receiver
}

impl Collector {
    fn tracer(&self, settings: &Telemetry) -> Result<SdkTracerProvider, ServeError> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(self.client.clone())
            .with_protocol(Protocol::HttpBinary);
        let exporter = match &self.endpoint {
            Some(base) => exporter.with_endpoint(below(base, "v1/traces")),
            None => exporter,
        };
        let exporter = exporter.build().map_err(refused)?;
        let builder = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).build())
            .with_resource(self.resource.clone());
        Ok(match settings.sample {
            // A trace that the caller keeps is kept whole.
            Some(share) => builder.with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share)))),
            None => builder,
        }
        .build())
    }
}

fn refused(error: impl std::fmt::Display) -> ServeError {
    ServeError::new(format!("telemetry cannot be sent: {error}"))
}

fn below(base: &str, path: &str) -> String {
    format!("{}/{path}", base.trim_end_matches('/'))
}

/// Who sends. The SDK adds OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME.
fn resource(config: &Config, env: &impl Fn(&str) -> Option<String>) -> Resource {
    let settings = &config.telemetry;
    let own = [
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", config.cluster.node.clone()),
        KeyValue::new("authmesh.cluster", config.cluster.name.clone()),
    ];
    let further = settings
        .attributes
        .iter()
        .map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    let named = env("OTEL_SERVICE_NAME").is_some()
        || env("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|attributes| attributes.contains("service.name="));
    let builder = Resource::builder().with_attributes(own).with_attributes(further);
    match &settings.service_name {
        Some(name) => builder.with_service_name(name.clone()),
        None if named => builder,
        None => builder.with_service_name("authmesh"),
    }
    .build()
}

/// For all of the process: the SDK has no other place for it.
fn install_propagator(outbound: bool) {
    let propagator = TraceContextPropagator::new();
    match outbound {
        true => opentelemetry::global::set_text_map_propagator(propagator),
        false => opentelemetry::global::set_text_map_propagator(Inbound(propagator)),
    }
}
