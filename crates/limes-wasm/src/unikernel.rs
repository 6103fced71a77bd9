//! Machine code for the unikernel: the same compile service and cache, another machine.

use crate::compile::{CompileService, Target};
use crate::component::{self, Digest};
use limes_core::{CacheOutcome, Contract, Error, ErrorKind, Result, Timing};
use std::sync::OnceLock;
use std::time::Instant;
use wasmtime::Config;

/// A component as the unikernel takes it.
pub struct UnikernelCode {
    /// What Wasmtime compiled; used in place by the guest.
    pub artifact: Vec<u8>,
    /// How it is called.
    pub contract: Contract,
    /// The export that holds the contract, by its exact name.
    pub export: String,
    /// `compile`, `load` and `cache` are set.
    pub timing: Timing,
}

/// The engine whose settings are those of the unikernel's, made when first needed.
#[derive(Default)]
pub(crate) struct UnikernelCompiler(OnceLock<Target>);

impl UnikernelCompiler {
    fn target(&self) -> Result<&Target> {
        if let Some(target) = self.0.get() {
            return Ok(target);
        }
        let target = config().and_then(Target::new).map_err(|error| {
            Error::new(ErrorKind::Internal, "start engine", "the compiler for the unikernel does not start")
                .from_source(error)
        })?;
        Ok(self.0.get_or_init(|| target))
    }

    pub fn compile(&self, service: &CompileService, input: &[u8]) -> Result<UnikernelCode> {
        let begun = Instant::now();
        let target = self.target()?;
        if let Some((artifact, contract, export)) = service.cached_artifact(target, Digest::of(input)) {
            let timing = Timing { load: nanos(begun), cache: CacheOutcome::Hit, ..Timing::default() };
            return Ok(UnikernelCode { artifact, contract, export, timing });
        }
        let source = component::read(input)?;
        if source.is_async() {
            let found = format!(
                "the component exports {}, or imports interfaces of WASI 0.3, which the microVM does not have; \
                 this function needs sandbox = \"wasm\"",
                source.contract()
            );
            return Err(
                Error::new(ErrorKind::UnsupportedContract, "load", found).with("contract", source.contract())
            );
        }
        let unknown = component::inspect(source.bytes())?.unsupported_imports;
        if !unknown.is_empty() {
            return Err(component::unsupported_import_error(&unknown));
        }
        let (artifact, mut timing) = service.artifact(target, &source)?;
        timing.load = nanos(begun).saturating_sub(timing.compile);
        Ok(UnikernelCode {
            artifact,
            contract: source.contract(),
            export: source.export().to_owned(),
            timing,
        })
    }
}

/// What compiled code may use of the processor: x86-64 as of 2008.
const BASELINE: [&str; 6] =
    ["has_cmpxchg16b", "has_sse3", "has_ssse3", "has_sse41", "has_sse42", "has_popcnt"];

/// What the unikernel's engine is set to; artifacts of any other are refused by it.
fn config() -> wasmtime::Result<Config> {
    let mut config = Config::new();
    config
        .target("x86_64-unknown-linux-gnu")?
        .signals_based_traps(false)
        .memory_reservation(0)
        .memory_guard_size(0)
        .memory_reservation_for_growth(0)
        .memory_init_cow(false)
        .wasm_threads(false)
        .gc_support(false)
        .wasm_exceptions(false)
        .wasm_component_model_async(false)
        .concurrency_support(false);
    for flag in BASELINE {
        // SAFETY: the unikernel says that it has these, and a machine is only started on a processor that does.
        unsafe { config.cranelift_flag_enable(flag) };
    }
    Ok(config)
}

fn nanos(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
