//! The type of a core module, as a component that imports it has to say it.

use super::parse::Kind;
use std::collections::HashMap;
use wasm_encoder::ModuleType;
use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasmparser::{ExternalKind, Parser, Payload, TypeRef};

/// What a module imports and exports; `None` when it has types that are not of functions, or the like.
pub(super) fn of(module: &[u8]) -> Option<ModuleType> {
    let mut ty = ModuleType::new();
    let mut same = RoundtripReencoder;
    let mut defined = Defined::default();
    for payload in Parser::new(0).parse_all(module) {
        match payload.ok()? {
            Payload::TypeSection(section) => {
                for function in section.into_iter_err_on_gc_types() {
                    let function = same.func_type(function.ok()?).ok()?;
                    ty.ty().func_type(&function);
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.ok()?;
                    ty.import(import.module, import.name, same.entity_type(import.ty).ok()?);
                    defined.push(import.ty)?;
                }
            }
            Payload::FunctionSection(section) => {
                for function in section {
                    defined.push(TypeRef::Func(function.ok()?))?;
                }
            }
            Payload::TableSection(section) => {
                for table in section {
                    defined.push(TypeRef::Table(table.ok()?.ty))?;
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    defined.push(TypeRef::Memory(memory.ok()?))?;
                }
            }
            Payload::TagSection(section) => {
                for tag in section {
                    defined.push(TypeRef::Tag(tag.ok()?))?;
                }
            }
            Payload::GlobalSection(section) => {
                for global in section {
                    defined.push(TypeRef::Global(global.ok()?.ty))?;
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.ok()?;
                    let found = defined.get(export.kind, export.index)?;
                    ty.export(export.name, same.entity_type(found).ok()?);
                }
            }
            Payload::CodeSectionStart { .. } => break,
            _ => {}
        }
    }
    Some(ty)
}

/// Everything of a module that can be exported.
#[derive(Default)]
struct Defined(HashMap<Kind, Vec<TypeRef>>);

impl Defined {
    fn push(&mut self, ty: TypeRef) -> Option<()> {
        self.0.entry(Kind::of_import(&ty)?).or_default().push(ty);
        Some(())
    }

    fn get(&self, kind: ExternalKind, index: u32) -> Option<TypeRef> {
        self.0.get(&Kind::of(kind)?)?.get(index as usize).copied()
    }
}
