//! A minimal HTTP client for the tests of connections.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Sends a GET and reads until the server closes the connection.
pub(crate) async fn get_and_close<S>(mut stream: S, path: &str) -> io::Result<String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    Ok(response)
}

/// Sends a GET and reads until `expected_body` has arrived. The connection stays open.
pub(crate) async fn get_and_keep<S>(stream: &mut S, path: &str, expected_body: &str) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = Vec::new();
    while !response.ends_with(expected_body.as_bytes()) {
        if stream.read_buf(&mut response).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    assert!(response.starts_with(b"HTTP/1.1 200 OK\r\n"));
    Ok(())
}
