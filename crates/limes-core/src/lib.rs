//! The vocabulary of Limes: what a function, a limit, a grant, an invocation,
//! a sandbox, a phase timing and an error are.
//!
//! Plain types and three traits ([`Sandbox`], [`Function`], [`Observer`]). This crate knows no
//! engine, no sockets and no Python; `http`, `http-body` and `bytes` are here as
//! vocabulary (types without a protocol), so that a request crosses every wall without being
//! copied into a type of our own.
#![deny(missing_docs)]

mod body;
mod call;
mod error;
mod function;
mod grants;
mod invocation;
mod limits;
mod microvm;
mod sandbox;
mod timing;

pub use body::{Body, BoxBody};
pub use call::{Completed, Started, call, next_invocation_id};
pub use error::{Error, ErrorKind, Result};
pub use function::{CompileMode, Contract, FunctionSpec, SandboxKind};
pub use grants::{AddressPattern, DirectoryGrant, Grants, HostPattern};
pub use invocation::{Control, Input, Invocation, LogStream, Observer, Output, StopReason};
pub use limits::Limits;
pub use microvm::{Accelerator, Image, Isolation, MicroVm, Mode, Protocol, Vmm};
pub use sandbox::{BoxFuture, Function, Prepared, Sandbox};
pub use timing::{CacheOutcome, Phase, Tier, Timing};
