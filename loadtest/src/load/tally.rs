//! What became of the requests of a run: counts, histograms, and every failure with its moment.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;

use super::failure::Failure;

/// The longest time told apart; longer ones count as this one.
const LONGEST: Duration = Duration::from_secs(120);
/// Failures kept with their moment. All are counted; a run with more than this needs no list.
const FAILURES_KEPT: usize = 5_000;

/// Times in nanoseconds, to three digits.
pub(crate) type Times = Histogram<u64>;

pub(crate) fn times(digits: u8) -> Times {
    Histogram::new_with_bounds(1, LONGEST.as_nanos() as u64, digits)
        .expect("the bounds are constants in range")
}

pub(crate) fn record(times: &mut Times, time: Duration) {
    times.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1));
}

/// A time at a quantile from 0 to 1, in microseconds.
pub(crate) fn micros_at(times: &Times, quantile: f64) -> f64 {
    times.value_at_quantile(quantile) as f64 / 1e3
}

/// One request that is over. Moments count from the start of the run.
#[derive(Debug)]
pub(crate) struct Request {
    /// When it was due.
    pub(crate) scheduled: Duration,
    pub(crate) sent: Duration,
    /// When the first byte of the answer's body came.
    pub(crate) first_byte: Option<Duration>,
    pub(crate) ended: Duration,
    pub(crate) events: u64,
    pub(crate) verdict: Result<(), Failure>,
}

#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) good: u64,
    pub(crate) events: u64,
    /// From when a request was due to the last byte of its answer; good answers only.
    pub(crate) latency: Times,
    /// From when a request was due to the first byte of its answer's body.
    pub(crate) first_byte: Times,
    /// From when a request was due to when it was sent: what the generator itself or busy connections added.
    pub(crate) lag: Times,
    pub(crate) failures: BTreeMap<Failure, u64>,
    pub(crate) failed_at: Vec<(Duration, Failure)>,
    pub(crate) timeline: Option<Timeline>,
    /// The time the counted requests were due in.
    pub(crate) window: Duration,
}

impl Tally {
    pub(crate) fn new(slot: Option<Duration>) -> Self {
        Self {
            good: 0,
            events: 0,
            latency: times(3),
            first_byte: times(3),
            lag: times(3),
            failures: BTreeMap::new(),
            failed_at: Vec::new(),
            timeline: slot.map(|slot| Timeline { slot, slots: Vec::new() }),
            window: Duration::ZERO,
        }
    }

    pub(crate) fn count(&mut self, request: Request) {
        let latency = request.ended.saturating_sub(request.scheduled);
        record(&mut self.lag, request.sent.saturating_sub(request.scheduled));
        if let Some(timeline) = &mut self.timeline {
            timeline.count(request.scheduled, latency, request.verdict.is_err());
        }
        match request.verdict {
            Ok(()) => {
                self.good += 1;
                self.events += request.events;
                record(&mut self.latency, latency);
                if let Some(first_byte) = request.first_byte {
                    record(&mut self.first_byte, first_byte.saturating_sub(request.scheduled));
                }
            }
            Err(failure) => self.fail(request.scheduled, failure),
        }
    }

    /// A failure counts even while the run is warming up.
    pub(crate) fn fail(&mut self, scheduled: Duration, failure: Failure) {
        if self.failed_at.len() < FAILURES_KEPT {
            self.failed_at.push((scheduled, failure.clone()));
        }
        *self.failures.entry(failure).or_default() += 1;
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.good as f64 / self.window.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Adds another round of the same measurement. Timelines are not merged: each round has its own clock.
    pub(crate) fn merge(&mut self, other: &Self) -> anyhow::Result<()> {
        self.good += other.good;
        self.events += other.events;
        self.window += other.window;
        for (mine, theirs) in [
            (&mut self.latency, &other.latency),
            (&mut self.first_byte, &other.first_byte),
            (&mut self.lag, &other.lag),
        ] {
            mine.add(theirs).context("merging histograms")?;
        }
        for (failure, count) in &other.failures {
            *self.failures.entry(failure.clone()).or_default() += count;
        }
        let room = FAILURES_KEPT.saturating_sub(self.failed_at.len());
        self.failed_at.extend(other.failed_at.iter().take(room).cloned());
        Ok(())
    }
}

/// Latency over time: what became of the requests that were due in each slot, failed ones included.
#[derive(Debug)]
pub(crate) struct Timeline {
    pub(crate) slot: Duration,
    pub(crate) slots: Vec<Slot>,
}

#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) latency: Times,
    pub(crate) failed: u64,
}

impl Timeline {
    fn count(&mut self, scheduled: Duration, latency: Duration, failed: bool) {
        let index = (scheduled.as_nanos() / self.slot.as_nanos().max(1)) as usize;
        while self.slots.len() <= index {
            self.slots.push(Slot { latency: times(2), failed: 0 });
        }
        record(&mut self.slots[index].latency, latency);
        self.slots[index].failed += u64::from(failed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn request(scheduled: Duration, took: Duration, verdict: Result<(), Failure>) -> Request {
        let ended = scheduled + took;
        Request { scheduled, sent: scheduled + MS, first_byte: Some(ended), ended, events: 2, verdict }
    }

    #[test]
    fn latency_counts_from_when_a_request_was_due() {
        let mut tally = Tally::new(None);
        tally.count(request(10 * MS, 30 * MS, Ok(())));
        assert!((micros_at(&tally.latency, 0.5) - 30_000.0).abs() < 60.0);
        assert!((micros_at(&tally.lag, 0.5) - 1_000.0).abs() < 2.0);
        assert_eq!((tally.good, tally.events), (1, 2));
    }

    #[test]
    fn a_failed_request_is_counted_and_told_but_not_timed() {
        let mut tally = Tally::new(None);
        tally.count(request(10 * MS, MS, Err(Failure::NoDone)));
        assert_eq!((tally.good, tally.failed(), tally.latency.len()), (0, 1, 0));
        assert_eq!(tally.failed_at, [(10 * MS, Failure::NoDone)]);
    }

    #[test]
    fn merged_rounds_hold_what_both_held() {
        let (mut one, mut two) = (Tally::new(None), Tally::new(None));
        (0..90).for_each(|_| one.count(request(MS, MS, Ok(()))));
        (0..10).for_each(|_| two.count(request(MS, 100 * MS, Ok(()))));
        two.count(request(MS, MS, Err(Failure::NotHttp)));
        one.merge(&two).unwrap();
        assert_eq!((one.good, one.failed(), one.latency.len()), (100, 1, 100));
        assert!((micros_at(&one.latency, 0.5) - 1_000.0).abs() < 2.0);
        assert!((micros_at(&one.latency, 0.95) - 100_000.0).abs() < 200.0);
    }

    #[test]
    fn a_timeline_sorts_requests_by_when_they_were_due() {
        let mut tally = Tally::new(Some(100 * MS));
        tally.count(request(50 * MS, 500 * MS, Ok(())));
        tally.count(request(250 * MS, MS, Err(Failure::NotHttp)));
        let slots = tally.timeline.unwrap().slots;
        let counts: Vec<(u64, u64)> = slots.iter().map(|slot| (slot.latency.len(), slot.failed)).collect();
        assert_eq!(counts, [(1, 0), (0, 0), (1, 1)]);
    }
}
