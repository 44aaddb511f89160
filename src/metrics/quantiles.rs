//! Quantiles as far as the buckets of a histogram know them: the right bucket, and a straight line inside it.

use std::time::Duration;

/// What half, nine in ten and ninety-nine in a hundred stay below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantiles {
    pub p50: Duration,
    pub p90: Duration,
    pub p99: Duration,
}

/// `buckets` are upper bounds in seconds, rising, each with the samples at or below it; `samples` counts those beyond
/// the last one too. None without a sample.
pub(super) fn of(buckets: &[(f64, u64)], samples: u64) -> Option<Quantiles> {
    let quantile = |share| estimate(buckets, samples, share).map(Duration::from_secs_f64);
    Some(Quantiles { p50: quantile(0.5)?, p90: quantile(0.9)?, p99: quantile(0.99)? })
}

/// Seconds that `share` of the samples stay below. Beyond the last bound nothing is known but that bound.
fn estimate(buckets: &[(f64, u64)], samples: u64, share: f64) -> Option<f64> {
    if samples == 0 {
        return None;
    }
    let rank = (samples as f64 * share).max(1.0);
    let mut below = (0.0, 0);
    for &(bound, count) in buckets {
        if count as f64 >= rank {
            let (from, before) = below;
            let within = (rank - before as f64) / (count - before) as f64;
            // Rounding may carry it past the bound.
            return Some((from + (bound - from) * within).min(bound));
        }
        below = (bound, count);
    }
    Some(below.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: [f64; 5] = [0.001, 0.01, 0.1, 1.0, 10.0];

    fn counted(samples: &[f64]) -> Vec<(f64, u64)> {
        let at_or_below = |bound: f64| samples.iter().filter(|sample| **sample <= bound).count() as u64;
        BOUNDS.map(|bound| (bound, at_or_below(bound))).to_vec()
    }

    /// Where the bucket of `sample` begins and ends.
    fn bucket(sample: f64) -> (f64, f64) {
        let end = BOUNDS.into_iter().position(|bound| sample <= bound).unwrap_or(BOUNDS.len());
        (
            if end == 0 { 0.0 } else { BOUNDS[end - 1] },
            BOUNDS.get(end).copied().unwrap_or(BOUNDS[BOUNDS.len() - 1]),
        )
    }

    proptest! {
        #[test]
        fn an_estimate_is_in_the_bucket_of_the_sample_it_stands_for(
            mut samples in prop::collection::vec(0.0..20.0_f64, 1..200),
            share in 0.0..=1.0_f64,
        ) {
            samples.sort_by(f64::total_cmp);
            let estimate = estimate(&counted(&samples), samples.len() as u64, share).unwrap();
            let rank = (samples.len() as f64 * share).ceil().max(1.0) as usize;
            let (from, to) = bucket(samples[rank - 1]);
            prop_assert!((from..=to).contains(&estimate), "{estimate} is not from {from} to {to}");
        }

        #[test]
        fn a_higher_quantile_is_not_lower(samples in prop::collection::vec(0.0..20.0_f64, 1..200)) {
            let quantiles = of(&counted(&samples), samples.len() as u64).unwrap();
            prop_assert!(quantiles.p50 <= quantiles.p90 && quantiles.p90 <= quantiles.p99);
        }
    }

    #[test]
    fn samples_of_one_bucket_are_spread_over_it() {
        let quantiles = of(&[(0.1, 0), (0.2, 100)], 100).unwrap();
        assert_eq!((quantiles.p50.as_millis(), quantiles.p90.as_millis()), (150, 190));
        assert_eq!(of(&[(0.1, 0)], 0), None);
    }
}
