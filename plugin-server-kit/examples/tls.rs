//! A plugin that is served from its parts: certificates, a listener and a router.
//!
//! Use the parts if the plugin runs inside another program, or if it needs routes of its own.
//!
//! ```console
//! $ cargo run --example tls -- /etc/plugin-tls
//! ```

use std::env;
use std::error::Error;
use std::net::TcpListener;

use dask_plugin_server::credentials::Credentials;
use dask_plugin_server::protocol::{Discovery, PluginRequest};
use dask_plugin_server::serve::{Listener, serve};
use dask_plugin_server::tls::Tls;
use dask_plugin_server::{Answer, Metrics, Plugin, PluginError, router_with};

struct Nothing;

impl Plugin for Nothing {
    fn discovery(&self) -> Discovery {
        Discovery::new("nothing", env!("CARGO_PKG_VERSION"))
    }

    async fn sync(&self, _: &PluginRequest) -> Result<Answer, PluginError> {
        Ok(Answer::none())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = env::args().nth(1).ok_or("usage: tls DIRECTORY")?;
    // The files are reloaded when they change. Only the controller may connect.
    let tls = Tls::load(directory).await?;
    let listener = Listener::tls(TcpListener::bind("[::]:8443")?, tls)?;
    // The certificate identifies the controller, so no other credentials are needed.
    let router = router_with(Nothing, Credentials::none(), Metrics::default());
    serve(listener, router, async { drop(tokio::signal::ctrl_c().await) }).await;
    Ok(())
}
