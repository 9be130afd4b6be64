//! The plugin engine: asks out-of-process plugins which further objects Dask resources need, and makes
//! them.
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

mod authority;
mod breaker;
mod certificates;
mod children;
mod client;
mod expression;
mod kinds;
mod matcher;
mod memory;
mod outcome;
mod plan;
mod plugins;
mod registry;
mod resource;
mod review;
mod screen;
mod subject;
mod summary;
mod sync;
mod watches;
mod worker;
mod writer;

pub(crate) use wiring::{Identity, Lives, Settings, wire};

mod wiring;
