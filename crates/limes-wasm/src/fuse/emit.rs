use super::module::Fused;
use super::parse::{CoreInstance, Item, Kind, Leaf, Parsed};
use super::plan::Plan;
use super::remap::ComponentMap;
use super::state::STATE;
use super::{CODE, interface};
use std::collections::{BTreeMap, HashMap};
use wasm_encoder::reencode::ReencodeComponent;
use wasm_encoder::{
    Alias, CanonicalFunctionSection, Component, ComponentAliasSection, ComponentImportSection,
    ComponentTypeRef, CoreTypeSection, InstanceSection, ModuleArg, RawSection,
};
use wasmparser::CanonicalFunction;

/// `core:type` of the binary format.
const CORE_TYPE: u8 = 3;

/// The component with one module, and one instance of it, in the place of the members'.
pub(super) fn component<'a>(parsed: &Parsed<'a>, plan: &Plan<'a>, fused: &Fused<'a>) -> Option<Vec<u8>> {
    let mut out = Emitter::start(parsed, plan, fused);
    let last = *plan.members.last()? as usize;
    // What needs the members, but came before the last of them.
    let mut waiting = Vec::new();
    let mut is_there = false;
    for (place, item) in parsed.items.iter().enumerate() {
        if plan.is_late(place) && !is_there {
            waiting.push(item);
        } else {
            out.item(item)?;
        }
        if matches!(item, Item::Instance(index) if *index == last) {
            out.members()?;
            is_there = true;
            for item in waiting.drain(..) {
                // Functions of the component itself would come in another order.
                if matches!(item, Item::Canonical { function: CanonicalFunction::Lift { .. }, .. }) {
                    return None;
                }
                out.item(item)?;
            }
        }
    }
    Some(out.component.finish())
}

struct Emitter<'p, 'a> {
    parsed: &'p Parsed<'a>,
    plan: &'p Plan<'a>,
    fused: &'p Fused<'a>,
    component: Component,
    /// How many there are so far.
    modules: u32,
    instances: u32,
    counts: HashMap<Kind, u32>,
    /// Where modules, core instances, canonical functions and exports of instances are now.
    module_at: HashMap<usize, u32>,
    instance_at: HashMap<u32, u32>,
    leaf_at: HashMap<(Kind, Leaf<'a>), u32>,
}

impl<'p, 'a> Emitter<'p, 'a> {
    fn start(parsed: &'p Parsed<'a>, plan: &'p Plan<'a>, fused: &'p Fused<'a>) -> Self {
        Self {
            parsed,
            plan,
            fused,
            component: Component::new(),
            modules: 0,
            instances: 0,
            counts: HashMap::new(),
            module_at: HashMap::new(),
            instance_at: HashMap::new(),
            leaf_at: HashMap::new(),
        }
    }

    fn item(&mut self, item: &Item<'a>) -> Option<()> {
        match item {
            Item::Section { id, data } => {
                self.component.section(&RawSection { id: *id, data });
            }
            Item::Module(index) => {
                let is_members = |member: &u32| match self.parsed.instances.get(*member as usize) {
                    Some(CoreInstance::Module { module, .. }) => *module as usize == *index,
                    _ => false,
                };
                if !self.plan.members.iter().any(is_members) {
                    let at = self.module(self.parsed.modules.get(*index)?.bytes);
                    self.module_at.insert(*index, at);
                }
            }
            Item::Alias(alias) => {
                let mut unchanged = |_, index| Some(index);
                let mut section = ComponentAliasSection::new();
                section.alias(ComponentMap(&mut unchanged).component_alias(alias.clone()).ok()?);
                self.component.section(&section);
            }
            Item::Instance(index) => self.instance(*index as u32)?,
            Item::Canonical { function, core } => self.canonical(function, *core)?,
        }
        Some(())
    }

    fn module(&mut self, bytes: &[u8]) -> u32 {
        // 1: a core module (`core:module` of the binary format).
        self.component.section(&RawSection { id: 1, data: bytes });
        self.modules += 1;
        self.modules - 1
    }

