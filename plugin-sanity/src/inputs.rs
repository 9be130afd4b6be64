//! The requests that are sent to the plugin, and the kinds that it may return, from the files in the arguments.

use std::{fs, path::Path};

use dask_plugin_protocol::{PluginRequest, ReviewRequest, StatusInDigest, digest_of};
use dask_plugin_server::testing::RequestBuilder;
use serde_json::{Deserializer, Value, json};

use crate::{
    Error,
    args::Args,
    subjects::{self, Pair},
};

/// The optional fields of a response that the controller supports.
const CAPABILITIES: [&str; 3] = ["Conditions", "Warnings", "ResyncAfter"];

/// A kind of children that the plugin may return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Allowed {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) sensitive: bool,
}

/// The inputs of all checks.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    /// Requests for the hook Sync, in their envelopes.
    pub(crate) reviews: Vec<Value>,
    /// The allowed kinds, if they are known.
    pub(crate) allowed: Option<Vec<Allowed>>,
}

impl Inputs {
    pub(crate) fn read(args: &Args) -> Result<Self, Error> {
        let plugin = args.plugin.as_deref().map(read_plugin).transpose()?.unwrap_or_default();
        let settings = args.settings.as_deref().map(read_settings).transpose()?;
        let owner = args.owner.as_deref().map(read_one).transpose()?;
        let mut requests = Vec::new();
        for path in &args.requests {
            requests.extend(read_requests(path, &plugin, owner.as_ref())?);
        }
        if args.requests.is_empty() {
            let pairs = subjects::selected(plugin["spec"]["subjects"].as_array());
            requests.extend(pairs.into_iter().map(|pair| request_for(pair, &plugin)));
        }
        if requests.is_empty() {
            return Err(Error::Inputs("spec.subjects of the plugin selects no subject that exists; correct it"));
        }
        let reviews = requests.into_iter().map(|mut request| {
            request.plugin.settings = settings.clone().unwrap_or(request.plugin.settings);
            request.uid = digest_of(&request, StatusInDigest::Ignored)?;
            Ok(json!(ReviewRequest::new(request)))
        });
        Ok(Self { reviews: reviews.collect::<Result<_, Error>>()?, allowed: allowed(args, &plugin)? })
    }
}

/// Returns `review` with a changed request and the uid that the controller would give it.
///
/// A plugin may cache responses by uid. With the old uid, it would return the cached response.
pub(crate) fn variant(review: &Value, change: impl FnOnce(&mut Value)) -> Value {
    let mut other = review.clone();
    change(&mut other["request"]);
    let request: Result<PluginRequest, _> = serde_json::from_value(other["request"].clone());
    if let Some(uid) = request.ok().and_then(|request| digest_of(&request, StatusInDigest::Ignored).ok()) {
        other["request"]["uid"] = json!(uid);
    }
    other
}

fn request_for((subject, owner): Pair, plugin: &Value) -> PluginRequest {
    let settings = plugin["spec"]["settings"].as_object().cloned().unwrap_or_default();
    let mut request = RequestBuilder::sync().subject(subject).owner(owner).settings(json!(settings)).build();
    request.controller.capabilities = CAPABILITIES.map(str::to_owned).to_vec();
    for (field, to) in [("name", &mut request.plugin.name), ("namespace", &mut request.plugin.namespace)] {
        if let Some(text) = plugin["metadata"][field].as_str() {
            text.clone_into(to);
        }
    }
    request
}

fn allowed(args: &Args, plugin: &Value) -> Result<Option<Vec<Allowed>>, Error> {
    let rules = plugin["spec"]["children"].as_array();
    if rules.is_none() && args.allow.is_empty() {
        return Ok(None);
    }
    let text = |rule: &Value, field: &str| rule[field].as_str().unwrap_or_default().to_owned();
    let of_rules = rules.into_iter().flatten().map(|rule| {
        let sensitive = rule["allowSensitive"] == true;
        Ok(Allowed { api_version: text(rule, "apiVersion"), kind: text(rule, "kind"), sensitive })
    });
    let of_args = args.allow.iter().map(|named| match named.rsplit_once('/') {
        Some((api_version, kind)) if !api_version.is_empty() && !kind.is_empty() => {
            Ok(Allowed { api_version: api_version.to_owned(), kind: kind.to_owned(), sensitive: true })
        }
        _ => Err(Error::Inputs("use apiVersion/Kind for --allow, such as networking.k8s.io/v1/Ingress")),
    });
    of_rules.chain(of_args).collect::<Result<_, _>>().map(Some)
}

fn read_plugin(path: &Path) -> Result<Value, Error> {
    let plugin = read(path)?.into_iter().find(|document| document["kind"] == "DaskOperatorPlugin");
    plugin.ok_or_else(|| invalid(path, "it contains no DaskOperatorPlugin"))
}

fn read_settings(path: &Path) -> Result<Value, Error> {
    let settings = read_one(path)?;
    if settings.is_object() {
        Ok(settings)
    } else {
        Err(invalid(path, "settings must be an object, such as {domain: …}"))
    }
}

fn read_one(path: &Path) -> Result<Value, Error> {
    let [one] =
        <[Value; 1]>::try_from(read(path)?).map_err(|_| invalid(path, "it must contain exactly one document"))?;
    Ok(one)
}

/// Reads requests with or without their envelopes, or manifests of subjects.
fn read_requests(path: &Path, plugin: &Value, owner: Option<&Value>) -> Result<Vec<PluginRequest>, Error> {
    let documents = read(path)?;
    if documents.is_empty() {
        return Err(invalid(path, "it contains no requests"));
    }
    documents.into_iter().map(|document| read_request(document, path, plugin, owner)).collect()
}

fn read_request(document: Value, path: &Path, plugin: &Value, owner: Option<&Value>) -> Result<PluginRequest, Error> {
    let failed = |error: serde_json::Error| invalid(path, &error.to_string());
    let mut request = if document["kind"] == "PluginReview" {
        serde_json::from_value::<ReviewRequest>(document).map_err(failed)?.request
    } else if document["subject"].is_object() {
        serde_json::from_value::<PluginRequest>(document).map_err(failed)?
    } else if document["kind"].is_string() && document["metadata"].is_object() {
        let own = subjects::is_dask_resource(&document).then(|| document.clone());
        let owner = owner.cloned().or(own);
        let owner = owner.ok_or_else(|| invalid(path, "set --owner to the Dask resource that owns this subject"))?;
        request_for((document, owner), plugin)
    } else {
        return Err(invalid(path, "it contains neither requests nor manifests"));
    };
    if request.hook != dask_plugin_protocol::Hook::Sync {
        return Err(invalid(
            path,
            "remove the requests that are not for the hook Sync; requests for Finalize are derived from the others",
        ));
    }
    // The requests that `render` prints are dry runs.
    request.dry_run = false;
    Ok(request)
}

/// Reads the documents of a file: JSON documents in sequence, or YAML.
fn read(path: &Path) -> Result<Vec<Value>, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let json: Result<Vec<Value>, _> = Deserializer::from_str(&text).into_iter().collect();
    if let Ok(documents) = json {
        return Ok(documents);
    }
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text)
        .map_err(|error| invalid(path, error.to_string().lines().next().unwrap_or_default()))?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

fn invalid(path: &Path, cause: &str) -> Error {
    Error::File { path: path.to_owned(), cause: cause.to_owned() }
}
