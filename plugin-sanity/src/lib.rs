//! `dask-plugin-sanity`: checks whether a running plugin conforms to the protocol.
//!
//! ```text
//! arguments ──> Inputs: requests, allowed kinds ──┐
//!           ──> Target: endpoint, credentials ────┴──> Session ──each check──> Report ──> text, JSON, JUnit
//! ```
//!
//! A check sends a few requests and checks the responses. Checks do not depend on the implementation of the plugin. They
//! change nothing, except for what the plugin itself changes outside of the cluster in the hook Finalize.

pub mod args;
mod checks;
mod credentials;
mod inputs;
pub mod report;
mod session;
mod subjects;
mod target;
mod tls;

use std::path::PathBuf;

pub use checks::{CHECKS, Check};
pub use session::{Finding, Mismatch, Session};

use args::Args;
use report::{Report, Result as Outcome};

/// The error for a plugin that could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("failed to read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The content of a file is invalid.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: String,
    },
    /// The arguments do not result in a request.
    #[error("{0}")]
    Inputs(&'static str),
    /// The uid of a request could not be computed.
    #[error(transparent)]
    Digest(#[from] dask_plugin_protocol::DigestError),
    /// The endpoint cannot be called.
    #[error("{0}")]
    Endpoint(String),
    /// A check does not exist.
    #[error("there is no check {0}; --list shows all checks")]
    UnknownCheck(String),
}

/// Runs the checks that `args` select, in their order.
///
/// # Errors
/// Fails if the plugin cannot be checked. A check that fails is not an error.
pub async fn run(args: &Args) -> Result<Report, Error> {
    for named in args.only.iter().chain(&args.skip) {
        if !CHECKS.iter().any(|check| check.id == named) {
            return Err(Error::UnknownCheck(named.clone()));
        }
    }
    let session = Session::new(args)?;
    session.reach().await.map_err(Error::Endpoint)?;
    let mut results = Vec::new();
    for check in &CHECKS {
        let wanted = args.only.is_empty() || args.only.iter().any(|only| only == check.id);
        if !wanted || args.skip.iter().any(|skip| skip == check.id) {
            continue;
        }
        let start = std::time::Instant::now();
        let finding = (check.run)(&session).await.err();
        results.push(Outcome { check, finding, duration: start.elapsed() });
    }
    Ok(Report { endpoint: args.endpoint.clone(), results })
}
