//! Labels, annotations and condition types that the engine writes and reads.

/// Marks a child's plugin.
pub(crate) const PLUGIN_LABEL: &str = "plugin.kubernetes.dask.org/plugin";

/// Marks a child's subject.
pub(crate) const SUBJECT_LABEL: &str = "plugin.kubernetes.dask.org/subject-uid";

/// Marks a child's key.
pub(crate) const KEY_LABEL: &str = "plugin.kubernetes.dask.org/key";

/// A person's leave for a plugin to take over an object; its value is the plugin's name.
pub(crate) const ADOPT_ANNOTATION: &str = "plugin.kubernetes.dask.org/adopt";

pub(crate) const READY: &str = "Ready";
