//! What a file is: a component, a module that can become one, or their text; and what it exports and imports.

mod contract;
mod digest;
mod inlined;
mod inspect;
mod interface;
mod module;
mod offered;
mod signature;
mod source;
mod surface;
#[cfg(test)]
mod tests;

pub use digest::Digest;
pub use inspect::{Inspection, Item, ModuleSize, inspect};
pub use offered::{is_offered, offered_interfaces, unsupported_import_error};
pub use source::{Kind, MAX_INPUT};

use contract::Found;
use limes_core::{Contract, Result};
use source::Source;
use surface::Surface;

/// A validated component with a contract, ready to be compiled.
#[derive(Clone, Debug)]
pub struct Component {
    bytes: Vec<u8>,
    kind: Kind,
    digest: Digest,
    contract: Contract,
    export: String,
    is_async: bool,
    has_several_memories: bool,
    initial_memory: u64,
    initial_data: u64,
}

impl Component {
    /// The component in the binary format, whatever it was read from.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What the input was.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// SHA-256 of the input, as it came.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// How it is called.
    pub fn contract(&self) -> Contract {
        self.contract
    }

    /// Whether it needs an engine with component-model async, as everything of WASI 0.3 does.
    pub fn is_async(&self) -> bool {
        self.is_async
    }

    /// Whether it may have more than one linear memory once it is instantiated.
    pub fn has_several_memories(&self) -> bool {
        self.has_several_memories
    }

    /// Bytes of linear memory that its core modules begin with, each counted once.
    pub fn initial_memory(&self) -> u64 {
        self.initial_memory
    }

    /// Bytes that they put there.
    pub fn initial_data(&self) -> u64 {
        self.initial_data
    }

    /// The exported interface that holds the contract, by its exact name: `wasi:http/incoming-handler@0.2.3`.
    pub fn export(&self) -> &str {
        &self.export
    }
}

/// Makes a component of what a compiler wrote, by the rules of [`read`]; a component stays as it is.
///
/// # Errors
/// [`BadComponent`](limes_core::ErrorKind::BadComponent), as [`read`].
pub fn componentize(input: &[u8]) -> Result<Vec<u8>> {
    Ok(Source::read(input)?.bytes)
}

/// Reads a component, a core module or the text of either (`.wat`), and finds its contract.
///
/// A core module becomes a component when it is a WASI 0.1 command (it exports `_start`) or carries component
/// types of its own (custom sections `component-type*`). When a component exports several contracts the first of
/// `component:run`, `wasi:http` 0.3, `wasi:http` 0.2, `wasi:cli` 0.3, `wasi:cli` 0.2 is taken.
///
/// # Errors
/// [`BadComponent`](limes_core::ErrorKind::BadComponent) when the input is larger than [`MAX_INPUT`] or not
/// valid: the message holds the offset, or the line and column of text.
/// [`UnsupportedContract`](limes_core::ErrorKind::UnsupportedContract) when it is valid and exports nothing that
/// Limes can call.
pub fn read(input: &[u8]) -> Result<Component> {
    let Source { bytes, kind, digest } = Source::read(input)?;
    let surface = Surface::of(&bytes)?;
    let Found { contract, export } = contract::detect(&surface)?;
    let Surface { is_async, has_several_memories, initial_memory, initial_data, .. } = surface;
    Ok(Component {
        bytes,
        kind,
        digest,
        contract,
        export,
        is_async,
        has_several_memories,
        initial_memory,
        initial_data,
    })
}
