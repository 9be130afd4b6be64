//! Metrics, dashboard and alert rules with a real Prometheus that scrapes a controller at work. Run them with
//! `make observability`.

use std::path::Path;

use serde_json::Value;

use super::dashboards::{RULES, alerts, mentioned, questions};
use crate::support::{
    eventually,
    kubelet::by_name,
    plugin::{Reply, TestPlugin, config},
    prometheus::{Prometheus, check_metrics},
    proxy::{Fault, FaultProxy, Target},
    test_cluster::{GROUP, TestCluster},
    with_temp_ns,
};

/// The window of rates. It contains several scrapes.
const WINDOW: &str = "30s";

/// Runs `test` with a controller to which everything has happened that the dashboard and the alerts query: workers were retired,
/// the API server failed once, one plugin wants a child that is refused, and another fails.
async fn with_events<Test: Future<Output = ()>>(test: impl FnOnce(TestCluster) -> Test) {
    with_temp_ns(|context| async move {
        let call = "create daskworkergroups".to_owned();
        let target = Target { call, nth: 1, fault: Fault::Refused(500, "InternalError") };
        let proxy = FaultProxy::start(context.client.clone(), Some(target)).await;
        let mut test_cluster = TestCluster::around(&context, by_name, usize::MAX).await;
        test_cluster.controller = Some(context.start_controller_through(&proxy).await);
        let (mut good, mut bad) = (TestPlugin::new(&context, "good"), TestPlugin::new(&context, "bad"));
        good.answer(Reply::Children(vec![config("config", "a"), config("Not Valid", "b")]));
        bad.answer(Reply::Code(500));
        good.install().await;
        bad.install().await;
        context.create(&test_cluster.manifest(3)).await;
        context.running("demo").await;
        test_cluster.connected(GROUP, 3).await;
        test_cluster.scale(GROUP, 2).await;
        test_cluster.has_workers(GROUP, 2).await;
        good.until_failing("InvalidKey").await;
        bad.until_failing("ServerError").await;
        assert!(proxy.has_failed());
        test(test_cluster).await;
    })
    .await;
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[tokio::test]
#[ignore = "needs a cluster and Prometheus: make observability"]
async fn promtool_finds_nothing_wrong_with_a_real_scrape() {
    with_events(|test_cluster| async move {
        let scrape = test_cluster.controller.as_ref().unwrap().metrics().await;
        assert_eq!(check_metrics(body(&scrape)).await, "", "{scrape}");
        let wrong = "# TYPE requests counter\nrequests 1\n";
        assert!(check_metrics(wrong).await.contains("_total"), "promtool looks at what it is given");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster and Prometheus: make observability"]
async fn a_scrape_tells_what_happened() {
    with_events(|test_cluster| async move {
        let expected = [
            r#"dask_operator_clusters{phase="Running"} 1"#,
            r#"dask_operator_worker_groups{state="Available"} 1"#,
            r#"dask_operator_workers{state="wanted"} 2"#,
            r#"dask_operator_workers{state="created"} 2"#,
            r#"dask_operator_longest_unavailable_seconds{kind="DaskWorkerGroup"} 0"#,
            r#"dask_operator_retirements_total{strategy="rpc",outcome="retired"} 1"#,
            r#"dask_operator_reconcile_errors_total{kind="DaskCluster",reason="ApiServerError"} 1"#,
            r#"dask_operator_reconcile_total{kind="DaskCluster",result="error"} 1"#,
            r#"dask_operator_reconcile_total{kind="DaskAutoscaler",result="error"} 0"#,
            r#"dask_operator_queue_depth{kind="DaskWorkerGroup"} 0"#,
            r#"dask_operator_api_requests_total{verb="create",resource="daskworkergroups",code="500"} 1"#,
            r#"dask_operator_api_requests_total{verb="create",resource="daskworkergroups",code="201"} 1"#,
            r#"dask_operator_plugin_ready{plugin="good"} 1"#,
            r#"dask_operator_plugin_subjects{plugin="bad",state="Failing"} 1"#,
            r#"dask_operator_plugin_failing_subjects{plugin="bad",reason="ServerError"} 1"#,
            "dask_operator_leader 1",
        ];
        for sample in expected {
            eventually(sample, async || {
                let scrape = test_cluster.controller.as_ref().unwrap().metrics().await;
                if scrape.lines().any(|line| line == sample) { Ok(()) } else { Err(scrape) }
            })
            .await;
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster and Prometheus: make observability"]
async fn prometheus_finds_what_the_dashboard_and_the_alerts_ask_for() {
    with_events(|test_cluster| async move {
        let (context, controller) = (&test_cluster.context, test_cluster.controller.as_ref().unwrap());
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(RULES);
        let prometheus = Prometheus::start(controller.admin(), &rules, &context.folder()).await;
        is_scraped(&prometheus).await;
        for question in questions(WINDOW) {
            eventually(&format!("something on the panel {}", question.panel), async || {
                let found = prometheus.query(&question.expr).await?;
                if found.is_empty() { Err(format!("nothing is found by {}", question.expr)) } else { Ok(()) }
            })
            .await;
            each_selector_finds_something(&prometheus, &question.panel, &question.expr).await;
        }
        for alert in alerts() {
            each_selector_finds_something(&prometheus, &alert.name, &alert.expr).await;
        }
        rules_can_be_evaluated(&prometheus).await;
    })
    .await;
}

/// Waits for two scrapes. Prometheus asks for `OpenMetrics`, which promtool cannot check.
async fn is_scraped(prometheus: &Prometheus) {
    eventually("two scrapes", async || {
        let targets = prometheus.ask("/api/v1/targets").await?;
        let target = &targets["activeTargets"][0];
        if target["health"] != "up" {
            return Err(target.to_string());
        }
        let scrapes = prometheus.query("count_over_time(dask_operator_leader[1m]) >= 2").await?;
        if scrapes.is_empty() { Err("there was one".to_owned()) } else { Ok(()) }
    })
    .await;
}

async fn each_selector_finds_something(prometheus: &Prometheus, whose: &str, expr: &str) {
    for selector in mentioned(expr).unwrap().selectors {
        let series = prometheus.series(&selector.to_string()).await.unwrap();
        assert!(!series.is_empty(), "{whose} asks for {selector}, and there is nothing");
    }
}

async fn rules_can_be_evaluated(prometheus: &Prometheus) {
    let count = alerts().len();
    eventually("each rule to be evaluated", async || {
        let data = prometheus.ask("/api/v1/rules").await?;
        let groups = data["groups"].as_array().ok_or("there are no rules")?;
        let rules: Vec<&Value> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
        let well = rules.iter().filter(|rule| rule["health"] == "ok").count();
        if (rules.len(), well) == (count, count) { Ok(()) } else { Err(data.to_string()) }
    })
    .await;
}
