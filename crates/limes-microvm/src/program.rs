//! What the machines of a function boot: the unikernel with a component's code, or a unikernel that is the function itself.

use limes_channel::VERSION;
use limes_channel::machine::{NATIVE_NOTE_TYPE, NOTE_OWNER};
use limes_core::{Contract, Error, ErrorKind, Result, Timing};
use limes_wasm::component::{self, Digest, Inspection, Kind};
use limes_wasm::{Processor, WasmSandbox};
use object::Endianness;
use object::elf::{FileHeader64, PT_NOTE};
use object::read::elf::{FileHeader, ProgramHeader};
use std::time::Instant;

/// The bytes that a machine boots, and how the function in them is called.
pub(crate) struct Program {
    /// A unikernel of the function's own; `None` for the one that Limes ships.
    pub kernel: Option<Vec<u8>>,
    /// What Wasmtime compiled, for the unikernel that Limes ships.
    pub artifact: Option<Vec<u8>>,
    pub contract: Contract,
    /// The export that holds the contract, by its exact name.
    pub export: String,
    /// Whether the component's linear memories may move.
    pub memories_move: bool,
    /// `compile`, `load` and `cache` are set.
    pub timing: Timing,
}

impl Program {
    /// Takes a component (or what becomes one), or a native function.
    ///
    /// # Errors
    /// As [`WasmSandbox::compile_for_unikernel`]; a native function of another release.
    pub fn of(bytes: &[u8], wasm: &WasmSandbox, processor: Processor) -> Result<Self> {
        let begun = Instant::now();
        if is_native(bytes)? {
            let load = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
            return Ok(Self {
                kernel: Some(bytes.to_vec()),
                artifact: None,
                contract: Contract::Run,
                export: Contract::Run.interface().to_owned(),
                memories_move: false,
                timing: Timing { load, ..Timing::default() },
            });
        }
        let code = wasm.compile_for_unikernel(bytes, processor)?;
        Ok(Self {
            kernel: None,
            artifact: Some(code.artifact),
            contract: code.contract,
            export: code.export,
            memories_move: code.memories_move,
            timing: code.timing,
        })
    }
}

/// Says what `input` is, without compiling or booting it: a native function, or what [`component::inspect`] takes.
///
/// # Errors
/// It is neither.
pub fn inspect(input: &[u8]) -> Result<Inspection> {
    if !is_native(input)? {
        return component::inspect(input);
    }
    Ok(Inspection {
        kind: Kind::Native,
        contract: Some(Contract::Run),
        contract_interface: Some(Contract::Run.interface().to_owned()),
        size: input.len() as u64,
        digest: Digest::of(input),
        imports: Vec::new(),
        exports: Vec::new(),
        core_modules: Vec::new(),
        grants_needed: Vec::new(),
        unsupported_imports: Vec::new(),
    })
}

/// Whether the bytes are a unikernel with a function linked in, by the note that it carries.
///
/// # Errors
/// They are one of another release.
fn is_native(bytes: &[u8]) -> Result<bool> {
    match native_version(bytes) {
        None => Ok(false),
        Some(version) if version == u32::from(VERSION) => Ok(true),
        Some(version) => Err(Error::new(
            ErrorKind::BadComponent,
            "load",
            format!(
                "the native function speaks version {version} of the channel, this release of Limes {VERSION}; \
                 build it against the crate `limes-native` of this release"
            ),
        )),
    }
}

/// The version of the channel that a native function speaks; `None` for what is none.
fn native_version(bytes: &[u8]) -> Option<u32> {
    let header = FileHeader64::<Endianness>::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let headers = header.program_headers(endian, bytes).ok()?;
    for header in headers.iter().filter(|header| header.p_type(endian) == PT_NOTE) {
        let Ok(Some(mut notes)) = header.notes(endian, bytes) else { continue };
        while let Ok(Some(note)) = notes.next() {
            if note.name() == NOTE_OWNER.as_bytes() && note.n_type(endian) == NATIVE_NOTE_TYPE {
                return note.desc().try_into().ok().map(u32::from_le_bytes);
            }
        }
    }
    None
}
