//! The account that an operator has on the API server. All its requests are counted there, by verb and at no cost:
//! each verb of this account has a flow of its own in API Priority and Fairness, with the priority that it has anyway.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

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

use crate::{Error, lab::until};

/// Name of the account and of all that belongs to it.
const NAME: &str = "bench-operator";
const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// Before those that every API server has for `ServiceAccounts`.
const PRECEDENCE: u32 = 500;

/// Requests by verb.
pub(crate) type Requests = BTreeMap<String, u64>;

/// An operator's account, which may do everything.
pub(crate) struct Account {
    /// Of the administrator.
    admin: Client,
    pub(crate) kubeconfig: PathBuf,
    /// The same as a client.
    pub(crate) client: Client,
}

impl Account {
    /// Makes the account on the cluster of the kubeconfig `admin`, or uses it again; its own kubeconfig goes to `dir`.
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
        account.is_counted().await?;
        Ok(account)
    }

    /// Requests of this account since the API server started.
    pub(crate) async fn requests(&self) -> Result<Requests, Error> {
        let request = http::Request::get("/metrics").body(Vec::new()).map_err(kube::Error::HttpError)?;
        let metrics = self.admin.request_text(request).await?;
        let mut requests = Requests::new();
        let dispatched = |line: &'_ str| line.starts_with("apiserver_flowcontrol_dispatched_requests_total{");
        for line in metrics.lines().filter(|line| dispatched(line)) {
            let flow = line.split_once("flow_schema=\"").and_then(|(_, rest)| rest.split('"').next());
            let Some(verb) = flow.and_then(|flow| flow.strip_prefix(NAME)?.strip_prefix('-')) else { continue };
            let count = line.rsplit(' ').next().and_then(|number| number.parse::<f64>().ok()).unwrap_or_default();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of requests")]
            let count = count as u64;
            *requests.entry(verb.to_owned()).or_default() += count;
        }
        Ok(requests)
    }

    /// The API server learns about flows a moment later.
    async fn is_counted(&self) -> Result<(), Error> {
        let before = self.requests().await?;
        until("requests to be counted", async || {
            Api::<Namespace>::all(self.client.clone()).get(NAME).await?;
            Ok(!since(&before, &self.requests().await?).is_empty())
        })
        .await
    }
}

/// What came between `before` and `after`.
pub(crate) fn since(before: &Requests, after: &Requests) -> Requests {
    let grown = after.iter().map(|(verb, count)| (verb.clone(), count - before.get(verb).unwrap_or(&0)));
    grown.filter(|(_, count)| *count > 0).collect()
}

/// A client of the cluster that a kubeconfig leads to.
pub(crate) async fn client_of(config: Kubeconfig) -> Result<Client, Error> {
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

async fn apply<K>(api: &Api<K>, fields: Value) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    named(api, NAME, fields).await
}

async fn named<K>(api: &Api<K>, name: &str, mut object: Value) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    object["apiVersion"] = json!(K::api_version(&()));
    object["kind"] = json!(K::kind(&()));
    object["metadata"] = json!({"name": name});
    api.patch(name, &PatchParams::apply("bench").force(), &Patch::Apply(object)).await?;
    Ok(())
}

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
        named::<FlowSchema>(&Api::all(client.clone()), &format!("{NAME}-{verb}"), json!({"spec": spec})).await?;
    }
    Ok(())
}

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
