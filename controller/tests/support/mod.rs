//! What the tests share: namespaces, objects as JSON, the controller's process, waiting, and fakes of what a controller
//! talks to.
#![allow(dead_code, unused_imports, reason = "each test program uses a part of its own")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "in tests, what fails must fail loudly")]

mod context;
pub(crate) mod controller;
mod definitions;
pub(crate) mod fake_cluster;
pub(crate) mod fault_runs;
pub(crate) mod faulty_plugin;
mod fields;
pub(crate) mod hostile;
pub(crate) mod https_plugin;
pub(crate) mod identities;
pub(crate) mod kubectl_dask;
pub(crate) mod kubelet;
mod manifests;
pub(crate) mod misbehaviour;
mod objects;
pub(crate) mod plugin;
pub(crate) mod prometheus;
pub(crate) mod proxy;
pub(crate) mod real;
pub(crate) mod scheduler;
pub(crate) mod test_cluster;
mod test_run;
mod wait;

pub(crate) use context::TestContext;
pub(crate) use controller::Controller;
pub(crate) use definitions::install_crds;
pub(crate) use fields::{by_name, condition, message, name, owned_by, uid, version};
pub(crate) use manifests::{cluster, job};
pub(crate) use objects::NUDGE;
pub(crate) use test_run::{
    alone_at_first_with_temp_ns, alone_with_temp_ns, many_runs, with_controller, with_temp_ns, with_unlocked_temp_ns,
};
pub(crate) use wait::{DEADLINE, eventually, poll, stays, within};

const FIELD_MANAGER: &str = "live-test";
