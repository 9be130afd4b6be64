//! Forwards local connections to the scheduler's pod. Each connection looks for the pod again, so that a pod that was
//! restarted or replaced is found.

use std::net::{Ipv4Addr, SocketAddr};

use dask_operator_api::meta::{self, DASHBOARD_PORT};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

use crate::{
    access::Connection,
    error::Error,
    fetch,
    json::{annotation, list, name, text},
    pods,
};

/// A port of the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// Dask's RPC.
    Rpc,
    Dashboard,
}

/// Connections to one port of the scheduler of one cluster.
#[derive(Clone)]
pub(crate) struct Forward {
    connection: Connection,
    cluster: String,
    port: Port,
}

impl Forward {
    pub(crate) fn new(connection: &Connection, cluster: &str, port: Port) -> Self {
        Self { connection: connection.clone(), cluster: cluster.to_owned(), port }
    }

    /// Serves connections at `listener`. Says on standard error what fails, once for each new reason.
    pub(crate) async fn serve(self, listener: TcpListener) {
        let (failures, mut failed) = tokio::sync::mpsc::channel::<Option<String>>(16);
        tokio::spawn(async move {
            let mut last = None;
            while let Some(outcome) = failed.recv().await {
                if let Some(failure) = outcome.as_ref().filter(|_| outcome != last) {
                    eprintln!("{failure}; the next connection tries again");
                }
                last = outcome;
            }
        });
        while let Ok((stream, _)) = listener.accept().await {
            let (forward, failures) = (self.clone(), failures.clone());
            tokio::spawn(async move {
                let outcome = forward.carry(stream).await.err().map(|error| error.to_string());
                // Nobody is left to be interested at the end of the program.
                let _ = failures.send(outcome).await;
            });
        }
    }

    /// Carries one connection to the pod that is ready now.
    async fn carry(&self, mut stream: TcpStream) -> Result<(), Error> {
        let pod = pods::scheduler(&self.connection, &self.cluster).await?;
        let port = self.number(&pod).await;
        let api = self.connection.api::<Pod>();
        let forwarded = api.portforward(name(&pod), &[port]).await;
        let mut forwarded = forwarded
            .map_err(|error| Error::api(&format!("get and create pods/portforward {}", name(&pod)), &error))?;
        let Some(mut remote) = forwarded.take_stream(port) else { return Ok(()) };
        // Either side may end a connection at any time.
        let _ = copy_bidirectional(&mut stream, &mut remote).await;
        drop(remote);
        forwarded.abort();
        Ok(())
    }

    /// Returns the number of the pod's port: that which the Service names, or Dask's default.
    async fn number(&self, pod: &Value) -> u16 {
        let service = service(&self.connection, &self.cluster).await.unwrap_or_default();
        let default = match self.port {
            Port::Rpc => 8786,
            Port::Dashboard => 8787,
        };
        pods::port_number(pod, &target(&service, self.port)).unwrap_or(default)
    }
}

/// Returns the scheduler's Service, if it can be read.
pub(crate) async fn service(connection: &Connection, cluster: &str) -> Option<Value> {
    let kind = fetch::resource::<k8s_openapi::api::core::v1::Service>();
    let found = fetch::get(&connection.untyped(&kind), &kind, &meta::scheduler_name(cluster)).await;
    found.ok().flatten()
}

/// Returns the port of the pod that a port of the Service leads to.
fn target(service: &Value, port: Port) -> Value {
    let ports = list(service, "/spec/ports");
    let named = |wanted: &str| ports.iter().find(|port| text(port, "/name") == wanted);
    let numbered = |number: u16| ports.iter().find(|port| port["port"] == number);
    let entry = match port {
        Port::Rpc => named("tcp-comm").or_else(|| numbered(8786)),
        Port::Dashboard => {
            let own = annotation(service, DASHBOARD_PORT);
            named(own).filter(|_| !own.is_empty()).or_else(|| named("http-dashboard")).or_else(|| numbered(8787))
        }
    };
    entry.map_or(json!(null), |entry| {
        if entry["targetPort"].is_null() { entry["port"].clone() } else { entry["targetPort"].clone() }
    })
}

/// Listens at a local port: this one, or any if it is 0.
pub(crate) async fn listen(port: u16) -> Result<TcpListener, Error> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpListener::bind(address).await.map_err(Error::io(format!("port {port} of this machine cannot be used")))
}

/// Returns the number of the port of a listener.
pub(crate) fn local_port(listener: &TcpListener) -> Result<u16, Error> {
    Ok(listener.local_addr().map_err(Error::io("the local port is gone"))?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dashboard_is_at_the_port_that_the_service_leads_to() {
        let ports = json!([
            {"name": "tcp-comm", "port": 8786, "targetPort": "tcp-comm"},
            {"name": "http-dashboard", "port": 80, "targetPort": "http-dashboard"},
            {"name": "ui", "port": 81, "targetPort": 9999},
        ]);
        let mut service = json!({"spec": {"ports": ports}});
        assert_eq!(target(&service, Port::Rpc), json!("tcp-comm"));
        assert_eq!(target(&service, Port::Dashboard), json!("http-dashboard"));
        service["metadata"]["annotations"][DASHBOARD_PORT] = json!("ui");
        assert_eq!(target(&service, Port::Dashboard), json!(9999));
        assert_eq!(target(&json!({"spec": {"ports": [{"port": 8787}]}}), Port::Dashboard), json!(8787));
        assert_eq!(target(&json!(null), Port::Dashboard), json!(null));
    }
}
