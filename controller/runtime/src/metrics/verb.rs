//! The RBAC verb and resource of a request to the API server, as a pure function of method and path.

use http::{Method, Uri};

use super::family::Word;

/// The resources that the controller itself uses, and the most common children of plugins.
const RESOURCES: [Word; 21] = [
    "configmaps",
    "customresourcedefinitions",
    "daskautoscalers",
    "daskclusters",
    "daskjobs",
    "daskoperatorplugins",
    "daskworkergroups",
    "deployments",
    "endpointslices",
    "events",
    "ingresses",
    "leases",
    "namespaces",
    "networkpolicies",
    "pods",
    "secrets",
    "selfsubjectaccessreviews",
    "serviceaccounts",
    "services",
    "subjectaccessreviews",
    "tokenreviews",
];
/// The value for all other resources.
const OTHER: Word = "other";

/// The verb and the resource of a request. A subresource counts as its resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RequestInfo {
    pub verb: Word,
    pub resource: Word,
}

impl RequestInfo {
    /// Parses a path like the API server itself (`RequestInfo`): `/api/{version}` or `/apis/{group}/{version}`, then
    /// optionally `/namespaces/{namespace}`, then `/{resource}/{name}/{subresource}`.
    pub(super) fn of(method: &Method, uri: &Uri) -> Self {
        let mut parts = uri.path().split('/').filter(|part| !part.is_empty());
        let skipped = match parts.next() {
            Some("api") => 1,
            Some("apis") => 2,
            _ => return Self { verb: of_path(method), resource: OTHER },
        };
        let mut parts = parts.skip(skipped);
        let (mut resource, mut name) = (parts.next(), parts.next());
        if resource == Some("namespaces")
            && name.is_some()
            && let Some(inner) = parts.next().filter(|part| !matches!(*part, "status" | "finalize"))
        {
            (resource, name) = (Some(inner), parts.next());
        }
        let Some(resource) = resource else { return Self { verb: of_path(method), resource: OTHER } };
        let resource = RESOURCES.into_iter().find(|known| *known == resource).unwrap_or(OTHER);
        Self { verb: of_resource(method, uri, name.is_some()), resource }
    }
}

fn of_resource(method: &Method, uri: &Uri, named: bool) -> Word {
    let watch =
        || uri.query().is_some_and(|query| query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1")));
    match (method.as_str(), named) {
        ("GET", false) if watch() => "watch",
        ("GET", false) => "list",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("DELETE", false) => "deletecollection",
        _ => of_path(method),
    }
}

/// Returns the verb of a request whose path names no resource, such as a discovery document.
fn of_path(method: &Method) -> Word {
    match method.as_str() {
        "GET" | "HEAD" => "get",
        "POST" => "post",
        "PUT" => "put",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_verbs_of_rbac() {
        const DASK: &str = "/apis/kubernetes.dask.org/v1";
        let table = [
            ("GET", "/api/v1/pods?limit=500", "list", "pods"),
            ("GET", "/api/v1/namespaces/ns/pods?&watch=true&timeoutSeconds=30", "watch", "pods"),
            ("GET", "/api/v1/namespaces/ns/pods?labelSelector=watch%3Dtrue", "list", "pods"),
            ("GET", "/api/v1/namespaces/ns/pods/a", "get", "pods"),
            ("POST", "/api/v1/namespaces/ns/services", "create", "services"),
            ("POST", "/api/v1/namespaces/ns/serviceaccounts/a/token", "create", "serviceaccounts"),
            ("PUT", "/apis/coordination.k8s.io/v1/namespaces/ns/leases/a", "update", "leases"),
            ("PATCH", &format!("{DASK}/namespaces/ns/daskclusters/a/status?force=true"), "patch", "daskclusters"),
            ("DELETE", "/apis/apps/v1/namespaces/ns/deployments/a", "delete", "deployments"),
            ("DELETE", "/apis/apps/v1/namespaces/ns/deployments", "deletecollection", "deployments"),
            ("GET", "/api/v1/namespaces", "list", "namespaces"),
            ("GET", "/api/v1/namespaces/ns", "get", "namespaces"),
            ("PUT", "/api/v1/namespaces/ns/finalize", "update", "namespaces"),
            ("GET", "/apis/networking.istio.io/v1/namespaces/ns/virtualservices", "list", "other"),
            ("GET", "/apis/apps/v1", "get", "other"),
            ("GET", "/version", "get", "other"),
            ("POST", "/", "post", "other"),
        ];
        for (method, uri, verb, resource) in table {
            let asked = RequestInfo::of(&method.parse().unwrap(), &uri.parse().unwrap());
            assert_eq!(asked, RequestInfo { verb, resource }, "{method} {uri}");
        }
    }
}
