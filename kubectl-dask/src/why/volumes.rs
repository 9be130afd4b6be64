//! Explains why the volumes of a pod are missing.

use serde_json::Value;

use super::Finding;
use crate::{
    json::{list, name, text},
    snapshot::Snapshot,
};

/// Returns why a volume claim of `pod` has no volume.
pub(super) fn unbound_claim(seen: &Snapshot, what: &str, pod: &Value) -> Option<Finding> {
    let claims = list(pod, "/spec/volumes").iter().map(|volume| text(volume, "/persistentVolumeClaim/claimName"));
    claims.filter(|claim| !claim.is_empty()).find_map(|claim| {
        let Some(object) = seen.claims.iter().find(|object| name(object) == claim) else {
            return (!seen.lacks("persistentvolumeclaims")).then(|| {
                let cause = format!("PersistentVolumeClaim {claim} does not exist, and {what} mounts it");
                Finding::broken("claim-missing", cause, "create it, or correct the volumes of the spec")
            });
        };
        (text(object, "/status/phase") == "Pending").then(|| {
            let why = seen
                .event(claim, &["ProvisioningFailed", "FailedBinding", "ExternalProvisioning", "WaitForFirstConsumer"]);
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            let cause = format!("PersistentVolumeClaim {claim}, which {what} mounts, is Pending{why}");
            let action = format!("see why it gets no volume: {}", seen.kubectl(&format!("describe pvc {claim}")));
            Finding::broken("claim-pending", cause, action)
        })
    })
}

/// Returns why a volume of `pod` cannot be mounted, by its Events.
pub(super) fn not_mounted(seen: &Snapshot, what: &str, pod: &Value) -> Option<Finding> {
    let message = seen.event(name(pod), &["FailedMount", "FailedAttachVolume"])?;
    missing_object(what, message).or_else(|| {
        let cause = format!("a volume of {what} cannot be mounted: {message}");
        Some(Finding::broken("volume-not-mounted", cause, "correct the volumes of the spec, or what they name"))
    })
}

/// Returns which ConfigMap or Secret, or which key of one, does not exist.
pub(super) fn missing_object(what: &str, message: &str) -> Option<Finding> {
    for (word, kind, called) in
        [("secret", "secret-missing", "Secret"), ("configmap", "config-map-missing", "ConfigMap")]
    {
        if let Some((_, rest)) = message.split_once(&format!("{word} \""))
            && let Some((object, rest)) = rest.split_once('"')
            && rest.contains("not found")
        {
            let cause = format!("{called} {object} does not exist, and {what} uses it");
            return Some(Finding::broken(kind, cause, format!("create the {called}, or correct its name in the spec")));
        }
        if let Some((_, rest)) = message.split_once("couldn't find key ")
            && rest.contains(&format!(" in {called} "))
        {
            let cause = format!("a key is missing that {what} uses: {rest}");
            return Some(Finding::broken(
                kind,
                cause,
                format!("add the key to the {called}, or correct it in the spec"),
            ));
        }
    }
    None
}
