//! Explains why a container does not run.

use serde_json::Value;

use super::{Finding, volumes};
use crate::{
    json::{name, number, text},
    snapshot::Snapshot,
};

const IMAGE: [&str; 6] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
];

/// A container of a pod, and how it is called in messages.
pub(super) struct Container<'a> {
    pub(super) what: &'a str,
    pub(super) pod: &'a Value,
    pub(super) status: &'a Value,
}

impl Container<'_> {
    /// Returns why the container does not run, or `None` if it only needs more time.
    pub(super) fn trouble(&self, seen: &Snapshot) -> Option<Finding> {
        let reason = text(self.status, "/state/waiting/reason");
        let message = text(self.status, "/state/waiting/message");
        if IMAGE.contains(&reason) {
            return Some(self.image(reason, message));
        }
        match reason {
            "" => self.ended(seen, "/state/terminated"),
            "ContainerCreating" | "PodInitializing" => None,
            "CrashLoopBackOff" => self.ended(seen, "/lastState/terminated").or_else(|| Some(self.crashes(seen, None))),
            _ => Some(self.not_started(reason, message)),
        }
    }

    fn image(&self, reason: &str, message: &str) -> Finding {
        let named = text(self.status, "/image");
        let what = self.what;
        let image = if named.is_empty() { "of its spec" } else { named };
        let why = if message.is_empty() || message.starts_with("Back-off") && !message.contains(": ") {
            reason
        } else {
            message
        };
        if reason == "InvalidImageName" {
            let cause = format!("the image {image} of {what} is no valid name: {why}");
            return Finding::broken("image-name-invalid", cause, "correct the image in the spec");
        }
        let cause = format!("the image {image} of {what} cannot be pulled: {why}");
        Finding::broken(
            "image-not-pulled",
            cause,
            "correct the image in the spec, or add imagePullSecrets for its registry",
        )
    }

    /// Returns why the container could not be started.
    fn not_started(&self, reason: &str, message: &str) -> Finding {
        let what = self.what;
        if let Some(missing) = volumes::missing_object(what, message) {
            return missing;
        }
        if let Some(command) = command_not_found(message) {
            return no_command(what, &command);
        }
        let why = if message.is_empty() { reason } else { message };
        Finding::broken(
            "container-not-started",
            format!("the container of {what} cannot be started: {why}"),
            "correct what the message names in the spec",
        )
    }

    /// Returns why the container ended, at `pointer`.
    fn ended(&self, seen: &Snapshot, pointer: &str) -> Option<Finding> {
        let ended = self.status.pointer(pointer).filter(|ended| !ended.is_null())?;
        let (code, reason) = (number(ended, "/exitCode").unwrap_or_default(), text(ended, "/reason"));
        if reason == "OOMKilled" {
            return Some(out_of_memory(self.what, self.limit()));
        }
        if let Some(command) = command_not_found(text(ended, "/message")) {
            return Some(no_command(self.what, &command));
        }
        match code {
            127 => Some(no_command(self.what, "exit code 127")),
            // The kubelet restarts the container at once.
            0 if pointer.starts_with("/state") => None,
            code => Some(self.crashes(seen, Some(code))),
        }
    }

    fn crashes(&self, seen: &Snapshot, code: Option<i64>) -> Finding {
        let restarts = number(self.status, "/restartCount").unwrap_or_default();
        let code = code.map(|code| format!(" with exit code {code}")).unwrap_or_default();
        let cause = format!("{} ends again and again{code}, {restarts} restarts so far", self.what);
        let logs = format!("logs {} -c {} --previous", name(self.pod), text(self.status, "/name"));
        Finding::broken("crash-loop", cause, format!("read its last words: {}", seen.kubectl(&logs)))
    }

    fn limit(&self) -> Option<&str> {
        memory_limit(self.pod, text(self.status, "/name"))
    }
}

/// Returns the memory limit of a container.
pub(super) fn memory_limit<'a>(pod: &'a Value, container: &str) -> Option<&'a str> {
    let containers = crate::json::list(pod, "/spec/containers");
    let spec = containers.iter().find(|spec| text(spec, "/name") == container)?;
    spec.pointer("/resources/limits/memory").and_then(Value::as_str)
}

pub(super) fn out_of_memory(what: &str, limit: Option<&str>) -> Finding {
    let limit = limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
    let cause = format!("{what} was killed because it used more memory than its limit{limit} (OOMKilled)");
    Finding::broken("out-of-memory", cause, "raise resources.limits.memory in the spec, or give each task less data")
}

fn no_command(what: &str, command: &str) -> Finding {
    let cause = format!("the command of {what} is not in its image: {command}");
    Finding::broken(
        "command-not-found",
        cause,
        "correct args or command in the spec, or use an image that has it, such as one with Dask",
    )
}

/// Returns the command that a container runtime does not find.
fn command_not_found(message: &str) -> Option<String> {
    let is_missing = ["executable file not found", "no such file or directory", "command not found"]
        .iter()
        .any(|words| message.contains(words));
    if !is_missing || !message.contains("exec") && !message.contains("command not found") {
        return None;
    }
    let quoted = message.split_once("exec: \"").and_then(|(_, rest)| rest.split_once('"')).map(|(command, _)| command);
    Some(quoted.unwrap_or(message).to_owned())
}
