//! Validates children with the CRDs of Istio and cert-manager, as strictly as server-side apply.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::*;

/// Reads the schemas of the served versions in the directory from `crds.sh`, by apiVersion and kind.
fn schemas(folder: &Path) -> BTreeMap<(String, String), Value> {
    let mut schemas = BTreeMap::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let crd = from_yaml(&std::fs::read_to_string(file.unwrap().path()).unwrap());
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        for version in crd["spec"]["versions"].as_array().unwrap() {
            let api_version = format!("{}/{}", text(&crd["spec"]["group"]), text(&version["name"]));
            let mut schema = version["schema"]["openAPIV3Schema"].clone();
            let kind = text(&crd["spec"]["names"]["kind"]);
            close(&mut schema);
            // The API server validates these fields for every kind.
            schema["properties"]["apiVersion"] = json!({"const": api_version});
            schema["properties"]["kind"] = json!({"const": kind});
            schema["properties"]["metadata"] = json!({"type": "object"});
            schemas.insert((api_version, kind), schema);
        }
    }
    schemas
}

/// Makes the schema refuse unknown fields, like the API server does.
fn close(schema: &mut Value) {
    let Value::Object(fields) = schema else { return };
    if fields.contains_key("properties") && !fields.contains_key("x-kubernetes-preserve-unknown-fields") {
        fields.insert("additionalProperties".to_owned(), json!(false));
    }
    for (name, field) in fields.iter_mut() {
        match (name.as_str(), field) {
            ("properties", Value::Object(properties)) => properties.values_mut().for_each(close),
            ("items" | "additionalProperties", field) => close(field),
            _ => {}
        }
    }
}

#[tokio::test]
#[ignore = "needs the CRDs: run crds.sh DIR, and set CRDS=DIR"]
async fn children_are_valid_for_the_published_crds() {
    let folder = std::env::var_os("CRDS").map(PathBuf::from).expect("CRDS is the directory from crds.sh");
    let schemas = schemas(&folder);
    for settings in [ISSUER, EVERYTHING] {
        let (children, _) = children_of(with_settings(settings).owner(cluster_with_tls())).await;
        for manifest in children.as_object().unwrap().values() {
            let text = |field: &str| manifest[field].as_str().unwrap().to_owned();
            let schema = &schemas[&(text("apiVersion"), text("kind"))];
            let problem = jsonschema::validate(schema, manifest).err().map(|error| error.to_string());
            assert_eq!(problem, None, "{manifest:#}");
            let mut misspelt = manifest.clone();
            misspelt["spec"]["gatewayz"] = json!([]);
            assert!(jsonschema::validate(schema, &misspelt).is_err(), "the schema accepts unknown fields");
        }
    }
}
