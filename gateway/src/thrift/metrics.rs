//! What a gateway has done, for Prometheus.
//!
//! Always true
//! - Labels are bounded: a call is one that its service has, or `unknown`.
//! - Counters only rise while the process lives.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// First bucket in seconds, factor from one to the next, and how many.
const BUCKETS: (f64, f64, u16) = (0.000_1, 2.5, 13);

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Service {
    service: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallOf {
    service: &'static str,
    call: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    service: &'static str,
    call: String,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Closed {
    service: &'static str,
    reason: &'static str,
}

/// The numbers of both services of a process.
#[derive(Debug)]
pub struct Metrics {
    calls: Family<Outcome, Counter>,
    seconds: Family<CallOf, Histogram, fn() -> Histogram>,
    connections: Family<Service, Gauge>,
    closed: Family<Closed, Counter>,
    scanners: Family<Service, Gauge>,
    registry: Registry,
}

fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(BUCKETS.0, BUCKETS.1, BUCKETS.2))
}

impl Metrics {
    /// Nothing has happened yet.
    pub fn new() -> Arc<Metrics> {
        let mut registry = Registry::default();
        let calls = Family::default();
        let seconds = Family::new_with_constructor(histogram as fn() -> Histogram);
        let (connections, closed, scanners) = (Family::default(), Family::default(), Family::default());
        let help = "Calls by service, name and result: ok, raised (an exception that the service declares), failed (any other)";
        registry.register("ferrobase_thrift_calls", help, calls.clone());
        let help = "Time from a call's last byte to its answer";
        registry.register_with_unit("ferrobase_thrift_call", help, Unit::Seconds, seconds.clone());
        registry.register("ferrobase_thrift_connections", "Open connections", connections.clone());
        registry.register(
            "ferrobase_thrift_connections_closed",
            "Connections ended for a fault, by reason",
            closed.clone(),
        );
        registry.register("ferrobase_thrift_scanners_open", "Open scanners", scanners.clone());
        Arc::new(Metrics { calls, seconds, connections, closed, scanners, registry })
    }

    /// As OpenMetrics text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        text::encode(&mut out, &self.registry).expect("writing to a string does not fail");
        out
    }

    pub(super) fn called(&self, service: &'static str, call: &str, result: &'static str, took: Duration) {
        let call = call.to_owned();
        self.seconds.get_or_create(&CallOf { service, call: call.clone() }).observe(took.as_secs_f64());
        self.calls.get_or_create(&Outcome { service, call, result }).inc();
    }

    /// Counts a connection until what is answered is dropped.
    pub(super) fn connection(&self, service: &'static str) -> Connected {
        let gauge = self.connections.get_or_create(&Service { service }).clone();
        gauge.inc();
        Connected(gauge)
    }

    pub(super) fn closed(&self, service: &'static str, reason: &'static str) {
        self.closed.get_or_create(&Closed { service, reason }).inc();
    }

    /// Where a service's open scanners are told.
    pub(super) fn scanners(&self, service: &'static str) -> Gauge {
        self.scanners.get_or_create(&Service { service }).clone()
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connected(Gauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}
