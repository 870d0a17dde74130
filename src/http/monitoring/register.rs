//! Registration of a metric, and the buckets that durations share.

use prometheus_client::registry::{Metric, Registry};

/// Upper bounds of a duration's buckets, in seconds.
pub(in crate::http) const SECONDS: [f64; 14] =
    [1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Registers a metric, and returns a handle to count with.
pub(in crate::http) fn register<M: Metric + Clone>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    metric: M,
) -> M {
    registry.register(name, help, metric.clone());
    metric
}
