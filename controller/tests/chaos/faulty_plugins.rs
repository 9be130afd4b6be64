//! Plugins beside the storm: one that does all as it should, and some that sin from the moment that the script says.

use std::time::Duration;

use serde_json::Value;

use crate::{
    api_server,
    proxy::Proxy,
    support::{
        TestContext, condition,
        faulty_plugin::{Deed, Sinner, Way},
        misbehaviour::{self, GOOD},
        within,
    },
};

/// How long the controller must have changed nothing, so that its state counts as steady.
const QUIET: Duration = Duration::from_secs(2);

/// A plugin whose only child has the name of a foreign object: see [`crate::foreign`].
pub(crate) const BLOCKED: &str = "blocked";

/// The plugins of one run.
pub(crate) struct Sinners {
    good: Option<Sinner>,
    _blocked: Option<Sinner>,
    others: Vec<Sinner>,
}

impl Sinners {
    /// Installs a good plugin, one whose child's name is taken, and those of these places in the list of all sins;
    /// without sins, none at all.
    pub(crate) async fn install(context: &TestContext, places: &[usize]) -> Self {
        if places.is_empty() {
            return Self { good: None, _blocked: None, others: Vec::new() };
        }
        let good = Sinner::install(context, GOOD, Way::Answer(|_| Deed::Hang)).await;
        let blocked = Sinner::install(context, BLOCKED, Way::Answer(|_| Deed::Hang)).await;
        let catalogue = misbehaviour::all();
        let mut others = Vec::new();
        for place in places {
            let sin = &catalogue[*place];
            others.push(Sinner::install(context, sin.name, sin.way).await);
        }
        for sinner in others.iter().chain([&good, &blocked]) {
            within(Duration::from_mins(2), "a plugin to be in order", async || {
                let plugin = context.expect("DaskOperatorPlugin", sinner.name).await;
                let subjects = &plugin["status"]["subjects"];
                // One that takes what is not its own would be synced, too, and is told by the object that it took.
                let in_order = subjects["synced"] == 1 || sinner.name == BLOCKED && subjects["failing"] == 1;
                if in_order { Ok(()) } else { Err(plugin["status"].to_string()) }
            })
            .await;
        }
        Self { good: Some(good), _blocked: Some(blocked), others }
    }

    /// From now on they sin.
    pub(crate) async fn begin(&self) {
        let _the_api_server_stays = api_server::AT_REST.read().await;
        for sinner in &self.others {
            sinner.begin().await;
        }
    }

    /// Whether the controller has nothing left to write; with plugins that sin there is no telling.
    pub(crate) fn are_quiet(&self, proxy: &Proxy) -> bool {
        !self.others.is_empty() || proxy.unwritten_for() > QUIET
    }

    /// What they had before they sinned is theirs still, and the good one is as it was.
    pub(crate) async fn have_lost_nothing(&self, context: &TestContext) -> Result<(), String> {
        for sinner in self.others.iter().chain(&self.good) {
            let child = format!("demo-scheduler-{}-config", sinner.name);
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
