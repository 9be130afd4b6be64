//! The JSON that dask-operator and its plugins exchange, as Rust types.
//!
//! The controller POSTs a [`ReviewRequest`] to a plugin and reads a [`ReviewResponse`]; before that it
//! GETs a [`Discovery`]. Every call carries full state, every answer the *complete* set of children
//! that the plugin wants for that subject: `[]` means "delete mine", an absent list is an error.
//!
//! ```
//! use dask_plugin_protocol::{Child, PluginResponse, ReviewRequest, ReviewResponse};
//! use serde_json::json;
//!
//! // What arrives at `POST {base}/v1alpha1/sync` …
//! let body = include_str!("../tests/golden/sync_request.json");
//! let review: ReviewRequest = serde_json::from_str(body)?;
//! assert_eq!(review.request.subject.name(), "demo-scheduler");
//!
//! // … and what the plugin answers.
//! let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": {}});
//! let answer = PluginResponse::success(&review.request, vec![Child::new("ingress", ingress)]);
//! let body = serde_json::to_string(&ReviewResponse::new(answer))?;
//! assert!(body.contains(&review.request.uid));
//! # Ok::<(), serde_json::Error>(())
//! ```
//!
//! Compatibility: a plugin ignores fields that it does not know in a request; the controller refuses
//! fields that it does not know in an answer, so that a typing error cannot go unnoticed.
//!
//! # Features
//! * `schema`: the module `schema`, JSON Schema and OpenAPI of all this.

mod child;
mod digest;
mod discovery;
pub mod headers;
pub mod limits;
mod request;
mod response;
#[cfg(feature = "schema")]
pub mod schema;
pub mod screening;
mod version;

pub use child::{Child, ChildKey, InvalidChildKey};
pub use digest::{DigestError, StatusInDigest, digest_of};
pub use discovery::Discovery;
pub use request::{
    ControllerInfo, Event, EventReason, Hook, Observed, ObservedChild, Owner, PluginInfo, PluginRequest, ReviewRequest,
    Subject,
};
pub use response::{Condition, ConditionStatus, PluginResponse, ResponseStatus, ReviewResponse};
pub use version::{ApiVersion, DiscoveryKind, PROTOCOL_VERSION, ReviewKind, path};
