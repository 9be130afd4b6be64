//! What Kubernetes' own processes cost, where the cluster is a testbed's.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{Error, process};

/// The processes of a testbed; none of another cluster.
pub(crate) struct Components(BTreeMap<String, u32>);

/// Processor time and memory (KiB) by component.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage(BTreeMap<String, (Duration, u64)>);

impl Components {
    /// Those of the testbed that `kubeconfig` is of.
    pub(crate) fn of(kubeconfig: &Path) -> Result<Self, Error> {
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

    /// So far.
    pub(crate) fn usage(&self) -> Result<Usage, Error> {
        let usage = |(name, pid): (&String, &u32)| Ok((name.clone(), (process::cpu(*pid)?, process::rss(*pid)?)));
        Ok(Usage(self.0.iter().map(usage).collect::<Result<_, Error>>()?))
    }
}

impl Usage {
    /// What came since `before`; the memory is that of now.
    pub(crate) fn since(mut self, before: &Self) -> Self {
        for (name, (cpu, _)) in &mut self.0 {
            *cpu = cpu.saturating_sub(before.0.get(name).map(|(cpu, _)| *cpu).unwrap_or_default());
        }
        self
    }

    pub(crate) fn json(&self) -> Value {
        let entry = |(name, (cpu, rss)): (&String, &(Duration, u64))| {
            (name.clone(), json!({"cpuSeconds": cpu.as_secs_f64(), "rssKib": rss}))
        };
        Value::Object(self.0.iter().map(entry).collect())
    }
}

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |(name, (cpu, rss)): (&String, &(Duration, u64))| {
            format!("{name} {:.2} s {} MiB", cpu.as_secs_f64(), rss / 1024)
        };
        f.write_str(&self.0.iter().map(text).collect::<Vec<_>>().join(", "))
    }
}
