//! How Prometheus metrics are declared: each family with its name, unit and help in one place.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry, Unit};

pub type FloatGauge = Gauge<f64, AtomicU64>;
pub type FloatCounter = Counter<f64, AtomicU64>;

/// Names end in `_ratio`, as Prometheus has it; the library only knows the plural.
#[must_use]
pub fn ratio() -> Unit {
    Unit::Other("ratio".into())
}

/// Gauges and attributes of spans are signed; no count here comes near their end.
#[must_use]
pub fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Adds `metric` to `registry`. The unit is appended to the name; the registry ends the help with a full stop.
pub fn register_metric<M: Metric + Clone>(
    registry: &mut Registry,
    (name, unit): (&str, Option<Unit>),
    help: &str,
    metric: M,
) -> M {
    match unit {
        Some(unit) => registry.register_with_unit(name, help, unit, metric.clone()),
        None => registry.register(name, help, metric.clone()),
    }
    metric
}

/// Declares a struct of metric families. A field is `name: Type = "metric" in Unit, "help";`, where the unit may be left
/// out, and a metric that does not begin with its default follows the help. `register` makes all of them in a registry.
#[macro_export]
macro_rules! metric_families {
    (@unit) => { None };
    (@unit $unit:expr) => { Some($unit) };
    (@metric $kind:ty) => { <$kind>::default() };
    (@metric $kind:ty, $made:expr) => { $made };
    ($(#[$about:meta])* $seen:vis struct $name:ident {
        $($shown:vis $field:ident: $kind:ty = $metric:literal $(in $unit:expr)?, $help:literal $(, $made:expr)?;)*
    }) => {
        $(#[$about])*
        #[derive(Clone, Debug)]
        $seen struct $name {
            $($shown $field: $kind,)*
        }

        impl $name {
            /// Adds all families to `registry`, whose prefix and labels they get.
            #[must_use]
            $seen fn register(registry: &mut prometheus_client::registry::Registry) -> Self {
                Self {
                    $($field: $crate::register_metric(
                        registry,
                        ($metric, $crate::metric_families!(@unit $($unit)?)),
                        $help,
                        $crate::metric_families!(@metric $kind $(, $made)?),
                    ),)*
                }
            }
        }
    };
}

/// Declares label sets of metrics.
#[macro_export]
macro_rules! label_sets {
    ($($(#[$about:meta])* $seen:vis struct $name:ident { $($label:ident: $kind:ty),* })*) => {
        $(
            $(#[$about])*
            #[derive(Clone, Debug, PartialEq, Eq, Hash, prometheus_client::encoding::EncodeLabelSet)]
            $seen struct $name {
                $(pub $label: $kind,)*
            }
        )*
    };
}
