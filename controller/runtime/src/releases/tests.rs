//! Tests of what is known of other releases over time.

use jiff::Timestamp;
use k8s_openapi::{api::coordination::v1::LeaseSpec, apimachinery::pkg::apis::meta::v1::MicroTime};
use kube::api::ObjectMeta;

use super::*;

/// Returns the Lease of a release in the namespace `a`.
fn lease(name: &str, watches: Option<&str>, renewed: Option<i64>) -> Arc<Lease> {
    let at = |second| Timestamp::from_second(second).unwrap();
    Arc::new(Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some("a".to_owned()),
            annotations: watches.map(|watches| [(WATCHES.to_owned(), watches.to_owned())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: renewed.map(|_| "pod_1".to_owned()),
            lease_duration_seconds: Some(15),
            renew_time: renewed.map(|second| MicroTime(at(second))),
            ..LeaseSpec::default()
        }),
    })
}

/// Returns a release that watches all namespaces and has seen its own Lease.
fn releases(now: Instant) -> Releases {
    let releases = Releases::new(Id { namespace: "a".to_owned(), name: "own".to_owned() }, Scope::all(), None);
    releases.on_change(&Change::Applied(lease("own", Some("a"), Some(1))), now);
    releases
}

/// Returns the release that serves the namespace `a` alone.
fn server(releases: &Releases, now: Instant) -> Option<String> {
    let overlap = releases.overlap_when("a", now).filter(|overlap| overlap.serves_alone);
    overlap.map(|overlap| overlap.other.name)
}

#[test]
fn the_own_lease_is_no_other_release() {
    let now = Instant::now();
    assert_eq!(releases(now).overlap_when("a", now), None);
    assert!(!Releases::unknown().is_served_alone("a"));
}

#[test]
fn a_release_is_respected_for_as_long_as_it_renews_its_lease() {
    let (now, seconds) = (Instant::now(), Duration::from_secs);
    let releases = releases(now);
    releases.on_change(&Change::Applied(lease("team", Some("a"), Some(1))), now);
    assert_eq!(server(&releases, now + seconds(14)).as_deref(), Some("team"));
    assert_eq!(server(&releases, now + seconds(15)), None);
    releases.on_change(&Change::Applied(lease("team", Some("a"), Some(1))), now + seconds(10));
    assert_eq!(server(&releases, now + seconds(15)), None, "a list repeats the Lease, and nobody has renewed it");
    releases.on_change(&Change::Applied(lease("team", Some("a"), Some(2))), now + seconds(10));
    assert_eq!(server(&releases, now + seconds(15)).as_deref(), Some("team"));
    releases.on_change(&Change::Applied(lease("team", Some("a"), None)), now + seconds(11));
    assert_eq!(server(&releases, now + seconds(11)), None, "it was released");
}

#[test]
fn a_lease_that_is_gone_or_says_nothing_serves_nothing() {
    let now = Instant::now();
    let releases = releases(now);
    let held = lease("team", Some("a"), Some(1));
    releases.on_change(&Change::Applied(Arc::clone(&held)), now);
    releases.on_change(&Change::Deleted(held), now);
    assert_eq!(server(&releases, now), None);
    releases.on_change(&Change::Applied(lease("old", None, Some(1))), now);
    assert_eq!(releases.overlap_when("a", now), None, "an earlier version does not say what it watches");
}

#[test]
fn a_release_for_all_namespaces_overlaps_and_serves_none_alone() {
    let now = Instant::now();
    let releases = releases(now);
    releases.on_change(&Change::Applied(lease("wide", Some("*"), Some(1))), now);
    let overlap = releases.overlap_when("b", now).unwrap();
    assert_eq!((overlap.other.to_string().as_str(), overlap.serves_alone), ("a/wide", false));
    assert_eq!((releases.overlapping(), releases.is_home("a"), releases.is_home("b")), (1, true, false));
    releases.on_change(&Change::Applied(lease("wide", Some("*,!b"), Some(2))), now);
    assert_eq!(releases.overlap_when("b", now), None, "it excludes the namespace");
}

/// Returns the claim of the release `operators/name` to the namespace `a`.
fn claim_of(name: &str, second: i64) -> Arc<Lease> {
    let mut lease = Lease::clone(&lease(&format!("{name}.operators"), None, Some(second)));
    let claimant = ("kubernetes.dask.org/claimant".to_owned(), format!("operators/{name}"));
    lease.metadata.annotations = Some([claimant].into());
    Arc::new(lease)
}

#[test]
fn releases_that_name_the_same_namespace_find_each_other_by_their_claims() {
    let now = Instant::now();
    let releases =
        Releases::new(Id { namespace: "operators".to_owned(), name: "own".to_owned() }, Scope::of(["a", "b"]), None);
    releases.on_change(&Change::Applied(claim_of("own", 1)), now);
    assert_eq!(
        (releases.overlapping(), releases.overlap_when("a", now)),
        (0, None),
        "the own claim is no other release"
    );
    releases.on_change(&Change::Applied(claim_of("team", 1)), now);
    let overlap = releases.overlap_when("a", now).unwrap();
    assert_eq!((overlap.other.to_string().as_str(), overlap.serves_alone), ("operators/team", false));
    assert_eq!((releases.overlapping(), releases.overlap_when("b", now)), (1, None));
    assert!(!releases.is_home("operators"), "a claim says nothing about other namespaces");
    releases.on_change(&Change::Deleted(claim_of("team", 1)), now);
    assert_eq!(releases.overlapping(), 0);
}
