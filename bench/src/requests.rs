//! What the API server counts.

use std::collections::BTreeMap;

use kube::Client;

use crate::Error;

/// Kinds that only plugins are the reason to read or write, once clusters are stable.
const KINDS: [&str; 4] = ["configmaps", "daskoperatorplugins", "secrets", "selfsubjectaccessreviews"];

/// Requests so far, by verb and kind.
pub(crate) type Requests = BTreeMap<String, u64>;

/// All requests since the API server started, of all clients.
pub(crate) async fn count(client: &Client) -> Result<Requests, Error> {
    let request = http::Request::get("/metrics").body(Vec::new()).map_err(kube::Error::HttpError)?;
    let metrics = client.request_text(request).await?;
    let mut requests = Requests::new();
    for line in metrics.lines().filter_map(|line| line.strip_prefix("apiserver_request_total{")) {
        let (verb, kind) = (label(line, "verb"), label(line, "resource"));
        let count = line.rsplit(' ').next().and_then(|number| number.parse::<f64>().ok()).unwrap_or_default();
        if KINDS.contains(&kind) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of requests")]
            let count = count as u64;
            *requests.entry(format!("{} {kind}", verb.to_lowercase())).or_default() += count;
        }
    }
    Ok(requests)
}

/// What came between `before` and `after`.
pub(crate) fn since(before: &Requests, after: &Requests) -> Requests {
    let grown = after.iter().map(|(call, count)| (call.clone(), count - before.get(call).unwrap_or(&0)));
    grown.filter(|(_, count)| *count > 0).collect()
}

fn label<'a>(line: &'a str, name: &str) -> &'a str {
    let value = line.split_once(&format!("{name}=\"")).map(|(_, rest)| rest);
    value.and_then(|rest| rest.split('"').next()).unwrap_or_default()
}
