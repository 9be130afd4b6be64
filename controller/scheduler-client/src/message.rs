//! What is said in the frames: msgpack, read leniently, since each version of Dask says more.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    Error, Worker,
    lenient::{Entries, Scalar},
};

/// Dask's own messages nest a few levels deep.
const MAX_DEPTH: usize = 64;
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
pub fn decode_reply<T: DeserializeOwned>(frame: &[u8]) -> Result<T, Error> {
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
