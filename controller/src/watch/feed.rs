use std::{
    fmt::Debug,
    hash::Hash,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, pin_mut};
use kube::{
    Api, Resource,
    runtime::{WatchStreamExt as _, reflector::store::Writer, watcher},
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::{Cache, Change};

/// Whether a watch has delivered its first list.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The plural of the watched kind.
    pub kind: String,
    synced: watch::Receiver<bool>,
    heard: watch::Receiver<Instant>,
}

impl Progress {
    /// Waits until the first list is complete.
    pub async fn synced(&self) {
        // An error means that the watch has ended, which ends the process too.
        let _ = self.synced.clone().wait_for(|synced| *synced).await;
    }

    /// How long the API server has said nothing.
    pub fn silent_for(&self, now: Instant) -> Duration {
        now.duration_since(*self.heard.borrow())
    }

    /// Whether the first list is complete.
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }
}

type Listener<K> = Box<dyn Fn(&Change<K>) + Send>;

/// One watch with all that listens to it.
pub struct Feed<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    api: Api<K>,
    dynamic_type: K::DynamicType,
    config: watcher::Config,
    cache: Cache<K>,
    writer: Option<Writer<K>>,
    listeners: Vec<Listener<K>>,
    optional: bool,
    on_list: Option<fn()>,
}

impl<K> Feed<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Debug + Unpin + Send + Sync,
{
    /// A watch of `api`, narrowed by `config`, that fills `cache`.
    pub fn new(api: Api<K>, dynamic_type: K::DynamicType, config: watcher::Config, cache: Cache<K>) -> Self {
        Self { api, dynamic_type, config, cache, writer: None, listeners: Vec::new(), optional: false, on_list: None }
    }

    /// Also fills a store that `kube::runtime::applier` reads.
    #[must_use]
    pub fn store(mut self, writer: Writer<K>) -> Self {
        self.writer = Some(writer);
        self
    }

    /// A kind that is not served counts as one without objects: dask-kubernetes' definitions lack it.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// After each list `on_list` is called and all objects count as changed: lists are rare, and one comes
    /// whenever the kind's definition is replaced.
    #[must_use]
    pub fn resync(mut self, on_list: fn()) -> Self {
        self.on_list = Some(on_list);
        self
    }

    /// Calls `listener` with each change, after the cache has it. It must not block.
    #[must_use]
    pub fn listen(mut self, listener: impl Fn(&Change<K>) + Send + 'static) -> Self {
        self.listeners.push(Box::new(listener));
        self
    }

    /// How far the watch is, and the future that drives it for as long as the process lives.
    pub fn start(self) -> (Progress, impl Future<Output = ()> + Send) {
        let (sender, synced) = watch::channel(false);
        let (hearing, heard) = watch::channel(Instant::now());
        let progress = Progress { kind: K::plural(&self.dynamic_type).into_owned(), synced, heard };
        (progress, self.run(sender, hearing))
    }

    async fn run(mut self, synced: watch::Sender<bool>, heard: watch::Sender<Instant>) {
        let kind = K::plural(&self.dynamic_type).into_owned();
        let stream = watcher(self.api.clone(), self.config.clone())
            .modify(|object| object.meta_mut().managed_fields = None)
            .default_backoff();
        pin_mut!(stream);
        while let Some(result) = stream.next().await {
            match result {
                Ok(event) => {
                    heard.send_replace(Instant::now());
                    self.take(&event);
                    if matches!(event, watcher::Event::InitDone) {
                        synced.send_replace(true);
                    }
                }
                Err(error) if self.optional && is_unserved(&error) => {
                    if !*synced.borrow() {
                        tracing::info!(kind, "this kind is not installed; it is watched as soon as it is");
                        self.take(&watcher::Event::Init);
                        self.take(&watcher::Event::InitDone);
                        synced.send_replace(true);
                    }
                }
                Err(error) => {
                    tracing::warn!(kind, %error, "watch failed and will be started again");
                }
            }
        }
    }

    fn take(&mut self, event: &watcher::Event<K>) {
        if let Some(writer) = &mut self.writer {
            writer.apply_watcher_event(event);
        }
        let mut changes = self.cache.apply(event);
        if let (Some(on_list), watcher::Event::InitDone) = (self.on_list, event) {
            on_list();
            changes.retain(|change| matches!(change, Change::Deleted(_)));
            changes.extend(self.cache.all().into_iter().map(Change::Applied));
        }
        for change in &changes {
            for listener in &self.listeners {
                listener(change);
            }
        }
    }
}

fn is_unserved(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(source) | watcher::Error::WatchStartFailed(source)) = error else {
        return false;
    };
    matches!(source, kube::Error::Api(status) if status.code == 404)
}
