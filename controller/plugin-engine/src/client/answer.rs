//! The answer of a plugin, in the form in which it is kept in memory. Children are compact text, because trees take up
//! to 90 times as much memory. Everything else is cut to the length that is shown.

use std::sync::Arc;

use json_measure::{Limits, measure};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{client::warnings::fit_warnings, model::rejected_child::Rejected};
use plugin_protocol::{ApiVersion, Child, Condition, ResponseStatus, ReviewKind, limits};

/// The maximum number of values and field names in the manifest of one child. As a tree they take 5 MiB.
const MAX_CHILD_NODES: usize = 20_000;
/// The maximum length of a key that is kept. Keys that [`plugin_protocol::ChildKey`] does not allow are refused later.
const MAX_KEY: usize = 64;
/// The maximum number of conditions that are kept. Fewer are shown.
const MAX_CONDITIONS: usize = 64;
/// One more than the maximum length of conditions' types and reasons, so that longer ones are recognised as invalid.
const MAX_CONDITION_WORD: usize = 1025;

/// The answer to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: ResponseStatus,
    pub(crate) reason: String,
    pub(crate) message: String,
    /// The children that the plugin wants. The list is always present with [`ResponseStatus::Success`].
    pub(crate) children: Option<Vec<Wanted>>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) warnings: Vec<String>,
    pub(crate) resync_after_seconds: u32,
    pub(crate) finalized: bool,
}

/// A child that the plugin wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) key: String,
    manifest: Manifest,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Manifest {
    /// Compact JSON.
    Text(Arc<str>),
    /// The manifest is not kept, for this reason.
    TooLarge(String),
}

/// The children of an answer as trees, and the children that cannot be parsed.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) children: Vec<Child>,
    pub(crate) rejected: Vec<Rejected>,
}

impl Answer {
    /// Returns the memory in bytes that the answer takes while it is kept.
    pub(crate) fn bytes(&self) -> usize {
        let wanted = self.children.iter().flatten().map(|child| child.key.len() + child.text().len());
        let conditions = self.conditions.iter().map(|condition| {
            condition.type_.len() + condition.reason.len() + condition.message.len() + size_of::<Condition>()
        });
        let texts = self.warnings.iter().chain([&self.reason, &self.message]).map(String::len);
        size_of::<Self>() + wanted.chain(conditions).chain(texts).sum::<usize>()
    }

    /// Returns an upper bound of the memory in bytes that the children take as trees.
    pub(crate) fn tree_bytes(&self) -> usize {
        self.children.iter().flatten().map(|child| measure(child.text().as_bytes()).tree_bytes()).sum()
    }

    /// Parses the children. A child that cannot be parsed does not stop the others.
    pub(crate) fn parsed(&self) -> Parsed {
        let mut parsed = Parsed::default();
        for wanted in self.children.iter().flatten() {
            match wanted.parsed() {
                Ok(child) => parsed.children.push(child),
                Err(rejected) => parsed.rejected.push(rejected),
            }
        }
        parsed
    }
}

impl Wanted {
    fn new(key: &str, manifest: &str) -> Self {
        let text = compact(manifest);
        let limits = Limits { bytes: limits::MAX_CHILD_BYTES, nodes: MAX_CHILD_NODES, depth: limits::MAX_JSON_DEPTH };
        let manifest = match measure(text.as_bytes()).check(&limits) {
            Ok(()) => Manifest::Text(text.into()),
            Err(excess) => Manifest::TooLarge(format!("the manifest is too large: {excess}")),
        };
        Self { key: cut(key, MAX_KEY), manifest }
    }

    fn text(&self) -> &str {
        match &self.manifest {
            Manifest::Text(text) => text,
            Manifest::TooLarge(_) => "",
        }
    }

    fn parsed(&self) -> Result<Child, Rejected> {
        let key = &self.key;
        let reject = |reason, cause: &str| Rejected { key: key.clone(), reason, message: format!("{key}: {cause}") };
        match &self.manifest {
            Manifest::Text(text) => match serde_json::from_str(text) {
                Ok(manifest) => Ok(Child::new(key, manifest)),
                Err(error) => Err(reject("InvalidManifest", &error.to_string())),
            },
            Manifest::TooLarge(cause) => Err(reject("TooLarge", cause)),
        }
    }
}

/// Like [`plugin_protocol::ReviewResponse`], whose manifests are trees.
#[derive(Deserialize)]
#[serde(rename = "ReviewResponse", rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Review<'a> {
    #[serde(rename = "apiVersion")]
    _api_version: ApiVersion,
    #[serde(rename = "kind")]
    _kind: ReviewKind,
    #[serde(borrow)]
    pub(crate) response: Response<'a>,
}

/// Like [`plugin_protocol::PluginResponse`].
#[derive(Deserialize)]
#[serde(rename = "PluginResponse", rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Response<'a> {
    pub(crate) uid: String,
    status: ResponseStatus,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
    #[serde(default, borrow)]
    children: Option<Vec<RawChild<'a>>>,
    #[serde(default)]
    conditions: Vec<Condition>,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    resync_after_seconds: u32,
    #[serde(default)]
    finalized: bool,
}

/// Like [`plugin_protocol::Child`].
#[derive(Deserialize)]
#[serde(rename = "Child", deny_unknown_fields)]
struct RawChild<'a> {
    key: String,
    #[serde(borrow)]
    manifest: &'a RawValue,
}

