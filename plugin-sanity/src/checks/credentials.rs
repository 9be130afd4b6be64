//! Whether the plugin lets in only those who show what it asks for.

use plugin_protocol::path;

use super::Checked;
use crate::{
    Lab,
    lab::{Finding, failed, get, post},
    target::{Shown, Target},
};

const EXPECTED: &str = "a handshake that breaks off, 401 or 403";

pub(super) async fn missing(lab: &Lab) -> Checked {
    let shown = required(lab)?;
    if shown.certificate.is_some() {
        let without = Shown { certificate: None, ..shown.clone() };
        refused(lab, &lab.showing(without)?, "no client certificate").await?;
    }
    if shown.token.is_some() {
        refused(lab, &lab.showing(Shown { token: None, ..shown.clone() })?, "no token").await?;
    }
    if shown.secret.is_some() {
        refused(lab, &lab.showing(Shown { secret: None, ..shown.clone() })?, "no signature").await?;
    }
    Ok(())
}

pub(super) async fn forged(lab: &Lab) -> Checked {
    let shown = required(lab)?;
    if shown.certificate.is_some() {
        let forged = Shown { forged_certificate: true, ..shown.clone() };
        refused(lab, &lab.showing(forged)?, "a certificate that signs itself").await?;
    }
    if let Some(token) = &shown.token {
        let broken = token.rsplit_once('.').map_or("forged", |(head, _)| head);
        for (token, what) in
            [(format!("{broken}.AAAA"), "a token with another signature"), ("forged".to_owned(), "no real token")]
        {
            refused(lab, &lab.showing(Shown { token: Some(token), ..shown.clone() })?, what).await?;
        }
    }
    if shown.secret.is_some() {
        let other = Shown { secret: Some(b"whsec_Zm9yZ2VkIGZvcmdlZCBmb3JnZWQ=".to_vec()), ..shown.clone() };
        refused(lab, &lab.showing(other)?, "a signature with another secret").await?;
        let old = Shown { signature_age: 3600, ..shown.clone() };
        refused(lab, &lab.showing(old)?, "a signature that is an hour old").await?;
        let elsewhere = Shown { signs_other_body: true, ..shown.clone() };
        refused(lab, &lab.showing(elsewhere)?, "a signature of another body").await?;
    }
    Ok(())
}

fn required(lab: &Lab) -> Result<&Shown, Finding> {
    let shown = &lab.target.shown;
    if shown.certificate.is_none() && shown.token.is_none() && shown.secret.is_none() {
        let why = "no credentials are given; see --cert, --token-file and --hmac-file";
        return Err(Finding::Skipped(why.to_owned()));
    }
    Ok(shown)
}

/// Discovery and sync are both closed.
async fn refused(lab: &Lab, target: &Target, what: &str) -> Checked {
    let sync = lab.reviews.first().map(post);
    for (call, name) in [(Some(get(path::DISCOVERY)), "discovery"), (sync, "sync")] {
        let Some(call) = call else { continue };
        if let Ok(reply) = target.send(&call).await
            && !matches!(reply.code.as_u16(), 401 | 403)
        {
            return Err(failed(format!("{name} with {what}"), EXPECTED, reply.describe()));
        }
    }
    Ok(())
}
