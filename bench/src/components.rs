//! CPU time and memory of Kubernetes' own processes, if the cluster is a testbed.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{Error, process};

/// The process ids of a testbed's components by name. Empty for another cluster.
pub(crate) struct Components(BTreeMap<String, u32>);

/// The usage of each component.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage(BTreeMap<String, ProcessUsage>);

#[derive(Clone, Copy, Debug)]
struct ProcessUsage {
    cpu: Duration,
    rss_kib: u64,
}

impl Components {
    /// Reads the process records of the testbed that `kubeconfig` belongs to.
    pub(crate) fn read(kubeconfig: &Path) -> Result<Self, Error> {
        let records: PathBuf = kubeconfig.with_file_name("process");
        let mut pids = BTreeMap::new();
        if !records.is_dir() {
            return Ok(Self(pids));
        }
        for record in std::fs::read_dir(records)? {
            let path = record?.path();
            let Some(name) = path.file_stem().and_then(|name| name.to_str()) else { continue };
            let record: Value = serde_json::from_str(&std::fs::read_to_string(&path)?)?;
            if let Some(pid) = record["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()) {
                pids.insert(name.to_owned(), pid);
            }
        }
        Ok(Self(pids))
    }

    /// Returns the usage so far.
    pub(crate) fn usage(&self) -> Result<Usage, Error> {
        let usage = |(name, pid): (&String, &u32)| {
            Ok((name.clone(), ProcessUsage { cpu: process::cpu(*pid)?, rss_kib: process::rss(*pid)? }))
        };
        Ok(Usage(self.0.iter().map(usage).collect::<Result<_, Error>>()?))
    }
}

impl Usage {
    /// Returns the CPU time since `before`, with the current memory.
    pub(crate) fn since(mut self, before: &Self) -> Self {
        for (name, usage) in &mut self.0 {
            usage.cpu = usage.cpu.saturating_sub(before.0.get(name).map(|before| before.cpu).unwrap_or_default());
        }
        self
    }

    pub(crate) fn json(&self) -> Value {
        let entry = |(name, usage): (&String, &ProcessUsage)| {
            (name.clone(), json!({"cpuSeconds": usage.cpu.as_secs_f64(), "rssKib": usage.rss_kib}))
        };
        Value::Object(self.0.iter().map(entry).collect())
    }
}

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |(name, usage): (&String, &ProcessUsage)| {
            format!("{name} {:.2} s {} MiB", usage.cpu.as_secs_f64(), usage.rss_kib / 1024)
        };
        f.write_str(&self.0.iter().map(text).collect::<Vec<_>>().join(", "))
    }
}
