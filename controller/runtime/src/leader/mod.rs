//! Leader election: of several processes one leads, and the others stand by with warm caches.
//!
//! The Lease is written as client-go writes it, by PUT with the resourceVersion that was read: of two candidates, one
//! gets a 409. Standbys watch it, so that they learn of a release at once. Whether it has expired is decided by this
//! machine's monotonic clock alone ([`decide`]). Standbys write nothing.
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
pub(crate) use self::lease::{LABEL, WATCHES};
use crate::scope::Scope;

/// The settings of the election.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The operator's namespace.
    pub namespace: String,
    /// The name of the Lease.
    pub name: String,
    /// The duration of the Lease, in seconds.
    pub seconds: u16,
    /// The name of the controller's pod, if it has one.
    pub pod: Option<String>,
    /// The namespaces that the leader watches, for other releases.
    pub watches: Scope,
}

/// The reason why a process that led has to end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The leader could not renew the Lease, so that another process may lead soon.
    #[error("lost the leadership: the Lease {lease} could not be renewed within {} s", .limit.as_secs_f32())]
    NotRenewed {
        /// The namespace and the name of the Lease.
        lease: String,
        /// How long after the last renewal the leader has to end.
        limit: Duration,
    },
    /// Another process holds the Lease.
    #[error("lost the leadership: the Lease {lease} is held by {holder}")]
    Taken {
        /// The namespace and the name of the Lease.
        lease: String,
        /// The holder that the Lease names.
        holder: String,
    },
}

/// The election of the leader, as one process takes part in it.
pub struct Election {
    way: Way,
    leadership: Leadership,
}

/// The way in which this process becomes the leader.
enum Way {
    /// It leads when it holds the Lease.
    Candidate(Box<Candidate>),
    /// It leads as soon as it can, without an election.
    Alone(watch::Sender<bool>),
}

impl Election {
    /// Returns an election by the Lease of `settings`. `client` is for the Lease alone, because other requests to the
    /// API server must not delay a renewal.
    pub fn by_lease(client: Client, settings: &Settings) -> Self {
        let leading = watch::Sender::new(false);
        let leadership = Leadership::of(&leading);
        Self { way: Way::Candidate(Box::new(Candidate::new(client, settings, leading))), leadership }
    }

    /// Returns the election of a process that leads without any.
    pub fn alone() -> Self {
        let leading = watch::Sender::new(false);
        let leadership = Leadership::of(&leading);
        Self { way: Way::Alone(leading), leadership }
    }

    /// Returns the state of this process's leadership.
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Campaigns and leads until `ended`, and then releases the Lease. A process does not campaign before its caches
    /// have `synced`, because another replica may know all objects already.
    pub async fn run(self, synced: impl Future<Output = ()>, ended: CancellationToken) -> Result<(), Error> {
        tokio::select! {
            () = synced => {}
            () = ended.cancelled() => return Ok(()),
        }
        match self.way {
            Way::Candidate(mut candidate) => {
                tokio::select! {
                    lost = Box::pin(candidate.campaign()) => return Err(lost),
                    () = ended.cancelled() => {}
                }
                candidate.release().await;
            }
            Way::Alone(leading) => {
                leading.send_replace(true);
                ended.cancelled().await;
            }
        }
        Ok(())
    }
}
