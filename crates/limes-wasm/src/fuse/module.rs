use super::Form;
use super::parse::{Kind, Leaf, Parsed};
use super::plan::Plan;
use super::remap::{Constant, ModuleMap};
use super::state::{self, State};
use std::collections::{HashMap, HashSet};
use wasm_encoder::reencode::Reencode;
use wasm_encoder::{
    DataCountSection, DataSection, ElementSection, Encode, EntityType, ExportSection, Function,
    FunctionSection, GlobalSection, ImportSection, Instruction, MemorySection, NameMap, NameSection, Section,
    SectionId, StartSection, TableSection, TagSection, TypeSection,
};
use wasmparser::{KnownCustom, Name, Parser, Payload, TypeRef};

/// One core module made of several.
pub(super) struct Fused<'a> {
    pub wasm: Vec<u8>,
    /// The module that holds what it begins with, where that is one of its own.
    pub state: Option<Vec<u8>>,
    /// The canonical functions it imports from the module "", under the names "0", "1", ...
    pub imports: Vec<u32>,
    /// The names that exports of the members have now.
    pub exports: HashMap<(u32, &'a str), String>,
}

#[derive(Default)]
struct Sections {
    types: TypeSection,
    functions: FunctionSection,
    tables: TableSection,
    memories: MemorySection,
    tags: TagSection,
    globals: GlobalSection,
    elements: ElementSection,
    code: Code,
    data: DataSection,
    names: NameMap,
    /// The last function that has a name: they come in order.
    named: Option<u32>,
    starts: Vec<u32>,
    uses_data_count: bool,
    /// What is to be in a module of its own.
    state: Option<State>,
}

/// Puts the members' modules together. Exported is what others than members use.
pub(super) fn build<'a>(parsed: &Parsed<'a>, plan: &Plan<'a>, form: Form) -> Option<Fused<'a>> {
    let imports = external_imports(parsed, plan)?;
    let places: HashMap<u32, usize> = imports.iter().copied().zip(0..).collect();
    let mut sections = Sections::default();
    let sizes = plan.members.iter().filter_map(|&instance| parsed.module(instance));
    sections.code.bytes.reserve(sizes.map(|module| module.bytes.len()).sum());
    let mut counts = HashMap::from([(Kind::Func, imports.len() as u32)]);
    if form == Form::Split {
        let state = State::new(state::variables(parsed, plan)?);
        counts.insert(Kind::Global, state.count());
        sections.state = Some(state);
    }
    let mut import_types: Vec<Option<u32>> = vec![None; imports.len()];
    let mut constants = HashMap::new();
    // What each member's exports are in the whole.
    let mut exported: HashMap<(u32, &'a str), (Kind, u32)> = HashMap::new();
    for &instance in &plan.members {
        let module = parsed.module(instance)?;
        let mut map = ModuleMap {
            types: sections.types.len(),
            data: sections.data.len(),
            elements: sections.elements.len(),
            constants: std::mem::take(&mut constants),
            ..ModuleMap::default()
        };
        for (from, name, import) in &module.imports {
            let kind = Kind::of_import(import)?;
            let index = match parsed.imported(instance, from, name)? {
                Leaf::Canonical(function) => {
                    let place = *places.get(&function)?;
                    let TypeRef::Func(ty) = import else { return None };
                    import_types[place].get_or_insert(map.types + ty);
                    place as u32
                }
                Leaf::Export { instance, name } => {
                    let (found, index) = *exported.get(&(instance, name))?;
                    (found == kind).then_some(index)?
                }
            };
            map.space(kind).push(index);
        }
        sections.append(instance, module.bytes, &mut map, &mut counts)?;
        for (name, (kind, index)) in &module.exports {
            let index = *map.space(*kind).get(*index as usize)?;
            exported.insert((instance, name), (*kind, index));
        }
        constants = map.constants;
    }
    let exports = exports(plan, &exported)?;
    let state = match &sections.state {
        Some(state) => Some(state.module()?),
        None => None,
    };
    let wasm = sections.finish(&import_types, &exports)?;
    let exports = exports.into_iter().map(|(key, (name, ..))| (key, name)).collect();
    Some(Fused { wasm, state, imports, exports })
}

/// The canonical functions that members import, each once.
fn external_imports(parsed: &Parsed<'_>, plan: &Plan<'_>) -> Option<Vec<u32>> {
    let mut seen = HashSet::new();
    let mut imports = Vec::new();
    for &instance in &plan.members {
        for (from, name, _) in &parsed.module(instance)?.imports {
            if let Leaf::Canonical(function) = parsed.imported(instance, from, name)?
                && seen.insert(function)
            {
                imports.push(function);
            }
        }
    }
    Some(imports)
}

type Exports<'a> = HashMap<(u32, &'a str), (String, Kind, u32)>;

