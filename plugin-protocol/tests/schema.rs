//! The published schemas correspond to the types, and accept and refuse the same values.
#![cfg(feature = "schema")]
#![expect(clippy::unwrap_used, reason = "a test should panic where it fails")]

use std::{fs, path::PathBuf};

use dask_plugin_protocol::schema;
use jsonschema::Validator;
use serde_json::{Value, json};

fn golden(name: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::new(schema).unwrap()
}

/// Returns a schema of the OpenAPI document with the schemas that it refers to.
fn openapi_schema(name: &str) -> Validator {
    let mut document = schema::openapi();
    document["$ref"] = json!(format!("#/components/schemas/{name}"));
    validator(&document)
}

#[test]
fn the_published_files_are_those_of_the_types() {
    for (name, expected) in schema::files() {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schema").join(name);
        let published: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(published, expected, "{name} is out of date; run make generate");
    }
}

#[test]
fn the_golden_files_conform_to_the_schemas_and_to_openapi() {
    let table = [
        ("sync_request.json", schema::request(), "ReviewRequest"),
        ("sync_response.json", schema::response(), "ReviewResponse"),
        ("discovery.json", schema::discovery(), "Discovery"),
    ];
    for (file, schema, component) in table {
        for validator in [validator(&schema), openapi_schema(component)] {
            let errors: Vec<String> = validator.iter_errors(&golden(file)).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{file}: {errors:?}");
        }
    }
}

type Edit = fn(&mut Value);

#[test]
fn the_schema_refuses_the_responses_that_the_controller_refuses() {
    let table: [(&str, Edit); 7] = [
        ("no children", |answer| drop(answer["response"].as_object_mut().unwrap().remove("children"))),
        ("children are null", |answer| answer["response"]["children"] = json!(null)),
        ("an unknown field", |answer| answer["response"]["childen"] = json!([])),
        ("another kind", |answer| answer["kind"] = json!("AdmissionReview")),
        ("another status", |answer| answer["response"]["status"] = json!("Fine")),
        ("a key in capitals", |answer| answer["response"]["children"][0]["key"] = json!("Ingress")),
        ("a manifest as text", |answer| answer["response"]["children"][0]["manifest"] = json!("{}")),
    ];
    for validator in [validator(&schema::response()), openapi_schema("ReviewResponse")] {
        for (what, edit) in table {
            let mut answer = golden("sync_response.json");
            edit(&mut answer);
            assert!(!validator.is_valid(&answer), "{what}");
        }
    }
}

#[test]
fn a_failure_needs_no_children() {
    let mut answer = golden("sync_response.json");
    let response = answer["response"].as_object_mut().unwrap();
    response.remove("children");
    response.insert("status".to_owned(), json!("Failure"));
    assert!(validator(&schema::response()).is_valid(&answer));
}

#[test]
fn a_request_of_a_newer_controller_is_valid() {
    let mut request = golden("sync_request.json");
    request["request"]["somethingNew"] = json!(1);
    request["request"]["event"]["reason"] = json!("SomethingNew");
    assert!(validator(&schema::request()).is_valid(&request));
    request["request"]["uid"] = json!(7);
    assert!(!validator(&schema::request()).is_valid(&request));
}
