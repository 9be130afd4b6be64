//! The content of frames: msgpack, which is parsed leniently, because each version of Dask adds fields.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    Error, Worker,
    lenient::{Entries, Scalar},
};

/// The deepest nesting that is accepted. Dask's own messages nest a few levels deep.
const MAX_DEPTH: usize = 64;
/// The most characters of an exception that are kept. A Python exception may print the data that it is about.
const MAX_EXCEPTION: usize = 512;

/// The first message of each side. `python` and `pickle-protocol` tell the other side which pickled data it may send.
/// The client reads none, and the oldest Python of all supported Dask versions can write this protocol.
#[derive(Serialize)]
struct Handshake {
    compression: Option<&'static str>,
    python: [u8; 3],
    #[serde(rename = "pickle-protocol")]
    pickle_protocol: u8,
}

/// Returns the handshake, as msgpack.
pub fn handshake() -> Result<Vec<u8>, Error> {
    encode(&Handshake { compression: None, python: [3, 8, 0], pickle_protocol: 4 })
}

/// A call. The scheduler answers, and closes the connection.
#[derive(Serialize)]
pub struct Request<'a, Arguments> {
    /// Name of the scheduler's handler.
    pub op: &'a str,
    /// Whether the scheduler answers.
    pub reply: bool,
    /// Whether the scheduler closes the connection after its answer.
    pub close: bool,
    /// Arguments of the handler.
    #[serde(flatten)]
    pub arguments: Arguments,
}

/// Encodes `value` as msgpack, with structs as maps.
pub fn encode(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    rmp_serde::to_vec_named(value).map_err(|error| Error::Protocol(format!("the request cannot be written: {error}")))
}

/// Decodes msgpack.
pub fn decode<T: DeserializeOwned>(frame: &[u8]) -> Result<T, Error> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(frame);
    deserializer.set_max_depth(MAX_DEPTH);
    T::deserialize(&mut deserializer).map_err(|error| Error::Protocol(format!("a message cannot be read: {error}")))
}

/// Decodes the answer to a call, which may report that the scheduler failed.
pub fn decode_reply<T: DeserializeOwned>(frame: &[u8]) -> Result<T, Error> {
    // Other answers may have any form, but not the form of this map.
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

/// The answer to `identity`.
#[derive(Deserialize)]
pub struct Identity {
    workers: Entries<WorkerIdentity>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WorkerIdentity {
    name: Scalar,
    status: Scalar,
    metrics: Option<Metrics>,
}

/// A worker's task counts in its last heartbeat. Versions before 2022.9 send `executing` and `ready`.
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
    /// Returns the workers that are connected.
    pub fn into_workers(self) -> Vec<Worker> {
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
