//! Claims: Leases by which releases that name their namespaces find each other.
//!
//! Such a release may have no rights outside of its namespaces, so that it cannot read the Leases of other releases. Its
//! leader keeps a claim in each of the namespaces, where every release that names the same one finds it. A claim says
//! nothing about other namespaces, whatever is written in it.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ObjectMeta, Patch, PatchParams},
};

use super::decide::{Id, Release};
use crate::{k8s, scope::Scope};

/// The label of claims. The Leases of leaders have another one.
pub(super) const LABEL: &str = "kubernetes.dask.org/claim";
/// The annotation of a claim with the namespace and the name of the leader's Lease.
const CLAIMANT: &str = "kubernetes.dask.org/claimant";
/// How long a claim is valid after the end of its release, in seconds.
const VALIDITY: i32 = 600;
/// How often claims are renewed. One request for each namespace in this time is little, even for hundreds of them.
const RENEWAL: Duration = Duration::from_secs(200);

/// Returns the name of a release's claims, which are in several namespaces.
pub(super) fn name(release: &Id) -> String {
    format!("{}.{}", release.name, release.namespace)
}

/// Returns the claim of `release` to `namespace`.
fn claim(release: &Id, namespace: &str, now: Timestamp) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(name(release)),
            namespace: Some(namespace.to_owned()),
            labels: Some([(LABEL.to_owned(), String::new())].into()),
            annotations: Some([(CLAIMANT.to_owned(), release.to_string())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(release.to_string()),
            lease_duration_seconds: Some(VALIDITY),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        }),
    }
}

/// Returns the release that the Lease is a claim of, with the claimed namespace as its scope.
pub(super) fn read(lease: &Lease) -> Option<Release> {
    let (namespace, name) = lease.annotations().get(CLAIMANT)?.split_once('/')?;
    let is_name = |name: &str| (1..=253).contains(&name.len());
    let id = Id { namespace: namespace.to_owned(), name: name.to_owned() };
    let claimed = lease.namespace()?;
    (is_name(namespace) && is_name(name)).then(|| Release { id, scope: Scope::of([claimed]) })
}

/// Writes the claims of `release` to the namespaces of `scope`, again and again. A claim that cannot be written, for
/// example because its namespace does not exist yet, is written in the next round.
pub(super) async fn keep(client: Client, release: Id, scope: Scope) {
    let (name, params) = (name(&release), PatchParams::apply(k8s::FIELD_MANAGER).force());
    loop {
        for namespace in scope.parts().into_iter().flatten() {
            let api: Api<Lease> = Api::namespaced(client.clone(), namespace);
            let wanted = claim(&release, namespace, Timestamp::now());
            let patch = Patch::Apply(&wanted);
            let written = api.patch_metadata(&name, &params, &patch);
            if let Err(error) = k8s::timed("apply", &format!("Lease {namespace}/{name}"), written).await {
                tracing::warn!(namespace, %error, "other releases do not notice that this one watches the namespace");
            }
        }
        tokio::time::sleep(RENEWAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn team() -> Id {
        Id { namespace: "operators".to_owned(), name: "team".to_owned() }
    }

    #[test]
    fn a_claim_names_its_release_and_is_about_its_own_namespace() {
        let lease = claim(&team(), "a", Timestamp::UNIX_EPOCH);
        assert_eq!(lease.name_any(), "team.operators");
        assert_eq!(read(&lease), Some(Release { id: team(), scope: Scope::of(["a"]) }));
    }

    #[test]
    fn a_lease_without_the_name_of_a_release_is_no_claim() {
        let long = format!("a/{}", "b".repeat(254));
        for text in ["", "a", "/", "a/", "/b", long.as_str()] {
            let mut lease = claim(&team(), "a", Timestamp::UNIX_EPOCH);
            lease.annotations_mut().insert(CLAIMANT.to_owned(), text.to_owned());
            assert_eq!(read(&lease), None, "{text}");
        }
        assert_eq!(read(&Lease::default()), None);
    }
}
