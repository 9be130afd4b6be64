//! A dask-operator plugin that runs the unchanged hook of a Metacontroller `DecoratorController`.

mod hook;
mod hook_request;
mod hook_response;
mod keys;
mod settings;

use std::process::ExitCode;

use dask_plugin_server::protocol::{Discovery, Hook, PluginRequest};
use dask_plugin_server::{Answer, Plugin, PluginError, run};

use crate::hook::WebHook;
use crate::hook_request::hook_request;
use crate::settings::Settings;

/// The default URL of the hook, in the pod of the plugin.
const DEFAULT_URL: &str = "http://127.0.0.1:8000/sync";

/// The plugin. URLs come from the environment and not from settings, because users who may edit the plugin resource must
/// not control the servers that this process connects to.
struct DecoratorPlugin {
    sync: WebHook,
    finalize: Option<WebHook>,
}

impl DecoratorPlugin {
    fn new(sync: &str, finalize: Option<&str>) -> Result<Self, String> {
        let sync = WebHook::new(sync).map_err(|problem| format!("HOOK_URL {problem}"))?;
        let finalize = finalize.map(WebHook::new).transpose().map_err(|problem| format!("FINALIZE_URL {problem}"))?;
        Ok(Self { sync, finalize })
    }

    fn from_env() -> Result<Self, String> {
        let text = |variable| std::env::var(variable).ok().filter(|text| !text.is_empty());
        let sync = text("HOOK_URL").unwrap_or_else(|| DEFAULT_URL.to_owned());
        Self::new(&sync, text("FINALIZE_URL").as_deref())
    }
}

impl Plugin for DecoratorPlugin {
    fn discovery(&self) -> Discovery {
        let discovery = Discovery::new("decorator", env!("CARGO_PKG_VERSION"));
        if self.finalize.is_some() { discovery.hook(Hook::Finalize) } else { discovery }
    }

    async fn sync(&self, request: &PluginRequest) -> Result<Answer, PluginError> {
        let settings: Settings = dask_plugin_server::settings(request)?;
        let response = self.sync.call(&hook_request(request, &settings)).await?;
        response.into_answer(&request.subject)
    }

    /// Calls the hook until it has finalized.
    ///
    /// The hook of a `DecoratorController` may wait until the attachments that it no longer wants are deleted. The
    /// controller deletes them after the hook has finalized, so they are removed from the request of the next call.
    async fn finalize(&self, request: &PluginRequest) -> Result<(), PluginError> {
        let settings: Settings = dask_plugin_server::settings(request)?;
        let hook = self.finalize.as_ref().ok_or_else(|| PluginError::pending("FINALIZE_URL is not set"))?;
        let mut request = request.clone();
        loop {
            let response = hook.call(&hook_request(&request, &settings)).await?;
            if response.is_final() {
                return Ok(());
            }
            let before = request.observed.children.len();
            request.observed.children.retain(|_, child| response.contains(&child.object));
            if request.observed.children.len() == before {
                let pending = PluginError::pending("the hook has not finalized yet");
                return Err(pending.resync_after(response.resync_after_seconds()));
            }
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match DecoratorPlugin::from_env() {
        Ok(plugin) => run(plugin).await,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests;
