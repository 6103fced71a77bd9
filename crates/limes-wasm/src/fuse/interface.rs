//! The type of a core module, as a component that imports it has to say it.

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
struct Defined([Vec<TypeRef>; 5]);

impl Defined {
    fn push(&mut self, ty: TypeRef) -> Option<()> {
        let space = match ty {
            TypeRef::Func(_) => 0,
            TypeRef::Table(_) => 1,
            TypeRef::Memory(_) => 2,
            TypeRef::Global(_) => 3,
            TypeRef::Tag(_) => 4,
            TypeRef::FuncExact(_) => return None,
        };
        self.0[space].push(ty);
        Some(())
    }

    fn get(&self, kind: ExternalKind, index: u32) -> Option<TypeRef> {
        let space = match kind {
            ExternalKind::Func => 0,
            ExternalKind::Table => 1,
            ExternalKind::Memory => 2,
            ExternalKind::Global => 3,
            ExternalKind::Tag => 4,
            ExternalKind::FuncExact => return None,
        };
        self.0[space].get(index as usize).copied()
    }
}
