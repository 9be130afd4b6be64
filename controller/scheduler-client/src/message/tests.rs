//! Tests of the content of frames.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, prelude::*};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::*;
use crate::lenient::MAX_ENTRIES;

fn workers(identity: &Value) -> Result<Vec<Worker>, Error> {
    decode_reply::<Identity>(&encode(identity).unwrap()).map(Identity::into_workers)
}

/// Returns the one worker with the address `tcp://a`.
fn worker(identity: &Value) -> Worker {
    workers(&json!({"type": "Scheduler", "workers": {"tcp://a": identity}})).unwrap().remove(0)
}

#[test]
fn a_call_names_its_op_beside_its_arguments() {
    let request = Request { op: "identity", reply: true, close: true, arguments: json!({"n": 1}) };
    let decoded: Value = decode(&encode(&request).unwrap()).unwrap();
    assert_eq!(decoded, json!({"op": "identity", "reply": true, "close": true, "n": 1}));
}

/// Python rejects a client that lacks one of these, and sends compressed frames to one that asks for them.
#[test]
fn the_handshake_asks_for_no_compression() {
    let decoded: Value = decode(&handshake().unwrap()).unwrap();
    assert_eq!(decoded, json!({"compression": null, "python": [3, 8, 0], "pickle-protocol": 4}));
}

#[test]
fn the_name_of_a_worker_is_text_whatever_it_was() {
    let table = [
        (json!("demo-default-1"), "demo-default-1"),
        (json!(7), "7"),
        (json!(-7), "-7"),
        (json!(1.5), "1.5"),
        (json!(null), "tcp://a"),
        (json!([1, 2]), "tcp://a"),
        (json!({"a": {"b": 1}}), "tcp://a"),
    ];
    for (name, expected) in table {
        assert_eq!(worker(&json!({"name": name})).name, expected, "{name}");
    }
}

#[test]
fn the_tasks_of_a_worker_are_those_it_has_yet_to_finish() {
    let counted = json!({"executing": 1, "long-running": 2, "ready": 4, "constrained": 8, "waiting": 16, "memory": 99});
    let table = [
        ("new", json!({"task_counts": counted, "executing": 99}), 31),
        ("old", json!({"executing": 1, "ready": 2, "in_memory": 99, "in_flight": 99}), 3),
        ("nonsense", json!({"task_counts": {"executing": "x", "ready": -1, "waiting": [1]}}), 0),
        ("none yet", json!({}), 0),
        ("null", json!(null), 0),
    ];
    for (what, metrics, processing) in table {
        assert_eq!(worker(&json!({"name": "a", "metrics": metrics})).processing, processing, "{what}");
    }
    assert_eq!(worker(&json!({})).processing, 0);
}

/// New workers use tuples as keys of counts. JSON cannot represent them, and a reader of known fields must skip them.
#[test]
fn metrics_may_have_keys_that_are_no_text() {
    let mut frame = vec![0x81, 0xa7];
    frame.extend(b"workers");
    frame.extend([0x81, 0xa1, b'a', 0x82, 0xa4]);
    frame.extend(b"name");
    frame.extend([0x07, 0xa7]);
    frame.extend(b"metrics");
    // {"x": {("y", 1): 2.0, ext: bytes}}
    frame.extend([0x81, 0xa1, b'x', 0x82, 0x92, 0xa1, b'y', 0x01, 0xca, 0x40, 0, 0, 0, 0xd4, 5, 1, 0xc4, 1, 9]);
    let workers = decode::<Identity>(&frame).unwrap().into_workers();
    assert_eq!((workers[0].name.as_str(), workers[0].processing), ("7", 0));
}

#[test]
fn an_exception_is_the_schedulers_failure() {
    let failure = json!({
        "status": "uncaught-error",
        "exception": {"__Serialized__": 1},
        "exception_text": "x".repeat(10_000),
    });
    let Err(Error::Scheduler { exception_text }) = decode_reply::<Scalar>(&encode(&failure).unwrap()) else {
        panic!("it is taken for an answer");
    };
    assert_eq!(exception_text.len(), MAX_EXCEPTION);
    let silent = encode(&json!({"status": "uncaught-error"})).unwrap();
    let error = decode_reply::<Scalar>(&silent).unwrap_err();
    assert_eq!(error.to_string(), "the scheduler failed: it gave no reason");
}

