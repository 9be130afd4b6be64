//! Kubernetes operator for Dask whose plugins run out of process.
//!
//! Each reconciler is a folder with one file per step:
//!
//! 1. **observe**: reads the current state from the caches that the watches fill;
//! 2. **validate**: turns the spec and the observed state into a type in which nothing is missing;
//! 3. **build**: builds the manifests, in a total, pure function;
//! 4. **apply**: plans the changes (pure) and writes them;
//! 5. **status**: writes the result to the status if it differs from the current status.
//!
//! All writes are derived from the observed state, so a pass may be repeated, lost or interrupted at any point.

mod admin;
pub mod args;
mod autoscaler;
mod caches;
mod cluster;
mod controllers;
pub mod crd_yaml;
mod dashboard;
mod defaults;
mod diagnosis;
pub mod exit;
mod field_warnings;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "fuzzing")]
mod fuzzing_fixtures;
mod idle;
mod job;
mod kopf;
mod kopf_finalizer;
pub mod leftovers;
pub mod metrics;
mod outcome;
mod ownership;
mod pod;
mod pod_labels;
pub mod preflight;
mod propagation;
pub mod render;
mod replicas;
mod retirements;
pub mod run;
mod scheduler;
pub mod schema;
mod shared;
#[cfg(test)]
mod stub_api_server;
pub mod telemetry;
mod template_version;
#[cfg(test)]
mod test_fixtures;
pub mod version;
mod view;
mod worker_group;

pub use dask_operator_api as crd;
pub use dask_plugin_engine::removal;
