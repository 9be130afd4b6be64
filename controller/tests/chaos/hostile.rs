//! Users of the same namespace who store what the controller cannot read or should not believe. Whatever they do, the
//! invariants hold for all others, and in the end all of theirs can be deleted.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Method, Request, StatusCode};
use kube::{api::ListParams, client::Body};
use serde_json::{Value, json};

use crate::{
    hostile_objects::{HostileObject, Victims, attacks},
    support::{TestContext, scheduler::FakeScheduler, uid, within},
};

/// How long an attack waits for the object that it imitates.
const LIMIT: Duration = Duration::from_mins(2);
/// The child that a user would gain who forges a scheduler's Service.
const GAINED: &str = "hostile-service-good-config";

/// The hostile users of one run.
pub(crate) struct Hostile {
    context: TestContext,
    /// Accepts connections and never responds.
    silent: FakeScheduler,
    stored: Mutex<Vec<(String, String)>>,
    counts: Mutex<BTreeMap<&'static str, usize>>,
}

/// Returns whether an object of this name is theirs, or was created for one of theirs.
pub(crate) fn is_of(name: &str) -> bool {
    name.contains("hostile")
}

impl Hostile {
    pub(crate) async fn start(context: &TestContext) -> Arc<Self> {
        let silent = FakeScheduler::start().await;
        silent.set(|state| state.hang = true);
        let (context, stored, counts) = (context.clone(), Mutex::default(), Mutex::default());
        Arc::new(Self { context, silent, stored, counts })
    }

    /// Carries out the attack at this index. The API server may refuse some of its objects.
    pub(crate) async fn attack(&self, index: usize) {
        let victims = Victims {
            cluster: self.uid_of("DaskCluster", "demo").await,
            group: self.uid_of("DaskWorkerGroup", "demo-default").await,
            service: self.uid_of("Service", "demo-scheduler").await,
            port: self.silent.port(),
        };
        for object in (attacks()[index].objects)(&victims) {
            self.execute(object).await;
        }
    }

    async fn uid_of(&self, kind: &str, name: &str) -> String {
        // The Service may have been lost just now.
        within(LIMIT, "an object to imitate", async || {
            let found = self.context.get(kind, name).await;
            found.map(|object| uid(&object).to_owned()).ok_or_else(|| format!("there is no {kind} {name}"))
        })
        .await
    }

    async fn execute(&self, object: HostileObject) {
        let (kind, name) = (object.kind, object.name);
        let stored = self.send(Method::POST, (kind, ""), object.manifest).await;
        let mut accepted = stored.is_success();
        if accepted {
            self.stored.lock().unwrap().push((kind.to_owned(), name.clone()));
        }
        if let (true, Some(status)) = (accepted, object.status) {
            let path = format!("/{name}/status");
            accepted =
                self.send(Method::PATCH, (kind, &path), json!({"status": status}).to_string()).await.is_success();
        }
        if object.deleted {
            self.send(Method::DELETE, (kind, &format!("/{name}")), String::new()).await;
        }
        let what = if accepted { "hostile object" } else { "hostile object refused" };
        *self.counts.lock().unwrap().entry(what).or_default() += 1;
    }

    /// Sends text and does not parse the response: both may be nested too deep for a client.
    async fn send(&self, method: Method, (kind, path): (&str, &str), body: String) -> StatusCode {
        let api = self.context.api(kind);
        let content_type = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let request = Request::builder().method(method).uri(format!("{}{path}", api.resource_url()));
        let request = request.header("content-type", content_type).body(Body::from(body.into_bytes())).unwrap();
        self.context.client.send(request).await.unwrap().status()
    }

    /// Returns how many objects were stored, and how many were refused.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, usize> {
        self.counts.lock().unwrap().clone()
    }

    /// Checks that no forged object got a child.
    pub(crate) async fn check_gained_nothing(&self) -> Result<(), String> {
        let gained = self.context.get("ConfigMap", GAINED).await;
        gained.map_or(Ok(()), |_| Err(format!("a forged Service was given {GAINED}")))
    }

    /// Deletes all their objects. Their children are garbage collected.
    pub(crate) async fn delete_all(&self) {
        let stored = std::mem::take(&mut *self.stored.lock().unwrap());
        for (kind, name) in stored {
            self.send(Method::DELETE, (&kind, &format!("/{name}?propagationPolicy=Background")), String::new()).await;
        }
    }

    /// Checks that all their objects are gone, by name only: they may be nested too deep for a client.
    pub(crate) async fn check_gone(&self) -> Result<(), String> {
        for kind in ["DaskCluster", "DaskWorkerGroup", "DaskJob", "DaskAutoscaler", "DaskOperatorPlugin"] {
            let left = self.context.api(kind).list_metadata(&ListParams::default()).await;
            let left = left.map_err(|error| error.to_string())?.items;
            let mut names = left.into_iter().filter_map(|object| object.metadata.name);
            if let Some(name) = names.find(|name| is_of(name)) {
                return Err(format!("the hostile {kind} {name} is left"));
            }
        }
        Ok(())
    }
}

/// Returns the objects that are not theirs.
pub(crate) fn without(mut objects: Vec<Value>) -> Vec<Value> {
    objects.retain(|object| !is_of(crate::support::name(object)));
    objects
}
