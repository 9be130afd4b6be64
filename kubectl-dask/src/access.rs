//! Connects to the API server with the user's own kubeconfig.

use kube::{
    Api, Client, Config, Resource,
    api::DynamicObject,
    config::{KubeConfigOptions, Kubeconfig},
    core::ApiResource,
};

use crate::{args::Access, error::Error};

/// The API server and the namespace that the command line names.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    /// The options with which another command reaches the same API server: empty, or they begin with a space.
    pub(crate) options: String,
}

impl Connection {
    pub(crate) async fn open(access: &Access) -> Result<Self, Error> {
        let mut config = config(access).await?;
        // Logs and forwarded ports may be silent for long.
        config.read_timeout = None;
        let namespace = access.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| Error::Kubeconfig(error.to_string()))?;
        Ok(Self { client, namespace, options: options(access) })
    }

    /// Returns the API of one kind in the namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Returns the API of one kind whose objects are not parsed into a type.
    pub(crate) fn untyped(&self, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, resource)
    }
}

/// Returns the options of the command line that say which API server is asked.
fn options(access: &Access) -> String {
    let kubeconfig = access.kubeconfig.as_ref().map(|path| path.display().to_string());
    let named = [("--context", access.context.clone()), ("--kubeconfig", kubeconfig)];
    let given = named.into_iter().filter_map(|(name, value)| Some(format!(" {name} {}", quoted(&value?))));
    given.collect()
}

/// Returns a word as a shell reads it.
fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:@%+=,".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

async fn config(access: &Access) -> Result<Config, Error> {
    let unusable = |error: &dyn std::fmt::Display| Error::Kubeconfig(error.to_string());
    if access.kubeconfig.is_none() && access.context.is_none() {
        return Config::infer().await.map_err(|error| unusable(&error));
    }
    let file = match &access.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let file = file.map_err(|error| unusable(&error))?;
    let options = KubeConfigOptions { context: access.context.clone(), ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(file, &options).await.map_err(|error| unusable(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advised_command_reaches_the_same_api_server() {
        let access = |context: Option<&str>, kubeconfig: Option<&str>| Access {
            namespace: Some("a".to_owned()),
            context: context.map(str::to_owned),
            kubeconfig: kubeconfig.map(Into::into),
        };
        assert_eq!(options(&access(None, None)), "");
        assert_eq!(options(&access(Some("admin@prod"), None)), " --context admin@prod");
        let both = options(&access(Some("my prod"), Some("/a/it's")));
        assert_eq!(both, r" --context 'my prod' --kubeconfig '/a/it'\''s'");
    }
}
