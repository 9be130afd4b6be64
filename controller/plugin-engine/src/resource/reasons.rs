//! Reasons of refusals that several steps of the reconciler share.

/// The reason for an endpoint that the controller must not connect to.
pub(super) const INVALID_ENDPOINT: &str = "InvalidEndpoint";
pub(super) const SERVICE_NOT_FOUND: &str = "ServiceNotFound";
pub(super) const TLS_ERROR: &str = "TlsError";
pub(super) const SECRET_NOT_FOUND: &str = "SecretNotFound";
pub(super) const CONFIG_MAP_NOT_FOUND: &str = "ConfigMapNotFound";
pub(super) const INVALID_SECRET: &str = "InvalidSecret";

/// Returns whether a refusal for this reason is resolved when a user creates or fixes another object.
pub(super) fn waits_for_an_object(reason: &str) -> bool {
    [SERVICE_NOT_FOUND, TLS_ERROR, SECRET_NOT_FOUND, CONFIG_MAP_NOT_FOUND, INVALID_SECRET].contains(&reason)
}
