//! Tests that replace the definitions of a cluster, and therefore need a node of their own. Run them with
//! `make takeover`.
#![expect(clippy::unwrap_used, reason = "in tests, what fails must fail loudly")]

mod release;
#[path = "../support/mod.rs"]
mod support;
mod upstream;
