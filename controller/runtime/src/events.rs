//! Publishes Events, according to dask-kubernetes' settings for them.

mod recorders;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder as KubeRecorder, Reporter},
};

use recorders::Recorders;

/// The value of Python's `logging.WARNING`.
const WARNING: u32 = 30;

/// The Events that are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// No Events.
    Nothing,
    /// Events of type Warning.
    Warnings,
    /// All Events.
    Everything,
}

impl Wanted {
    /// Returns the Events that the two settings of dask-kubernetes select. `level` is a level of Python's `logging`.
    /// Normal Events have levels from INFO up to WARNING, and are published unless `level` is WARNING or higher.
    ///
    /// ```
    /// use operator_runtime::events::Wanted;
    ///
    /// assert_eq!(Wanted::of(true, 20), Wanted::Everything);
    /// assert_eq!(Wanted::of(true, 30), Wanted::Warnings);
    /// assert_eq!(Wanted::of(false, 20), Wanted::Nothing);
    /// ```
    pub fn of(enabled: bool, level: u32) -> Self {
        match (enabled, level) {
            (false, _) => Self::Nothing,
            (true, WARNING..) => Self::Warnings,
            (true, _) => Self::Everything,
        }
    }

    fn includes(self, type_: EventType) -> bool {
        match self {
            Self::Nothing => false,
            Self::Warnings => type_ == EventType::Warning,
            Self::Everything => true,
        }
    }
}

/// Publishes the Events that are wanted. Clones share the record of published Events, by which repeated Events are
/// counted instead of published again.
#[derive(Clone)]
pub struct Recorder {
    client: Client,
    reporter: Reporter,
    wanted: Wanted,
    recorders: Arc<Mutex<Recorders<KubeRecorder>>>,
}

impl Recorder {
    /// Returns a recorder that publishes Events in the name of `reporter`.
    pub fn new(client: Client, reporter: Reporter, wanted: Wanted) -> Self {
        Self { client, reporter, wanted, recorders: Arc::default() }
    }

    /// Publishes `event` about `object`, if Events of its type are wanted.
    pub(crate) async fn publish(&self, event: &Event, object: &ObjectReference) -> kube::Result<()> {
        if !self.wanted.includes(event.type_) {
            return Ok(());
        }
        let new = || KubeRecorder::new(self.client.clone(), self.reporter.clone());
        let recorder = {
            let mut recorders = self.recorders.lock().unwrap_or_else(PoisonError::into_inner);
            recorders.recorder_of(event, object, Instant::now(), new)
        };
        recorder.publish(event, object).await
    }
}

/// Reads a boolean as Dask reads one from its environment: a Python literal, or `true` or `false` in any case.
///
/// # Errors
/// Returns one sentence if `value` is something else.
pub fn read_enabled(value: &str) -> Result<bool, String> {
    match unquoted(value).to_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("it must be true or false".to_owned()),
    }
}

/// Reads a level of Python's `logging`: its name in any case, or its number.
///
/// # Errors
/// Returns one sentence if `value` is something else.
pub fn read_level(value: &str) -> Result<u32, String> {
    let value = unquoted(value);
    match value.to_uppercase().as_str() {
        "NOTSET" => Ok(0),
        "DEBUG" => Ok(10),
        "INFO" => Ok(20),
        "WARNING" | "WARN" => Ok(WARNING),
        "ERROR" => Ok(40),
        "CRITICAL" | "FATAL" => Ok(50),
        _ => value.parse().map_err(|_| "it must be DEBUG, INFO, WARNING, ERROR, CRITICAL or a number".to_owned()),
    }
}

/// Returns `value` without the quotes of a Python string.
fn unquoted(value: &str) -> &str {
    let value = value.trim();
    let within = |quote| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    within('\'').or_else(|| within('"')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_is_read_as_dask_reads_it() {
        for value in ["True", "true", "TRUE", "'true'", "\"True\"", " 1 "] {
            assert_eq!(read_enabled(value), Ok(true), "{value}");
        }
        for value in ["False", "false", "'false'", "0"] {
            assert_eq!(read_enabled(value), Ok(false), "{value}");
        }
        for value in ["", "maybe", "'true", "2"] {
            assert_eq!(read_enabled(value), Err("it must be true or false".to_owned()), "{value}");
        }
    }

    #[test]
    fn levels_are_those_of_python_by_name_or_number() {
        let table =
            [("INFO", 20), ("info", 20), ("'WARNING'", 30), ("warn", 30), ("Critical", 50), ("35", 35), ("NOTSET", 0)];
        for (value, level) in table {
            assert_eq!(read_level(value), Ok(level), "{value}");
        }
        for value in ["", "LOUD", "-1", "1.5"] {
            assert!(read_level(value).is_err(), "{value}");
        }
    }

    #[test]
    fn from_warning_on_only_warnings_are_published() {
        let table = [
            (Wanted::of(true, 29), true, true),
            (Wanted::of(true, 30), false, true),
            (Wanted::of(true, 50), false, true),
            (Wanted::of(false, 0), false, false),
        ];
        for (wanted, normal, warning) in table {
            assert_eq!(wanted.includes(EventType::Normal), normal, "{wanted:?}");
            assert_eq!(wanted.includes(EventType::Warning), warning, "{wanted:?}");
        }
    }
}
