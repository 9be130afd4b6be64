//! Kubernetes' own types inside of Dask resources: their schemas, and which values mean the same.
//!
//! Both follow the Kubernetes API that `k8s-openapi` was generated from. The values themselves stay raw JSON
//! ([`crate::JsonObject`]), so that fields of newer Kubernetes versions survive.

mod canonical;
mod defaults;
mod merge_keys;
mod quantity;
mod schema;

pub use canonical::{canonical_pod_spec, canonical_service_spec};
pub(crate) use schema::{pod_spec, service_spec};
