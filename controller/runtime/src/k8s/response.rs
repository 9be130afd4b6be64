//! Responses of the API server with their headers, which kube's own functions drop.

use kube::{
    Client,
    api::{DynamicObject, PartialObjectMeta},
    core::Status,
};

use super::{Warned, Warnings};

/// A successful response.
pub(super) struct Response {
    pub(super) code: http::StatusCode,
    pub(super) warnings: Warnings,
    pub(super) body: Vec<u8>,
}

/// Sends a request whose response has headers that matter. kube's own functions return the body only.
pub(super) async fn send(client: &Client, request: http::Request<Vec<u8>>) -> kube::Result<Response> {
    let response = client.send(request.map(Into::into)).await?;
    let (code, warnings) = (response.status(), Warnings::of(response.headers()));
    let body = response.into_body().collect_bytes().await?.to_vec();
    if code.is_success() {
        return Ok(Response { code, warnings, body });
    }
    let status = serde_json::from_slice(&body).unwrap_or_else(|_| {
        let message = String::from_utf8_lossy(&body).into_owned();
        Status { code: code.as_u16(), message, ..Status::default() }
    });
    Err(kube::Error::Api(Box::new(status)))
}

/// Returns the warnings in the response to a creation, with the uid of the object. Without warnings, the object is not
/// parsed.
pub(super) fn warned(response: Response) -> kube::Result<Option<Warned>> {
    let Response { warnings, body, .. } = response;
    if warnings.is_empty() {
        return Ok(None);
    }
    let object: PartialObjectMeta<DynamicObject> = serde_json::from_slice(&body).map_err(kube::Error::SerdeError)?;
    Ok(Some(Warned { uid: object.metadata.uid.unwrap_or_default(), warnings }))
}
