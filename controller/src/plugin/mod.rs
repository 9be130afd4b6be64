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
mod board;
mod breaker;
mod certificates;
mod children;
mod client;
mod hold;
mod kinds;
mod matcher;
mod memory;
mod outcome;
mod plan;
mod publish;
mod registry;
mod resource;
mod review;
mod screen;
mod standing;
mod subject;
mod summary;
mod sync;
mod told;
mod trace;
mod watches;
mod worker;
mod writer;

pub(crate) use board::Board;
pub(crate) use wiring::{Identity, Lives, Settings, wire};

mod wiring;
