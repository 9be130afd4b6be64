//! Leader election: of several processes one leads, and the others stand by with warm caches.
//!
//! The Lease is written as client-go writes it, by PUT with the resourceVersion that was seen: of two that want it
//! one gets a 409. Standbys watch it, so that they learn of a release at once; that it has run out is judged by
//! this machine's steady clock alone ([`decide`]). They write nothing.
//!
//! ```text
//! standby ──claims a Lease that is free, released or has run out──► leader ──renews each third of it
//!    leader ──tasks have ended after SIGTERM──► releases the Lease, exit code 0
//!    leader ──not renewed for two thirds of it, or taken by another──► exit code 6
//! ```

mod campaign;
mod decide;
mod leadership;
mod lease;

use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::campaign::Candidate;
#[cfg(any(test, feature = "testing"))]
pub use self::leadership::leading;
pub use self::leadership::{Leadership, Leading};

/// How the Lease is called and used.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The operator's namespace.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// How long it holds.
    pub seconds: u16,
    /// Name of the controller's pod, if it has one.
    pub pod: Option<String>,
}

/// Why a process that led has to end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another may lead soon.
    #[error("lost the leadership: the Lease {lease} could not be renewed within {} s", .limit.as_secs_f32())]
    NotRenewed {
        /// Namespace and name.
        lease: String,
        /// How long after the last renewal.
        limit: Duration,
    },
    /// Another leads.
    #[error("lost the leadership: the Lease {lease} is held by {holder}")]
    Taken {
        /// Namespace and name.
        lease: String,
        /// Who is written in it.
        holder: String,
    },
}

/// What is to become of this process.
pub enum Election {
    /// It leads if others let it.
    Candidate(Box<Candidate>),
    /// It leads as soon as it can.
    Alone(watch::Sender<bool>),
}

impl Election {
    /// An election by the Lease of `settings`, or none. `client` is for the Lease alone: whatever else is asked of
    /// the API server must not hold up a renewal.
    pub fn new(settings: Option<(Client, Settings)>) -> (Self, Leadership) {
        let (leading, leadership) = Leadership::new();
        let election = match settings {
            Some((client, settings)) => Self::Candidate(Box::new(Candidate::new(client, settings, leading))),
            None => Self::Alone(leading),
        };
        (election, leadership)
    }

    /// Campaigns and leads until `ended`, and then releases the Lease. A process does not campaign before its caches
    /// have `synced`: another replica may already know all objects.
    pub async fn run(self, synced: impl Future<Output = ()>, ended: CancellationToken) -> Result<(), Error> {
        tokio::select! {
            () = synced => {}
            () = ended.cancelled() => return Ok(()),
        }
        match self {
            Self::Candidate(mut candidate) => {
                tokio::select! {
                    lost = Box::pin(candidate.campaign()) => return Err(lost),
                    () = ended.cancelled() => {}
                }
                candidate.release().await;
            }
            Self::Alone(leading) => {
                leading.send_replace(true);
                ended.cancelled().await;
            }
        }
        Ok(())
    }
}
