//! Watches: one per kind and namespace, feeding a cache and the queues of whoever must look again.
//!
//! ```text
//! API server ──watch──> Feed ──events──> Cache (and kube's Store for a reconciler's own kind)
//!      └──answers──> Pulse └──changes──> listeners ──ObjectRef──> queues of the reconcilers
//! ```
//!
//! kube's own `Controller::owns` keeps no cache of children, and its relists do not report what vanished
//! while the watch was broken; here every change since the last known state reaches the listeners.

mod cache;
mod creations;
mod feed;
mod pace;
mod progress;
mod pulse;
mod queue;
mod received;
mod unreadable;

pub use cache::{Cache, Change};
pub use creations::{Creations, UNSEEN};
pub use feed::{Feed, Reach};
pub use pace::{Pace, SILENCE_SECONDS, WATCH_SECONDS};
pub use progress::Progress;
pub use queue::{Queue, Requests, queue};
pub use received::{LIMITS, Received, Unreadable};
pub use unreadable::{Deletion, UnreadableObject};
