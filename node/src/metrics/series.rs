//! Typed handles on counters, gauges and histograms: a label can only be one of its words.

use super::label::Label;
use prometheus::{
    HistogramOpts, IntCounter, IntCounterVec, Opts, Registry,
    core::{AtomicU64, Collector, GenericGauge, GenericGaugeVec},
};
use std::{collections::BTreeMap, marker::PhantomData};

const DISTINCT: &str = "names are distinct and well formed: a test registers them all";

/// Counts up.
#[derive(Debug, Clone)]
pub struct Counter(IntCounter);

impl Counter {
    /// One more.
    pub fn inc(&self) {
        self.0.inc();
    }

    /// `more` more.
    pub fn add(&self, more: u64) {
        self.0.inc_by(more);
    }

    /// Counts so far.
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// One counter per word of a label.
#[derive(Debug, Clone)]
pub struct Counters<L> {
    children: BTreeMap<&'static str, Counter>,
    label: PhantomData<L>,
}

impl<L: Label> Counters<L> {
    /// The counter of one word.
    pub fn of(&self, label: L) -> &Counter {
        &self.children[label.as_str()]
    }

    /// One more of this word.
    pub fn inc(&self, label: L) {
        self.of(label).inc();
    }
}

/// One counter per validator; those that join later get theirs with their first count.
#[derive(Debug, Clone)]
pub struct PerValidator(IntCounterVec);

impl PerValidator {
    /// One more for the validator with this id.
    pub fn inc(&self, id: u64) {
        self.0.with_label_values(&[id.to_string()]).inc();
    }
}

/// One gauge per validator; those that join later get theirs when it is first set.
#[derive(Debug, Clone)]
pub struct GaugePerValidator(GenericGaugeVec<AtomicU64>);

impl GaugePerValidator {
    /// Of the validator with this id, is now `value`.
    pub fn set(&self, id: u64, value: u64) {
        self.0.with_label_values(&[id.to_string()]).set(value);
    }
}

/// Goes up and down.
#[derive(Debug, Clone)]
pub struct Gauge(GenericGauge<AtomicU64>);

impl Gauge {
    /// Is now `value`.
    pub fn set(&self, value: u64) {
        self.0.set(value);
    }

    /// One more, until [`Gauge::lower`].
    pub fn raise(&self) {
        self.0.inc();
    }

    /// One less.
    pub fn lower(&self) {
        self.0.dec();
    }

    /// Is now 1 or 0.
    pub fn set_flag(&self, value: bool) {
        self.0.set(u64::from(value));
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// Counts values by size.
#[derive(Debug, Clone)]
pub struct Histogram(prometheus::Histogram);

impl Histogram {
    /// One value, in the unit of the name.
    pub fn observe(&self, value: f64) {
        self.0.observe(value);
    }
}

/// Makes the handles and registers what they write to.
pub(super) struct Builder<'a> {
    pub(super) registry: &'a Registry,
}

impl Builder<'_> {
    fn register(&self, collector: impl Collector + 'static) {
        self.registry.register(Box::new(collector)).expect(DISTINCT);
    }

    pub(super) fn counter(&self, name: &str, help: &str) -> Counter {
        let counter = IntCounter::new(name, help).expect(DISTINCT);
        self.register(counter.clone());
        Counter(counter)
    }

    /// Every word's series exists from the start, so that "no series" always means "no data".
    pub(super) fn counters<L: Label>(&self, name: &str, help: &str) -> Counters<L> {
        let family = IntCounterVec::new(Opts::new(name, help), &[L::NAME]).expect(DISTINCT);
        self.register(family.clone());
        let child = |l: &L| (l.as_str(), Counter(family.with_label_values(&[l.as_str()])));
        Counters { children: L::ALL.iter().map(child).collect(), label: PhantomData }
    }

    /// One counter per pair of words of two labels, in the order of `pairs`.
    pub(super) fn pairs(
        &self,
        name: &str,
        help: &str,
        labels: [&str; 2],
        pairs: &[[&str; 2]],
    ) -> Vec<Counter> {
        let family = IntCounterVec::new(Opts::new(name, help), &labels).expect(DISTINCT);
        self.register(family.clone());
        pairs.iter().map(|words| Counter(family.with_label_values(words))).collect()
    }

    pub(super) fn per_validator(&self, name: &str, help: &str, ids: &[u64]) -> PerValidator {
        let family = IntCounterVec::new(Opts::new(name, help), &["validator"]).expect(DISTINCT);
        self.register(family.clone());
        for id in ids {
            family.with_label_values(&[id.to_string()]);
        }
        PerValidator(family)
    }

    pub(super) fn gauge_per_validator(
        &self,
        name: &str,
        help: &str,
        ids: &[u64],
    ) -> GaugePerValidator {
        let family: GenericGaugeVec<AtomicU64> =
            GenericGaugeVec::new(Opts::new(name, help), &["validator"]).expect(DISTINCT);
        self.register(family.clone());
        let gauge = GaugePerValidator(family);
        ids.iter().for_each(|id| gauge.set(*id, 0));
        gauge
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> Gauge {
        let gauge = GenericGauge::new(name, help).expect(DISTINCT);
        self.register(gauge.clone());
        Gauge(gauge)
    }

    /// A gauge that is 1 and says something with its labels.
    pub(super) fn info(&self, name: &str, help: &str, labels: &[(&str, &str)]) {
        let (names, values): (Vec<&str>, Vec<&str>) = labels.iter().copied().unzip();
        let family: GenericGaugeVec<AtomicU64> =
            GenericGaugeVec::new(Opts::new(name, help), &names).expect(DISTINCT);
        family.with_label_values(&values).set(1);
        self.register(family);
    }

    pub(super) fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let histogram = prometheus::Histogram::with_opts(opts).expect(DISTINCT);
        self.register(histogram.clone());
        Histogram(histogram)
    }
}
