//! Logs, metrics and traces of the server.
//!
//! | file | does |
//! | --- | --- |
//! | `exporters` | what a collector is sent, by the configuration and the environment |
//! | `client` | how: OTLP over the HTTP client that the server has |
//! | `requests` | the spans of requests, which continue the caller's trace |

mod client;
mod exporters;
pub(super) mod requests;

use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Encoder as _, Registry, TextEncoder};
use tracing_subscriber::filter::{EnvFilter, LevelFilter, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry as Subscriber, registry};

use super::ServeError;
use crate::config::{Level, Log, LogFormat};

pub(super) use exporters::Exporters;

/// The target of all spans of authmesh.
pub(super) const SPANS: &str = "authmesh::trace";

/// The metrics of one node, collected when they are asked for.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    provider: SdkMeterProvider,
}

impl Metrics {
    /// A registry of its own.
    ///
    /// # Errors
    /// When the exporter cannot be set up.
    pub fn new() -> Result<Self, ServeError> {
        Self::with(&Exporters::none())
    }

    /// A registry of its own, which is also sent to a collector where there is one.
    pub(super) fn with(exporters: &Exporters) -> Result<Self, ServeError> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .build()
            .map_err(ServeError::new)?;
        let builder = SdkMeterProvider::builder().with_reader(exporter);
        let provider = exporters.metrics_too(builder)?.build();
        Ok(Self { registry, provider })
    }

    /// The meter that the node registers with.
    #[must_use]
    pub fn meter(&self) -> Meter {
        self.provider.meter("authmesh")
    }

    /// The metrics in the Prometheus text format.
    pub(super) fn text(&self) -> Result<String, ServeError> {
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .map_err(ServeError::new)?;
        String::from_utf8(text).map_err(ServeError::new)
    }
}

/// Sends logs to standard error, as configured, and traces where there is a collector. `AUTHMESH_LOG` (for instance
/// `info,authmesh=debug`) wins.
pub(super) fn log(settings: &Log, exporters: &Exporters) {
    let level = match settings.level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines: Box<dyn Layer<Subscriber> + Send + Sync> = match settings.format {
        LogFormat::Text => lines.with_ansi(false).with_filter(filter(level)).boxed(),
        LogFormat::Json => lines.json().with_filter(filter(level)).boxed(),
    };
    // A second logger in one process keeps the first.
    let _ = registry().with(lines).with(exporters.layer()).try_init();
}

/// Development mode prints for people; its log stays quiet unless asked for.
pub(super) fn log_for_dev() {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter("warn"))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
}

fn filter(level: &str) -> EnvFilter {
    EnvFilter::try_from_env("AUTHMESH_LOG").unwrap_or_else(|_| EnvFilter::new(level))
}

/// Turns spans of authmesh into OpenTelemetry's. Events stay in the log: what they say was not written for a collector.
pub(super) fn spans_of<S>(tracer: opentelemetry_sdk::trace::SdkTracer) -> impl Layer<S> + Send + Sync
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a> + Send + Sync,
{
    let ours = filter_fn(|about| about.is_span() && about.target() == SPANS);
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(ours.with_max_level_hint(LevelFilter::DEBUG))
}
