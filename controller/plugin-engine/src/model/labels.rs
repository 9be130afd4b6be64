//! Labels, annotations and condition types that the engine writes and reads.

/// The label that contains the plugin of a child.
pub(crate) const PLUGIN_LABEL: &str = "plugin.kubernetes.dask.org/plugin";

/// The label that contains the uid of a child's subject.
pub(crate) const SUBJECT_LABEL: &str = "plugin.kubernetes.dask.org/subject-uid";

/// The label that contains the key of a child.
pub(crate) const KEY_LABEL: &str = "plugin.kubernetes.dask.org/key";

/// The annotation with which a user allows a plugin to take over an object. Its value is the plugin's name.
pub(crate) const ADOPT_ANNOTATION: &str = "plugin.kubernetes.dask.org/adopt";

/// The condition of plugin resources that tells whether the plugin is called.
pub(crate) const READY: &str = "Ready";
