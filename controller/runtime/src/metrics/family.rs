//! Metric families. Both scrapes and the book are generated from one declaration.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::MetricType,
};

/// A string constant. The values of labels are constants of the program and not text that users choose, except for the
/// names of plugins.
pub type Word = &'static str;

/// A metric with its labels.
#[derive(Debug)]
pub struct Family<const LABELS: usize> {
    name: Word,
    kind: Kind,
    labels: [Word; LABELS],
    help: Word,
}

/// The Prometheus type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// The description of a family in the book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The name in queries, without the suffixes of a histogram.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The labels, except for a histogram's `le`.
    pub labels: Vec<&'static str>,
    /// What the metric measures, with its unit.
    pub help: &'static str,
}

impl<const LABELS: usize> Family<LABELS> {
    /// Declares a counter. Its name gets the suffix `_total` in scrapes.
    pub const fn counter(name: Word, labels: [Word; LABELS], help: Word) -> Self {
        Self { name, kind: Kind::Counter, labels, help }
    }

    /// Declares a gauge.
    pub const fn gauge(name: Word, labels: [Word; LABELS], help: Word) -> Self {
        Self { name, kind: Kind::Gauge, labels, help }
    }

    /// Declares a histogram.
    pub const fn histogram(name: Word, labels: [Word; LABELS], help: Word) -> Self {
        Self { name, kind: Kind::Histogram, labels, help }
    }

    /// Writes the family with these samples, each with the values of its labels.
    pub fn encode<'a, Sample: EncodeMetric>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        samples: impl IntoIterator<Item = ([&'a str; LABELS], Sample)>,
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(self.name, self.help, None, self.kind.into())?;
        for (values, sample) in samples {
            let labels: Vec<(&str, &str)> = self.labels.into_iter().zip(values).collect();
            sample.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// Returns the description for the documentation.
    pub fn described(&self) -> Described {
        let (suffix, kind) = match self.kind {
            Kind::Counter => ("_total", "counter"),
            Kind::Gauge => ("", "gauge"),
            Kind::Histogram => ("", "histogram"),
        };
        Described { name: format!("{}{suffix}", self.name), kind, labels: self.labels.to_vec(), help: self.help }
    }
}

impl From<Kind> for MetricType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Self::Counter,
            Kind::Gauge => Self::Gauge,
            Kind::Histogram => Self::Histogram,
        }
    }
}
