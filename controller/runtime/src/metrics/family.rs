//! Families: what scrapes and the book say of a metric, from one declaration.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::MetricType,
};

/// A constant of the program; what users make up is no value of a label, the names of plugins aside.
pub type Word = &'static str;

/// One metric with its labels.
#[derive(Debug)]
pub struct Family<const LABELS: usize> {
    name: Word,
    kind: Kind,
    labels: [Word; LABELS],
    help: Word,
}

/// Prometheus' type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// What the book says of a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The name in queries, without a histogram's suffixes.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The labels, but for a histogram's `le`.
    pub labels: Vec<&'static str>,
    /// What it says, with its unit.
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

    /// Writes the family with these samples, each with its labels' values.
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
