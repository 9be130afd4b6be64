//! ServiceAccount tokens that prove to one plugin, and to no other, that the caller is the controller.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{Api, Client, api::PostParams};
use operator_runtime::k8s;
use tokio::sync::Mutex;

use crate::config::TokenSubject;

/// The lifetime that is requested. The API server may choose another one.
const LIFE_SECONDS: i64 = 3600;
/// A refused token that is younger than this is not replaced, because a new one would have the same content.
const TOO_YOUNG_TO_DROP: SignedDuration = SignedDuration::from_secs(10);

/// The reason why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{}", .0.message())]
    Api(#[from] k8s::Error),
    #[error("the API server answered without a token")]
    Missing,
}

/// A token and its lifetime.
#[derive(Clone)]
struct CachedToken {
    token: String,
    issued: Timestamp,
    expires: Timestamp,
}

impl CachedToken {
    /// Returns whether less than four fifths of the lifetime are over. The rest is a margin for clock differences and
    /// the duration of a call.
    fn is_valid(&self, now: Timestamp) -> bool {
        let life = self.expires.duration_since(self.issued);
        now.duration_since(self.issued) * 5 < life * 4
    }

    fn is_worth_dropping(&self, refused: &str, now: Timestamp) -> bool {
        self.token == refused && now.duration_since(self.issued) >= TOO_YOUNG_TO_DROP
    }
}

/// The tokens for one audience.
#[derive(Clone)]
pub(crate) struct Tokens(Arc<Inner>);

struct Inner {
    accounts: Api<ServiceAccount>,
    identity: TokenSubject,
    audience: String,
    cached: Mutex<Option<CachedToken>>,
}

/// Tokens are equal if their audiences are, since plugins differ in nothing else.
impl PartialEq for Tokens {
    fn eq(&self, other: &Self) -> bool {
        self.0.audience == other.0.audience
    }
}

impl Eq for Tokens {}

impl Tokens {
    /// Returns the tokens of the controller's ServiceAccount in `namespace`, which is the operator's.
    pub(crate) fn new(client: Client, namespace: &str, identity: &TokenSubject, audience: String) -> Self {
        let accounts = Api::namespaced(client, namespace);
        Self(Arc::new(Inner { accounts, identity: identity.clone(), audience, cached: Mutex::new(None) }))
    }

    /// Returns a token that stays valid long enough for a call.
    pub(crate) async fn get(&self) -> Result<String, Error> {
        let mut cached = self.0.cached.lock().await;
        if let Some(valid) = cached.as_ref().filter(|cached| cached.is_valid(Timestamp::now())) {
            return Ok(valid.token.clone());
        }
        let Inner { accounts, identity, audience, .. } = self.0.as_ref();
        // Taken before the call, so that the token never seems younger than it is.
        let issued = Timestamp::now();
        let account = &identity.service_account;
        let (params, request) = (PostParams::default(), token_request(identity, audience));
        let created = accounts.create_token_request(account, &params, &request);
        let created = k8s::timed("create", &format!("a token for the ServiceAccount {account}"), created).await?;
        let status = created.status.ok_or(Error::Missing)?;
        let (token, expires) = status.token.zip(status.expiration_timestamp).ok_or(Error::Missing)?;
        *cached = Some(CachedToken { token: token.clone(), issued, expires: expires.0 });
        Ok(token)
    }

    /// Records that the plugin refused `token`. The token is dropped unless it is very young.
    pub(crate) async fn refused(&self, token: &str) {
        let mut cached = self.0.cached.lock().await;
        if cached.as_ref().is_some_and(|cached| cached.is_worth_dropping(token, Timestamp::now())) {
            *cached = None;
        }
    }
}

fn token_request(identity: &TokenSubject, audience: &str) -> TokenRequest {
    let bound = identity.pod.as_ref().map(|(name, uid)| BoundObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some(name.clone()),
        uid: Some(uid.clone()),
    });
    TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: Some(vec![audience.to_owned()]),
            bound_object_ref: bound,
            expiration_seconds: Some(LIFE_SECONDS),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cached(life: i64) -> CachedToken {
        let issued: Timestamp = "2026-11-23T09:00:00Z".parse().unwrap();
        CachedToken { token: "abc".to_owned(), issued, expires: issued + SignedDuration::from_secs(life) }
    }

    fn after(seconds: i64) -> Timestamp {
        cached(0).issued + SignedDuration::from_secs(seconds)
    }

    #[test]
    fn a_token_is_used_for_four_fifths_of_the_life_that_the_api_server_gave_it() {
        for (life, now, valid) in [
            (3600, 0, true),
            (3600, 2879, true),
            (3600, 2880, false),
            (3600, 4000, false),
            (600, 479, true),
            (600, 480, false),
            (0, 0, false),
        ] {
            assert_eq!(cached(life).is_valid(after(now)), valid, "{life} {now}");
        }
    }

    #[test]
    fn a_refused_token_is_dropped_unless_it_is_new_or_already_replaced() {
        for (token, now, dropped) in [("abc", 10, true), ("abc", 9, false), ("older", 100, false)] {
            assert_eq!(cached(3600).is_worth_dropping(token, after(now)), dropped, "{token} {now}");
        }
    }

    #[test]
    fn a_token_has_one_audience_and_is_bound_to_the_pod_if_known() {
        let mut identity = TokenSubject { service_account: "dask-operator".to_owned(), pod: None };
        let spec = token_request(&identity, "https://a.ns.svc:443").spec.unwrap();
        assert_eq!(spec.audiences, Some(vec!["https://a.ns.svc:443".to_owned()]));
        assert_eq!((spec.expiration_seconds, spec.bound_object_ref), (Some(3600), None));
        identity.pod = Some(("pod-0".to_owned(), "1-2-3".to_owned()));
        let bound = token_request(&identity, "any").spec.unwrap().bound_object_ref.unwrap();
        assert_eq!((bound.kind.as_deref(), bound.name.as_deref()), (Some("Pod"), Some("pod-0")));
        assert_eq!((bound.api_version.as_deref(), bound.uid.as_deref()), (Some("v1"), Some("1-2-3")));
    }
}
