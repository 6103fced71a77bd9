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
    /// Whether its linear memories may move as they grow: it has several. A single one has all of the machine's memory to itself, and
    /// code is faster that knows where it is.
    pub memories_move: bool,
    /// `compile`, `load` and `cache` are set.
    pub timing: Timing,
}

/// Which processor the unikernel's code is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processor {
    /// This machine's, with AVX and what else it has.
    Host,
    /// Any x86-64 since 2008: what an emulator has for certain.
    Oldest,
}

/// The engines whose settings are those of the unikernel's, each made when first needed.
#[derive(Default)]
pub(crate) struct UnikernelCompiler([OnceLock<Target>; 4]);

impl UnikernelCompiler {
    fn target(&self, processor: Processor, memories_move: bool) -> Result<&Target> {
        let made = &self.0[usize::from(processor == Processor::Oldest) * 2 + usize::from(memories_move)];
        if let Some(target) = made.get() {
            return Ok(target);
        }
        let target = config(processor, memories_move).and_then(Target::new).map_err(|error| {
            Error::new(ErrorKind::Internal, "start engine", "the compiler for the unikernel does not start")
                .from_source(error)
        })?;
        Ok(made.get_or_init(|| target))
    }

    pub fn compile(
        &self,
        service: &CompileService,
        input: &[u8],
        processor: Processor,
    ) -> Result<UnikernelCode> {
        let begun = Instant::now();
        let digest = Digest::of(input);
        for memories_move in [false, true] {
            let known = service.cached_artifact(self.target(processor, memories_move)?, digest);
            if let Some((artifact, contract, export)) = known {
                let timing = Timing { load: nanos(begun), cache: CacheOutcome::Hit, ..Timing::default() };
                return Ok(UnikernelCode { artifact, contract, export, memories_move, timing });
            }
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
        let memories_move = source.has_several_memories();
        let (artifact, mut timing) = service.artifact(self.target(processor, memories_move)?, &source)?;
        timing.load = nanos(begun).saturating_sub(timing.compile);
        Ok(UnikernelCode {
            artifact,
            contract: source.contract(),
            export: source.export().to_owned(),
            memories_move,
            timing,
        })
    }
}

/// Every x86-64 processor since 2008 has these.
const OLDEST: [&str; 6] = ["has_cmpxchg16b", "has_sse3", "has_ssse3", "has_sse41", "has_sse42", "has_popcnt"];

/// What else this machine's has, of what a guest may use: monitors save and restore no state of AVX-512.
fn newer() -> impl Iterator<Item = &'static str> {
    let has = [
        ("has_avx", is_x86_feature_detected!("avx")),
        ("has_avx2", is_x86_feature_detected!("avx2")),
        ("has_fma", is_x86_feature_detected!("fma")),
        ("has_bmi1", is_x86_feature_detected!("bmi1")),
        ("has_bmi2", is_x86_feature_detected!("bmi2")),
        ("has_lzcnt", is_x86_feature_detected!("lzcnt")),
    ];
    has.into_iter().filter(|(_, has)| *has).map(|(flag, _)| flag)
}

/// As much as a 32-bit memory can be, so that none has to move; the machine has less.
const WHOLE: u64 = 4 << 30;

/// What the unikernel's engine is set to; artifacts of any other are refused by it.
fn config(processor: Processor, memories_move: bool) -> wasmtime::Result<Config> {
    let mut config = Config::new();
    config
        .target("x86_64-unknown-linux-gnu")?
        .signals_based_traps(false)
        .memory_reservation(if memories_move { 0 } else { WHOLE })
        .memory_guard_size(0)
        .memory_reservation_for_growth(0)
        .memory_init_cow(false)
        .wasm_threads(false)
        .gc_support(false)
        .wasm_exceptions(false)
        .wasm_component_model_async(false)
        .concurrency_support(false);
    let newer = newer().filter(|_| processor == Processor::Host);
    for flag in OLDEST.into_iter().chain(newer) {
        // SAFETY: the machine is started on a processor that has it.
        unsafe { config.cranelift_flag_enable(flag) };
    }
    for flag in ["enable_heap_access_spectre_mitigation", "enable_table_access_spectre_mitigation"] {
        // SAFETY: the mitigation keeps a guest that guesses from reading the rest of its process. Here that is the machine, and all that
        // is in it is the function's own.
        unsafe { config.cranelift_flag_set(flag, "false") };
    }
    Ok(config)
}

fn nanos(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
