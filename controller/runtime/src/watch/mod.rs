//! Watches: one per kind and namespace. Each fills a cache, and enqueues the objects that a change affects.
//!
//! ```text
//! API server ──watch──> KindWatcher ──events──> Cache (and kube's Store for a reconciler's own kind)
//!      └──responses──> WatchHealth └──changes──> listeners ──ObjectRef──> queues of the reconcilers
//! ```
//!
//! kube's own `Controller::owns` keeps no cache of children, and its relists do not report objects that vanished while
//! the watch was broken. Here every change since the last known state reaches the listeners.

mod admission;
mod cache;
mod expectations;
mod footprint;
mod health;
mod kind_watcher;
mod memory_budget;
mod memory_limits;
mod queue;
mod sync_status;
mod timing;
mod unreadable;

pub use cache::{Cache, Change};
pub use expectations::{ChildrenOf, EXPECTATION_TTL, Expectations};
#[cfg(any(test, feature = "testing"))]
pub(crate) use footprint::footprint;
pub use kind_watcher::{ApiScope, KindWatcher};
pub use memory_budget::MemoryBudget;
pub use memory_limits::MemoryLimits;
pub use queue::{Queue, WorkQueueReceiver, queue};
pub use sync_status::SyncStatus;
pub use timing::{SILENCE_SECONDS, WATCH_SECONDS, WatchTiming};
pub use unreadable::{Deletion, UnreadableObject};
