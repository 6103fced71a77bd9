use super::source::{bad, invalid, list};
use super::surface::features;
use limes_core::Result;
use std::panic::{AssertUnwindSafe, catch_unwind};
use wasi_preview1_component_adapter_provider as adapters;
use wasmparser::{Parser, Payload, Validator};
use wit_component::ComponentEncoder;

/// What decides whether a module can become a component.
#[derive(Default)]
struct Module {
    imports: Vec<String>,
    exports: Vec<String>,
    component_types: bool,
}

impl Module {
    fn of(module: &[u8]) -> wasmparser::Result<Self> {
        let mut found = Self::default();
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import?;
                        found.imports.push(format!("{}.{}", import.module, import.name));
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        found.exports.push(export?.name.to_owned());
                    }
                }
                Payload::CustomSection(section) if section.name().starts_with("component-type") => {
                    found.component_types = true;
                }
                _ => {}
            }
        }
        Ok(found)
    }

    fn is_command(&self) -> bool {
        self.exports.iter().any(|name| name == "_start")
    }

    fn imports_wasi(&self) -> bool {
        let prefix = format!("{}.", adapters::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME);
        self.imports.iter().any(|name| name.starts_with(&prefix))
    }

    /// The adapter that turns WASI 0.1 into 0.2 for this module. A command needs it even when it imports
    /// nothing: the adapter is what exports `wasi:cli/run`.
    fn adapter(&self) -> Option<&'static [u8]> {
        if self.is_command() {
            Some(adapters::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER)
        } else if self.imports_wasi() {
            Some(adapters::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)
        } else {
            None
        }
    }
}

/// Makes a component of a core module: a WASI 0.1 command, or one that carries its component types.
pub(super) fn componentize(module: &[u8]) -> Result<Vec<u8>> {
    Validator::new_with_features(features())
        .validate_all(module)
        .map_err(|error| invalid("module", &error))?;
    let found = Module::of(module).map_err(|error| invalid("module", &error))?;
    if !found.is_command() && !found.component_types {
        return Err(bad(format!(
            "this core module is neither a WASI command nor made for the component model: it exports {} and \
             imports {}; it needs an export `_start`, or component types (a section `component-type`, as \
             wit-bindgen writes), or to be a component",
            list(&found.exports),
            list(&found.imports)
        )));
    }
    // The encoder is made for what its own tool chain writes, and asserts where a validator would report. No input
    // is known to trip it; should there be one, it must not end the thread of whoever deploys.
    let encoded = catch_unwind(AssertUnwindSafe(|| encode(module, found.adapter())));
    match encoded {
        Ok(Ok(component)) => Ok(component),
        Ok(Err(reason)) => Err(bad(format!("this core module cannot be made a component: {reason}"))),
        Err(_) => Err(bad("this core module cannot be made a component: its component types are malformed")),
    }
}

fn encode(module: &[u8], adapter: Option<&[u8]>) -> Result<Vec<u8>, String> {
    let reason = |error| format!("{error:#}");
    let mut encoder = ComponentEncoder::default().validate(true).module(module).map_err(reason)?;
    if let Some(adapter) = adapter {
        encoder = encoder.adapter(adapters::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter).map_err(reason)?;
    }
    encoder.encode().map_err(reason)
}
