//! Calls with missing and forged credentials.

use dask_plugin_protocol::path;

use super::Outcome;
use crate::{
    Session,
    credentials::{Certificate, Credentials},
    session::{Finding, failed, get, post},
    target::NoReply,
};

/// Longer than any tolerance for clock skew.
const HOUR: i64 = 3600;
/// `{"alg":"none"}`
const UNSIGNED: &str = "eyJhbGciOiJub25lIn0";

pub(super) async fn missing(session: &Session) -> Outcome {
    let credentials = required(session)?;
    let without = [
        (
            credentials.certificate.is_some(),
            Credentials { certificate: None, ..credentials.clone() },
            "no client certificate",
        ),
        (credentials.token.is_some(), Credentials { token: None, ..credentials.clone() }, "no token"),
        (credentials.secret.is_some(), Credentials { secret: None, ..credentials.clone() }, "no signature"),
    ];
    for (is_required, credentials, what) in without {
        if is_required {
            refused(session, credentials, what).await?;
        }
    }
    Ok(())
}

pub(super) async fn forged(session: &Session) -> Outcome {
    let credentials = required(session)?;
    if credentials.certificate.is_some() {
        let certificate = Some(Certificate::Forged);
        refused(session, Credentials { certificate, ..credentials.clone() }, "a self-signed certificate").await?;
    }
    if let Some(token) = &credentials.token {
        for (token, what) in forged_tokens(token) {
            refused(session, Credentials { token: Some(token), ..credentials.clone() }, what).await?;
        }
    }
    if credentials.secret.is_some() {
        let secret = Some(b"whsec_Zm9yZ2VkIGZvcmdlZCBmb3JnZWQ=".to_vec());
        refused(session, Credentials { secret, ..credentials.clone() }, "a signature with a different secret").await?;
        refused(session, Credentials { signature_age: HOUR, ..credentials.clone() }, "a signature that is an hour old")
            .await?;
        refused(
            session,
            Credentials { signature_age: -HOUR, ..credentials.clone() },
            "a signature that is an hour in the future",
        )
        .await?;
        refused(
            session,
            Credentials { signs_other_body: true, ..credentials.clone() },
            "a signature of a different body",
        )
        .await?;
    }
    Ok(())
}

pub(super) async fn kept(session: &Session) -> Outcome {
    let credentials = required(session)?;
    // A new connection: the plugin may check credentials only when a connection starts.
    let target = session.with_credentials(credentials.clone())?;
    for (call, name) in [(get(path::DISCOVERY), "discovery"), (post(session.review()?), "sync")] {
        let (what, expected) = (format!("{name} with valid credentials"), "200");
        match target.send(&call).await {
            Ok(reply) if reply.code == 200 => {}
            Ok(reply) => return Err(failed(what, expected, reply.describe())),
            Err(why) => return Err(failed(what, expected, why.to_string())),
        }
    }
    Ok(())
}

/// Returns tokens that a faulty verifier may accept.
fn forged_tokens(token: &str) -> [(String, &'static str); 3] {
    let head = token.rsplit_once('.').map_or("forged", |(head, _)| head);
    let payload = head.rsplit_once('.').map_or("e30", |(_, payload)| payload);
    [
        (format!("{head}.AAAA"), "a token with a different signature"),
        (format!("{UNSIGNED}.{payload}."), "a token with the algorithm none"),
        ("forged".to_owned(), "a malformed token"),
    ]
}

fn required(session: &Session) -> Result<&Credentials, Finding> {
    let credentials = &session.target.credentials;
    if credentials.is_empty() {
        let why = "no credentials are given; see --cert, --token-file and --hmac-file";
        return Err(Finding::Skipped(why.to_owned()));
    }
    Ok(credentials)
}

/// Checks that discovery and sync are both refused.
async fn refused(session: &Session, credentials: Credentials, what: &str) -> Outcome {
    let expected = "a failed handshake, 401 or 403";
    let target = session.with_credentials(credentials)?;
    for (call, name) in [(get(path::DISCOVERY), "discovery"), (post(session.review()?), "sync")] {
        let got = match target.send(&call).await {
            Ok(reply) if matches!(reply.code.as_u16(), 401 | 403) => continue,
            // Only a plugin that requires a certificate may refuse before it has read the request.
            Err(NoReply::Broken(_)) if session.target.credentials.certificate.is_some() => continue,
            Ok(reply) => reply.describe(),
            Err(why) => why.to_string(),
        };
        return Err(failed(format!("{name} with {what}"), expected, got));
    }
    Ok(())
}
