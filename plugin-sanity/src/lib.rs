//! `dask-plugin-sanity`: tells whether a plugin keeps the protocol, from outside.
//!
//! ```text
//! arguments ──> Matter: requests, allowed kinds ──┐
//!           ──> Target: endpoint, credentials ────┴──> Lab ──each check──> Report ──> text, JSON, JUnit
//! ```
//!
//! A check sends a few requests and judges the answers. None knows how the plugin is made, and none changes anything
//! but what the plugin itself changes outside of the cluster when it is asked to finalize.

pub mod args;
mod checks;
mod lab;
mod matter;
pub mod report;
mod shown;
mod subjects;
mod target;
mod tls;

use std::path::PathBuf;

pub use checks::{CHECKS, Check};
pub use lab::{Finding, Lab, Trouble};

use args::Args;
use report::{Report, Result as Outcome};

/// Why a plugin could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("failed to read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why it could not be read.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// What is given makes no request.
    #[error("{0}")]
    Matter(&'static str),
    /// A request has no uid.
    #[error(transparent)]
    Digest(#[from] dask_plugin_protocol::DigestError),
    /// The endpoint cannot be called at all.
    #[error("{0}")]
    Endpoint(String),
    /// There is no check of this name.
    #[error("there is no check {0}; --list names them all")]
    UnknownCheck(String),
}

/// Runs the checks that `args` name, in their order.
///
/// # Errors
/// If the plugin cannot be checked; a check that fails is no error.
pub async fn run(args: &Args) -> Result<Report, Error> {
    for named in args.only.iter().chain(&args.skip) {
        if !CHECKS.iter().any(|check| check.id == named) {
            return Err(Error::UnknownCheck(named.clone()));
        }
    }
    let lab = Lab::new(args)?;
    lab.reach().await.map_err(Error::Endpoint)?;
    let mut results = Vec::new();
    for check in &CHECKS {
        let wanted = args.only.is_empty() || args.only.iter().any(|only| only == check.id);
        if !wanted || args.skip.iter().any(|skip| skip == check.id) {
            continue;
        }
        let began = std::time::Instant::now();
        let finding = (check.run)(&lab).await.err();
        results.push(Outcome { check, finding, took: began.elapsed() });
    }
    Ok(Report { endpoint: args.endpoint.clone(), results })
}
