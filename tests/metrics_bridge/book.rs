//! A recorder that keeps everything where a test can read it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use portcullis::{Options, event::MetricsObserver};

/// A value, or the number and the sum of those that were recorded.
#[derive(Debug, Default)]
pub(crate) struct Cell {
    value: AtomicU64,
    sum: Mutex<f64>,
}

impl CounterFn for Cell {
    fn increment(&self, value: u64) {
        self.value.fetch_add(value, SeqCst);
    }

    fn absolute(&self, value: u64) {
        self.value.fetch_max(value, SeqCst);
    }
}

impl GaugeFn for Cell {
    fn increment(&self, value: f64) {
        *self.sum.lock().expect("whole") += value;
    }

    fn decrement(&self, value: f64) {
        *self.sum.lock().expect("whole") -= value;
    }

    fn set(&self, value: f64) {
        *self.sum.lock().expect("whole") = value;
    }
}

impl HistogramFn for Cell {
    fn record(&self, value: f64) {
        CounterFn::increment(self, 1);
        GaugeFn::increment(self, value);
    }
}

#[derive(Debug, Default)]
struct Pages {
    cells: Mutex<BTreeMap<String, (&'static str, Arc<Cell>)>>,
    described: Mutex<BTreeMap<String, (&'static str, Unit, String)>>,
    registered: AtomicU64,
}

/// Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book(Arc<Pages>);

impl Book {
    pub(crate) fn observer(&self) -> MetricsObserver {
        MetricsObserver::with_recorder(self.clone())
    }

    pub(crate) fn options(&self) -> Options {
        Options::new().observer(self.observer())
    }

    fn cell(&self, kind: &'static str, key: &Key) -> Arc<Cell> {
        self.0.registered.fetch_add(1, SeqCst);
        let labels = key.labels().map(|label| format!("{}={}", label.key(), label.value()));
        let name = format!("{}{{{}}}", key.name(), labels.collect::<Vec<_>>().join(","));
        let mut cells = self.0.cells.lock().expect("whole");
        let (known, cell) = cells.entry(name).or_insert_with(|| (kind, Arc::default()));
        assert_eq!(*known, kind, "{key} is registered as two kinds");
        Arc::clone(cell)
    }

    /// How often anything was registered.
    pub(crate) fn registered(&self) -> u64 {
        self.0.registered.load(SeqCst)
    }

    fn describe(&self, kind: &'static str, name: KeyName, unit: Option<Unit>, text: SharedString) {
        let mut described = self.0.described.lock().expect("whole");
        let as_what = (kind, unit.expect("every metric has a unit"), text.to_string());
        described.insert(name.as_str().to_owned(), as_what);
    }

    /// Kind, unit and text of each metric.
    pub(crate) fn described(&self) -> BTreeMap<String, (&'static str, Unit, String)> {
        self.0.described.lock().expect("whole").clone()
    }

    /// Every metric there is, and what it says.
    pub(crate) fn all(&self) -> BTreeMap<String, f64> {
        let cells = self.0.cells.lock().expect("whole");
        let read = |(name, (kind, cell)): (&String, &(&str, Arc<Cell>))| match *kind {
            "gauge" => (name.clone(), *cell.sum.lock().expect("whole")),
            _ => (name.clone(), cell.value.load(SeqCst) as f64),
        };
        cells.iter().map(read).collect()
    }

    /// What is not zero, without the prefix that all share.
    pub(crate) fn counted(&self) -> Vec<(String, f64)> {
        let all = self.all().into_iter().filter(|(_, value)| *value != 0.0);
        all.map(|(name, value)| (name.trim_start_matches("portcullis.").to_owned(), value))
            .collect()
    }

    /// What one metric says, without the prefix that all share; `None` if it is not there.
    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.all().get(&format!("portcullis.{name}")).copied()
    }

    /// The sum of what a histogram was told.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let cells = self.0.cells.lock().expect("whole");
        let (kind, cell) = &cells[&format!("portcullis.{name}")];
        assert_eq!(*kind, "histogram");
        *cell.sum.lock().expect("whole")
    }
}

impl Recorder for Book {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe("counter", name, unit, text);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe("gauge", name, unit, text);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe("histogram", name, unit, text);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell("counter", key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell("gauge", key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.cell("histogram", key))
    }
}