impl From<Response<'_>> for Answer {
    fn from(response: Response<'_>) -> Self {
        // One child above the limit is enough for a later check to refuse the answer.
        let wanted = |child: &RawChild<'_>| Wanted::new(&child.key, child.manifest.get());
        let children =
            response.children.map(|children| children.iter().take(limits::MAX_CHILDREN + 1).map(wanted).collect());
        let conditions = response.conditions.into_iter().take(MAX_CONDITIONS).map(|condition| {
            Condition::new(
                cut(&condition.type_, MAX_CONDITION_WORD),
                condition.status,
                cut(&condition.reason, MAX_CONDITION_WORD),
                limits::cut_message(&condition.message),
            )
        });
        Self {
            status: response.status,
            reason: limits::cut_message(&response.reason).to_owned(),
            message: limits::cut_message(&response.message).to_owned(),
            children,
            conditions: conditions.collect(),
            warnings: fit_warnings(&response.warnings).into_iter().collect(),
            resync_after_seconds: response.resync_after_seconds,
            finalized: response.finalized,
        }
    }
}

fn cut(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned()
}

/// Returns the JSON `text` without white space between its tokens.
fn compact(text: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let mut compact: String = text
        .chars()
        .filter(|c| {
            let keep = in_string || !c.is_ascii_whitespace();
            match (in_string, escaped, *c) {
                (true, true, _) => escaped = false,
                (true, false, '\\') => escaped = true,
                (_, _, '"') => in_string = !in_string,
                _ => {}
            }
            keep
        })
        .collect();
    compact.shrink_to_fit();
    compact
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::status::aggregate::{FittedConditions, fit};

    fn answered(response: &Value) -> Answer {
        let mut whole = json!({"uid": "u", "status": "Success"});
        whole.as_object_mut().unwrap().extend(response.as_object().unwrap().clone());
        let text = serde_json::to_string_pretty(&whole).unwrap();
        serde_json::from_str::<Response<'_>>(&text).unwrap().into()
    }

    /// A field of the protocol that is missing here would be refused as unknown.
    #[test]
    fn all_fields_of_the_protocol_are_read() {
        let child = Child::new("a", json!({"kind": "ConfigMap", "data": {"x": "  \" { \\"}}));
        let whole = json!({
            "uid": "u", "status": "Failure", "reason": "NoHost", "message": "there is none",
            "children": [child], "warnings": ["soon"], "resyncAfterSeconds": 7, "finalized": true,
            "conditions": [{"type": "Up", "status": "True", "reason": "Yes", "message": "it is"}],
        });
        let protocol: plugin_protocol::PluginResponse = serde_json::from_value(whole.clone()).unwrap();
        assert_eq!(serde_json::to_value(&protocol).unwrap(), whole, "the protocol has another field");
        let answer = answered(&whole);
        assert_eq!(
            (answer.status, answer.reason, answer.message),
            (protocol.status, protocol.reason, protocol.message)
        );
        assert_eq!((answer.conditions, answer.warnings), (protocol.conditions, protocol.warnings));
        assert_eq!((answer.resync_after_seconds, answer.finalized), (7, true));
        let text = answer.children.as_deref().unwrap()[0].text();
        assert_eq!(text, child.manifest.to_string());
        assert_eq!(answered(&whole).parsed().children, [child]);
    }

    /// 250 KB of these small maps take 20 MB as a tree.
    #[test]
    fn a_manifest_that_would_become_a_huge_tree_is_rejected_alone() {
        let small_maps = vec![json!({"a": 0}); 30_000];
        let answer = answered(&json!({"children": [
            {"key": "bomb", "manifest": {"x": small_maps}},
            {"key": "long", "manifest": {"x": "y".repeat(limits::MAX_CHILD_BYTES)}},
            {"key": "fine", "manifest": {"x": "y"}},
        ]}));
        assert!(answer.bytes() < 2000, "{}", answer.bytes());
        let parsed = answer.parsed();
        assert_eq!(parsed.children, [Child::new("fine", json!({"x": "y"}))]);
        let messages: Vec<&str> = parsed.rejected.iter().map(|child| child.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "bomb: the manifest is too large: it has 90003 values and names of fields, and may have 20000",
                "long: the manifest is too large: it has 262152 bytes, and may have 262144",
            ]
        );
        assert!(parsed.rejected.iter().all(|child| child.reason == "TooLarge"));
    }

    #[test]
    fn the_memory_of_a_kept_response_is_bounded() {
        let long = "x".repeat(100_000);
        let condition = json!({"type": long, "status": "True", "reason": long, "message": long});
        let answer = answered(&json!({
            "reason": long, "message": long, "warnings": vec![&long; 100], "conditions": vec![condition; 100],
            "children": vec![json!({"key": long, "manifest": {}}); 1000],
        }));
        assert!(answer.bytes() < 400_000, "{}", answer.bytes());
        assert_eq!(answer.children.as_deref().unwrap().len(), limits::MAX_CHILDREN + 1);
        let FittedConditions { shown, unfit } = fit("echo", &answer.conditions);
        assert_eq!((shown.len(), unfit), (0, MAX_CONDITIONS), "cut words are not taken for valid");
    }
}
