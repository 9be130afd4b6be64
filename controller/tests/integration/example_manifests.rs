//! The manifests of the examples, as people copy them.

use std::path::Path;

use serde_json::{Value, json};

const EXAMPLES: [&str; 4] = ["decorator", "ingress", "istio", "networkpolicy"];

fn manifest(example: &str, file: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(example).join("manifests");
    serde_saphyr::from_str(&std::fs::read_to_string(folder.join(file)).unwrap()).unwrap()
}

#[test]
fn each_sidecar_listens_where_its_registration_says() {
    for example in EXAMPLES {
        let mut deployed = manifest(example, "plugin.yaml");
        let mut sidecar = manifest(example, "sidecar/plugin.yaml");
        let values = manifest(example, "sidecar/values.yaml");
        let socket = sidecar["spec"]["endpoint"]["socket"].as_str().unwrap().to_owned();
        let (container, file) = socket.split_once('/').unwrap();
        let path = format!("/run/dask-operator/plugins/{file}");
        let listens = &values["plugins"]["sidecars"][0]["env"][0];
        assert_eq!(values["plugins"]["sidecars"][0]["name"], container, "{example}");
        assert_eq!(*listens, json!({"name": "PLUGIN_SOCKET", "value": path}), "{example}");
        for plugin in [&mut deployed, &mut sidecar] {
            let spec = plugin["spec"].as_object_mut().unwrap();
            spec.remove("endpoint").unwrap();
            spec.remove("tls");
        }
        assert_eq!(sidecar, deployed, "{example}");
    }
}
