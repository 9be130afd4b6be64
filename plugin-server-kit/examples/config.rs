//! A plugin with a configuration of its own instead of environment variables.
//!
//! It takes the directory of its certificates as an argument, and stops on Ctrl-C. Without an argument, it serves
//! plain HTTP.
//!
//! ```console
//! $ cargo run --example config -- /etc/plugin-tls
//! ```

use std::env;

use dask_plugin_server::config::{Config, Endpoint, LogFormat};
use dask_plugin_server::protocol::{Discovery, PluginRequest};
use dask_plugin_server::{Answer, Plugin, PluginError, RunError, run_until};

struct Nothing;

impl Plugin for Nothing {
    fn discovery(&self) -> Discovery {
        Discovery::new("nothing", env!("CARGO_PKG_VERSION"))
    }

    async fn sync(&self, _: &PluginRequest) -> Result<Answer, PluginError> {
        Ok(Answer::none())
    }
}

fn config(directory: Option<String>) -> Config {
    let endpoint = match directory {
        Some(directory) => Endpoint::Tls { dir: directory.into(), port: 8443 },
        None => Endpoint::Insecure { port: 8000 },
    };
    let mut config = Config::new(endpoint);
    config.health_port = Some(8080);
    config.log_format = LogFormat::Json;
    config
}

#[tokio::main]
async fn main() -> Result<(), RunError> {
    let stop = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!(%error, "failed to wait for Ctrl-C");
        }
    };
    run_until(Nothing, config(env::args().nth(1)), stop).await
}
