//! Checks that run before the watches start: the API server is reachable, the Dask kinds are installed, and the
//! controller's ServiceAccount has the permissions that it uses.
//!
//! The checks run before the initial lists and not in parallel, because they take only about a tenth of a second, and
//! because kinds that must not be read must not be watched. If something essential is missing, the controller waits for
//! it, since definitions and roles are often installed at the same time as the controller. If something optional is
//! missing, the feature is off until the next start.

mod decide;
mod observe;
mod rights;
mod served;
mod words;

pub use decide::Findings;
pub use rights::{At, Feature, Need, Questions, Right, Wanted, wanted};
pub use served::Served;

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::{admin::Probes, exit::Exit};
use operator_runtime::k8s::{self, OldDefinitions};

/// The pause between the first checks.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause between later checks. It limits how late the controller notices that a missing part was installed.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Why the controller does not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The API server is unreachable.
    #[error("the API server cannot be asked: {0}")]
    ApiServer(String),
    /// Essential kinds are not served.
    #[error("not installed: {0}; install the definitions: dask-operator crd | kubectl apply --server-side -f -")]
    Definitions(String),
    /// Essential permissions are missing.
    #[error("the controller may not {0}; its roles must grant what those of the chart grant")]
    Rights(String),
}

impl Problem {
    /// Returns the exit code of the process for this problem.
    pub fn exit(&self) -> Exit {
        match self {
            Self::ApiServer(_) => Exit::NoApiServer,
            Self::Definitions(_) => Exit::MissingDefinitions,
            Self::Rights(_) => Exit::MissingRights,
        }
    }
}

/// Converts a failed call, which gives no information about what is missing.
impl From<k8s::Error> for Problem {
    fn from(error: k8s::Error) -> Self {
        Self::ApiServer(cause(&error))
    }
}

/// Returns the message of the API server or the network error. The outer errors only say that there is an inner one.
fn cause(error: &k8s::Error) -> String {
    let k8s::Error::Call { source, .. } = error else { return error.to_string() };
    if let kube::Error::Api(status) = source.as_ref() {
        return match status.code {
            401 => "it does not accept the controller's credentials".to_owned(),
            _ => status.message.clone(),
        };
    }
    let mut cause: &dyn std::error::Error = source.as_ref();
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// The start-up checks.
pub struct Preflight {
    /// The client of the API server.
    pub client: Client,
    /// The flags that determine what is checked.
    pub questions: Questions,
    /// The probes, which report what the startup waits for.
    pub probes: Probes,
    /// How long to wait for essential parts.
    pub limit: Duration,
    /// Where the kinds are recorded whose definitions are old.
    pub old_definitions: OldDefinitions,
}

impl Preflight {
    /// Waits until all essential parts are available. Returns the optional ones that are missing, or `None` if
    /// `shutdown` came first.
    ///
    /// # Errors
    /// Returns what is still missing after the limit. With a limit of zero, the first check decides.
    pub async fn pass(&self, shutdown: &CancellationToken) -> Result<Option<Findings>, Problem> {
        let begin = Instant::now();
        let (mut granted, mut logged) = (HashSet::new(), None);
        let mut backoff = backoff();
        loop {
            let look = tokio::select! {
                look = self.look(&mut granted) => look,
                () = shutdown.cancelled() => return Ok(None),
            };
            let problem = match look {
                Ok(findings) => {
                    tracing::info!(rights = granted.len(), waited = ?begin.elapsed(), "start-up checks have passed");
                    findings.log();
                    return Ok(Some(findings));
                }
                Err(problem) => problem,
            };
            let left = self.limit.saturating_sub(begin.elapsed());
            if left.is_zero() {
                return Err(problem);
            }
            if logged.as_ref() != Some(&problem) {
                tracing::warn!(%problem, "the start waits");
                self.probes.wait_for(problem.to_string());
                logged = Some(problem);
            }
            let pause = backoff.next().unwrap_or(LONGEST_PAUSE).min(left);
            tokio::select! { () = tokio::time::sleep(pause) => {}, () = shutdown.cancelled() => return Ok(None) }
        }
    }

    async fn look(&self, granted: &mut HashSet<Right>) -> Result<Findings, Problem> {
        let served = observe::served(&self.client).await?;
        decide::definitions(&served)?;
        self.old_definitions.set_without_status(served.without_status());
        let wanted = wanted(&self.questions, &served);
        let denied = observe::denied(&self.client, wanted.keys(), granted).await?;
        decide::rights(&wanted, &denied)
    }
}

fn backoff() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::new()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .without_max_times()
        .with_jitter()
        .build()
}
