//! Histograms, and the text in which Prometheus reads numbers (exposition format 0.0.4). Names,
//! labels and bounds are `'static`: nothing from outside, and no id, can become one, and no series
//! is made while the server runs.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Bounds of all times: from a read out of memory to the longest wait for evidence.
pub const TIMES: &[Duration] = &[
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(15),
];

/// What a histogram can count: kept as a whole number, shown in Prometheus' base unit.
pub trait Measure: Copy + PartialOrd + 'static {
    /// As it is summed up.
    fn whole(self) -> u64;
    /// A sum, or a bound, as text.
    fn text(whole: u64) -> String;
}

impl Measure for u64 {
    fn whole(self) -> u64 {
        self
    }

    fn text(whole: u64) -> String {
        whole.to_string()
    }
}

/// Nanoseconds, shown as seconds.
impl Measure for Duration {
    fn whole(self) -> u64 {
        u64::try_from(self.as_nanos()).unwrap_or(u64::MAX)
    }

    fn text(whole: u64) -> String {
        Duration::from_nanos(whole).as_secs_f64().to_string()
    }
}

/// How many values lay within each bound, and their sum. Noting one costs two atomic additions.
pub struct Histogram<T: Measure> {
    bounds: &'static [T],
    /// One for each bound, without those within lower ones, and one for what lies above all.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl<T: Measure> Histogram<T> {
    /// An empty one; the bounds ascend, and each includes its own value.
    pub fn new(bounds: &'static [T]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds, buckets, sum: AtomicU64::new(0) }
    }

    /// Counts a value.
    pub fn note(&self, value: T) {
        let above = self.bounds.partition_point(|bound| *bound < value);
        if let Some(bucket) = self.buckets.get(above) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value.whole(), Ordering::Relaxed);
    }

    /// Values noted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// Their sum, in whole numbers.
    pub fn sum(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }
}

/// What kind of number a family has.
#[derive(Clone, Copy)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// See [`Histogram`].
    Histogram,
}

/// A name and a value of that name, both fixed when this was built.
pub type Label = (&'static str, &'static str);

/// The text, as far as it is written.
#[derive(Default)]
pub struct Text(String);

/// The family of numbers that is being written.
pub struct Family<'t> {
    text: &'t mut String,
    name: &'static str,
}

impl Text {
    /// The `Content-Type` of this format.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// Begins a family; its lines follow before the next one begins.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &'static str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.0 += &format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Family { text: &mut self.0, name }
    }

    /// The whole.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_bytes()
    }
}

impl Family<'_> {
    /// One number.
    pub fn number(&mut self, labels: &[Label], value: impl Display) {
        self.line("", labels, None, value);
    }

    /// One histogram. Its count is that of its buckets, whatever is noted meanwhile.
    pub fn histogram<T: Measure>(&mut self, labels: &[Label], histogram: &Histogram<T>) {
        let mut count = 0;
        let bounds = histogram.bounds.iter().map(|bound| T::text(bound.whole()));
        let bounds = bounds.chain(["+Inf".to_owned()]);
        for (bound, bucket) in bounds.zip(&histogram.buckets) {
            count += bucket.load(Ordering::Relaxed);
            self.line("_bucket", labels, Some(&bound), count);
        }
        self.line("_sum", labels, None, T::text(histogram.sum()));
        self.line("_count", labels, None, count);
    }

    fn line(&mut self, suffix: &str, labels: &[Label], le: Option<&str>, value: impl Display) {
        let labels = labels.iter().copied().chain(le.map(|le| ("le", le)));
        let labels: Vec<_> = labels.map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        *self.text += &format!("{}{suffix}{labels} {value}\n", self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Text)) -> String {
        let mut text = Text::default();
        write(&mut text);
        String::from_utf8(text.into_bytes()).unwrap()
    }

    #[test]
    fn a_family_is_written_as_the_format_says() {
        let text = text(|text| {
            let mut family = text.family("a_total", Kind::Counter, "What a is.");
            family.number(&[], 7_u64);
            family.number(&[("route", "/v1/secrets/{id}"), ("method", "GET")], 0_u64);
            text.family("b", Kind::Gauge, "What b is.").number(&[("phase", "x")], 1);
        });
        let expected = "\
# HELP a_total What a is.
# TYPE a_total counter
a_total 7
a_total{route=\"/v1/secrets/{id}\",method=\"GET\"} 0
# HELP b What b is.
# TYPE b gauge
b{phase=\"x\"} 1
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_histogram_counts_up_and_includes_its_bounds() {
        let histogram = Histogram::new(&[1_u64, 4]);
        for size in [0, 1, 2, 4, 5, 5] {
            histogram.note(size);
        }
        assert_eq!((histogram.count(), histogram.sum()), (6, 17));
        let text = text(|text| {
            text.family("s", Kind::Histogram, "S.").histogram(&[("k", "v")], &histogram)
        });
        let expected = "\
# HELP s S.
# TYPE s histogram
s_bucket{k=\"v\",le=\"1\"} 2
s_bucket{k=\"v\",le=\"4\"} 4
s_bucket{k=\"v\",le=\"+Inf\"} 6
s_sum{k=\"v\"} 17
s_count{k=\"v\"} 6
";
        assert_eq!(text, expected);
    }

    #[test]
    fn times_are_shown_in_seconds() {
        let histogram = Histogram::new(TIMES);
        histogram.note(Duration::from_micros(2_500));
        histogram.note(Duration::from_secs(20));
        let text = text(|text| text.family("t", Kind::Histogram, "T.").histogram(&[], &histogram));
        for line in [
            "t_bucket{le=\"0.0001\"} 0",
            "t_bucket{le=\"0.001\"} 0",
            "t_bucket{le=\"0.0025\"} 1",
            "t_bucket{le=\"15\"} 1",
            "t_bucket{le=\"+Inf\"} 2",
            "t_sum 20.0025",
            "t_count 2",
        ] {
            assert!(text.lines().any(|written| written == line), "{line} is not in\n{text}");
        }
        assert!(TIMES.is_sorted_by(|a, b| a < b));
    }
}
