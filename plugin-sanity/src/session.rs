//! The plugin under test, and the operations of checks.

use dask_plugin_protocol::{Discovery, PluginRequest, PluginResponse, ReviewResponse, path};
use http::{HeaderMap, Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    Error,
    args::Args,
    credentials::Credentials,
    inputs::Inputs,
    target::{Call, NoReply, Reply, Target, event_of},
};

/// A response that differs from the expected one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The request.
    pub sent: String,
    /// The response that the rule requires.
    pub expected: String,
    /// The actual response.
    pub got: String,
}

/// The finding of a check that did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The plugin violates the rule.
    Failed(Mismatch),
    /// The plugin works, but perhaps not as its author expects.
    Warning(Mismatch),
    /// The rule could not be checked, with the reason.
    Skipped(String),
}

/// A plugin and the inputs of the checks.
#[derive(Debug)]
pub struct Session {
    args: Args,
    pub(crate) target: Target,
    pub(crate) inputs: Inputs,
}

impl Session {
    pub(crate) fn new(args: &Args) -> Result<Self, Error> {
        let target = Target::new(args, Credentials::read(args)?)?;
        Ok(Self { args: args.clone(), target, inputs: Inputs::read(args)? })
    }

    /// Fails if nothing listens at the endpoint.
    pub(crate) async fn reach(&self) -> Result<(), String> {
        match self.target.send(&get(path::DISCOVERY)).await {
            Err(why @ NoReply::Broken(_)) => Err(format!("{} cannot be reached: {why}", self.args.endpoint)),
            // A response that is late or too large is reported by checks.
            _ => Ok(()),
        }
    }

    /// Sends a call.
    pub(crate) async fn send(&self, call: &Call, what: &str, expected: &str) -> Result<Reply, Finding> {
        self.target.send(call).await.map_err(|why| failed(what, expected, why.to_string()))
    }

    pub(crate) async fn discovery(&self) -> Result<Discovery, Finding> {
        let (what, expected) = ("GET /v1alpha1/discovery", "200 and a PluginDiscovery without unknown fields");
        let reply = self.send(&get(path::DISCOVERY), what, expected).await?;
        parse(&reply, what, expected)
    }

    /// Returns the response to `review` at the path of its hook.
    pub(crate) async fn ask(&self, review: &Value, what: &str) -> Result<PluginResponse, Finding> {
        let expected = "200 and a PluginReview without unknown fields";
        let reply = self.send(&post(review), what, expected).await?;
        parse::<ReviewResponse>(&reply, what, expected).map(|review| review.response)
    }

    /// Returns each request, its description and its response.
    pub(crate) async fn answers(&self) -> Result<Vec<(&Value, String, PluginResponse)>, Finding> {
        let mut answers = Vec::new();
        for review in &self.inputs.reviews {
            let what = about(review);
            let answer = self.ask(review, &what).await?;
            answers.push((review, what, answer));
        }
        Ok(answers)
    }

    /// Returns the request for checks that need only one.
    pub(crate) fn review(&self) -> Result<&Value, Finding> {
        self.inputs.reviews.first().ok_or_else(|| Finding::Skipped("there is no request".to_owned()))
    }

    /// Returns the same endpoint with other credentials.
    pub(crate) fn with_credentials(&self, credentials: Credentials) -> Result<Target, Finding> {
        Target::new(&self.args, credentials).map_err(|error| Finding::Skipped(error.to_string()))
    }
}

pub(crate) fn failed(sent: impl Into<String>, expected: impl Into<String>, got: impl Into<String>) -> Finding {
    Finding::Failed(Mismatch { sent: sent.into(), expected: expected.into(), got: got.into() })
}

pub(crate) fn warning(sent: impl Into<String>, expected: impl Into<String>, got: impl Into<String>) -> Finding {
    Finding::Warning(Mismatch { sent: sent.into(), expected: expected.into(), got: got.into() })
}

fn parse<T: DeserializeOwned>(reply: &Reply, what: &str, expected: &str) -> Result<T, Finding> {
    if reply.code != StatusCode::OK {
        return Err(failed(what, expected, reply.describe()));
    }
    serde_json::from_slice(&reply.body)
        .map_err(|error| failed(what, expected, format!("{error}: {}", reply.describe())))
}

pub(crate) fn get(path: &str) -> Call {
    Call { method: Method::GET, path: path.to_owned(), content_type: None, event: HeaderMap::new(), body: Vec::new() }
}

/// Builds a call of the hook of `review`.
pub(crate) fn post(review: &Value) -> Call {
    let path = if review["request"]["hook"] == "Finalize" { path::FINALIZE } else { path::SYNC };
    post_at(path, review)
}

/// Builds a call with `review` like the controller, but for any path.
pub(crate) fn post_at(path: &str, review: &Value) -> Call {
    let request: Option<PluginRequest> = serde_json::from_value(review["request"].clone()).ok();
    Call { event: request.as_ref().map(event_of).unwrap_or_default(), ..post_body(path, review.to_string()) }
}

pub(crate) fn post_body(path: &str, body: impl Into<Vec<u8>>) -> Call {
    Call { method: Method::POST, content_type: Some("application/json"), body: body.into(), ..get(path) }
}

/// Describes a review for people.
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
