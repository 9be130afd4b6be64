//! `why`: reads the objects and prints what [`crate::why`] finds.

use serde::Serialize;

use crate::{
    access::Connection,
    args::Format,
    error::{Error, PROBLEM},
    fetch, output,
    snapshot::{Gap, Snapshot},
    why::{self, Finding, Health},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Explanation<'a> {
    namespace: &'a str,
    name: &'a str,
    #[serde(flatten)]
    finding: &'a Finding,
    not_seen: &'a [Gap],
}

/// Returns the exit code.
pub(crate) async fn run(connection: &Connection, cluster: &str, format: Format) -> Result<u8, Error> {
    let seen = fetch::snapshot(connection, cluster).await;
    check(connection, &seen)?;
    let finding = why::diagnose(&seen);
    output::gaps(&seen.gaps);
    match format {
        Format::Json => output::json(&explanation(&seen, &finding))?,
        Format::Table => output::line(&text(&finding))?,
    }
    Ok(if finding.health == Health::Broken { PROBLEM } else { 0 })
}

/// Returns what is printed as JSON.
pub(crate) fn explanation<'a>(seen: &'a Snapshot, finding: &'a Finding) -> impl Serialize + 'a {
    Explanation { namespace: &seen.namespace, name: &seen.name, finding, not_seen: &seen.gaps }
}

/// Returns the cause, and below it what to do.
pub(crate) fn text(finding: &Finding) -> String {
    match finding.action.as_str() {
        "" => finding.cause.clone(),
        action => format!("{}\nTo do: {action}", finding.cause),
    }
}

/// Fails if there is nothing to explain.
fn check(connection: &Connection, seen: &Snapshot) -> Result<(), Error> {
    if seen.cluster.is_some() || seen.job.is_some() || !seen.pods.is_empty() {
        return Ok(());
    }
    match seen.gaps.iter().find(|gap| gap.resource == "daskclusters") {
        Some(gap) => Err(Error::Refused(gap.why.clone())),
        None => Err(fetch::missing(connection, &seen.name)),
    }
}
