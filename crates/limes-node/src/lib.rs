//! The data plane: routes, admission, HTTP server.
//!
//! A [`Node`] serves functions over HTTP/1.1 and HTTP/2 without TLS. It knows sandboxes by trait only
//! ([`limes_core::Sandbox`]); whoever assembles a process hands them in. The way of a request:
//!
//! ```text
//! socket -> route -> admission -> load (first time) -> function.invoke -> response
//! ```
//!
//! - [`server`]: a thread a core, each with its own listener (`SO_REUSEPORT`), runtime and connections.
//! - **Routes**: `/function/NAME[/path][?query]`, of which the guest sees `/path?query`; and the host names a
//!   function claims, where the guest sees the whole path. One immutable table, swapped whole. Until
//!   [`Node::restore`] made the first one, what is not there is answered 503 with `Retry-After`, not 404.
//! - **Admission**: `limits.concurrency` slots a revision and a queue of `limits.queue` for them; beyond that a
//!   request is answered 503 with `Retry-After`. A slot is held until the guest is gone, which may be after the
//!   response, and while a body is read that `run` needs whole: so the memory that bodies take is bounded.
//! - **Clients that go away**: a guest is stopped when its client closes the connection or the stream. A client that
//!   only shuts down its sending side while it waits counts as gone too. While more of a request lies unread
//!   (a pipelined one, or a body the guest does not read) a close is noticed only when the answer is written.
//! - **Clients that stall** are cut off, and those that creep: `header_timeout`, `idle_timeout`, `body_timeout` of
//!   [`NodeConfig`]. On HTTP/2 only the stream is, where it is the stream's answer that is not taken.
//! - **Answers without a body** (to `HEAD`, and those with 204 or 304) are whole with their head. A guest that still
//!   writes a body then goes on to its end, which is the outcome, as if the body were sent.
//! - **Errors** are answered with the status of their kind and
//!   `{"error": {"kind", "message", "operation", "retryable", "context"}}`; a wasm backtrace goes to the function's
//!   log only. Once the response head is sent, a failure aborts the connection or the stream instead.
#![deny(missing_docs)]

mod admission;
mod busy_poll;
mod call;
mod config;
mod connection;
mod dispatch;
mod entry;
mod errors;
mod guarded;
mod headers;
mod incoming;
mod invoked;
mod loader;
mod logs;
mod metrics;
mod node;
mod outgoing;
mod running;
pub mod server;
mod stall;
mod table;
mod turn;
mod waiting;

pub use call::Call;
pub use config::{NodeConfig, ServerConfig};
pub use logs::LogLine;
pub use metrics::{FunctionStats, Histogram, NodeStats, Stats};
pub use node::{DrainReport, Node, Published};
pub use running::Running;
