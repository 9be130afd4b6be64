//! Serves plugins for dask-operator. The plugin itself only decides which objects should exist.
//!
//! A plugin is an HTTP service that the controller calls with an object of a Dask cluster. The plugin returns the
//! other objects that should exist beside it, its *children*. It needs no Kubernetes client and no permissions in the
//! cluster: the controller creates, repairs and deletes the children. This is a complete plugin:
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
//! [`run`] reads its configuration from the environment, see [`config::Config`]. A plugin serves mutual TLS with the
//! files of the Secret that the controller writes for it, or a Unix socket, or plain HTTP for development. The parts
//! can be used on their own: [`router`] is the HTTP service, and [`serve::serve`] serves it on a listener.
//!
//! # Features
//!
//! All but `testing` are on by default.
//!
//! * `log`: [`run`] sets up the log.
//! * `metrics`: Prometheus metrics at `GET /metrics`, see [`Metrics`].
//! * `signature`: verifies signatures of requests, see `credentials::SignatureVerifier`.
//! * `tls`: mutual TLS, see the module `tls`. Without it, a plugin serves a Unix socket or plain HTTP.
//! * `token`: verifies ServiceAccount tokens, see `credentials::TokenVerifier`.
//! * `testing`: the module `testing`, for the tests of a plugin.
//!
//! # Public dependencies
//!
//! The public interface uses types of `dask-plugin-protocol`, `http`, `http-body`, `bytes`, `serde`, `serde_json` and
//! `tower-service`. The web framework, the TLS library and the HTTP client are private.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod config;
pub mod credentials;
mod deadline;
mod error;
mod metrics;
mod plugin;
#[cfg(test)]
mod raw_http;
mod router;
mod run;
pub mod serve;
mod service;
mod socket;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(feature = "tls")]
pub mod tls;

pub use dask_plugin_protocol as protocol;

pub use deadline::time_left;
pub use error::PluginError;
pub use metrics::Metrics;
pub use plugin::{Answer, Plugin, settings};
pub use router::{router, router_with};
pub use run::{RunError, run, run_until};
pub use service::{Body, BodyError, Router};
pub use socket::SocketError;

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
