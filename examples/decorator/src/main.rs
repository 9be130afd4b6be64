//! A dask-operator plugin that runs the unchanged hook of a Metacontroller `DecoratorController`.

mod attachments;
mod authorization;
mod call_error;
mod config;
mod connection;
mod fields;
mod files;
mod hook;
mod hook_request;
mod hook_response;
mod keys;
mod settings;
mod verifier;

use std::process::ExitCode;

use dask_plugin_server::protocol::{Discovery, Hook, PluginRequest};
use dask_plugin_server::{Answer, Plugin, PluginError, run};
use reqwest::Url;

use crate::config::{Config, HookVersion};
use crate::hook::WebHook;
use crate::hook_request::hook_request;
use crate::settings::Settings;

/// The plugin.
struct DecoratorPlugin {
    sync: WebHook,
    finalize: Option<WebHook>,
    version: HookVersion,
}

impl DecoratorPlugin {
    fn new(config: &Config) -> Self {
        let hook = |url: &Url| WebHook::new(url.clone(), config);
        Self { sync: hook(&config.sync), finalize: config.finalize.as_ref().map(hook), version: config.version }
    }
}

impl Plugin for DecoratorPlugin {
    fn discovery(&self) -> Discovery {
        let discovery = Discovery::new("decorator", env!("CARGO_PKG_VERSION"));
        if self.finalize.is_some() { discovery.hook(Hook::Finalize) } else { discovery }
    }

    async fn sync(&self, request: &PluginRequest) -> Result<Answer, PluginError> {
        let settings: Settings = dask_plugin_server::settings(request)?;
        let response = self.sync.call(&hook_request(request, &settings, self.version)).await?;
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
            let response = hook.call(&hook_request(&request, &settings, self.version)).await?;
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
    match Config::read(|variable| std::env::var(variable).ok()) {
        Ok(config) => run(DecoratorPlugin::new(&config)).await,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests;
