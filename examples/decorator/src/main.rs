//! A dask-operator plugin that asks the hook of a Metacontroller `DecoratorController`, which stays as it is.

mod hook;
mod keys;
mod question;
mod settings;
mod verdict;

use std::process::ExitCode;

use dask_plugin_server::protocol::{Discovery, Hook, PluginRequest};
use dask_plugin_server::{Answer, Plugin, PluginError, run};

use crate::hook::WebHook;
use crate::question::question;
use crate::settings::Settings;

/// Where the hook is if the environment does not say: beside the plugin, in the same pod.
const DEFAULT_URL: &str = "http://127.0.0.1:8000/sync";

/// Addresses come from the environment and not from settings: whoever may edit the plugin resource must not be able
/// to make this process talk to addresses of his choice.
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
        let verdict = self.sync.call(&question(request, &settings)).await?;
        verdict.into_answer(&request.subject)
    }

    /// The hook of a `DecoratorController` may wait until the attachments that it does not want any more have gone. The
    /// controller deletes them as soon as the hook has finalized, so the hook is asked as if they had gone already.
    async fn finalize(&self, request: &PluginRequest) -> Result<(), PluginError> {
        let settings: Settings = dask_plugin_server::settings(request)?;
        let hook = self.finalize.as_ref().ok_or_else(|| PluginError::pending("FINALIZE_URL is not set"))?;
        let mut request = request.clone();
        loop {
            let verdict = hook.call(&question(&request, &settings)).await?;
            if verdict.is_final() {
                return Ok(());
            }
            let before = request.observed.children.len();
            request.observed.children.retain(|_, child| verdict.wants(&child.object));
            if request.observed.children.len() == before {
                let pending = PluginError::pending("the hook has not finalized yet");
                return Err(pending.resync_after(verdict.resync_after_seconds()));
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
