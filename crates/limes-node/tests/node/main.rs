//! The promises of the data plane, against a sandbox whose functions are written in Rust.

mod admission;
mod bodies;
mod calls;
mod client;
mod clients;
mod deploys;
mod drain;
mod errors;
mod fake;
mod http2;
mod loads;
mod logs;
mod routes;
mod spread;
