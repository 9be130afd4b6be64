//! The operator's ServiceAccount. The API server counts its requests by verb: each verb of this account has a
//! `FlowSchema` in API Priority and Fairness, with the same priority level as all other service accounts.

use std::path::{Path, PathBuf};

use k8s_openapi::api::{
    authentication::v1::TokenRequest,
    core::v1::{Namespace, ServiceAccount},
    flowcontrol::v1::FlowSchema,
    rbac::v1::ClusterRoleBinding,
};
use kube::{
    Api, Client, Config, Resource,
    api::{Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    Error,
    requests::{self, RequestCounts, since},
    wait::wait_until,
};

/// Name of the account and of everything that belongs to it.
const NAME: &str = "bench-operator";
const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// Lower than that of the API server's own `FlowSchema` for service accounts, so that ours match first.
const PRECEDENCE: u32 = 500;

/// The ServiceAccount that an operator runs with. It is bound to `cluster-admin`.
pub(crate) struct Account {
    /// A client with the administrator's rights.
    admin: Client,
    /// The account's kubeconfig.
    pub(crate) kubeconfig: PathBuf,
    /// A client with the account's kubeconfig.
    pub(crate) client: Client,
}

impl Account {
    /// Creates the account, unless it exists, on the cluster of the kubeconfig `admin`. Writes its kubeconfig to `dir`.
    pub(crate) async fn new(admin: &Path, dir: &Path) -> Result<Self, Error> {
        let config = Kubeconfig::read_from(admin)?;
        let client = client_of(config.clone()).await?;
        apply::<Namespace>(&Api::all(client.clone()), json!({})).await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), NAME);
        apply(&accounts, json!({})).await?;
        let subject = json!({"kind": "ServiceAccount", "name": NAME, "namespace": NAME});
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"});
        let binding = json!({"roleRef": role, "subjects": [subject]});
        apply::<ClusterRoleBinding>(&Api::all(client.clone()), binding).await?;
        count_verbs(&client).await?;
        let request: TokenRequest =
            serde_json::from_value(json!({"spec": {"expirationSeconds": 86400, "audiences": []}}))?;
        let token = accounts.create_token_request(NAME, &PostParams::default(), &request).await?;
        let token = token.status.and_then(|status| status.token).unwrap_or_default();
        let kubeconfig = dir.join("kubeconfig");
        std::fs::write(&kubeconfig, with_token(&config, &token)?.to_string())?;
        let own = client_of(Kubeconfig::read_from(&kubeconfig)?).await?;
        let account = Self { admin: client, kubeconfig, client: own };
        account.wait_until_counted().await?;
        Ok(account)
    }

    /// Returns the requests of this account since the API server started, by verb.
    pub(crate) async fn requests(&self) -> Result<RequestCounts, Error> {
        let mut counts = RequestCounts::new();
        for sample in requests::samples(&self.admin, "apiserver_flowcontrol_dispatched_requests_total").await? {
            let verb = sample.label("flow_schema").strip_prefix(NAME).and_then(|flow| flow.strip_prefix('-'));
            if let Some(verb) = verb {
                *counts.entry(verb.to_owned()).or_default() += sample.value();
            }
        }
        Ok(counts)
    }

    /// Waits until the API server counts this account's requests, which takes a moment.
    async fn wait_until_counted(&self) -> Result<(), Error> {
        let before = self.requests().await?;
        wait_until("requests to be counted", async || {
            Api::<Namespace>::all(self.client.clone()).get(NAME).await?;
            Ok(!since(&before, &self.requests().await?).is_empty())
        })
        .await
    }
}

/// Builds a client from a kubeconfig.
pub(crate) async fn client_of(config: Kubeconfig) -> Result<Client, Error> {
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// Applies the object called [`NAME`].
async fn apply<K>(api: &Api<K>, fields: Value) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    apply_named(api, NAME, fields).await
}

async fn apply_named<K>(api: &Api<K>, name: &str, mut object: Value) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    object["apiVersion"] = json!(K::api_version(&()));
    object["kind"] = json!(K::kind(&()));
    object["metadata"] = json!({"name": name});
    api.patch(name, &PatchParams::apply("bench").force(), &Patch::Apply(object)).await?;
    Ok(())
}

/// Creates a `FlowSchema` for each verb.
async fn count_verbs(client: &Client) -> Result<(), Error> {
    let subject = json!({"kind": "ServiceAccount", "serviceAccount": {"name": NAME, "namespace": NAME}});
    for verb in VERBS {
        let everything = json!({
            "verbs": [verb], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"],
        });
        let spec = json!({
            "priorityLevelConfiguration": {"name": "workload-low"},
            "matchingPrecedence": PRECEDENCE,
            "distinguisherMethod": {"type": "ByUser"},
            "rules": [{"subjects": [subject], "resourceRules": [everything]}],
        });
        apply_named::<FlowSchema>(&Api::all(client.clone()), &format!("{NAME}-{verb}"), json!({"spec": spec})).await?;
    }
    Ok(())
}

/// Returns the kubeconfig `config` with another user.
fn with_token(config: &Kubeconfig, token: &str) -> Result<Value, Error> {
    let cluster = config.clusters.first().map(|named| serde_json::to_value(&named.cluster)).transpose()?;
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "bench", "cluster": cluster}],
        "users": [{"name": NAME, "user": {"token": token}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": NAME}}],
        "current-context": "bench",
    }))
}