/// What has to be exported, under which name.
fn exports<'a>(plan: &Plan<'a>, exported: &HashMap<(u32, &'a str), (Kind, u32)>) -> Option<Exports<'a>> {
    let mut exports = HashMap::new();
    for &leaf in &plan.used_outside {
        if let Leaf::Export { instance, name } = leaf
            && plan.is_member(instance)
        {
            let (kind, index) = *exported.get(&(instance, name))?;
            exports.insert((instance, name), (format!("{instance}:{name}"), kind, index));
        }
    }
    Some(exports)
}

/// The bodies of all functions. They are most of a module, so they are written where there is room for all of them at once.
#[derive(Default)]
struct Code {
    count: u32,
    bytes: Vec<u8>,
}

impl Code {
    fn push(&mut self, function: &Function) {
        function.encode(&mut self.bytes);
        self.count += 1;
    }

    fn append(&mut self, body: &wasmparser::FunctionBody<'_>, map: &mut ModuleMap) -> Option<()> {
        let mut function = map.new_function_with_parsed_locals(body).ok()?;
        let mut reader = body.get_operators_reader().ok()?;
        while !reader.eof() {
            function.instruction(&map.parse_instruction(&mut reader).ok()?);
        }
        self.push(&function);
        Some(())
    }
}

impl Encode for Code {
    fn encode(&self, sink: &mut Vec<u8>) {
        let mut count = Vec::with_capacity(5);
        self.count.encode(&mut count);
        (count.len() + self.bytes.len()).encode(sink);
        sink.extend(count);
        sink.extend(&self.bytes);
    }
}

impl Section for Code {
    fn id(&self) -> u8 {
        SectionId::Code.into()
    }
}

impl Sections {
    /// Appends everything a module defines.
    fn append(
        &mut self,
        instance: u32,
        module: &[u8],
        map: &mut ModuleMap,
        counts: &mut HashMap<Kind, u32>,
    ) -> Option<()> {
        let mut define = |map: &mut ModuleMap, kind: Kind, many: u32| {
            let next = counts.entry(kind).or_default();
            map.space(kind).extend(*next..*next + many);
            *next += many;
        };
        for payload in Parser::new(0).parse_all(module) {
            match payload.ok()? {
                Payload::TypeSection(section) => {
                    map.parse_type_section(&mut self.types, section).ok()?;
                }
                Payload::FunctionSection(section) => {
                    define(map, Kind::Func, section.count());
                    map.parse_function_section(&mut self.functions, section).ok()?;
                }
                Payload::TableSection(section) => {
                    define(map, Kind::Table, section.count());
                    map.parse_table_section(&mut self.tables, section).ok()?;
                }
                Payload::MemorySection(section) => {
                    define(map, Kind::Memory, section.count());
                    match &mut self.state {
                        None => map.parse_memory_section(&mut self.memories, section).ok()?,
                        Some(state) => {
                            for memory in section {
                                state.memory(map.memory_type(memory.ok()?).ok()?)?;
                            }
                        }
                    }
                }
                Payload::TagSection(section) => {
                    define(map, Kind::Tag, section.count());
                    map.parse_tag_section(&mut self.tags, section).ok()?;
                }
                Payload::GlobalSection(section) => {
                    for global in section {
                        let global = global.ok()?;
                        let index = map.space(Kind::Global).len() as u32;
                        define(map, Kind::Global, 1);
                        let value = if global.ty.mutable { None } else { map.constant(&global.init_expr) };
                        if let Some(value) = value {
                            note_constant(map, value)?;
                        }
                        match &mut self.state {
                            Some(state) if state.holds(instance, index) => {
                                let value = map.constant(&global.init_expr)?;
                                let ty = map.global_type(global.ty).ok()?;
                                self.globals.global(ty, &state.variable(ty, value));
                            }
                            _ => map.parse_global(&mut self.globals, global).ok()?,
                        }
                    }
                }
                Payload::StartSection { func, .. } => self.starts.push(map.function_index(func).ok()?),
                Payload::ElementSection(section) => {
                    map.parse_element_section(&mut self.elements, section).ok()?;
                }
                // Code may copy from segments, which would not be its module's.
                Payload::DataCountSection { .. } if self.state.is_some() => return None,
                Payload::DataCountSection { .. } => self.uses_data_count = true,
                Payload::CodeSectionEntry(body) => self.code.append(&body, map)?,
                Payload::DataSection(section) => match &mut self.state {
                    None => map.parse_data_section(&mut self.data, section).ok()?,
                    Some(state) => state.data(section, map)?,
                },
                Payload::CustomSection(section) => {
                    if let KnownCustom::Name(names) = section.as_known() {
                        // Names are for backtraces: those that cannot be read are missing there.
                        let _ = self.append_names(names, map);
                    }
                }
                _ => {}
            }
        }
        Some(())
    }

    fn append_names(&mut self, names: wasmparser::NameSectionReader<'_>, map: &ModuleMap) -> Option<()> {
        let space = map.spaces.get(&Kind::Func)?;
        for names in names {
            let Name::Function(functions) = names.ok()? else { continue };
            for naming in functions {
                let naming = naming.ok()?;
                // Imports are named where they are defined.
                if let Some(&index) =
                    space.get(naming.index as usize).filter(|&&index| Some(index) > self.named)
                {
                    self.names.append(index, naming.name);
                    self.named = Some(index);
                }
            }
        }
        Some(())
    }

    fn finish(mut self, import_types: &[Option<u32>], exports: &Exports<'_>) -> Option<Vec<u8>> {
        let mut imports = ImportSection::new();
        for (place, ty) in import_types.iter().enumerate() {
            imports.import("", &place.to_string(), EntityType::Function((*ty)?));
        }
        if let Some(state) = &self.state {
            state.imports(&mut imports)?;
        }
        let start = self.start(import_types.len() as u32);
        let mut export_section = ExportSection::new();
        let mut sorted: Vec<_> = exports.values().collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        for (name, kind, index) in sorted {
            export_section.export(name, kind.encoded(), *index);
        }
        let mut module = Vec::with_capacity(self.code.bytes.capacity());
        module.extend(wasm_encoder::Module::HEADER);
        for section in [&self.types as &dyn Section, &imports, &self.functions, &self.tables] {
            section.append_to(&mut module);
        }
        if !self.memories.is_empty() {
            self.memories.append_to(&mut module);
        }
        if !self.tags.is_empty() {
            self.tags.append_to(&mut module);
        }
        self.globals.append_to(&mut module);
        export_section.append_to(&mut module);
        if let Some(function_index) = start {
            StartSection { function_index }.append_to(&mut module);
        }
        self.elements.append_to(&mut module);
        if self.uses_data_count {
            DataCountSection { count: self.data.len() }.append_to(&mut module);
        }
        self.code.append_to(&mut module);
        if !self.data.is_empty() {
            self.data.append_to(&mut module);
        }
        let mut names = NameSection::new();
        names.functions(&self.names);
        names.append_to(&mut module);
        Some(module)
    }

    /// The function to start with, if any: one that calls them all in turn where there are several.
    fn start(&mut self, imported: u32) -> Option<u32> {
        if self.starts.len() < 2 {
            return self.starts.first().copied();
        }
        let ty = self.types.len();
        self.types.ty().function([], []);
        self.functions.function(ty);
        let mut caller = Function::new([]);
        for &start in &self.starts {
            caller.instruction(&Instruction::Call(start));
        }
        caller.instruction(&Instruction::End);
        self.code.push(&caller);
        Some(imported + self.functions.len() - 1)
    }
}

fn note_constant(map: &mut ModuleMap, value: Constant) -> Option<()> {
    let index = *map.space(Kind::Global).last()?;
    map.constants.insert(index, value);
    Some(())
}
