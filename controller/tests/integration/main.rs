//! Tests of the program and of the files that ship with it. They need no cluster, except `observability`, which
//! `make observability` runs with a real Prometheus.
#![expect(clippy::unwrap_used, reason = "in tests, what fails must fail loudly")]

mod cli;
mod crds;
mod dashboards;
mod example_manifests;
mod job_health;
mod monitoring;
mod observability;
mod scheduler_client;
#[path = "../support/mod.rs"]
mod support;