    /// The module made of the members'. Where what it begins with is a module of its own, an instance of that, and the other is imported.
    fn fused_module(&mut self) -> Option<(u32, Option<u32>)> {
        let Some(state) = &self.fused.state else { return Some((self.module(&self.fused.wasm), None)) };
        let is_core_type = |item: &Item<'_>| matches!(item, Item::Section { id: CORE_TYPE, .. });
        if self.parsed.items.iter().any(is_core_type) {
            // The one that comes here would move those that come later.
            return None;
        }
        let state = self.module(state);
        let state = self.instantiated(state, &[]);
        let mut types = CoreTypeSection::new();
        types.ty().module(&interface::of(&self.fused.wasm)?);
        let mut imports = ComponentImportSection::new();
        imports.import(CODE, ComponentTypeRef::Module(0));
        self.component.section(&types).section(&imports);
        self.modules += 1;
        Some((self.modules - 1, Some(state)))
    }

    /// An instance of the module made of the members'.
    fn members(&mut self) -> Option<()> {
        let (module, state) = self.fused_module()?;
        let mut imports = Vec::new();
        for (place, &function) in self.fused.imports.iter().enumerate() {
            imports.push((place.to_string(), Kind::Func, self.leaf(Kind::Func, Leaf::Canonical(function))?));
        }
        let bag = self.gathered(&imports);
        let args: Vec<_> = [("", bag)].into_iter().chain(state.map(|state| (STATE, state))).collect();
        let at = self.instantiated(module, &args);
        for &member in &self.plan.members {
            self.instance_at.insert(member, at);
        }
        Some(())
    }

    /// An instance of a module that is no member's. Names are gathered anew for each.
    fn instance(&mut self, index: u32) -> Option<()> {
        let CoreInstance::Module { module, .. } = self.parsed.instances.get(index as usize)? else {
            return Some(());
        };
        if self.plan.is_member(index) {
            return Some(());
        }
        let mut wanted: BTreeMap<&str, Vec<(String, Kind, u32)>> = BTreeMap::new();
        for (from, name, import) in &self.parsed.module(index)?.imports {
            let kind = Kind::of_import(import)?;
            let at = self.leaf(kind, self.parsed.imported(index, from, name)?)?;
            wanted.entry(from).or_default().push(((*name).to_owned(), kind, at));
        }
        let args: Vec<_> = wanted.iter().map(|(from, entries)| (*from, self.gathered(entries))).collect();
        let module = *self.module_at.get(&(*module as usize))?;
        let at = self.instantiated(module, &args);
        self.instance_at.insert(index, at);
        Some(())
    }

    fn gathered(&mut self, entries: &[(String, Kind, u32)]) -> u32 {
        let mut section = InstanceSection::new();
        section
            .export_items(entries.iter().map(|(name, kind, index)| (name.as_str(), kind.encoded(), *index)));
        self.component.section(&section);
        self.instances += 1;
        self.instances - 1
    }

    fn instantiated(&mut self, module: u32, args: &[(&str, u32)]) -> u32 {
        let mut section = InstanceSection::new();
        section.instantiate(module, args.iter().map(|(name, index)| (*name, ModuleArg::Instance(*index))));
        self.component.section(&section);
        self.instances += 1;
        self.instances - 1
    }

    fn canonical(&mut self, function: &CanonicalFunction, core: Option<u32>) -> Option<()> {
        let parsed = self.parsed;
        let mut section = CanonicalFunctionSection::new();
        let mut at = |kind, index| self.leaf(kind, parsed.leaf(kind, index)?);
        ComponentMap(&mut at).parse_component_canonical(&mut section, function.clone()).ok()?;
        self.component.section(&section);
        if let Some(core) = core {
            let at = self.defined(Kind::Func);
            self.leaf_at.insert((Kind::Func, Leaf::Canonical(core)), at);
        }
        Some(())
    }

    /// The index something of the core has now; an alias is made when it is first asked for.
    fn leaf(&mut self, kind: Kind, leaf: Leaf<'a>) -> Option<u32> {
        if let Some(&at) = self.leaf_at.get(&(kind, leaf)) {
            return Some(at);
        }
        let Leaf::Export { instance, name } = leaf else { return None };
        let now = self.fused.exports.get(&(instance, name)).map_or(name, String::as_str);
        let mut section = ComponentAliasSection::new();
        let instance = *self.instance_at.get(&instance)?;
        section.alias(Alias::CoreInstanceExport { instance, kind: kind.encoded(), name: now });
        self.component.section(&section);
        let at = self.defined(kind);
        self.leaf_at.insert((kind, leaf), at);
        Some(at)
    }

    fn defined(&mut self, kind: Kind) -> u32 {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        *count - 1
    }
}
