//! Metrics and the access log.
//!
//! | file | purpose |
//! |---|---|
//! | `metrics` | all metrics of the server |
//! | `loop_timings` | those of the loop's turns |
//! | `register` | registration of a metric, and the buckets that durations share |
//! | `access_log` | a line of JSON for each answer |

pub(super) mod access_log;
pub(super) mod loop_timings;
pub(super) mod metrics;
mod register;
