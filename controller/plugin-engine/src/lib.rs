//! The plugin engine: asks out-of-process plugins which further objects Dask resources need, and creates them.
//!
//! This crate knows no reconciler of Dask resources. So none of them can wait for a plugin.
//!
//! ```text
//! DaskOperatorPlugin ──resource──> Registry ──> one worker a plugin, with a queue of its own
//! subjects, owners   ──watches───> Registry ──┘        │
//! children           ──watches───> Registry            ▼
//!                                          sync: observe → ask → screen → plan → apply → prune
//! ```
//!
//! Nothing here runs inside the reconciliation of a Dask resource: a plugin that is slow, broken or absent
//! delays nothing and deletes nothing. Decisions (outcome of a call, screening, planning, breaker) are pure.
//!
//! The modules are layers. Each may use those above it in this list:
//!
//! | module | what it does |
//! |---|---|
//! | `config`, `metrics` | settings; counts and times |
//! | `model` | keys, labels, subjects, kinds, versions and writers of children |
//! | `pki` | the controller's certificate authority and its client certificates |
//! | `client` | calls a plugin, within limits, and reads its response |
//! | `selector` | decides about which subjects a plugin is called |
//! | `finalize` | decides which plugins hold a subject |
//! | `index` | knows plugins, subjects and children from watches |
//! | `status` | shows on Dask resources what plugins did |
//! | `children` | screens, plans, writes and prunes children |
//! | `sync` | brings one subject up to date with one plugin |
//! | `resource` | reconciles plugin resources, discovers plugins, removes finalizers |
//! | `engine`, `render` | connects all of it; the same decisions on files |

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
pub use status::store::StatusStore;
