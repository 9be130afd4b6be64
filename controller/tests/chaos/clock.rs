//! The clock that a controller sees: libfaketime between it and the C library.

use std::path::PathBuf;

use crate::support::TestContext;

/// A clock that can be set. Without the library it always shows the real time.
pub(crate) struct Clock {
    library: Option<PathBuf>,
    offset: PathBuf,
}

/// Returns the path of libfaketime if it is installed.
pub(crate) fn library() -> Option<PathBuf> {
    let architectures = std::fs::read_dir("/usr/lib").ok()?;
    let library = |folder: std::fs::DirEntry| folder.path().join("faketime/libfaketimeMT.so.1");
    architectures.flatten().map(library).find(|library| library.exists())
}

impl Clock {
    pub(crate) fn new(context: &TestContext) -> Self {
        let clock = Self { library: library(), offset: context.folder().join("clock") };
        clock.set(0);
        clock
    }

    /// Moves the clock by this number of seconds from the real time.
    pub(crate) fn set(&self, seconds: i64) {
        // Atomic, because a half-written file would be another time.
        let new = self.offset.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(new, &self.offset).unwrap();
    }

    /// Returns the environment that makes a process see this clock. Timers use the monotonic clock, which stays real.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let Some(library) = &self.library else { return Vec::new() };
        vec![
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.offset.display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }
}
