//! What a server counts, for Prometheus: sessions, inferences, bytes, time by kind of layer, refusals, errors.
//!
//! Nothing in it depends on a tensor, a share or a key.

use super::admission::Load;
use crate::error::RunError;
use crate::session::Refusal;
use crate::stats::SessionStats;
use heq_ir::plan::Plan;
use prometheus::{
    CounterVec, Encoder, IntCounterVec, IntGauge, Opts, Registry, TextEncoder, core::Collector,
};

/// Counters and gauges of a server.
pub(crate) struct Metrics {
    registry: Registry,
    sessions: IntCounterVec,
    inferences: IntCounterVec,
    bytes: IntCounterVec,
    layer_seconds: CounterVec,
    refusals: IntCounterVec,
    errors: IntCounterVec,
    running: IntGauge,
    waiting: IntGauge,
    admitted_bytes: IntGauge,
    resident_bytes: IntGauge,
    unauthenticated: IntGauge,
}

impl Metrics {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, label: &str| {
            let counter = IntCounterVec::new(Opts::new(name, help), &[label])?;
            register(&registry, &counter)?;
            Ok::<_, prometheus::Error>(counter)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            register(&registry, &gauge)?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let layer_seconds = CounterVec::new(
            Opts::new("heq_layer_seconds_total", "Wall time of steps by their kind."),
            &["kind"],
        )?;
        register(&registry, &layer_seconds)?;
        Ok(Self {
            sessions: counter("heq_sessions_total", "Sessions that ended.", "outcome")?,
            inferences: counter("heq_inferences_total", "Inferences that were served.", "plan")?,
            bytes: counter("heq_bytes_total", "Bytes of messages, up from clients.", "direction")?,
            layer_seconds,
            refusals: counter("heq_refusals_total", "Clients that were refused.", "reason")?,
            errors: counter("heq_errors_total", "Sessions that failed, by code.", "code")?,
            running: gauge("heq_sessions_running", "Sessions that run.")?,
            waiting: gauge("heq_sessions_waiting", "Sessions that wait for a place.")?,
            admitted_bytes: gauge(
                "heq_memory_admitted_bytes",
                "Memory that plans and sessions take by their predictions.",
            )?,
            resident_bytes: gauge("heq_memory_resident_bytes", "Memory of the process.")?,
            unauthenticated: gauge(
                "heq_connections_unauthenticated",
                "Connections that have not said yet who they are and what they want.",
            )?,
            registry,
        })
    }

    /// Counts a session that was served to its end.
    pub(crate) fn served(&self, name: &str, plan: &Plan, stats: &SessionStats) {
        self.sessions.with_label_values(&["done"]).inc();
        self.inferences.with_label_values(&[name]).inc_by(u64::from(stats.inferences));
        let parts = [stats.setup, stats.correlations, stats.online()];
        let up = parts.iter().map(|part| part.bytes_up).sum();
        let down = parts.iter().map(|part| part.bytes_down).sum();
        self.bytes.with_label_values(&["up"]).inc_by(up);
        self.bytes.with_label_values(&["down"]).inc_by(down);
        for (layer, measured) in plan.layers().iter().zip(&stats.layers) {
            let kind = layer.kind.op().name();
            self.layer_seconds.with_label_values(&[kind]).inc_by(measured.wall_s);
        }
    }

    /// Counts a session that was refused or failed.
    pub(crate) fn failed(&self, error: &RunError, code: &str) {
        if let RunError::RefusedClient { refusal, .. } = error {
            self.refused(*refusal);
        } else {
            self.sessions.with_label_values(&["failed"]).inc();
            self.errors.with_label_values(&[code]).inc();
        }
    }

    fn refused(&self, refusal: Refusal) {
        self.sessions.with_label_values(&["refused"]).inc();
        self.refusals.with_label_values(&[refusal.name()]).inc();
    }

    /// Counts a connection that was closed because too many had not said who they are.
    pub(crate) fn turned_away(&self) {
        self.refusals.with_label_values(&["unauthenticated"]).inc();
    }

    /// All of it in the text format of Prometheus.
    pub(crate) fn text(&self, load: Load, unauthenticated: usize) -> Vec<u8> {
        let set =
            |gauge: &IntGauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        set(&self.running, load.running as u64);
        set(&self.waiting, load.waiting as u64);
        set(&self.admitted_bytes, load.bytes);
        set(&self.unauthenticated, unauthenticated as u64);
        set(&self.resident_bytes, crate::stats::resident_bytes().unwrap_or(0));
        let mut text = Vec::new();
        // Into memory nothing fails; names were checked when they were registered.
        let _written = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        text
    }
}

fn register(
    registry: &Registry,
    part: &(impl Collector + Clone + 'static),
) -> Result<(), prometheus::Error> {
    registry.register(Box::new(part.clone()))
}
