//! The plugins of a run: one that behaves well, one whose child is blocked, and some that misbehave from the step on that
//! the scenario names.

use std::time::Duration;

use serde_json::Value;

use crate::{
    api_server,
    proxy::Proxy,
    support::{
        TestContext, condition,
        faulty_plugin::{FaultMode, FaultyPlugin, Reply},
        misbehaviour::{self, GOOD},
        within,
    },
};

/// How long the controller must have changed nothing, so that its state counts as steady.
const QUIET: Duration = Duration::from_secs(2);

/// A plugin whose only child has the name of a foreign object: see [`crate::foreign`].
pub(crate) const BLOCKED: &str = "blocked";

/// The plugins of one run.
pub(crate) struct FaultyPlugins {
    good: Option<FaultyPlugin>,
    _blocked: Option<FaultyPlugin>,
    others: Vec<FaultyPlugin>,
}

impl FaultyPlugins {
    /// Installs a good plugin, one whose child's name is taken, and those at `indices` of the table of misbehaviours.
    /// Installs none if `indices` is empty.
    pub(crate) async fn install(context: &TestContext, indices: &[usize]) -> Self {
        if indices.is_empty() {
            return Self { good: None, _blocked: None, others: Vec::new() };
        }
        let good = FaultyPlugin::install(context, GOOD, FaultMode::Answer(|_| Reply::Hang)).await;
        let blocked = FaultyPlugin::install(context, BLOCKED, FaultMode::Answer(|_| Reply::Hang)).await;
        let catalogue = misbehaviour::all();
        let mut others = Vec::new();
        for index in indices {
            let misbehaviour = &catalogue[*index];
            others.push(FaultyPlugin::install(context, misbehaviour.name, misbehaviour.mode).await);
        }
        for plugin in others.iter().chain([&good, &blocked]) {
            within(Duration::from_mins(2), "a plugin to be in order", async || {
                let resource = context.expect("DaskOperatorPlugin", plugin.name).await;
                let subjects = &resource["status"]["subjects"];
                // A plugin that takes a foreign object would be synced as well; the check of foreign objects finds that.
                let in_order = subjects["synced"] == 1 || plugin.name == BLOCKED && subjects["failing"] == 1;
                if in_order { Ok(()) } else { Err(resource["status"].to_string()) }
            })
            .await;
        }
        Self { good: Some(good), _blocked: Some(blocked), others }
    }

    /// Makes them misbehave from now on.
    pub(crate) async fn begin(&self) {
        let _no_restart = api_server::RESTART.read().await;
        for plugin in &self.others {
            plugin.begin().await;
        }
    }

    /// Returns whether the controller has nothing left to write. Plugins that misbehave may make it write for ever.
    pub(crate) fn are_quiet(&self, proxy: &Proxy) -> bool {
        !self.others.is_empty() || proxy.unwritten_for() > QUIET
    }

    /// Checks that children from before the misbehaviour still exist, and that the good plugin is ready.
    pub(crate) async fn have_lost_nothing(&self, context: &TestContext) -> Result<(), String> {
        for plugin in self.others.iter().chain(&self.good) {
            let child = format!("demo-scheduler-{}-config", plugin.name);
            let found = context.get("ConfigMap", &child).await.ok_or_else(|| format!("{child} is gone"))?;
            if found["data"]["value"] != "good" {
                return Err(format!("{child} was changed: {}", found["data"]));
            }
        }
        let Some(good) = &self.good else { return Ok(()) };
        let is_ready = |plugin: &Value| condition(plugin, "Ready").0 == "True";
        let plugin = tokio::time::timeout(Duration::from_mins(2), good.until(is_ready)).await;
        plugin.map(drop).map_err(|_| "the good plugin is not ready".to_owned())
    }
}