#[test]
fn times_and_counts_are_numbers() {
    let number = |value: Value| decode::<Scalar>(&encode(&value).unwrap()).unwrap();
    assert_eq!(number(json!(1_795_425_764.25)).seconds(), Some(1_795_425_764.25));
    assert_eq!(number(json!(1_795_425_764)).seconds(), Some(1_795_425_764.0));
    assert_eq!(Scalar::Float(f64::NAN).seconds(), None);
    assert_eq!(number(json!("soon")).seconds(), None);
    assert_eq!(number(json!(70_000)).count(), Some(70_000));
    assert_eq!(number(json!(-1)).count(), Some(0));
    assert_eq!(number(json!(1.5)).count(), None);
    assert_eq!(number(json!(null)).count(), None);
}

#[test]
fn nesting_and_numbers_of_entries_are_limited() {
    let nested = |depth: usize| [vec![0x91; depth], vec![0xc0]].concat();
    assert!(decode::<IgnoredAny>(&nested(MAX_DEPTH / 2)).is_ok());
    assert!(decode::<IgnoredAny>(&nested(MAX_DEPTH + 1)).is_err());
    assert!(decode::<Scalar>(&nested(1_000_000)).is_err());

    let list = |count: u32| [vec![0xdd], count.to_be_bytes().to_vec(), vec![0xa0; count as usize]].concat();
    let max = u32::try_from(MAX_ENTRIES).unwrap();
    assert!(decode::<Entries<()>>(&list(max)).is_ok());
    assert!(decode::<Entries<()>>(&list(max + 1)).is_err());
    // These lists are announced, but their entries do not follow.
    assert!(decode::<Entries<()>>(&[0xdd, 0xff, 0xff, 0xff, 0xff]).is_err());
    assert!(decode::<Identity>(&[0xdf, 0xff, 0xff, 0xff, 0xff]).is_err());
}

fn identity() -> impl Strategy<Value = Vec<(String, String, u64)>> {
    vec(("tcp://[a-z]{1,9}", ".{0,9}", 0..1_000_u64), 0..6)
}

fn identity_frame(workers: &[(String, String, u64)]) -> Vec<u8> {
    let entry = |(address, name, tasks): &(String, String, u64)| {
        (address.clone(), json!({"name": name, "status": "running", "metrics": {"task_counts": {"ready": tasks}}}))
    };
    let workers: serde_json::Map<_, _> = workers.iter().map(entry).collect();
    encode(&json!({"id": "x", "workers": workers, "started": 1.5})).unwrap()
}

fn try_all(frame: &[u8]) {
    _ = decode_reply::<Identity>(frame).map(Identity::into_workers);
    _ = decode_reply::<Entries<IgnoredAny>>(frame).map(Entries::into_addresses);
    _ = decode_reply::<Entries<()>>(frame);
    _ = decode_reply::<Scalar>(frame).map(|scalar| (scalar.count(), scalar.seconds()));
}

proptest! {
    #[test]
    fn any_workers_are_read_back(expected in identity()) {
        let workers = decode_reply::<Identity>(&identity_frame(&expected)).unwrap().into_workers();
        let told: BTreeSet<_> = workers.into_iter().map(|w| (w.address, w.name, w.processing)).collect();
        // Of two workers with one address, the last counts.
        let expected: BTreeMap<_, _> = expected.into_iter().map(|(a, n, t)| (a.clone(), (a, n, t))).collect();
        prop_assert_eq!(told, expected.into_values().collect());
    }

    #[test]
    fn arbitrary_messages_never_panic(frame in vec(any::<u8>(), 0..300)) {
        try_all(&frame);
    }

    #[test]
    fn truncated_and_mutated_messages_never_panic(
        workers in identity(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let mut frame = identity_frame(&workers);
        let at = at.index(frame.len());
        if cut {
            frame.truncate(at);
            prop_assert!(decode_reply::<Identity>(&frame).is_err());
        } else {
            frame[at] = byte;
        }
        try_all(&frame);
    }
}
