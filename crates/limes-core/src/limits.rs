use serde::{Deserialize, Serialize};

/// What one function may use. Every field has a default; none can be switched off.
///
/// The names are those of `limes.toml` and of the Python keyword arguments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Linear memory, all memories of an instance together, in bytes. Default 128 MiB.
    pub memory: u64,
    /// Table elements, all tables of an instance together. Default 100,000.
    pub table_elements: u64,
    /// Core instances, tables and memories one component may hold, each. Default 64.
    pub instances: u32,
    /// Wall-clock time from admission to the end of the guest, in milliseconds. Default 30,000.
    pub timeout: u64,
    /// Time the guest may compute, in milliseconds; waiting does not count. Default 10,000.
    /// Counted in epochs of one millisecond, so it is precise to about that.
    pub cpu: u64,
    /// WebAssembly stack, in bytes. Default 512 KiB, at most 8 MiB.
    pub stack: u64,
    /// Bytes written to stdout and to stderr, each. Default 1 MiB.
    pub output: u64,
    /// Bytes of a response body, or of a `component:run` answer. Default 64 MiB.
    pub response: u64,
    /// Bytes of a request body (or `args`, or stdin). Default 16 MiB.
    pub request: u64,
    /// Invocations running at once. Default 128.
    pub concurrency: u32,
    /// Requests that may wait for a slot when all are taken. Default 1,024.
    pub queue: u32,
    /// Host resources (streams, files, sockets, fields, ...) open at once in an instance. Default 1,024.
    pub handles: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 128 << 20,
            table_elements: 100_000,
            instances: 64,
            timeout: 30_000,
            cpu: 10_000,
            stack: 512 << 10,
            output: 1 << 20,
            response: 64 << 20,
            request: 16 << 20,
            concurrency: 128,
            queue: 1024,
            handles: 1024,
        }
    }
}
