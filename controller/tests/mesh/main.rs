//! The example plugins for Istio and for Ingresses with real programs that use their children: istiod, a gateway with Envoy,
//! and cert-manager. `testbed/mesh/install.sh` has installed all of it before. Run the tests with `make mesh`.
#![expect(clippy::unwrap_used, reason = "in tests, what fails must fail loudly")]

mod dashboards;
mod https;
mod ingress;
mod mesh;
mod plugin_modes;
mod schedulers;
#[path = "../support/mod.rs"]
mod support;
