//! Controllers that watch all namespaces, beside other releases or without some of the namespaces.

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, api::DeleteParams};
use serde_json::{Value, json};

use crate::{
    plugin_tenants::CHILD,
    support::{
        TestContext, alone_with_temp_ns, cluster,
        controller::{Controller, EVERYWHERE},
        eventually,
        plugin::TestPlugin,
        uid,
    },
};

const ELECTED: [&str; 4] = [EVERYWHERE, "--leader-election", "--lease-seconds", "3"];

async fn team_of(operator: &TestContext) -> TestContext {
    let team = TestContext::of(operator.client.clone(), &format!("live-team-{:08x}", fastrand::u32(..)));
    team.create_namespace().await;
    team
}

async fn remove(team: &TestContext) {
    let namespaces: Api<Namespace> = Api::all(team.client.clone());
    namespaces.delete(&team.namespace, &DeleteParams::default()).await.unwrap();
}

/// Returns the Lease of a release that watches the namespace of `team`.
fn lease_of(team: &TestContext) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": "other",
            "labels": {"kubernetes.dask.org/release": ""},
            "annotations": {"kubernetes.dask.org/watches": team.namespace},
        },
        "spec": {
            "holderIdentity": "other_1", "leaseDurationSeconds": 3600, "renewTime": "2026-11-30T08:00:00.000000Z",
            "acquireTime": "2026-11-30T08:00:00.000000Z", "leaseTransitions": 0,
        },
    })
}

async fn is_untouched(team: &TestContext) {
    let demo = team.expect("DaskCluster", "demo").await;
    assert_eq!(demo["status"], json!({"observedGeneration": -1}), "no controller has seen it");
    assert_eq!(team.count("Deployment", "").await + team.count("Service", "").await, 0);
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_namespace_with_a_release_of_its_own_is_left_alone_until_that_one_is_gone() {
    alone_with_temp_ns(|operator| async move {
        let team = team_of(&operator).await;
        team.create(&lease_of(&team)).await;
        let controller = operator.start_controller_with(&ELECTED).await;
        team.create(&cluster("demo", 1)).await;
        eventually("an Event about the other release", async || {
            let events = team.list("Event", "").await;
            let is_it =
                |event: &&Value| event["reason"] == "OtherRelease" && event["regarding"]["kind"] == "DaskCluster";
            events.iter().find(is_it).map(|_| ()).ok_or_else(|| format!("there are {} others", events.len()))
        })
        .await;
        operator.create(&cluster("demo", 1)).await;
        operator.settled("demo", 1).await;
        is_untouched(&team).await;
        assert!(controller.metrics().await.contains("dask_operator_overlapping_releases 1"));
        assert!(operator.controller_log().contains("two releases watch the same namespaces"));
        let own = operator.expect("Lease", "dask-operator").await;
        assert_eq!(own["metadata"]["annotations"]["kubernetes.dask.org/watches"], "*");

        team.merge("Lease", "other", json!({"spec": {"holderIdentity": ""}})).await;
        team.settled("demo", 1).await;
        assert!(controller.metrics().await.contains("dask_operator_overlapping_releases 0"));
        remove(&team).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn an_excluded_namespace_is_left_alone_by_controller_and_plugins() {
    alone_with_temp_ns(|operator| async move {
        let team = team_of(&operator).await;
        let demo = team.create(&cluster("demo", 1)).await;
        // A plugin of the same name of another release has a child there.
        let child = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": CHILD,
                "labels": {
                    "plugin.kubernetes.dask.org/plugin": "echo", "plugin.kubernetes.dask.org/subject": "demo-scheduler",
                },
                "ownerReferences": [{
                    "apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", "name": "demo", "uid": uid(&demo),
                    "controller": true,
                }],
            },
        });
        team.create(&child).await;
        let _controller = operator.start_controller_with(&[EVERYWHERE, "--exclude-namespace", &team.namespace]).await;
        operator.create(&cluster("demo", 1)).await;
        operator.settled("demo", 1).await;
        let _plugin = TestPlugin::installed(&operator, "echo").await;
        operator.appears("ConfigMap", CHILD).await;
        operator.delete("DaskOperatorPlugin", "echo").await;
        operator.goes("ConfigMap", CHILD).await;
        is_untouched(&team).await;
        team.expect("ConfigMap", CHILD).await;
        remove(&team).await;
    })
    .await;
}

/// Waits until `controller` counts so many other releases.
async fn counts(controller: &Controller, others: u8) {
    eventually("the number of other releases", async || {
        let metrics = controller.metrics().await;
        let is_counted = metrics.contains(&format!("dask_operator_overlapping_releases {others}\n"));
        if is_counted { Ok(()) } else { Err(format!("it is not {others}")) }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn releases_that_name_the_same_namespace_find_each_other_and_say_so() {
    alone_with_temp_ns(|operator| async move {
        let (team, other) = (team_of(&operator).await, team_of(&operator).await);
        let named = ["--namespace", team.namespace.as_str(), "--leader-election", "--lease-seconds", "3"];
        let controller = operator.start_controller_with(&named).await;
        team.create(&cluster("demo", 1)).await;
        team.settled("demo", 1).await;
        let claim = team.appears("Lease", &format!("dask-operator.{}", operator.namespace)).await;
        let claimant = format!("{}/dask-operator", operator.namespace);
        assert_eq!(claim["metadata"]["annotations"]["kubernetes.dask.org/claimant"], claimant);
        counts(&controller, 0).await;

        let second = other.start_controller_with(&named).await;
        counts(&second, 1).await;
        counts(&controller, 1).await;
        let log = operator.controller_log();
        assert!(log.contains("two releases watch the same namespaces") && log.contains(&other.namespace));
        team.create(&cluster("second", 1)).await;
        eventually("an Event about the other release", async || {
            let events = team.list("Event", "").await;
            let is_it = |event: &&Value| event["reason"] == "OtherRelease";
            events.iter().find(is_it).map(|_| ()).ok_or_else(|| format!("there are {} others", events.len()))
        })
        .await;
        team.settled("second", 1).await;

        drop(second);
        team.delete("Lease", &format!("dask-operator.{}", other.namespace)).await;
        counts(&controller, 0).await;
        remove(&team).await;
        remove(&other).await;
    })
    .await;
}
