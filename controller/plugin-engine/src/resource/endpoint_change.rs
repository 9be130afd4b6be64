//! Changes of a plugin's endpoint, as the watches of endpoints and sockets report them.

/// The changes of a plugin's endpoint since it was last discovered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EndpointChange {
    /// Open connections may lead to a process that is terminating.
    pub(crate) reconnect: bool,
    /// Another process serves the endpoint. It may answer differently, so it is called about every subject once it is
    /// discovered.
    pub(crate) replaced: bool,
}
