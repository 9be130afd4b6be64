//! What checks work with.

use std::{fs, path::Path};

use http::{Method, StatusCode};
use plugin_protocol::{Discovery, PluginResponse, ReviewRequest, ReviewResponse, path};
use plugin_server_kit::testing::RequestBuilder;
use serde_json::{Deserializer, Value, json};

use crate::{
    Error,
    args::Args,
    target::{Call, Reply, Shown, Target},
};

/// What a check has found, unless all is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The plugin breaks the rule: what was sent, what should have come back, and what did.
    Failed {
        /// The request.
        sent: String,
        /// What the rule asks for.
        expected: String,
        /// What came back.
        got: String,
    },
    /// The rule cannot be checked here, and why.
    Skipped(String),
}

/// A plugin, and what it is asked.
#[derive(Debug)]
pub struct Lab {
    pub(crate) args: Args,
    pub(crate) target: Target,
    /// Requests to sync, in their envelopes.
    pub(crate) reviews: Vec<Value>,
    /// `apiVersion` and `kind` of the children that the plugin may answer with, if known.
    pub(crate) allowed: Option<Vec<(String, String)>>,
}

impl Lab {
    pub(crate) fn new(args: &Args) -> Result<Self, Error> {
        let plugin = args.plugin.as_deref().map(read_plugin).transpose()?;
        let settings = plugin.as_ref().map_or_else(|| json!({}), |plugin| plugin["spec"]["settings"].clone());
        let settings = if settings.is_null() { json!({}) } else { settings };
        let reviews = match &args.requests {
            Some(path) => read_reviews(path)?,
            None => vec![json!(ReviewRequest::new(RequestBuilder::sync().settings(settings).build()))],
        };
        let text = |rule: &Value, field: &str| rule[field].as_str().unwrap_or_default().to_owned();
        let allowed = plugin
            .as_ref()
            .and_then(|plugin| plugin["spec"]["children"].as_array())
            .map(|rules| rules.iter().map(|rule| (text(rule, "apiVersion"), text(rule, "kind"))).collect());
        Ok(Self { args: args.clone(), target: Target::new(args)?, reviews, allowed })
    }

    /// Whether anything listens at the endpoint.
    pub(crate) async fn reach(&self) -> Result<(), String> {
        let endpoint = &self.args.endpoint;
        let outcome = self.target.send(&get(path::DISCOVERY)).await;
        outcome.map(drop).map_err(|why| format!("{endpoint} cannot be reached: {why}"))
    }

    /// Any call.
    pub(crate) async fn send(&self, call: &Call, what: &str, expected: &str) -> Result<Reply, Finding> {
        self.target.send(call).await.map_err(|got| failed(what, expected, got))
    }

    pub(crate) async fn discovery(&self) -> Result<Discovery, Finding> {
        let (what, expected) = ("GET /v1alpha1/discovery", "200 and a PluginDiscovery without unknown fields");
        let reply = self.send(&get(path::DISCOVERY), what, expected).await?;
        parse(&reply, what, expected)
    }

    /// The answer to `review` at the path of its hook.
    pub(crate) async fn ask(&self, review: &Value, what: &str) -> Result<PluginResponse, Finding> {
        let expected = "200 and a PluginReview without unknown fields";
        let reply = self.send(&post(review), what, expected).await?;
        parse::<ReviewResponse>(&reply, what, expected).map(|review| review.response)
    }

    /// The same endpoint, with something else shown to it.
    pub(crate) fn showing(&self, shown: Shown) -> Result<Target, Finding> {
        Target::with(&self.args, shown).map_err(|error| Finding::Skipped(error.to_string()))
    }
}

pub(crate) fn failed(sent: impl Into<String>, expected: impl Into<String>, got: impl Into<String>) -> Finding {
    Finding::Failed { sent: sent.into(), expected: expected.into(), got: got.into() }
}

fn parse<T: serde::de::DeserializeOwned>(reply: &Reply, what: &str, expected: &str) -> Result<T, Finding> {
    if reply.code != StatusCode::OK {
        return Err(failed(what, expected, reply.describe()));
    }
    serde_json::from_slice(&reply.body)
        .map_err(|error| failed(what, expected, format!("{error}: {}", reply.describe())))
}

pub(crate) fn get(path: &str) -> Call {
    Call { method: Method::GET, path: path.to_owned(), content_type: None, body: Vec::new() }
}

/// A call of the hook that `review` names.
pub(crate) fn post(review: &Value) -> Call {
    let path = if review["request"]["hook"] == "Finalize" { path::FINALIZE } else { path::SYNC };
    post_body(path, review.to_string())
}

pub(crate) fn post_body(path: &str, body: impl Into<Vec<u8>>) -> Call {
    let content_type = Some("application/json");
    Call { method: Method::POST, path: path.to_owned(), content_type, body: body.into() }
}

/// What a review is about, for people.
pub(crate) fn about(review: &Value) -> String {
    let subject = &review["request"]["subject"]["object"];
    let text = |pointer: &str| subject.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    format!(
        "{} of {} {}/{}",
        review["request"]["hook"].as_str().unwrap_or_default(),
        text("/kind"),
        text("/metadata/namespace"),
        text("/metadata/name")
    )
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

fn read_plugin(path: &Path) -> Result<Value, Error> {
    let failed = |cause: String| Error::File { path: path.to_owned(), cause };
    let documents: Vec<Value> = serde_saphyr::from_multiple(&read(path)?).map_err(|error| failed(error.to_string()))?;
    let plugin = documents.into_iter().find(|document| document["kind"] == "DaskOperatorPlugin");
    plugin.ok_or_else(|| failed("it holds no DaskOperatorPlugin".to_owned()))
}

fn read_reviews(path: &Path) -> Result<Vec<Value>, Error> {
    let failed = |cause: String| Error::File { path: path.to_owned(), cause };
    let text = read(path)?;
    let reviews = Deserializer::from_str(&text).into_iter::<ReviewRequest>().map(|review| {
        let mut review = review.map_err(|error| failed(error.to_string()))?;
        review.request.dry_run = false;
        Ok(json!(review))
    });
    let reviews: Vec<Value> = reviews.collect::<Result<_, Error>>()?;
    if reviews.is_empty() { Err(failed("it holds no requests".to_owned())) } else { Ok(reviews) }
}
