//! How families are registered, and the numbers they hold.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry, Unit};

pub(super) type Real = Gauge<f64, AtomicU64>;
pub(super) type FloatCounter = Counter<f64, AtomicU64>;

/// Registers under a name; HELP ends with a full stop that the registry adds.
pub(super) struct Listing<'a> {
    pub registry: &'a mut Registry,
}

impl Listing<'_> {
    pub fn plain<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.registry.register(name, help, metric.clone());
        metric
    }

    /// The unit is appended to the name.
    pub fn unit<M: Metric + Clone + Default>(&mut self, name: &str, unit: Unit, help: &str) -> M {
        self.given(name, unit, help, M::default())
    }

    pub fn given<M: Metric + Clone>(&mut self, name: &str, unit: Unit, help: &str, metric: M) -> M {
        self.registry.register_with_unit(name, help, unit, metric.clone());
        metric
    }
}

/// Gauges are signed; no count here comes near their end.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
