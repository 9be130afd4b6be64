//! A connection to a scheduler's RPC.

use std::{io, time::Duration};

use rustls::pki_types::ServerName;
use serde::{Serialize, de::DeserializeOwned, de::IgnoredAny};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{
    Endpoint, Error, codec,
    message::{self, Request},
};

/// Time limit of connecting, TLS and the handshake together.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection whose handshake is complete, for a single call.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    received: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(endpoint: &Endpoint) -> Result<Self, Error> {
        match timeout(CONNECT_TIMEOUT, Self::greet(endpoint)).await {
            Ok(connection) => connection,
            Err(_) => Err(Error::Timeout { step: "the handshake", limit: CONNECT_TIMEOUT }),
        }
    }

    async fn greet(endpoint: &Endpoint) -> Result<Self, Error> {
        let mut connection = Self { stream: connect(endpoint).await?, received: Vec::new() };
        connection.send(&message::handshake()?).await?;
        let frame = codec::read(&mut connection.stream, &mut connection.received).await?;
        // The content of the scheduler's handshake matters only to clients that exchange Python objects.
        message::decode::<IgnoredAny>(&frame)?;
        Ok(connection)
    }

    /// Makes the single call of this connection.
    pub(crate) async fn call<T: DeserializeOwned>(
        mut self,
        op: &'static str,
        arguments: impl Serialize,
        limit: Duration,
    ) -> Result<T, Error> {
        let request = message::encode(&Request { op, reply: true, close: true, arguments })?;
        let exchange = async {
            self.send(&request).await?;
            codec::read(&mut self.stream, &mut self.received).await
        };
        match timeout(limit, exchange).await {
            Ok(frame) => message::decode_reply(&frame?),
            Err(_) => Err(Error::Timeout { step: op, limit }),
        }
    }

    async fn send(&mut self, frame: &[u8]) -> Result<(), Error> {
        let sent = async {
            self.stream.write_all(&codec::encode(frame)).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|error| Error::broken(&error))
    }
}

async fn connect(endpoint: &Endpoint) -> Result<Box<dyn Stream>, Error> {
    let unreachable = |error: io::Error| Error::Connect { address: endpoint.to_string(), cause: error.to_string() };
    let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let Some(config) = &endpoint.tls else {
        return Ok(Box::new(stream));
    };
    let name = ServerName::try_from(endpoint.host.clone()).map_err(|error| Error::Tls(error.to_string()))?;
    let connector = TlsConnector::from(config.clone());
    match connector.connect(name, stream).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(Error::Tls(error.to_string())),
    }
}
