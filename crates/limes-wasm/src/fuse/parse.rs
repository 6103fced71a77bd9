use std::collections::HashMap;
use wasmparser::{
    CanonicalFunction, ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentType, ElementKind,
    ExternalKind, Instance, InstantiationArgKind, Parser, Payload, TypeRef,
};

/// A component, as far as it matters which core module gets what from where.
pub(super) struct Parsed<'a> {
    /// Everything on the outermost level, in its order.
    pub items: Vec<Item<'a>>,
    pub modules: Vec<CoreModule<'a>>,
    pub instances: Vec<CoreInstance<'a>>,
    /// Where each core function, table, memory, global and tag comes from.
    leaves: HashMap<Kind, Vec<Leaf<'a>>>,
}

/// A kind of core definition: each has an index space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Func,
    Table,
    Memory,
    Global,
    Tag,
}

/// A thing on the outermost level of a component.
pub(super) enum Item<'a> {
    /// A section that names nothing of the core, copied as it is.
    Section { id: u8, data: &'a [u8] },
    /// A core module, by its index.
    Module(usize),
    /// A core instance, by its index.
    Instance(usize),
    /// A canonical function; when it is a core function, its index.
    Canonical { function: CanonicalFunction, core: Option<u32> },
    /// An alias of something that is not of the core.
    Alias(ComponentAlias<'a>),
}

/// Where something of the core comes from in the end, through all names it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Leaf<'a> {
    /// An export of the core instance of a module.
    Export { instance: u32, name: &'a str },
    /// A canonical function, by its index as a core function.
    Canonical(u32),
}

pub(super) enum CoreInstance<'a> {
    /// A core module, and which instance each of its imports' modules is.
    Module { module: u32, args: HashMap<&'a str, u32> },
    /// Things gathered under names.
    Exports(HashMap<&'a str, (Kind, u32)>),
}

/// A core module, and what others see of it.
pub(super) struct CoreModule<'a> {
    pub bytes: &'a [u8],
    pub imports: Vec<(&'a str, &'a str, TypeRef)>,
    pub exports: HashMap<&'a str, (Kind, u32)>,
    pub has_start: bool,
    /// Whether it writes functions into a table that it imports.
    pub fills_imported_table: bool,
}

impl Kind {
    pub fn of(kind: ExternalKind) -> Option<Self> {
        Some(match kind {
            ExternalKind::Func => Self::Func,
            ExternalKind::Table => Self::Table,
            ExternalKind::Memory => Self::Memory,
            ExternalKind::Global => Self::Global,
            ExternalKind::Tag => Self::Tag,
            ExternalKind::FuncExact => return None,
        })
    }

    pub fn encoded(self) -> wasm_encoder::ExportKind {
        use wasm_encoder::ExportKind;
        match self {
            Self::Func => ExportKind::Func,
            Self::Table => ExportKind::Table,
            Self::Memory => ExportKind::Memory,
            Self::Global => ExportKind::Global,
            Self::Tag => ExportKind::Tag,
        }
    }

    pub fn of_import(import: &TypeRef) -> Option<Self> {
        Some(match import {
            TypeRef::Func(_) => Self::Func,
            TypeRef::Table(_) => Self::Table,
            TypeRef::Memory(_) => Self::Memory,
            TypeRef::Global(_) => Self::Global,
            TypeRef::Tag(_) => Self::Tag,
            TypeRef::FuncExact(_) => return None,
        })
    }
}

impl<'a> Parsed<'a> {
    /// `None` when there is something that cannot be followed.
    pub fn read(component: &'a [u8]) -> Option<Self> {
        let mut parsed =
            Self { items: Vec::new(), modules: Vec::new(), instances: Vec::new(), leaves: HashMap::new() };
        // Modules and components within are skipped over by their depth.
        let mut depth = 0_u32;
        for payload in Parser::new(0).parse_all(component) {
            let payload = payload.ok()?;
            match &payload {
                Payload::ModuleSection { unchecked_range, .. }
                | Payload::ComponentSection { unchecked_range, .. } => {
                    if depth == 0 {
                        let data = component.get(unchecked_range.clone())?;
                        parsed.nested(&payload, data)?;
                    }
                    depth += 1;
                }
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::Version { .. } => {}
                _ if depth > 0 => {}
                _ => parsed.section(payload, component)?,
            }
        }
        Some(parsed)
    }

    fn nested(&mut self, payload: &Payload<'a>, data: &'a [u8]) -> Option<()> {
        if let Payload::ModuleSection { .. } = payload {
            self.items.push(Item::Module(self.modules.len()));
            self.modules.push(CoreModule::read(data)?);
        } else {
            // 4: a component (`component-section` of the binary format).
            self.items.push(Item::Section { id: 4, data });
        }
        Some(())
    }

    fn section(&mut self, payload: Payload<'a>, component: &'a [u8]) -> Option<()> {
        match payload {
            Payload::InstanceSection(section) => {
                for instance in section {
                    self.items.push(Item::Instance(self.instances.len()));
                    self.instances.push(CoreInstance::of(instance.ok()?)?);
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    match alias.ok()? {
                        ComponentAlias::CoreInstanceExport { kind, instance_index, name } => {
                            // Whatever it names came before, so that no chain of names is followed twice.
                            let leaf = self.export(instance_index, name)?;
                            self.leaves.entry(Kind::of(kind)?).or_default().push(leaf);
                        }
                        ComponentAlias::InstanceExport { kind: ComponentExternalKind::Module, .. } => {
                            return None;
                        }
                        ComponentAlias::Outer { .. } => return None,
                        alias => self.items.push(Item::Alias(alias)),
                    }
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    let function = function.ok()?;
                    let functions = self.leaves.entry(Kind::Func).or_default();
                    let core = match function {
                        CanonicalFunction::Lift { .. } => None,
                        _ => Some(u32::try_from(functions.len()).ok()?),
                    };
                    functions.extend(core.map(Leaf::Canonical));
                    self.items.push(Item::Canonical { function, core });
                }
            }
            Payload::CustomSection(section) if section.name() == "component-name" => {}
            other => {
                check_names_nothing_of_the_core(&other)?;
                let (id, range) = other.as_section()?;
                self.items.push(Item::Section { id, data: component.get(range)? });
            }
        }
        Some(())
    }
}

impl<'a> Parsed<'a> {
    /// The module of a core instance, if it is an instance of one.
    pub fn module(&self, instance: u32) -> Option<&CoreModule<'a>> {
        match self.instances.get(instance as usize)? {
            CoreInstance::Module { module, .. } => self.modules.get(*module as usize),
            CoreInstance::Exports(_) => None,
        }
    }

    /// What the module of a core instance gets for an import.
    pub fn imported(&self, instance: u32, from: &str, name: &'a str) -> Option<Leaf<'a>> {
        match self.instances.get(instance as usize)? {
            CoreInstance::Module { args, .. } => self.export(*args.get(from)?, name),
            CoreInstance::Exports(_) => None,
        }
    }

    /// Where something of the core comes from.
    pub fn leaf(&self, kind: Kind, index: u32) -> Option<Leaf<'a>> {
        self.leaves.get(&kind)?.get(index as usize).copied()
    }

    fn export(&self, instance: u32, name: &'a str) -> Option<Leaf<'a>> {
        match self.instances.get(instance as usize)? {
            CoreInstance::Module { .. } => Some(Leaf::Export { instance, name }),
            CoreInstance::Exports(exports) => {
                let (kind, index) = exports.get(name)?;
                self.leaf(*kind, *index)
            }
        }
    }
}

/// Sections that are copied must not name core functions or modules, whose indices change.
fn check_names_nothing_of_the_core(payload: &Payload<'_>) -> Option<()> {
    let fine = match payload {
        Payload::ComponentTypeSection(section) => section.clone().into_iter().all(|found| {
            found.is_ok_and(|found| !matches!(found, ComponentType::Resource { dtor: Some(_), .. }))
        }),
        Payload::ComponentInstanceSection(section) => {
            section.clone().into_iter().all(|found| found.is_ok_and(|found| !passes_modules(&found)))
        }
        Payload::ComponentExportSection(section) => section
            .clone()
            .into_iter()
            .all(|found| found.is_ok_and(|found| found.kind != ComponentExternalKind::Module)),
        Payload::ComponentImportSection(section) => section.clone().into_iter().all(|found| {
            found.is_ok_and(|found| !matches!(found.ty, wasmparser::ComponentTypeRef::Module(_)))
        }),
        Payload::CustomSection(_) | Payload::CoreTypeSection(_) | Payload::ComponentStartSection { .. } => {
            true
        }
        _ => false,
    };
    fine.then_some(())
}

fn passes_modules(instance: &ComponentInstance<'_>) -> bool {
    match instance {
        ComponentInstance::Instantiate { args, .. } => {
            args.iter().any(|arg| arg.kind == ComponentExternalKind::Module)
        }
        ComponentInstance::FromExports(exports) => {
            exports.iter().any(|export| export.kind == ComponentExternalKind::Module)
        }
    }
}

impl<'a> CoreInstance<'a> {
    fn of(instance: Instance<'a>) -> Option<Self> {
        Some(match instance {
            Instance::Instantiate { module_index, args } => Self::Module {
                module: module_index,
                args: args
                    .iter()
                    .map(|arg| match arg.kind {
                        InstantiationArgKind::Instance => (arg.name, arg.index),
                    })
                    .collect(),
            },
            Instance::FromExports(exports) => Self::Exports(
                exports
                    .iter()
                    .map(|export| Some((export.name, (Kind::of(export.kind)?, export.index))))
                    .collect::<Option<_>>()?,
            ),
        })
    }
}

impl<'a> CoreModule<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut module = Self {
            bytes,
            imports: Vec::new(),
            exports: HashMap::new(),
            has_start: false,
            fills_imported_table: false,
        };
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.ok()? {
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import.ok()?;
                        module.imports.push((import.module, import.name, import.ty));
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export.ok()?;
                        module.exports.insert(export.name, (Kind::of(export.kind)?, export.index));
                    }
                }
                Payload::StartSection { .. } => module.has_start = true,
                Payload::ElementSection(section) => {
                    let imported = module.imported(Kind::Table) as u32;
                    for element in section {
                        if let ElementKind::Active { table_index, .. } = element.ok()?.kind {
                            module.fills_imported_table |= table_index.unwrap_or(0) < imported;
                        }
                    }
                }
                _ => {}
            }
        }
        Some(module)
    }

    /// How many of `kind` it imports.
    pub fn imported(&self, kind: Kind) -> usize {
        self.imports.iter().filter(|(_, _, import)| Kind::of_import(import) == Some(kind)).count()
    }
}
