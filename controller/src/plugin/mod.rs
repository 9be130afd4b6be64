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
//! Before a subject or the Dask resource above it goes, a plugin may be asked to give up what it holds
//! (`finalizing`). A finalizer makes the Dask resource wait for it; the `keeper` takes it off in time.
//!
//! Nothing here runs inside the reconciliation of a Dask resource: a plugin that is slow, broken or absent
//! delays nothing and deletes nothing. Decisions (outcome of a call, screening, planning, breaker) are pure.

mod address;
mod answer;
#[cfg(test)]
mod arbitrary;
mod authority;
mod board;
mod brake;
mod breaker;
mod certificates;
mod child_meta;
mod children;
mod claims;
mod client;
mod drift;
mod endpoints;
mod evaluation_turns;
mod event_budget;
mod expression;
mod finalize;
mod finalizers;
mod finalizing;
mod former;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod hold;
mod immutable;
mod json;
mod keeper;
mod kinds;
mod ledger;
mod matcher;
mod memory;
pub(crate) mod metrics;
mod names;
mod outcome;
mod plan;
mod plugins;
mod publish;
mod registry;
pub mod removal;
pub mod render;
mod resource;
mod retire;
mod review;
mod rotation;
mod screen;
mod selecting;
mod shares;
mod signature;
mod sockets;
mod standing;
mod stored_object;
mod subject;
mod summary;
mod sweep;
mod sync;
mod tls;
mod token;
mod told;
mod trace;
mod turns;
mod waker;
mod watches;
mod wiring;
mod worker;
mod write;
mod writer;

pub(crate) use board::Board;
#[cfg(test)]
pub(crate) use wiring::test_settings;
pub(crate) use wiring::{Identity, Lives, Settings, Urls, wire, wire_nothing};
