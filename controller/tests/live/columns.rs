//! What `kubectl get` shows of Dask resources, as the API server prints it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{TestContext, cluster, eventually, with_controller};

type Row = BTreeMap<String, Value>;

/// Returns the cells of the object by the names of their columns.
async fn row(context: &TestContext, plural: &str, name: &str) -> Row {
    let path = format!("/apis/kubernetes.dask.org/v1/namespaces/{}/{plural}/{name}", context.namespace);
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let request = http::Request::get(path).header("Accept", accept).body(Vec::new()).unwrap();
    let table: Value = context.client.request(request).await.unwrap();
    let columns = table["columnDefinitions"].as_array().unwrap();
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    columns
        .iter()
        .zip(cells)
        .map(|(column, cell)| (column["name"].as_str().unwrap().to_owned(), cell.clone()))
        .collect()
}

/// Waits until the object's cells are these.
async fn shows(context: &TestContext, (plural, name): (&str, &str), cells: &[(&str, Value)]) {
    eventually(&format!("the columns of {plural} {name}"), async || {
        let row = row(context, plural, name).await;
        let differs = cells.iter().any(|(column, cell)| row.get(*column) != Some(cell));
        if differs { Err(format!("they are {row:?}")) } else { Ok(()) }
    })
    .await;
}

fn counts(desired: i64) -> [(&'static str, Value); 3] {
    [("Desired", json!(desired)), ("Ready", json!(0)), ("Connected", json!(0))]
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn kubectl_get_shows_what_is_asked_for_now_and_that_something_is_wrong() {
    with_controller(|context| async move {
        context.create(&cluster("demo", 2)).await;
        context.running("demo").await;
        shows(&context, ("daskclusters", "demo"), &counts(2)).await;
        let state = [("Status", json!("Running")), ("Reason", json!("Unschedulable"))];
        shows(&context, ("daskclusters", "demo"), &state).await;
        // Kubernetes words it in two ways, because other tests have nodes on which nothing is scheduled.
        let message = row(&context, "daskclusters", "demo").await["Message"].to_string();
        assert!(message.contains("no nodes available") || message.contains("nodes are available"), "{message}");

        let replicas = json!({"spec": {"worker": {"replicas": 4}}});
        context.merge("DaskWorkerGroup", "demo-default", replicas).await;
        let mut gpu = context.expect("DaskWorkerGroup", "demo-default").await;
        gpu["metadata"] = json!({"name": "gpu"});
        gpu["spec"]["worker"]["replicas"] = json!(1);
        gpu.as_object_mut().unwrap().remove("status");
        context.create(&gpu).await;
        shows(&context, ("daskclusters", "demo"), &counts(5)).await;
        shows(&context, ("daskworkergroups", "demo-default"), &[("Cluster", json!("demo")), ("Desired", json!(4))])
            .await;
        shows(&context, ("daskworkergroups", "gpu"), &[("Desired", json!(1)), ("Ready", json!(0))]).await;

        let mut invalid = cluster("invalid", 1);
        invalid["spec"]["scheduler"]["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "2Gib"}});
        context.create(&invalid).await;
        eventually("the message of the invalid cluster", async || {
            let row = row(&context, "daskclusters", "invalid").await;
            let message = row["Message"].as_str().unwrap_or_default();
            if row["Reason"] == "Invalid" && message.contains("quantities must match") {
                Ok(())
            } else {
                Err(format!("{row:?}"))
            }
        })
        .await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn kubectl_get_shows_target_and_actual_workers_of_an_autoscaler() {
    with_controller(|context| async move {
        let autoscaler = json!({
            "apiVersion": "kubernetes.dask.org/v1",
            "kind": "DaskAutoscaler",
            "metadata": {"name": "demo"},
            "spec": {"cluster": "none", "minimum": 1, "maximum": 4},
        });
        context.create(&autoscaler).await;
        eventually("a reason", async || {
            let row = row(&context, "daskautoscalers", "demo").await;
            if row["Reason"].is_null() || row["Message"].is_null() { Err(format!("{row:?}")) } else { Ok(()) }
        })
        .await;
        let status = json!({"status": {"targetWorkers": 9, "desiredReplicas": 4, "connectedReplicas": 3}});
        context.merge_status("DaskAutoscaler", "demo", status).await;
        let row = row(&context, "daskautoscalers", "demo").await;
        let cells = ["Minimum", "Maximum", "Target", "Desired", "Connected"].map(|column| row[column].clone());
        assert_eq!(cells, [1, 4, 9, 4, 3].map(|number| json!(number)));
    })
    .await;
}
