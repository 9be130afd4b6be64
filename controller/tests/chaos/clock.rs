//! The clock that a controller sees: libfaketime between it and the C library.

use std::path::PathBuf;

use crate::support::TestContext;

/// A clock that can be set; without the library it shows the real time always.
pub(crate) struct Clock {
    library: Option<PathBuf>,
    offset: PathBuf,
}

/// libfaketime, if it is installed.
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

    /// From now on the clock is so many seconds off.
    pub(crate) fn set(&self, seconds: i64) {
        // In one step: half a file would be another time.
        let new = self.offset.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(new, &self.offset).unwrap();
    }

    /// What makes a process see this clock. Waiting goes by another clock, which nobody can set.
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
