//! Making metric families and registering them.

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, Result,
};

/// A registry under construction. Its methods panic on a wrong or doubled name: all names are literals of one file,
/// made once at start, and a test makes them too.
#[derive(Default)]
pub(super) struct Families(Registry);

impl Families {
    pub(super) fn into_registry(self) -> Registry {
        self.0
    }

    /// CPU time, memory, descriptors and threads of this process.
    pub(super) fn process(&self) {
        self.0.register(Box::new(ProcessCollector::for_self())).expect("it is registered once");
    }

    fn add<C: Collector + Clone + 'static>(&self, made: Result<C>) -> C {
        let collector = made.expect("names and labels are written correctly in this file");
        self.0.register(Box::new(collector.clone())).expect("each name stands once in this file");
        collector
    }

    fn opts(name: &str, help: &str) -> Opts {
        Opts::new(name, help).namespace("hookway")
    }

    pub(super) fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(Self::opts(name, help), labels))
    }

    pub(super) fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::with_opts(Self::opts(name, help)))
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(IntGauge::with_opts(Self::opts(name, help)))
    }

    pub(super) fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.add(IntGaugeVec::new(Self::opts(name, help), labels))
    }

    fn seconds(name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
        HistogramOpts::new(name, help).namespace("hookway").buckets(buckets.to_vec())
    }

    pub(super) fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> HistogramVec {
        self.add(HistogramVec::new(Self::seconds(name, help, buckets), labels))
    }
}
