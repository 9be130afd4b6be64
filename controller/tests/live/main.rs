//! Tests with a controller and a real API server, but without a node: pods stay pending, or a fake kubelet writes their
//! status. Run them with `make live`.
#![expect(clippy::unwrap_used, reason = "in tests, what fails must fail loudly")]

mod alone;
mod autoscaler;
mod cluster;
mod columns;
mod dashboard;
mod definitions;
mod faults;
mod idle;
mod integrations;
mod isolation;
mod isolation_flood;
mod isolation_memory;
mod job;
mod job_features;
mod kubectl_dask;
mod labels;
mod leader;
mod plugin;
mod plugin_children;
mod plugin_crashes;
mod plugin_endpoints;
mod plugin_finalize;
mod plugin_misbehaviour;
mod plugin_rights;
mod plugin_rollout;
mod plugin_rotation;
mod plugin_tenants;
mod plugin_visibility;
mod python_client;
mod readiness;
mod recording_plugin;
mod removal;
mod scaling;
mod scope;
mod startup;
#[path = "../support/mod.rs"]
mod support;
mod updates;
mod warnings;
