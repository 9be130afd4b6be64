//! Detects that a write was rejected because a field is immutable; pure.

use kube::core::Status;
use operator_runtime::k8s;

/// The messages of different kinds: most kinds, Services, Pods and `StatefulSets`, and older kinds.
const API_SERVER_MESSAGES: [&str; 5] =
    ["immutable", "may not change once set", "may not change fields", "updates to ", "cannot be changed"];

/// Returns the immutable field if this is the only error. Any other error would occur again when the object is
/// recreated, and then the object would be gone.
pub(crate) fn field(error: &k8s::Error) -> Option<String> {
    let k8s::Error::Call { source, .. } = error else { return None };
    let kube::Error::Api(status) = source.as_ref() else { return None };
    field_in(status)
}

fn field_in(status: &Status) -> Option<String> {
    let causes = &status.details.as_ref()?.causes;
    let says_so = |message: &str| {
        let own_words = without_quoted(message);
        API_SERVER_MESSAGES.iter().any(|saying| own_words.contains(saying))
    };
    let all = status.code == 422 && causes.iter().all(|cause| says_so(&cause.message));
    if !all {
        return None;
    }
    causes.first().map(|cause| cause.field.clone())
}

/// Returns `message` without the strings that it quotes. They come from the object, so its author could imitate an
/// error.
fn without_quoted(message: &str) -> String {
    let (mut kept, mut quoted, mut escaped) = (String::with_capacity(message.len()), false, false);
    for c in message.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            c => kept.push(c),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn field_of(causes: &[(&str, &str)]) -> Option<String> {
        let causes: Vec<_> = causes
            .iter()
            .map(|(field, message)| json!({"reason": "FieldValueInvalid", "field": field, "message": message}))
            .collect();
        let status = json!({"code": 422, "message": "it is invalid", "details": {"causes": causes}});
        field_in(&serde_json::from_value(status).unwrap())
    }

    #[test]
    fn the_messages_of_all_kinds_about_immutable_fields_are_recognized() {
        let table = [
            ("spec.template", "Invalid value: {…}: field is immutable"),
            ("data", "Forbidden: field is immutable when `immutable` is set"),
            ("spec.clusterIPs[0]", "Invalid value: [\"10.0.0.7\"]: may not change once set"),
            ("spec", "Forbidden: updates to statefulset spec for fields other than 'replicas', … are forbidden"),
            ("spec", "Forbidden: pod updates may not change fields other than `spec.containers[*].image`, …"),
            ("spec", "Forbidden: spec is immutable after creation except resources.requests …"),
        ];
        for (field, message) in table {
            assert_eq!(field_of(&[(field, message)]).as_deref(), Some(field), "{message}");
        }
    }

    #[test]
    fn what_is_wrong_anyway_is_no_reason_to_delete_anything() {
        let immutable = ("spec.selector", "Invalid value: {…}: field is immutable");
        let wrong = ("spec.rules[0].host", "Invalid value: \"not a host\": a lowercase RFC 1123 subdomain must …");
        assert_eq!(field_of(&[wrong]), None);
        assert_eq!(field_of(&[immutable, wrong]), None);
        assert_eq!(field_of(&[]), None);
        for value in [r#""field is immutable""#, r#""a \" field is immutable""#, r#"{"host":"field is immutable"}"#] {
            let message = format!("Invalid value: {value}: a lowercase RFC 1123 subdomain must …");
            assert_eq!(field_of(&[("spec.rules[0].host", &message)]), None, "{message}");
            let message = format!("Invalid value: {value}: field is immutable");
            assert!(field_of(&[("spec.rules[0].host", &message)]).is_some(), "{message}");
        }
        let conflict = json!({"code": 409, "message": "it is immutable", "details": {"causes": []}});
        assert_eq!(field_in(&serde_json::from_value(conflict).unwrap()), None);
    }
}
