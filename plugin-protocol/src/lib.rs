//! The JSON that dask-operator and its plugins exchange, as Rust types.
//!
//! The controller sends a [`ReviewRequest`] by `POST` and reads a [`ReviewResponse`]. Before the first call it reads
//! a [`Discovery`] by `GET`. Each request carries the full state, and each response the *complete* set of children
//! that the plugin wants for that subject: `[]` deletes them all, and a missing list is an error.
//!
//! ```
//! use dask_plugin_protocol::{Child, PluginResponse, ReviewRequest, ReviewResponse};
//! use serde_json::json;
//!
//! // The body that arrives at `POST {base}/v1alpha1/sync` …
//! let body = include_str!("../tests/golden/sync_request.json");
//! let review: ReviewRequest = serde_json::from_str(body)?;
//! assert_eq!(review.request.subject.name(), "demo-scheduler");
//!
//! // … and the response of the plugin.
//! let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": {}});
//! let response = PluginResponse::success(&review.request, vec![Child::new("ingress", ingress)]);
//! let body = serde_json::to_string(&ReviewResponse::new(response))?;
//! assert!(body.contains(&review.request.uid));
//! # Ok::<(), serde_json::Error>(())
//! ```
//!
//! To serve a plugin over HTTP, use the crate `dask-plugin-server`, which is built on this one.
//!
//! # Compatibility
//!
//! A plugin ignores unknown fields of a request. The controller rejects unknown fields of a response, so that a
//! misspelt field does not go unnoticed. All types that may get more fields or variants are `#[non_exhaustive]` and
//! have constructors.
//!
//! # Features
//! * `schema`: the module `schema` with JSON Schema and OpenAPI documents, generated from the types.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod child;
mod digest;
mod discovery;
pub mod headers;
pub mod limits;
mod objects;
mod request;
mod response;
#[cfg(feature = "schema")]
pub mod schema;
pub mod screening;
mod version;

pub use child::{Child, ChildKey, InvalidChildKey};
pub use digest::{DigestError, StatusInDigest, digest_of};
pub use discovery::Discovery;
pub use objects::{Observed, ObservedChild, Owner, Subject};
pub use request::{ControllerInfo, Event, EventReason, Hook, PluginInfo, PluginRequest, ReviewRequest};
pub use response::{Condition, ConditionStatus, PluginResponse, ResponseStatus, ReviewResponse};
pub use version::{ApiVersion, DiscoveryKind, PROTOCOL_VERSION, ReviewKind, path};

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
