//! Tests of the installed chart on a real node with real Dask. `make e2e` runs the demo first, which installs the
//! controller and the ingress plugin.
#![expect(clippy::unwrap_used, reason = "in tests, what fails must fail loudly")]

mod client;
mod examples;
mod job;
mod kubectl_dask;
mod node;
#[path = "../support/mod.rs"]
mod support;
