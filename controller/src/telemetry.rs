//! Logs.

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::EnvFilter;

use crate::args::LogFormat;

/// What kube says at each try of a call that fails. Whoever made the call says it too, once.
const QUIET: &str = "kube_runtime::watcher=error,kube_client::client::builder=off";

/// Sends log lines to standard error, filtered by `RUST_LOG` (default `info`). Colours are for terminals.
pub fn init(format: LogFormat) {
    let wanted = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    let wanted = if wanted.is_empty() { "info" } else { &wanted };
    // What comes later wins: these crates can be heard all the same.
    let filter =
        EnvFilter::try_new(format!("{QUIET},{wanted}")).unwrap_or_else(|_| EnvFilter::new(format!("{QUIET},info")));
    let colours = stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_ansi(colours);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}
