//! Medians over rounds, and how far the rounds lie apart. Pure.

use serde::Serialize;

/// One figure over all rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// None without a round.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
        Some(Self { median, min, max })
    }

    /// Half the distance between the rounds that lie farthest apart, as a share of the median.
    pub(crate) fn relative(&self) -> f64 {
        if self.median == 0.0 { 0.0 } else { (self.max - self.min) / 2.0 / self.median.abs() }
    }
}

/// `(peer - less) / (over - less)`, where each is the figure of one peer in every round.
///
/// The result is the ratio of the medians. Its spread is that of the ratios within each round, where both sides
/// met the same conditions.
pub(crate) fn ratio(
    peer: &[f64],
    less: Option<&[f64]>,
    over: &[f64],
    over_less: Option<&[f64]>,
) -> Option<Spread> {
    let above = added(peer, less)?;
    let below = added(over, over_less)?;
    let rounds: Vec<f64> =
        above.rounds.iter().zip(&below.rounds).map(|(above, below)| above / below).collect();
    let spread = Spread::of(&rounds)?;
    Some(Spread { median: above.median / below.median, ..spread })
}

/// What `peer` adds to `less`: the difference of the medians, with the spread of the differences in each round.
pub(crate) fn difference(peer: &[f64], less: Option<&[f64]>) -> Option<Spread> {
    let added = added(peer, less)?;
    let spread = Spread::of(&added.rounds)?;
    Some(Spread { median: added.median, ..spread })
}

struct Added {
    median: f64,
    rounds: Vec<f64>,
}

fn added(peer: &[f64], less: Option<&[f64]>) -> Option<Added> {
    let median = Spread::of(peer)?.median;
    let Some(less) = less else { return Some(Added { median, rounds: peer.to_vec() }) };
    let rounds = peer.iter().zip(less).map(|(peer, less)| peer - less).collect();
    Some(Added { median: median - Spread::of(less)?.median, rounds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_ignores_the_order_and_the_outlier() {
        assert_eq!(Spread::of(&[3.0, 100.0, 1.0]), Some(Spread { median: 3.0, min: 1.0, max: 100.0 }));
        assert_eq!(Spread::of(&[1.0, 3.0, 2.0, 4.0]).unwrap().median, 2.5);
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn the_spread_is_told_as_a_share_of_the_median() {
        assert_eq!(Spread::of(&[90.0, 100.0, 110.0]).unwrap().relative(), 0.1);
        assert_eq!(Spread::of(&[0.0]).unwrap().relative(), 0.0);
    }

    #[test]
    fn a_ratio_is_of_medians_and_its_spread_within_rounds() {
        // The second round was slow for both, which the ratio within it does not see.
        let ratio = ratio(&[80.0, 160.0, 82.0], None, &[100.0, 200.0, 100.0], None).unwrap();
        assert_eq!(ratio, Spread { median: 0.82, min: 0.8, max: 0.82 });
    }

    #[test]
    fn what_both_have_in_common_can_be_taken_off_before() {
        let direct = [10.0, 10.0, 10.0];
        let ratio = ratio(&[55.0, 55.0, 55.0], Some(&direct), &[60.0, 60.0, 60.0], Some(&direct)).unwrap();
        assert_eq!(ratio.median, 0.9);
        assert_eq!(difference(&[55.0], Some(&[10.0])).unwrap().median, 45.0);
    }
}
