//! Runtime of a Kubernetes operator: watches with caches, work queues shared fairly by namespace, leader election,
//! writes with field managers and preconditions, Events, conditions and metrics.
//!
//! This crate knows Kubernetes. It knows neither Dask nor plugins.
//!
//! | module | what it does |
//! |---|---|
//! | [`watch`] | watches kinds, keeps caches, and enqueues requests |
//! | [`reconciler`] | runs the passes of one reconciler over its work queue |
//! | [`leader`] | elects one of several replicas, and proves that it leads |
//! | [`releases`] | finds other releases that watch the same namespaces |
//! | [`k8s`] | reads and writes objects with time limits, field managers and preconditions |
//! | [`report`], [`events`], [`conditions`] | report to users what happened to their objects |
//! | [`received`], [`unreadable`] | parse objects one by one; report those that do not parse |
//! | [`fair_share`] | shares slots among namespaces |
//! | [`liveness`], [`metrics`] | answer probes and scrapes |
//! | [`task_set`], [`task_runner`], [`shutdown`] | run tasks until the process ends |

pub mod backoff;
pub mod conditions;
pub mod events;
pub mod fair_share;
pub mod fingerprint;
pub mod k8s;
pub mod leader;
pub mod liveness;
pub mod metrics;
pub mod moment;
mod object_key;
pub mod received;
pub mod reconciler;
pub mod rejection;
pub mod releases;
pub mod report;
pub mod scope;
pub mod shutdown;
pub mod task_runner;
pub mod task_set;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod unreadable;
pub mod watch;
