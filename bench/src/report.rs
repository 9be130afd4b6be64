//! Statistics that several reports share.

use std::time::Duration;

/// Returns the median.
pub(crate) fn median(values: Vec<Duration>) -> Duration {
    percentile(values, 50)
}

/// Returns the smallest value that at least `share` percent of `values` do not exceed.
pub(crate) fn percentile(mut values: Vec<Duration>, share: usize) -> Duration {
    values.sort();
    let index = (values.len() * share).div_ceil(100).saturating_sub(1);
    values.get(index).copied().unwrap_or_default()
}

/// Converts durations to seconds.
pub(crate) fn seconds(values: impl Iterator<Item = Duration>) -> Vec<f64> {
    values.map(|value| value.as_secs_f64()).collect()
}

/// Returns p50 and p99 in milliseconds.
pub(crate) fn milliseconds(values: &[Duration]) -> [f64; 2] {
    [50, 99].map(|share| percentile(values.to_vec(), share).as_secs_f64() * 1000.0)
}
