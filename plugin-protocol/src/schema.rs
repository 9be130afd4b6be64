//! JSON Schema (draft 2020-12) and OpenAPI 3.1 documents of the protocol, for authors in other languages.
//!
//! They are generated from the types. Requests are described as the controller sends them, responses as it accepts
//! them.
//!
//! ```
//! let document = dask_plugin_protocol::schema::openapi();
//! assert_eq!(document["openapi"], "3.1.0");
//! assert!(document["paths"]["/v1alpha1/sync"]["post"].is_object());
//! ```

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::{Discovery, PROTOCOL_VERSION, ReviewRequest, ReviewResponse, headers, path};

/// The path of the schemas in an OpenAPI document.
const COMPONENTS: &str = "/components/schemas";

/// Returns the names and contents of the published files.
pub fn files() -> [(&'static str, Value); 4] {
    [
        ("discovery.schema.json", discovery()),
        ("openapi.json", openapi()),
        ("request.schema.json", request()),
        ("response.schema.json", response()),
    ]
}

/// Returns the JSON Schema of a [`ReviewRequest`].
///
/// ```
/// let schema = dask_plugin_protocol::schema::request();
/// assert_eq!(schema["title"], "ReviewRequest");
/// ```
pub fn request() -> Value {
    root::<ReviewRequest>(SchemaSettings::draft2020_12().for_serialize())
}

/// Returns the JSON Schema of a [`ReviewResponse`].
pub fn response() -> Value {
    root::<ReviewResponse>(SchemaSettings::draft2020_12())
}

/// Returns the JSON Schema of a [`Discovery`].
pub fn discovery() -> Value {
    root::<Discovery>(SchemaSettings::draft2020_12())
}

fn root<T: JsonSchema>(settings: SchemaSettings) -> Value {
    readable(settings.into_generator().into_root_schema_for::<T>())
}

/// Returns an OpenAPI 3.1 document of the three calls.
pub fn openapi() -> Value {
    let settings = || SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = COMPONENTS.into());
    let mut sent = settings().for_serialize().into_generator();
    let mut accepted = settings().into_generator();
    let (request, response) = (sent.subschema_for::<ReviewRequest>(), accepted.subschema_for::<ReviewResponse>());
    let discovery = accepted.subschema_for::<Discovery>();
    let hook = |summary: &str, id: &str| hook(summary, id, &request, &response);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "dask-operator plugin protocol",
            "version": PROTOCOL_VERSION,
            "summary": "The HTTP API that a plugin serves and dask-operator calls",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"mutualTLS": []}, {"serviceAccountToken": []}, {"webhookSignature": []}],
        "paths": {
            path::DISCOVERY: {"get": {
                "operationId": "discover",
                "summary": "Returns the name of the plugin and the hooks that it serves",
                "parameters": [timeout()],
                "responses": responses(&discovery),
            }},
            path::SYNC: {"post": hook("Returns the complete set of children for one subject", "sync")},
            path::FINALIZE: {"post": hook("Releases what the plugin holds outside of the cluster", "finalize")},
        },
        "components": {
            "schemas": schemas([accepted, sent]),
            "securitySchemes": security_schemes(),
        },
    })
}

/// Merges the definitions of all generators. Types that occur in requests and in responses have the same definition.
fn schemas<const N: usize>(generators: [SchemaGenerator; N]) -> Map<String, Value> {
    let error = json!({
        "type": "object",
        "description": "Why there is no response. The existing children stay.",
        "required": ["error", "message"],
        "properties": {
            "error": {"type": "string", "description": "One CamelCase word"},
            "message": {"type": "string", "description": "One sentence for people"},
        },
    });
    let mut all = Map::from_iter([("Error".to_owned(), error)]);
    for mut generator in generators {
        all.extend(generator.take_definitions(true).into_iter().map(|(name, schema)| (name, readable(schema))));
    }
    all.sort_keys();
    all
}

fn hook(summary: &str, id: &str, request: &Schema, response: &Schema) -> Value {
    let header = |name: &str, description: &str| json!({"name": name, "in": "header", "description": description, "schema": {"type": "string"}});
    json!({
        "operationId": id,
        "summary": summary,
        "parameters": [
            timeout(),
            header(headers::CE_SPECVERSION, "CloudEvents version, 1.0"),
            header(headers::CE_ID, "request.uid"),
            header(headers::CE_TYPE, "request.event.type"),
            header(headers::CE_SOURCE, "API path of the plugin resource"),
            header(headers::CE_SUBJECT, "namespace/name of the subject"),
            header(headers::CE_TIME, "request.event.time"),
            header(headers::TRACEPARENT, "W3C trace context"),
        ],
        "requestBody": {"required": true, "content": {"application/json": {"schema": request}}},
        "responses": responses(response),
    })
}

fn timeout() -> Value {
    json!({
        "name": "timeout",
        "in": "query",
        "description": "How long the controller waits, such as 10s",
        "schema": {"type": "string", "pattern": "^[1-9][0-9]*s$"},
    })
}

fn responses(success: &Schema) -> Value {
    let error = |description: &str| {
        let schema = json!({"$ref": format!("#{COMPONENTS}/Error")});
        json!({"description": description, "content": {"application/json": {"schema": schema}}})
    };
    json!({
        "200": {"description": "The response", "content": {"application/json": {"schema": success}}},
        "401": error("The credentials are missing or invalid. The controller retries slowly."),
        "404": error("The plugin does not serve the hook."),
        "410": error("The plugin is gone permanently. The controller does not call again until the resource or the version of the plugin changes."),
        "413": error("The request is too large. The controller retries when something changes."),
        "415": error("The content type is not application/json. The controller retries when something changes."),
        "422": error("The plugin cannot process the request. The controller retries when something changes."),
        "429": error("The controller retries later. Retry-After is honoured between 1 second and 10 minutes."),
        "503": error("The controller retries later. Retry-After is honoured between 1 second and 10 minutes."),
        "default": error("Any other error. 5xx is retried with exponential backoff."),
    })
}

fn security_schemes() -> Value {
    json!({
        "mutualTLS": {
            "type": "mutualTLS",
            "description": "tls.mode Auto: a client certificate that the CA of the controller has signed",
        },
        "serviceAccountToken": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "tls.mode Custom: a ServiceAccount token whose audience is the endpoint of the plugin",
        },
        "webhookSignature": {
            "type": "apiKey",
            "in": "header",
            "name": "webhook-signature",
            "description": "auth.hmac: a signature as Standard Webhooks defines it, with webhook-id and webhook-timestamp",
        },
    })
}

/// Removes links and examples from the descriptions, which come from Rust documentation: links do not resolve here, and
/// the readers use other languages.
fn readable(schema: impl Into<Value>) -> Value {
    let mut value = schema.into();
    simplify(&mut value);
    value
}

fn simplify(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(text) if name == "description" => {
                        let prose = text.split_once("\n\n```").map_or(text.as_str(), |(prose, _example)| prose);
                        *text = prose.replace("[`", "`").replace("`]", "`").replace("crate::", "");
                    }
                    other => simplify(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(simplify),
        _ => {}
    }
}
