//! A plugin that records each request, and so which attempt was the first to arrive. Tests serve it themselves.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use plugin_server_kit::{
    Answer, Plugin, PluginError,
    protocol::{Discovery, PluginRequest},
};

use crate::support::{TestContext, plugin::config, within};

/// The plugin. Clones share what is recorded.
#[derive(Clone, Default)]
pub(crate) struct RecordingPlugin(Arc<Mutex<Vec<PluginRequest>>>);

impl Plugin for RecordingPlugin {
    fn discovery(&self) -> Discovery {
        Discovery::new("recording", "1.0.0")
    }

    async fn sync(&self, request: &PluginRequest) -> Result<Answer, PluginError> {
        self.0.lock().unwrap().push(request.clone());
        Ok(vec![config("config", "first")].into())
    }
}

impl RecordingPlugin {
    /// Returns the requests so far.
    pub(crate) fn requests(&self) -> Vec<PluginRequest> {
        self.0.lock().unwrap().clone()
    }

    /// Makes the controller call the plugins of the cluster `demo` again, and waits for the call. `value` is new each time.
    pub(crate) async fn is_called_again(&self, context: &TestContext, value: &str, limit: Duration) {
        context.annotate("DaskCluster", "demo", "example.com/nudge", value).await;
        let is_it =
            |request: &PluginRequest| request.owner.object["metadata"]["annotations"]["example.com/nudge"] == value;
        within(limit, "the question", async || {
            let found = self.0.lock().unwrap().iter().any(is_it);
            if found { Ok(()) } else { Err(format!("{value} was not asked")) }
        })
        .await;
    }
}
