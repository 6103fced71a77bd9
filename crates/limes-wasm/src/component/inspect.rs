use super::digest::Digest;
use super::source::{Kind, Source};
use super::surface::{External, Surface};
use super::{contract, offered};
use limes_core::{Contract, Result};
use serde::{Serialize, Serializer};

/// What a file is, without compiling it. For a core module, what it becomes as a component.
#[derive(Debug, Serialize)]
pub struct Inspection {
    /// What the input was, text or not.
    pub kind: Kind,
    /// How it would be called; `None` when Limes cannot call it.
    pub contract: Option<Contract>,
    /// The export that holds the contract, by its exact name.
    pub contract_interface: Option<String>,
    /// Bytes of the input.
    pub size: u64,
    /// SHA-256 of the input.
    #[serde(serialize_with = "as_hex")]
    pub digest: Digest,
    /// What it asks of its host.
    pub imports: Vec<Item>,
    /// What it gives.
    pub exports: Vec<Item>,
    /// The core modules inside, in the order of the file.
    pub core_modules: Vec<ModuleSize>,
    /// Grants it may need: `env`, `dirs`, `http`, `tcp`, `udp`, `dns`. Taken from its imports, so it names too
    /// many when a language's library imports what the function does not use.
    pub grants_needed: Vec<&'static str>,
    /// Imports that no sandbox of Limes offers; with any of them it does not load.
    pub unsupported_imports: Vec<String>,
}

/// One import or export.
#[derive(Debug, Serialize)]
pub struct Item {
    /// Its name, `wasi:http/types@0.2.3`.
    pub name: String,
    /// Names of what it holds: functions, resources and types.
    pub items: Vec<String>,
}

/// A core module inside a component.
#[derive(Debug, Serialize)]
pub struct ModuleSize {
    /// Its size in bytes.
    pub size: u64,
}

fn as_hex<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(digest)
}

/// Says what `input` is: a component, a core module or the text of either.
///
/// # Errors
/// [`BadComponent`](limes_core::ErrorKind::BadComponent) as for [`read`](super::read); a component without a
/// contract is no error here.
pub fn inspect(input: &[u8]) -> Result<Inspection> {
    let Source { bytes, kind, digest } = Source::read(input)?;
    let surface = Surface::of(&bytes)?;
    let (contract, contract_interface) = match contract::detect(&surface) {
        Ok(found) => (Some(found.contract), Some(found.export)),
        Err(_) => (None, None),
    };
    let item = |external: &External| Item {
        name: external.name.clone(),
        items: surface.items(external).map(|(name, _)| name.to_owned()).collect(),
    };
    let unsupported = |import: &&External| surface.needs_host(import) && !offered::is_offered(&import.name);
    Ok(Inspection {
        kind,
        contract,
        contract_interface,
        size: input.len() as u64,
        digest,
        imports: surface.imports.iter().map(item).collect(),
        exports: surface.exports.iter().map(item).collect(),
        core_modules: surface.core_modules.iter().map(|size| ModuleSize { size: *size as u64 }).collect(),
        grants_needed: offered::grants(surface.imports.iter().map(|import| import.name.as_str())),
        unsupported_imports: surface.imports.iter().filter(unsupported).map(|i| i.name.clone()).collect(),
    })
}
