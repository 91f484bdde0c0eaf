//! How long things take that are slow: histograms. Nothing reads a clock where no meter is set.

use std::sync::Arc;
use std::time::Instant;

use opentelemetry::metrics::{Histogram, Meter};
use opentelemetry::{KeyValue, Value};

use super::catalog::{Metric, MetricKind};

/// Bounds in seconds, from a signature check to a call that is given up.
const BOUNDS: [f64; 18] = [
    0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
    2.5, 5.0, 10.0,
];

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timing {
    Verify,
    L2,
    Log,
    KeyFetch,
    Upstream,
    Commit,
    Propagation,
    GossipExchange,
}

impl Timing {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Verify, "authmesh.verify.duration"),
        (Self::L2, "authmesh.l2.duration"),
        (Self::Log, "authmesh.log.duration"),
        (Self::KeyFetch, "authmesh.keys.fetch.duration"),
        (Self::Upstream, "authmesh.upstream.duration"),
        (Self::Commit, "authmesh.commit.duration"),
        (Self::Propagation, "authmesh.propagation.duration"),
        (Self::GossipExchange, "authmesh.gossip.exchange.duration"),
    ];
}

/// The histograms of a node.
#[derive(Debug)]
pub(crate) struct Timings {
    node: Arc<str>,
    /// In the order of [`Timing::ALL`], which is that of the variants.
    histograms: Vec<Histogram<f64>>,
}

impl Timings {
    pub(crate) fn new(meter: &Meter, node: &str) -> Self {
        let histogram = |(_, name): (Timing, &'static str)| {
            let metric = Metric::named(name).filter(|metric| metric.kind == MetricKind::Histogram);
            let (unit, meaning) = metric.map_or(("s", ""), |metric| (metric.unit, metric.meaning));
            meter
                .f64_histogram(name)
                .with_unit(unit)
                .with_description(meaning)
                .with_boundaries(BOUNDS.to_vec())
                .build()
        };
        Self {
            node: node.into(),
            histograms: Timing::ALL.into_iter().map(histogram).collect(),
        }
    }

    fn record(&self, timing: Timing, began: Instant, attributes: &[(&'static str, Option<Value>)]) {
        let mut all = Vec::with_capacity(1 + attributes.len());
        all.push(KeyValue::new("node", Arc::clone(&self.node)));
        let present = attributes
            .iter()
            .filter_map(|(name, value)| Some((*name, value.clone()?)));
        all.extend(present.map(|(name, value)| KeyValue::new(name, value)));
        if let Some(histogram) = self.histograms.get(timing as usize) {
            histogram.record(began.elapsed().as_secs_f64(), &all);
        }
    }
}

/// When something began, if anybody wants to know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Began(Option<Instant>);

impl Began {
    pub(crate) fn now(timings: Option<&Timings>) -> Self {
        Self(timings.map(|_| Instant::now()))
    }

    /// It has ended. Attributes without a value are left out.
    pub(crate) fn ended(self, timings: Option<&Timings>, timing: Timing, attributes: &[(&'static str, Option<Value>)]) {
        if let (Some(began), Some(timings)) = (self.0, timings) {
            timings.record(timing, began, attributes);
        }
    }
}

/// A word as the value of an attribute.
pub(crate) fn word(word: &'static str) -> Option<Value> {
    Some(Value::from(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_histogram_has_its_place_and_stands_in_the_table() {
        for (place, (timing, name)) in Timing::ALL.into_iter().enumerate() {
            assert_eq!(timing as usize, place);
            assert_eq!(
                Metric::named(name).map(|metric| metric.kind),
                Some(MetricKind::Histogram),
                "{name}"
            );
        }
        let histograms = super::super::metrics()
            .iter()
            .filter(|metric| metric.kind == MetricKind::Histogram);
        assert_eq!(histograms.count(), Timing::ALL.len());
    }
}
