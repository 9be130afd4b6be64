//! Request counts that are read from the API server's metrics.

use std::collections::BTreeMap;

use kube::Client;

use crate::Error;

/// The kinds that are read and written because of plugins only, once clusters are stable.
const PLUGIN_KINDS: [&str; 4] = ["configmaps", "daskoperatorplugins", "secrets", "selfsubjectaccessreviews"];

/// Number of requests by verb, or by verb and kind.
pub(crate) type RequestCounts = BTreeMap<String, u64>;

/// Returns the requests of all clients for [`PLUGIN_KINDS`] since the API server started, by verb and kind.
pub(crate) async fn count(client: &Client) -> Result<RequestCounts, Error> {
    let mut counts = RequestCounts::new();
    for sample in samples(client, "apiserver_request_total").await? {
        let kind = sample.label("resource");
        if PLUGIN_KINDS.contains(&kind) {
            let verb = sample.label("verb").to_lowercase();
            *counts.entry(format!("{verb} {kind}")).or_default() += sample.value();
        }
    }
    Ok(counts)
}

/// Returns the requests that were counted between `before` and `after`.
pub(crate) fn since(before: &RequestCounts, after: &RequestCounts) -> RequestCounts {
    let grown = after.iter().map(|(call, count)| (call.clone(), count - before.get(call).unwrap_or(&0)));
    grown.filter(|(_, count)| *count > 0).collect()
}

/// A line of the metrics: labels and a value.
pub(crate) struct Sample(String);

/// Returns the samples of the counter `metric` of the API server.
pub(crate) async fn samples(client: &Client, metric: &str) -> Result<Vec<Sample>, Error> {
    let request = http::Request::get("/metrics").body(Vec::new()).map_err(kube::Error::HttpError)?;
    let metrics = client.request_text(request).await?;
    let lines = metrics.lines().filter(|line| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with('{')));
    Ok(lines.map(|line| Sample(line.to_owned())).collect())
}

impl Sample {
    /// Returns the value of a label, or an empty string.
    pub(crate) fn label(&self, name: &str) -> &str {
        let value = self.0.split_once(&format!("{name}=\"")).map(|(_, rest)| rest);
        value.and_then(|rest| rest.split('"').next()).unwrap_or_default()
    }

    /// Returns the counter's value.
    pub(crate) fn value(&self) -> u64 {
        let count = self.0.rsplit(' ').next().and_then(|number| number.parse::<f64>().ok()).unwrap_or_default();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of requests")]
        let count = count as u64;
        count
    }
}
