//! Whether the plugin lets in only those who show what it asks for.

use dask_plugin_protocol::path;

use super::Checked;
use crate::{
    Lab,
    lab::{Finding, failed, get, post},
    shown::{Certificate, Shown},
    target::NoReply,
};

/// Longer than any tolerance for clocks that differ.
const HOUR: i64 = 3600;
/// `{"alg":"none"}`
const UNSIGNED: &str = "eyJhbGciOiJub25lIn0";

pub(super) async fn missing(lab: &Lab) -> Checked {
    let shown = required(lab)?;
    let without = [
        (shown.certificate.is_some(), Shown { certificate: None, ..shown.clone() }, "no client certificate"),
        (shown.token.is_some(), Shown { token: None, ..shown.clone() }, "no token"),
        (shown.secret.is_some(), Shown { secret: None, ..shown.clone() }, "no signature"),
    ];
    for (is_asked_for, shown, what) in without {
        if is_asked_for {
            refused(lab, shown, what).await?;
        }
    }
    Ok(())
}

pub(super) async fn forged(lab: &Lab) -> Checked {
    let shown = required(lab)?;
    if shown.certificate.is_some() {
        let certificate = Some(Certificate::Forged);
        refused(lab, Shown { certificate, ..shown.clone() }, "a certificate that signs itself").await?;
    }
    if let Some(token) = &shown.token {
        for (token, what) in false_tokens(token) {
            refused(lab, Shown { token: Some(token), ..shown.clone() }, what).await?;
        }
    }
    if shown.secret.is_some() {
        let secret = Some(b"whsec_Zm9yZ2VkIGZvcmdlZCBmb3JnZWQ=".to_vec());
        refused(lab, Shown { secret, ..shown.clone() }, "a signature with another secret").await?;
        refused(lab, Shown { signature_age: HOUR, ..shown.clone() }, "a signature that is an hour old").await?;
        refused(lab, Shown { signature_age: -HOUR, ..shown.clone() }, "a signature of the next hour").await?;
        refused(lab, Shown { signs_other_body: true, ..shown.clone() }, "a signature of another body").await?;
    }
    Ok(())
}

pub(super) async fn kept(lab: &Lab) -> Checked {
    let shown = required(lab)?;
    // A connection that was opened before says nothing about who is let in now.
    let anew = lab.showing(shown.clone())?;
    for (call, name) in [(get(path::DISCOVERY), "discovery"), (post(lab.review()?), "sync")] {
        let (what, expected) = (format!("{name} with the credentials that are given"), "200");
        match anew.send(&call).await {
            Ok(reply) if reply.code == 200 => {}
            Ok(reply) => return Err(failed(what, expected, reply.describe())),
            Err(why) => return Err(failed(what, expected, why.to_string())),
        }
    }
    Ok(())
}

/// What a verifier may be fooled by, if it does not verify.
fn false_tokens(token: &str) -> [(String, &'static str); 3] {
    let head = token.rsplit_once('.').map_or("forged", |(head, _)| head);
    let payload = head.rsplit_once('.').map_or("e30", |(_, payload)| payload);
    [
        (format!("{head}.AAAA"), "a token with another signature"),
        (format!("{UNSIGNED}.{payload}."), "a token that says that it need not be signed"),
        ("forged".to_owned(), "no real token"),
    ]
}

fn required(lab: &Lab) -> Result<&Shown, Finding> {
    let shown = &lab.target.shown;
    if shown.is_nothing() {
        let why = "no credentials are given; see --cert, --token-file and --hmac-file";
        return Err(Finding::Skipped(why.to_owned()));
    }
    Ok(shown)
}

/// Discovery and sync are both closed.
async fn refused(lab: &Lab, shown: Shown, what: &str) -> Checked {
    let expected = "a handshake that breaks off, 401 or 403";
    let target = lab.showing(shown)?;
    for (call, name) in [(get(path::DISCOVERY), "discovery"), (post(lab.review()?), "sync")] {
        let got = match target.send(&call).await {
            Ok(reply) if matches!(reply.code.as_u16(), 401 | 403) => continue,
            // Only a plugin that asks for a certificate refuses before it has read the request.
            Err(NoReply::Broken(_)) if lab.target.shown.certificate.is_some() => continue,
            Ok(reply) => reply.describe(),
            Err(why) => why.to_string(),
        };
        return Err(failed(format!("{name} with {what}"), expected, got));
    }
    Ok(())
}
