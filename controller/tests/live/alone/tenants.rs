//! A controller that serves plugins in all namespaces.

use serde_json::json;

use crate::{
    plugin_tenants::{ALL, CHILD, Team, grant, with_match, with_writer},
    support::{
        alone_with_temp_ns, cluster,
        controller::EVERYWHERE,
        plugin::{Call, TestPlugin},
    },
};

/// The controller watches all namespaces, those of other tests included.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_plugin_of_a_team_serves_its_namespace_only_and_labels_of_namespaces_select() {
    alone_with_temp_ns(|operator| async move {
        let teams = [Team::new(&operator).await, Team::new(&operator).await];
        let _controller = operator.start_controller_with(&[EVERYWHERE, "--plugin-tenants"]).await;
        let [one, two] = [&teams[0].0, &teams[1].0];
        for team in [one, two] {
            team.create(&cluster("demo", 0)).await;
            team.running("demo").await;
            // With these rights, only the namespace keeps the plugin of one team from the other.
            grant(team, one, &ALL).await;
        }
        let mut theirs = TestPlugin::new(one, "echo");
        theirs.install_as(&with_writer(&theirs)).await;
        theirs.until_counts(1, 1, 0).await;

        let mut ours = TestPlugin::new(&operator, "echo");
        let selector = json!({"namespaceSelector": {"matchLabels": {"test.example.com/run": operator.namespace}}});
        ours.install_as(&with_match(&ours, selector)).await;
        ours.until_counts(0, 0, 0).await;
        for (team, matched) in [(&teams[1], 1), (&teams[0], 2)] {
            team.label(Some(&operator.namespace)).await;
            team.0.appears("ConfigMap", CHILD).await;
            ours.until_counts(matched, matched, 0).await;
        }
        teams[1].label(None).await;
        two.goes("ConfigMap", CHILD).await;
        ours.until_counts(1, 1, 0).await;
        let namespace = |call: &Call| call.request.subject.object["metadata"]["namespace"].clone();
        assert!(theirs.calls().iter().all(|call| namespace(call) == *one.namespace));
        theirs.until_counts(1, 1, 0).await;
        for team in teams {
            team.remove().await;
        }
    })
    .await;
}
