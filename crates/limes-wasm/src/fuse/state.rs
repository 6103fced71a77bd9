//! What a module begins with: the contents of its memory, and the values of its variables.

use super::parse::{Kind, Leaf, Parsed};
use super::plan::Plan;
use super::remap::{Constant, ModuleMap};
use std::collections::HashSet;
use wasm_encoder::reencode::Reencode;
use wasm_encoder::{
    ConstExpr, DataSection, ExportKind, ExportSection, GlobalSection, GlobalType, ImportSection,
    MemorySection, MemoryType, Module,
};
use wasmparser::{DataKind, Parser, Payload, ValType};

/// The name of the module that holds it, as the other one imports it.
pub(super) const STATE: &str = "state";
const MEMORY: &str = "memory";

/// Taken out of a module and put into another, from which the first imports it: its memory, and a constant for each of its variables.
#[derive(Default)]
pub(super) struct State {
    memory: Option<MemoryType>,
    constants: GlobalSection,
    types: Vec<GlobalType>,
    data: DataSection,
    variables: HashSet<(u32, u32)>,
}

/// The variables of a module's members, by instance and index: numbers that its code may assign to.
///
/// What libraries import from `GOT.mem` and `GOT.func` is assigned to by nobody once they are linked, and as much code as the places
/// it says (<https://github.com/WebAssembly/tool-conventions/blob/main/DynamicLinking.md>). There are hundreds.
pub(super) fn variables(parsed: &Parsed<'_>, plan: &Plan<'_>) -> Option<HashSet<(u32, u32)>> {
    let mut variables = HashSet::new();
    for &instance in &plan.members {
        let module = parsed.module(instance)?;
        let imported = module.imported(Kind::Global) as u32;
        for payload in Parser::new(0).parse_all(module.bytes) {
            if let Payload::GlobalSection(section) = payload.ok()? {
                for (index, global) in (imported..).zip(section) {
                    let ty = global.ok()?.ty;
                    if ty.mutable && matches!(ty.content_type, ValType::I32 | ValType::I64) {
                        variables.insert((instance, index));
                    }
                }
            }
        }
        for (from, name, _) in &module.imports {
            if let Leaf::Export { instance, name } = parsed.imported(instance, from, name)?
                && matches!(*from, "GOT.mem" | "GOT.func")
                && let Some((Kind::Global, index)) = parsed.module(instance)?.exports.get(name)
            {
                variables.remove(&(instance, *index));
            }
        }
    }
    Some(variables)
}

impl State {
    pub fn new(variables: HashSet<(u32, u32)>) -> Self {
        Self { variables, ..Self::default() }
    }

    /// How many constants there will be.
    pub fn count(&self) -> u32 {
        self.variables.len() as u32
    }

    /// Whether a global of a member is one of the variables.
    pub fn holds(&self, instance: u32, index: u32) -> bool {
        self.variables.contains(&(instance, index))
    }

    /// A memory that a module defines. There can be one.
    pub fn memory(&mut self, ty: MemoryType) -> Option<()> {
        self.memory.replace(ty).is_none().then_some(())
    }

    /// A variable that begins with `value`; what it begins with where that is a constant of this module.
    pub fn variable(&mut self, ty: GlobalType, value: Constant) -> ConstExpr {
        let ty = GlobalType { mutable: false, ..ty };
        self.constants.global(ty, &value.expression());
        self.types.push(ty);
        ConstExpr::global_get(self.constants.len() - 1)
    }

    /// The contents of memory. All of it must be there before anything runs, at places that are known.
    pub fn data(&mut self, section: wasmparser::DataSectionReader<'_>, map: &mut ModuleMap) -> Option<()> {
        for data in section {
            let data = data.ok()?;
            let DataKind::Active { memory_index, offset_expr } = data.kind else { return None };
            if map.memory_index(memory_index).ok()? != 0 {
                return None;
            }
            let place = map.constant(&offset_expr)?;
            self.data.active(0, &place.expression(), data.data.iter().copied());
        }
        Some(())
    }

    /// What the module imports of it: its memory, and the constants, before all other memories and globals.
    pub fn imports(&self, imports: &mut ImportSection) -> Option<()> {
        imports.import(STATE, MEMORY, self.memory?);
        for (place, ty) in self.types.iter().enumerate() {
            imports.import(STATE, &place.to_string(), *ty);
        }
        Some(())
    }

    /// The module that holds it.
    pub fn module(&self) -> Option<Vec<u8>> {
        let mut memories = MemorySection::new();
        memories.memory(self.memory?);
        let mut exports = ExportSection::new();
        exports.export(MEMORY, ExportKind::Memory, 0);
        for place in 0..self.constants.len() {
            exports.export(&place.to_string(), ExportKind::Global, place);
        }
        let mut module = Module::new();
        module.section(&memories).section(&self.constants).section(&exports).section(&self.data);
        Some(module.finish())
    }
}
