//! Reads kopf's `--liveness` flag.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::{Uri, uri::Authority};

use super::Error;

/// The path that the chart of dask-kubernetes probes.
const PATH: &str = "/healthz";

/// Returns the address in kopf's `--liveness`, and a warning if the path differs from that of the chart. The default
/// port is 80, as in kopf.
pub(super) fn address(url: &str) -> Result<(SocketAddr, Option<String>), Error> {
    let refuse = |why| Error::Liveness { url: url.to_owned(), why };
    let uri: Uri = url.parse().map_err(|_| refuse("it is no URL"))?;
    if uri.scheme_str() != Some("http") {
        return Err(refuse("it must be a URL that begins with http://"));
    }
    let host = uri.host().unwrap_or_default();
    let ip = match host.trim_start_matches('[').trim_end_matches(']').parse() {
        Ok(ip) => ip,
        Err(_) if host == "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Err(_) => return Err(refuse("its host must be an IP address")),
    };
    let authority = uri.authority().map(Authority::as_str).unwrap_or_default();
    let names_port = authority.rsplit_once(':').is_some_and(|(_, rest)| !rest.ends_with(']'));
    let port = match uri.port_u16() {
        Some(port) => port,
        None if names_port => return Err(refuse("its port must be a number below 65536")),
        None => 80,
    };
    let warning = (uri.path() != PATH).then(|| {
        format!("--liveness {url:?}: probes are answered at {PATH}, /livez and /readyz, not at {}", uri.path())
    });
    Ok((SocketAddr::new(ip, port), warning))
}

#[cfg(test)]
mod tests {
    #[test]
    fn urls_lead_to_addresses() {
        let table = [
            ("http://0.0.0.0:8080/healthz", "0.0.0.0:8080", false),
            ("http://localhost:8080/healthz", "127.0.0.1:8080", false),
            ("http://[::]:9000/healthz", "[::]:9000", false),
            ("http://10.0.0.1/healthz", "10.0.0.1:80", false),
            ("http://0.0.0.0:8080", "0.0.0.0:8080", true),
            ("http://0.0.0.0:8080/alive", "0.0.0.0:8080", true),
        ];
        for (url, expected, warns) in table {
            let (address, warning) = super::address(url).unwrap();
            assert_eq!((address.to_string().as_str(), warning.is_some()), (expected, warns), "{url}");
        }
    }

    #[test]
    fn other_urls_are_refused_in_one_sentence() {
        let table = [
            ("", "it is no URL"),
            ("0.0.0.0:8080", "it must be a URL that begins with http://"),
            ("https://0.0.0.0:8080/healthz", "it must be a URL that begins with http://"),
            ("http://example.org/healthz", "its host must be an IP address"),
            ("http://0.0.0.0:808080/healthz", "its port must be a number below 65536"),
        ];
        for (url, why) in table {
            let expected = format!("--liveness {url:?}: {why}");
            assert_eq!(super::address(url).unwrap_err().to_string(), expected);
        }
    }
}
