use super::inlined;
use super::interface::{Interface, Wasi};
use super::source::invalid;
use limes_core::Result;
use wasmparser::component_types::{ComponentAnyTypeId, ComponentEntityType};
use wasmparser::types::{Types, TypesRef};
use wasmparser::{Instance, Parser, Payload, Validator, WasmFeatures};

/// The proposals that the engine compiles: what Wasmtime 48 has on by default, and component-model async.
pub(super) fn features() -> WasmFeatures {
    WasmFeatures::WASM3 | WasmFeatures::COMPONENT_MODEL | WasmFeatures::CM_ASYNC
}

/// What a valid component shows to the outside.
pub(super) struct Surface {
    types: Types,
    pub imports: Vec<External>,
    pub exports: Vec<External>,
    /// Size in bytes of each core module inside, in the order of the file.
    pub core_modules: Vec<usize>,
    /// Whether it may have more than one linear memory: several are defined, or what defines one may be instantiated more than once. A component
    /// inside may be, so that it only has none for certain when it makes no instance of a module.
    pub has_several_memories: bool,
    /// Bytes of linear memory that its core modules begin with, each counted once.
    pub initial_memory: u64,
    /// Bytes that they put there.
    pub initial_data: u64,
    /// Whether it needs component-model async: it is not valid without, or speaks WASI 0.3.
    pub is_async: bool,
}

/// One import or export of a component.
pub(super) struct External {
    pub name: String,
    pub ty: ComponentEntityType,
}

impl Surface {
    /// Validates all of `component`, code included.
    pub fn of(component: &[u8]) -> Result<Self> {
        let failed = |error: wasmparser::Error| invalid("component", &error);
        let validate = |features| Validator::new_with_features(features).validate_all(component);
        let (types, is_async) = match validate(features().difference(WasmFeatures::CM_ASYNC)) {
            Ok(types) => (types, false),
            Err(_) => (validate(features()).map_err(failed)?, true),
        };
        inlined::check(component)?;
        let (imports, exports, core_modules) = (Vec::new(), Vec::new(), Vec::new());
        let mut surface = Self {
            types,
            imports,
            exports,
            core_modules,
            has_several_memories: false,
            initial_memory: 0,
            initial_data: 0,
            is_async,
        };
        surface.walk(component).map_err(failed)?;
        // Some interfaces of WASI 0.3 have nothing asynchronous in them, and are hosted by its engine all the same.
        let v03 = |e: &External| Interface::parse(&e.name).and_then(Interface::wasi) == Some(Wasi::V03);
        surface.is_async |= surface.imports.iter().chain(&surface.exports).any(v03);
        Ok(surface)
    }

    fn walk(&mut self, component: &[u8]) -> wasmparser::Result<()> {
        // What is open here, the outermost component aside: whether it is a component, or a module.
        let mut open = Vec::new();
        let (mut memories, mut instances) = (0, 0);
        for payload in Parser::new(0).parse_all(component) {
            match payload? {
                Payload::ModuleSection { unchecked_range, .. } => {
                    self.core_modules.push(unchecked_range.len());
                    open.push(false);
                }
                Payload::ComponentSection { .. } => open.push(true),
                Payload::End(_) => {
                    open.pop();
                }
                Payload::MemorySection(section) => {
                    memories += section.count();
                    for memory in section {
                        let memory = memory?;
                        let page = 1 << memory.page_size_log2.unwrap_or(16);
                        let bytes = memory.initial.saturating_mul(page);
                        self.initial_memory = self.initial_memory.saturating_add(bytes);
                    }
                    self.has_several_memories |= open.contains(&true);
                }
                Payload::DataSection(section) => self.initial_data += section.range().len() as u64,
                Payload::InstanceSection(section) => {
                    for instance in section {
                        instances += usize::from(matches!(instance?, Instance::Instantiate { .. }));
                    }
                    self.has_several_memories |= open.contains(&true);
                }
                Payload::ComponentImportSection(section) if open.is_empty() => {
                    for import in section {
                        let name = import?.name.name;
                        let item = self.types.as_ref().component_item_for_import(name).map(|item| item.ty);
                        self.imports.extend(item.map(|ty| External { name: name.to_owned(), ty }));
                    }
                }
                Payload::ComponentExportSection(section) if open.is_empty() => {
                    for export in section {
                        let name = export?.name.name;
                        let item = self.types.as_ref().component_item_for_export(name).map(|item| item.ty);
                        self.exports.extend(item.map(|ty| External { name: name.to_owned(), ty }));
                    }
                }
                _ => {}
            }
        }
        self.has_several_memories |= memories > 1 || instances > self.core_modules.len();
        Ok(())
    }

    pub fn types(&self) -> TypesRef<'_> {
        self.types.as_ref()
    }

    /// What `external` holds, by name, when it is an instance; nothing otherwise.
    pub fn items(&self, external: &External) -> impl Iterator<Item = (&str, &ComponentEntityType)> {
        let instance = match external.ty {
            ComponentEntityType::Instance(id) => Some(&self.types[id]),
            _ => None,
        };
        instance
            .into_iter()
            .flat_map(|instance| &instance.exports)
            .map(|(name, item)| (name.as_str(), &item.ty))
    }

    /// Whether `import` has to be given something: types that only name other types need no host.
    pub fn needs_host(&self, import: &External) -> bool {
        let needed = |ty: &ComponentEntityType| match ty {
            ComponentEntityType::Type { created, .. } => matches!(created, ComponentAnyTypeId::Resource(_)),
            _ => true,
        };
        match import.ty {
            ComponentEntityType::Instance(_) => self.items(import).any(|(_, ty)| needed(ty)),
            ref ty => needed(ty),
        }
    }
}
