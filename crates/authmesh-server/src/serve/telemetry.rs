//! Logs and metrics of the server.

use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Encoder as _, Registry, TextEncoder};
use tracing_subscriber::EnvFilter;

use super::ServeError;
use crate::config::{Level, Log, LogFormat};

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
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .build()
            .map_err(ServeError::new)?;
        let provider = SdkMeterProvider::builder().with_reader(exporter).build();
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

/// Sends logs to standard error, as configured. `AUTHMESH_LOG` (for instance `info,authmesh=debug`) wins.
pub(super) fn log(settings: &Log) {
    let level = match settings.level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(level))
        .with_writer(std::io::stderr);
    // A second logger in one process keeps the first.
    let _ = match settings.format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
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
