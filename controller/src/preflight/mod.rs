//! Checks before anything is watched: the API server can be reached, the Dask kinds are installed, and the
//! controller's account has the rights that it uses.
//!
//! They come before the first lists rather than beside them: they take a tenth of a second or so, and what may
//! not be read must not be watched. What is essential and missing is waited for, since definitions and roles are often
//! installed in the same moment as the controller; what is optional and missing is done without until the next start.

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
use operator_runtime::k8s;

/// Between the first looks.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Between later ones: so late at most is seen that what was missing has come.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Why the controller does not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The API server does not answer.
    #[error("the API server cannot be asked: {0}")]
    ApiServer(String),
    /// Essential kinds are not served.
    #[error("not installed: {0}; install the definitions: dask-operator crd | kubectl apply --server-side -f -")]
    Definitions(String),
    /// Essential rights are missing.
    #[error("the controller may not {0}; its roles must grant what those of the chart grant")]
    Rights(String),
}

impl Problem {
    /// What the process ends with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::ApiServer(_) => Exit::NoApiServer,
            Self::Definitions(_) => Exit::MissingDefinitions,
            Self::Rights(_) => Exit::MissingRights,
        }
    }
}

/// A failed call says nothing about what is missing.
impl From<k8s::Error> for Problem {
    fn from(error: k8s::Error) -> Self {
        Self::ApiServer(cause(&error))
    }
}

/// The API server's own words, or what the network said: the errors above it only say that there is one below.
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

/// The checks.
pub struct Preflight {
    /// The API server.
    pub client: Client,
    /// What is to be checked.
    pub questions: Questions,
    /// Tell what is waited for.
    pub probes: Probes,
    /// How long may be waited.
    pub limit: Duration,
}

impl Preflight {
    /// Waits until all that is essential is there; what is missing of the rest. `None` if `shutdown` came first.
    ///
    /// # Errors
    /// What is still missing after the limit. With a limit of nothing that is decided by the first look.
    pub async fn pass(&self, shutdown: &CancellationToken) -> Result<Option<Findings>, Problem> {
        let begin = Instant::now();
        let (mut granted, mut told) = (HashSet::new(), None);
        let mut removal_backoff = removal_backoff();
        loop {
            let look = tokio::select! {
                look = self.look(&mut granted) => look,
                () = shutdown.cancelled() => return Ok(None),
            };
            let problem = match look {
                Ok(findings) => {
                    tracing::info!(rights = granted.len(), waited = ?begin.elapsed(), "start-up checks have passed");
                    findings.tell();
                    return Ok(Some(findings));
                }
                Err(problem) => problem,
            };
            let left = self.limit.saturating_sub(begin.elapsed());
            if left.is_zero() {
                return Err(problem);
            }
            if told.as_ref() != Some(&problem) {
                tracing::warn!(%problem, "the start waits");
                self.probes.wait_for(problem.to_string());
                told = Some(problem);
            }
            let pause = removal_backoff.next().unwrap_or(LONGEST_PAUSE).min(left);
            tokio::select! { () = tokio::time::sleep(pause) => {}, () = shutdown.cancelled() => return Ok(None) }
        }
    }

    async fn look(&self, granted: &mut HashSet<Right>) -> Result<Findings, Problem> {
        let served = observe::served(&self.client).await?;
        decide::definitions(&served)?;
        k8s::kinds_without_status(served.without_status());
        let wanted = wanted(&self.questions, &served);
        let denied = observe::denied(&self.client, wanted.keys(), granted).await?;
        decide::rights(&wanted, &denied)
    }
}

fn removal_backoff() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::new()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .without_max_times()
        .with_jitter()
        .build()
}
