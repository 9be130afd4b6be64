//! Sets up the log.

use std::io::{IsTerminal as _, stderr};

use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, filter::ParseError};

/// Filters for messages that kube logs at each attempt of a failing call. The caller logs the failure too, once.
const QUIET: &str = "kube_runtime::watcher=error,kube_client::client::builder=off,kube_client::client=error";

/// Why logging cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `RUST_LOG` cannot be parsed.
    #[error("RUST_LOG says {value:?}, which is no filter of log lines: {source}")]
    Filter {
        /// The value of the variable.
        value: String,
        /// The parser's error.
        source: ParseError,
    },
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The log level if `RUST_LOG` is not set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// Warnings and errors.
    Quiet,
    /// Also transitions.
    #[default]
    Normal,
    /// Also the actions of the controller.
    Verbose,
    /// Also the debug messages of libraries.
    Debug,
}

impl Verbosity {
    fn directives(self) -> &'static str {
        match self {
            Self::Quiet => "warn",
            Self::Normal => "info",
            Self::Verbose => "info,dask_operator=debug",
            Self::Debug => "debug",
        }
    }
}

/// Sends log lines to standard error, filtered by `RUST_LOG` or, if that is not set, by `verbosity`. Colours are used
/// on terminals only.
pub fn init(format: LogFormat, verbosity: Verbosity) -> Result<(), Error> {
    let filter = filter(std::env::var(EnvFilter::DEFAULT_ENV).ok(), verbosity)?;
    let colours = stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_ansi(colours);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

fn filter(rust_log: Option<String>, verbosity: Verbosity) -> Result<EnvFilter, Error> {
    let value = rust_log.filter(|value| !value.trim().is_empty());
    let value = value.unwrap_or_else(|| verbosity.directives().to_owned());
    // Later directives win, so `RUST_LOG` can still enable the messages of these crates.
    EnvFilter::try_new(format!("{QUIET},{value}")).map_err(|source| Error::Filter { value, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_log_wins_over_verbosity() {
        let table = [
            (None, Verbosity::Normal, "info"),
            (None, Verbosity::Quiet, "warn"),
            (None, Verbosity::Debug, "debug"),
            (Some(""), Verbosity::Quiet, "warn"),
            (Some("error"), Verbosity::Debug, "error"),
        ];
        for (rust_log, verbosity, level) in table {
            let filter = filter(rust_log.map(str::to_owned), verbosity).unwrap();
            let expected = EnvFilter::new(format!("{QUIET},{level}"));
            assert_eq!(filter.to_string(), expected.to_string(), "{rust_log:?} {verbosity:?}");
        }
    }

    #[test]
    fn an_invalid_filter_is_reported() {
        let error = filter(Some("dask_operator=loud".to_owned()), Verbosity::Normal).unwrap_err();
        assert!(error.to_string().starts_with("RUST_LOG says \"dask_operator=loud\", which is no filter"), "{error}");
    }
}
