//! What is said in the frames: msgpack, read leniently, since each version of Dask says more.

use std::{collections::BTreeSet, fmt, marker::PhantomData};

use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{Error, Worker};

/// Dask's own messages nest a few levels deep.
const MAX_DEPTH: usize = 64;
/// Far more workers than a scheduler serves; many tiny entries would take far more memory than their bytes.
const MAX_ENTRIES: usize = 100_000;
/// A Python exception may print the data that it is about.
const MAX_EXCEPTION: usize = 512;

/// What each side says first. `python` and `pickle-protocol` are what the other side may send us pickled,
/// which we do not read; the oldest Python of any Dask that we talk to can write it.
#[derive(Serialize)]
struct Handshake {
    compression: Option<&'static str>,
    python: [u8; 3],
    #[serde(rename = "pickle-protocol")]
    pickle_protocol: u8,
}

/// The handshake, as msgpack.
pub fn handshake() -> Result<Vec<u8>, Error> {
    encode(&Handshake { compression: None, python: [3, 8, 0], pickle_protocol: 4 })
}

/// A call: the scheduler answers, and closes the connection.
#[derive(Serialize)]
pub(super) struct Request<'a, Arguments> {
    pub(super) op: &'a str,
    pub(super) reply: bool,
    pub(super) close: bool,
    #[serde(flatten)]
    pub(super) arguments: Arguments,
}

/// `value` as msgpack, structs as maps.
pub fn encode(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    rmp_serde::to_vec_named(value).map_err(|error| Error::Protocol(format!("the request cannot be written: {error}")))
}

/// Reads msgpack.
pub fn decode<T: DeserializeOwned>(frame: &[u8]) -> Result<T, Error> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(frame);
    deserializer.set_max_depth(MAX_DEPTH);
    T::deserialize(&mut deserializer).map_err(|error| Error::Protocol(format!("a message cannot be read: {error}")))
}

/// Reads the answer to a call, which may be that the scheduler failed.
pub(super) fn decode_reply<T: DeserializeOwned>(frame: &[u8]) -> Result<T, Error> {
    // Other answers are no such map, but may be anything else.
    if let Ok(Failure { status: Scalar::Text(status), exception_text }) = decode::<Failure>(frame)
        && status == "uncaught-error"
    {
        let text = exception_text.into_text().unwrap_or_else(|| "it gave no reason".to_owned());
        return Err(Error::Scheduler { exception_text: text.chars().take(MAX_EXCEPTION).collect() });
    }
    decode(frame)
}

#[derive(Deserialize)]
struct Failure {
    status: Scalar,
    #[serde(default)]
    exception_text: Scalar,
}

/// Any value, of which only scalars are kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Scalar {
    #[default]
    Nothing,
    Text(String),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    /// A list, a map, bytes.
    Other,
}

impl Scalar {
    /// As Python's `str` would have it.
    pub(super) fn into_text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Unsigned(number) => Some(number.to_string()),
            Self::Signed(number) => Some(number.to_string()),
            Self::Float(number) => Some(format!("{number:?}")),
            Self::Nothing | Self::Other => None,
        }
    }

    /// As a number of things.
    pub(super) fn count(&self) -> Option<u64> {
        match self {
            Self::Unsigned(number) => Some(*number),
            Self::Signed(number) => Some(u64::try_from(*number).unwrap_or(0)),
            _ => None,
        }
    }

    /// As epoch seconds.
    pub(super) fn seconds(&self) -> Option<f64> {
        match self {
            Self::Float(seconds) => Some(*seconds).filter(|seconds| seconds.is_finite()),
            #[expect(clippy::cast_precision_loss, reason = "for a time, a second more or less is nothing")]
            other => other.count().map(|seconds| seconds as f64),
        }
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("anything")
    }

    fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(value.to_owned()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
        Ok(u64::try_from(value).map_or(Scalar::Signed(value), Scalar::Unsigned))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar::Float(value))
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Nothing)
    }

    fn visit_none<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Nothing)
    }

    fn visit_bool<E>(self, _value: bool) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_bytes<E>(self, _value: &[u8]) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Scalar, D::Error> {
        Scalar::deserialize(inner)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Scalar, D::Error> {
        IgnoredAny::deserialize(inner).map(|_| Scalar::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Scalar, A::Error> {
        IgnoredAny.visit_seq(list).map(|_| Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Scalar, A::Error> {
        IgnoredAny.visit_map(map).map(|_| Scalar::Other)
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

/// A map by address, or a list of addresses, of at most [`MAX_ENTRIES`].
#[derive(Debug)]
pub(super) struct Entries<T>(pub(super) Vec<(String, T)>);

impl<T> Entries<T> {
    pub(super) fn into_addresses(self) -> BTreeSet<String> {
        self.0.into_iter().map(|(address, _)| address).collect()
    }
}

struct EntriesVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for EntriesVisitor<T> {
    type Value = Entries<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "at most {MAX_ENTRIES} workers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Entries<T>, A::Error> {
        let mut entries = Vec::new();
        while let Some(address) = list.next_element()? {
            push(&mut entries, (address, T::default()), &self)?;
        }
        Ok(Entries(entries))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            push(&mut entries, entry, &self)?;
        }
        Ok(Entries(entries))
    }
}

fn push<'de, T: Deserialize<'de> + Default, E: serde::de::Error>(
    entries: &mut Vec<(String, T)>,
    entry: (String, T),
    expected: &EntriesVisitor<T>,
) -> Result<(), E> {
    if entries.len() == MAX_ENTRIES {
        return Err(E::invalid_length(MAX_ENTRIES + 1, expected));
    }
    entries.push(entry);
    Ok(())
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntriesVisitor(PhantomData))
    }
}

/// The answer to `identity`.
#[derive(Deserialize)]
pub(super) struct Identity {
    workers: Entries<WorkerIdentity>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WorkerIdentity {
    name: Scalar,
    status: Scalar,
    metrics: Option<Metrics>,
}

/// What a worker said of its tasks in its last heartbeat: before 2022.9 in `executing` and `ready`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Metrics {
    task_counts: Option<TaskCounts>,
    executing: Scalar,
    ready: Scalar,
}

/// The tasks that the worker has yet to finish, whether they run or wait.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct TaskCounts {
    executing: Scalar,
    long_running: Scalar,
    ready: Scalar,
    constrained: Scalar,
    waiting: Scalar,
}

impl Metrics {
    fn processing(&self) -> u64 {
        let counts = match &self.task_counts {
            Some(TaskCounts { executing, long_running, ready, constrained, waiting }) => {
                vec![executing, long_running, ready, constrained, waiting]
            }
            None => vec![&self.executing, &self.ready],
        };
        counts.into_iter().filter_map(Scalar::count).fold(0, u64::saturating_add)
    }
}

impl Identity {
    pub(super) fn into_workers(self) -> Vec<Worker> {
        let worker = |(address, identity): (String, WorkerIdentity)| Worker {
            name: identity.name.into_text().unwrap_or_else(|| address.clone()),
            status: identity.status.into_text().unwrap_or_default(),
            processing: identity.metrics.map_or(0, |metrics| metrics.processing()),
            address,
        };
        self.workers.0.into_iter().map(worker).collect()
    }
}

#[cfg(test)]
mod tests;
