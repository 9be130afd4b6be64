//! The plugin engine. It calls out-of-process plugins, which answer with further objects that Dask resources need, and
//! creates these objects.
//!
//! This crate does not depend on the reconcilers of Dask resources, so none of them can wait for a plugin.
//!
//! ```text
//! DaskOperatorPlugin ──resource──> Registry ──> one worker a plugin, with a queue of its own
//! subjects, owners   ──watches───> Registry ──┘        │
//! children           ──watches───> Registry            ▼
//!                                          sync: observe → ask → screen → plan → apply → prune
//! ```
//!
//! Nothing here runs inside the reconciliation of a Dask resource. A plugin that is slow, broken or absent delays
//! nothing and deletes nothing. Decisions (outcome of a call, screening, planning, breaker) are pure functions.
//!
//! The modules form layers. Each may use the modules above it in this list:
//!
//! | module | what it does |
//! |---|---|
//! | `config` | the engine's settings |
//! | `model` | keys, labels, subjects, kinds, versions and writers of children |
//! | `metrics` | counters and durations |
//! | `pki` | the controller's certificate authority and client certificates |
//! | `client` | calls a plugin, within limits, and reads its response |
//! | `selector` | decides which subjects a plugin is called about |
//! | `finalize` | decides which plugins keep a finalizer on a Dask resource |
//! | `index` | indexes plugins, subjects and children from watches |
//! | `status` | reports the results of plugins on Dask resources |
//! | `children` | screens, plans, writes and prunes children |
//! | `sync` | synchronises one subject with one plugin |
//! | `resource` | reconciles plugin resources, discovers plugins, removes finalizers |
//! | `engine`, `render` | connects these modules; applies the same decisions to files |

#[cfg(test)]
mod arbitrary;
mod children;
mod client;
mod config;
mod engine;
mod finalize;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod index;
pub mod metrics;
mod model;
mod pki;
pub mod render;
mod resource;
mod selector;
mod status;
mod sync;
#[cfg(test)]
mod testing;

#[cfg(any(test, feature = "testing"))]
pub use config::test_settings;
pub use config::{CertificateLifetimes, Settings, TokenSubject, Urls};
pub use engine::{Dependencies, wire, wire_nothing};
pub use finalize::cleanup_command as removal;
pub use model::owner_caches::OwnerCaches;
pub use pki::authority::CA_SECRET as AUTHORITY_SECRET;
pub use resource::CONDITIONS;
pub use status::store::StatusStore;
#[cfg(any(test, feature = "testing"))]
pub use status::store::test_status_store;
