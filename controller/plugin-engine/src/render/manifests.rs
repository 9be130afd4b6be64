//! Reads files into manifests, and sets the fields that the API server would set.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use dask_operator_api::DaskOperatorPlugin;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{ResourceExt as _, api::DynamicObject};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::Error;

/// The contents of the files.
#[derive(Debug, Default)]
pub(crate) struct Manifests {
    pub(crate) objects: Vec<DynamicObject>,
    pub(crate) definitions: Vec<CustomResourceDefinition>,
    /// The labels of namespaces, by name.
    pub(crate) namespaces: BTreeMap<String, BTreeMap<String, String>>,
}

impl Manifests {
    /// Reads `files`. Objects without a namespace are put into `namespace`.
    pub(crate) fn read(files: &[PathBuf], namespace: &str) -> Result<Self, Error> {
        let mut manifests = Self::default();
        for path in files {
            for document in documents(path)? {
                manifests.add(document, namespace).map_err(|cause| Error::Manifest { path: path.clone(), cause })?;
            }
        }
        Ok(manifests)
    }

    fn add(&mut self, mut document: Value, namespace: &str) -> Result<(), String> {
        match document["kind"].as_str() {
            Some("CustomResourceDefinition") => self.definitions.push(typed(document)?),
            Some("Namespace") => {
                let object: DynamicObject = typed(document)?;
                let mut labels = object.labels().clone();
                labels.insert("kubernetes.io/metadata.name".to_owned(), object.name_any());
                self.namespaces.insert(object.name_any(), labels);
            }
            _ => {
                complete(&mut document, namespace);
                self.objects.push(typed(document)?);
            }
        }
        Ok(())
    }
}

/// Returns the only DaskOperatorPlugin in `path`. Without a namespace, it is in the operator's namespace.
pub(crate) fn read_plugin(path: &Path, namespace: &str) -> Result<DaskOperatorPlugin, Error> {
    let failed = |cause: String| Error::Manifest { path: path.to_owned(), cause };
    let all = documents(path)?;
    let mut plugins = all.into_iter().filter(|document| document["kind"] == "DaskOperatorPlugin");
    let (Some(mut plugin), None) = (plugins.next(), plugins.next()) else {
        return Err(failed("it must hold one DaskOperatorPlugin".to_owned()));
    };
    complete(&mut plugin, namespace);
    typed(plugin).map_err(failed)
}

/// Returns the documents of a YAML or JSON file, and the items of lists.
fn documents(path: &Path) -> Result<Vec<Value>, Error> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(path)
    };
    let text = text.map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let failed = |cause: String| Error::Manifest { path: path.to_owned(), cause };
    let parsed: Vec<Value> = serde_saphyr::from_multiple(&text).map_err(|error| failed(error.to_string()))?;
    let mut documents = Vec::new();
    for document in parsed {
        match document {
            Value::Null => {}
            Value::Object(ref fields) if fields.get("items").is_some_and(Value::is_array) => {
                documents.extend(document["items"].as_array().into_iter().flatten().cloned());
            }
            document if document["kind"].is_string() && document["apiVersion"].is_string() => documents.push(document),
            _ => return Err(failed("a document has no apiVersion and kind".to_owned())),
        }
    }
    Ok(documents)
}

/// Adds a namespace and a uid to a manifest if they are missing. The uid is derived from the name.
pub(crate) fn complete(document: &mut Value, namespace: &str) {
    let kind = document["kind"].as_str().unwrap_or_default().to_owned();
    let Some(metadata) = document.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let namespace = metadata.entry("namespace").or_insert_with(|| json!(namespace)).clone();
    let name = metadata.get("name").cloned().unwrap_or_default();
    metadata.entry("uid").or_insert_with(|| json!(uid_of(&format!("{kind} {namespace} {name}"))));
    metadata.entry("generation").or_insert(json!(1));
}

fn uid_of(what: &str) -> String {
    let hex = hex::encode(&Sha256::digest(what)[..16]);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Parses `document` as a `T`. Returns a message if that fails.
pub(crate) fn typed<T: DeserializeOwned>(document: Value) -> Result<T, String> {
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let what = format!("{} {}", text("/kind"), text("/metadata/name"));
    serde_json::from_value(document).map_err(|error| format!("{what}: {error}"))
}
