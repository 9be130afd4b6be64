//! Write plugins for dask-operator: everything but the plugin's own decision.
//!
//! A plugin is an HTTP service that the controller asks: *given this object of a Dask cluster, which
//! other objects should exist?* It needs no Kubernetes client and no rights in the cluster; the
//! controller writes, repairs and deletes the children. This is a complete one:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use dask_plugin_server::protocol::{Child, Discovery, PluginRequest};
//! use dask_plugin_server::{Answer, Plugin, PluginError, run};
//! use serde_json::json;
//!
//! struct Greeting;
//!
//! impl Plugin for Greeting {
//!     fn discovery(&self) -> Discovery {
//!         Discovery::new("greeting", env!("CARGO_PKG_VERSION"))
//!     }
//!
//!     async fn sync(&self, request: &PluginRequest) -> Result<Answer, PluginError> {
//!         let data = json!({"greeting": format!("Hello {}", request.owner.name())});
//!         let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data});
//!         Ok(Child::new("greeting", map).into())
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> ExitCode {
//!     run(Greeting).await
//! }
//! ```
//!
//! [`run`] is configured by the environment alone, see [`config::Config`]: mutual TLS with the files of
//! the Secret that the controller writes for the plugin, or a Unix socket, or plain HTTP for development.
//! Its parts can be used one by one: [`router`] for the HTTP service, [`serve::serve`] for a listener.
//!
//! # Features
//! * `testing`: the module `testing`, for a plugin's own tests.

pub mod config;
pub mod credentials;
mod error;
mod metrics;
mod plugin;
#[cfg(test)]
mod raw_http;
mod router;
mod run;
pub mod serve;
mod socket;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tls;

pub use dask_plugin_protocol as protocol;

pub use error::PluginError;
pub use metrics::Metrics;
pub use plugin::{Answer, Plugin, settings};
pub use router::{router, router_with};
pub use run::{RunError, run, run_until};
pub use socket::SocketError;
