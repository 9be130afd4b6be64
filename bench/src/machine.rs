//! The machine on which the numbers were measured.

use std::{fmt, io};

use serde_json::{Value, json};

/// The properties of a machine that influence measurements.
pub(crate) struct Machine {
    cores: usize,
    processor: String,
    memory: String,
    kernel: String,
}

impl Machine {
    /// Reads the properties of this machine.
    pub(crate) fn this() -> io::Result<Self> {
        let field = |file: &str, name: &str| -> io::Result<String> {
            let text = std::fs::read_to_string(file)?;
            let line = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
            Ok(line.map(|(_, value)| value.trim().to_owned()).unwrap_or_default())
        };
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            processor: field("/proc/cpuinfo", "model name")?,
            memory: field("/proc/meminfo", "MemTotal")?,
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        })
    }

    pub(crate) fn json(&self) -> Value {
        let Self { cores, processor, memory, kernel } = self;
        json!({"cores": cores, "processor": processor, "memory": memory, "kernel": kernel})
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cores, {}, {}, Linux {}", self.cores, self.processor, self.memory, self.kernel)
    }
}
