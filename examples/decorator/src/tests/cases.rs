//! A table of responses of hooks, and what the plugin makes of them. Metacontroller accepts those with the status Success,
//! and retries after the others.

use axum::body::Body;
use axum::http::Response;

use super::*;

/// A row of `cases.json`.
#[derive(Debug, serde::Deserialize)]
struct Row {
    case: String,
    #[serde(default = "ok")]
    code: u16,
    #[serde(default)]
    headers: serde_json::Map<String, Value>,
    /// A text is the body itself.
    body: Value,
    /// Some fields of the plugin's response. Children are given by their keys.
    expect: serde_json::Map<String, Value>,
}

fn ok() -> u16 {
    200
}

impl Row {
    fn of(group: &str) -> Vec<Self> {
        let cases: Value = serde_json::from_str(include_str!("cases.json")).unwrap();
        serde_json::from_value(cases[group].clone()).unwrap()
    }

    fn response(&self) -> Response<Body> {
        let mut body = self.body.clone();
        let attachments = body.get_mut("attachments").and_then(Value::as_array_mut);
        for attachment in attachments.into_iter().flatten().filter(|attachment| *attachment == "config-map-a") {
            *attachment = config_map("a");
        }
        let text = body.as_str().map_or_else(|| body.to_string(), ToOwned::to_owned);
        let mut response = Response::builder().status(self.code);
        for (name, value) in &self.headers {
            response = response.header(name, value.as_str().unwrap());
        }
        response.body(Body::from(text)).unwrap()
    }

    fn check(&self, response: &PluginResponse) {
        let actual = serde_json::to_value(response).unwrap();
        for (field, expected) in &self.expect {
            let actual = match field.as_str() {
                "children" => response.children.iter().flatten().map(|child| json!(child.key)).collect(),
                "finalized" => json!(response.finalized),
                "resyncAfterSeconds" => json!(response.resync_after_seconds),
                "warnings" => json!(response.warnings),
                field => actual[field].clone(),
            };
            assert_eq!(actual, *expected, "{}: {field} of {response:?}", self.case);
        }
        assert!(response.status == ResponseStatus::Success || response.children.is_none(), "{}", self.case);
    }
}

/// Serves the responses of a group at paths with their numbers.
async fn serve_cases(group: &'static str) -> String {
    let row =
        move |axum::extract::Path(number): axum::extract::Path<usize>| async move { Row::of(group)[number].response() };
    serve_hook(Router::new().route("/{number}", post(row))).await
}

#[tokio::test]
async fn responses_of_sync_hooks_mean_what_they_mean_in_metacontroller() {
    let server = serve_cases("sync").await;
    for (number, row) in Row::of("sync").iter().enumerate() {
        let plugin = plugin_from(&[("HOOK_URL", &format!("{server}/{number}"))]);
        row.check(&plugin.sync(request()).await);
    }
}

#[tokio::test]
async fn responses_of_finalize_hooks_mean_what_they_mean_in_metacontroller() {
    let server = serve_cases("finalize").await;
    for (number, row) in Row::of("finalize").iter().enumerate() {
        let plugin = plugin_from(&[("FINALIZE_URL", &format!("{server}/{number}"))]);
        row.check(&plugin.finalize(RequestBuilder::finalize().settings(settings())).await);
    }
}

#[tokio::test]
async fn responses_of_hooks_of_version_2_may_only_have_known_fields() {
    let server = serve_cases("strict").await;
    for (number, row) in Row::of("strict").iter().enumerate() {
        let plugin = plugin_from(&[("HOOK_URL", &format!("{server}/{number}")), ("HOOK_VERSION", "v2")]);
        row.check(&plugin.sync(request()).await);
    }
}
