//! {{project-name}}, a plugin for dask-operator: a ConfigMap for each subject.

use std::process::ExitCode;

use dask_plugin_server::protocol::{Child, Discovery, PluginRequest};
use dask_plugin_server::{Answer, Plugin, PluginError, run, settings};
use serde::Deserialize;
use serde_json::json;

/// `spec.settings` of the plugin resource.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    #[serde(default = "default_greeting")]
    greeting: String,
}

fn default_greeting() -> String {
    "Hello".to_owned()
}

struct Greeting;

impl Plugin for Greeting {
    fn discovery(&self) -> Discovery {
        // When the version changes, the controller calls the plugin again for every subject.
        Discovery::new("{{project-name}}", env!("CARGO_PKG_VERSION"))
    }

    /// Returns all children for the subject.
    async fn sync(&self, request: &PluginRequest) -> Result<Answer, PluginError> {
        let settings: Settings = settings(request)?;
        let data = json!({"text": format!("{} {}", settings.greeting, request.subject.name())});
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data});
        Ok(Child::new("greeting", map).into())
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    run(Greeting).await
}

#[cfg(test)]
mod tests {
    use dask_plugin_server::testing::{RequestBuilder, TestPlugin};

    use super::*;

    #[tokio::test]
    async fn a_subject_has_a_config_map() {
        let request = RequestBuilder::sync().settings(json!({"greeting": "Hi"}));
        let children = TestPlugin::new(Greeting).sync(request).await.children.unwrap();
        assert_eq!(children[0].manifest["data"], json!({"text": "Hi demo-scheduler"}));
    }

    #[tokio::test]
    async fn the_error_for_a_misspelt_setting_names_it() {
        let request = RequestBuilder::sync().settings(json!({"greting": "Hi"}));
        let answer = TestPlugin::new(Greeting).sync(request).await;
        assert_eq!(answer.reason, "InvalidSettings");
        assert!(answer.message.starts_with("spec.settings.greting: unknown field"), "{}", answer.message);
    }
}
