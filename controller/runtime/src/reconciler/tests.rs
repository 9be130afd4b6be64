//! Tests of whole runs of a reconciler over a queue.

use std::sync::Mutex;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{ResourceExt as _, runtime::reflector, runtime::watcher::Event};
use tokio::sync::Notify;

use super::*;
use crate::testing::mk_config_map;
use crate::{
    leader,
    metrics::RuntimeMetrics,
    watch::{Expectations, queue},
};

#[derive(Debug, thiserror::Error)]
#[error("it failed")]
struct Failed;

/// The names of the objects whose passes have begun, in order.
#[derive(Default)]
struct Stage {
    begun: Mutex<Vec<String>>,
    changed: Notify,
}

impl Stage {
    async fn begun(&self, count: usize) -> Vec<String> {
        loop {
            let changed = self.changed.notified();
            let begun = self.begun.lock().unwrap().clone();
            if begun.len() >= count {
                return begun;
            }
            changed.await;
        }
    }
}

async fn pass(object: Arc<ConfigMap>, stage: Arc<Stage>) -> Result<Action, Failed> {
    let name = object.name_any();
    stage.begun.lock().unwrap().push(name.clone());
    stage.changed.notify_waiters();
    match name.as_str() {
        "panics" => panic!("a fault of this program"),
        "fails" => Err(Failed),
        "once" => Ok(Action::await_change()),
        _ => std::future::pending().await,
    }
}

/// Runs a reconciler over objects (namespace and name) until `count` passes have begun. Returns the names of their
/// objects.
async fn begun(objects: &[(&str, String)], count: usize) -> Vec<String> {
    let (store, mut writer) = reflector::store();
    for (namespace, name) in objects {
        writer.apply_watcher_event(&Event::Apply(mk_config_map(namespace, name)));
    }
    let reconciler = Reconciler {
        name: "ConfigMap",
        store,
        reconcile: pass,
        category: |_: &Failed| "Failed",
        liveness: Liveness::default(),
        passes: RuntimeMetrics::default().passes("ConfigMap"),
        releases: Releases::unknown(),
    };
    let (_queue, requests) = queue::<ConfigMap>(&Expectations::default());
    let stage = Arc::new(Stage::default());
    let run = reconciler.run(requests, Arc::clone(&stage), leader::leading(), CancellationToken::new());
    tokio::select! {
        () = run => panic!("it ended"),
        begun = stage.begun(count) => begun,
    }
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_panics_or_fails_is_tried_again_and_stops_nobody() {
    let names = ["panics", "fails", "once"].map(|name| ("ns", name.to_owned()));
    let begun = begun(&names, 9).await;
    let count = |name: &str| begun.iter().filter(|begun| *begun == name).count();
    assert!(count("panics") > 1 && count("fails") > 1, "{begun:?}");
    assert_eq!(count("once"), 1);
}

/// An unresponsive scheduler delays a pass for most of a minute. The passes in this test never end.
#[tokio::test(start_paused = true)]
async fn passes_that_hang_in_one_namespace_leave_slots_to_the_others() {
    let hogs = (0..200).map(|number| ("hog", format!("hangs-{number}")));
    let objects: Vec<_> = hogs.chain([("ns", "once".to_owned())]).collect();
    let begun = begun(&objects, SLOTS / 2 + 1).await;
    assert!(begun.contains(&"once".to_owned()), "{begun:?}");
}
