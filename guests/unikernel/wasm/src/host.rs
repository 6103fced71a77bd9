//! What the store holds, and the interfaces that need little: environment, exit, clocks, random numbers.

use crate::bindings::wasi::cli::{
    environment, exit, stderr, stdin, stdout, terminal_input, terminal_output, terminal_stderr,
    terminal_stdin, terminal_stdout,
};
use crate::bindings::wasi::clocks::{monotonic_clock, wall_clock};
use crate::bindings::wasi::random::{insecure, insecure_seed, random};
use crate::body::{Body, Source};
use crate::io::{InputStream, OutputStream};
use crate::limiter::Limiter;
use crate::poll::Pollable;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use kernel::single::Single;
use kernel::{clock, random as generator};
use limes_channel::Output;
use wasmtime::bail;
use wasmtime::component::{Resource, ResourceTable};

/// Something that several resources hold.
pub type Shared<T> = Arc<Single<T>>;

pub(crate) fn shared<T>(value: T) -> Shared<T> {
    Arc::new(Single::new(value))
}

/// The store's data.
pub struct Host {
    pub limiter: Limiter,
    pub table: ResourceTable,
    pub env: Vec<(String, String)>,
    pub args: Vec<String>,
    pub stdin: Shared<Source>,
    /// The body of the response that was set.
    pub response: Option<Shared<Body>>,
}

impl Host {
    pub fn new(limiter: Limiter, env: Vec<(String, String)>, handles: u32) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(handles as usize);
        Self { limiter, table, env, args: vec![], stdin: shared(Source::default()), response: None }
    }
}

/// The guest left through `exit`.
#[derive(Debug)]
pub struct Exit(pub i32);

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit with code {}", self.0)
    }
}

impl core::error::Error for Exit {}

impl environment::Host for Host {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self.env.clone())
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(self.args.clone())
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }
}

impl exit::Host for Host {
    fn exit(&mut self, status: Result<(), ()>) -> wasmtime::Result<()> {
        Err(Exit(i32::from(status.is_err())).into())
    }

    fn exit_with_code(&mut self, code: u8) -> wasmtime::Result<()> {
        Err(Exit(code.into()).into())
    }
}

impl stdin::Host for Host {
    fn get_stdin(&mut self) -> wasmtime::Result<Resource<InputStream>> {
        Ok(self.table.push(InputStream::Source(self.stdin.clone()))?)
    }
}

impl stdout::Host for Host {
    fn get_stdout(&mut self) -> wasmtime::Result<Resource<OutputStream>> {
        Ok(self.table.push(OutputStream::Log(Output::Stdout))?)
    }
}

impl stderr::Host for Host {
    fn get_stderr(&mut self) -> wasmtime::Result<Resource<OutputStream>> {
        Ok(self.table.push(OutputStream::Log(Output::Stderr))?)
    }
}

impl terminal_input::Host for Host {}
impl terminal_output::Host for Host {}

impl terminal_input::HostTerminalInput for Host {
    fn drop(&mut self, _: Resource<terminal_input::TerminalInput>) -> wasmtime::Result<()> {
        bail!("no guest was given a terminal")
    }
}

impl terminal_output::HostTerminalOutput for Host {
    fn drop(&mut self, _: Resource<terminal_output::TerminalOutput>) -> wasmtime::Result<()> {
        bail!("no guest was given a terminal")
    }
}

impl terminal_stdin::Host for Host {
    fn get_terminal_stdin(&mut self) -> wasmtime::Result<Option<Resource<terminal_input::TerminalInput>>> {
        Ok(None)
    }
}

impl terminal_stdout::Host for Host {
    fn get_terminal_stdout(&mut self) -> wasmtime::Result<Option<Resource<terminal_output::TerminalOutput>>> {
        Ok(None)
    }
}

impl terminal_stderr::Host for Host {
    fn get_terminal_stderr(&mut self) -> wasmtime::Result<Option<Resource<terminal_output::TerminalOutput>>> {
        Ok(None)
    }
}

impl monotonic_clock::Host for Host {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(clock::monotonic())
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(1)
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<Pollable>> {
        Ok(self.table.push(Pollable::At(when))?)
    }

    fn subscribe_duration(&mut self, when: u64) -> wasmtime::Result<Resource<Pollable>> {
        Ok(self.table.push(Pollable::At(clock::monotonic().saturating_add(when)))?)
    }
}

const SECOND: u64 = 1_000_000_000;

impl wall_clock::Host for Host {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        let now = clock::wall();
        Ok(wall_clock::Datetime { seconds: now / SECOND, nanoseconds: (now % SECOND) as u32 })
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime { seconds: 0, nanoseconds: 1 })
    }
}

/// Most random bytes that one call gives; wasmtime-wasi has the same bound.
const MAX_RANDOM: u64 = 64 << 20;

fn random_bytes(count: u64) -> wasmtime::Result<Vec<u8>> {
    if count > MAX_RANDOM {
        bail!("{count} random bytes at once, where {MAX_RANDOM} is the most");
    }
    let mut bytes = vec![0; usize::try_from(count)?];
    generator::fill(&mut bytes);
    Ok(bytes)
}

impl random::Host for Host {
    fn get_random_bytes(&mut self, count: u64) -> wasmtime::Result<Vec<u8>> {
        random_bytes(count)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(generator::word())
    }
}

impl insecure::Host for Host {
    fn get_insecure_random_bytes(&mut self, count: u64) -> wasmtime::Result<Vec<u8>> {
        random_bytes(count)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(generator::word())
    }
}

impl insecure_seed::Host for Host {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok((generator::word(), generator::word()))
    }
}
