use super::parse::{CoreInstance, CoreModule, Item, Kind, Origin, Parsed};
use super::remap::core_uses;
use std::collections::{HashMap, HashSet};
use wasmparser::CanonicalFunction;

/// Which core instances become one.
pub(super) struct Plan {
    /// Indices of core instances, in the order of their instantiation.
    pub members: Vec<u32>,
    /// Core instances that need one of the members, but not within it.
    outside: HashSet<u32>,
}

/// Where something of the core comes from in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Leaf<'a> {
    /// An export of the core instance of a module.
    Export { instance: u32, name: &'a str },
    /// A canonical function, by its index as a core function.
    Canonical(u32),
}

impl Plan {
    /// `None` when nothing is gained, or the order of what happens would change.
    pub fn of(parsed: &Parsed<'_>) -> Option<Self> {
        let mut plan = Self { members: Vec::new(), outside: HashSet::new() };
        let mut seen = HashSet::new();
        let mut started_outside = false;
        for (index, instance) in (0..).zip(&parsed.instances) {
            let CoreInstance::Module { module, .. } = instance else { continue };
            let module_read = parsed.modules.get(*module as usize)?;
            // Two instances of one module would be two copies of its code.
            if !seen.insert(*module) {
                return None;
            }
            let mut from_outside = false;
            for (from, name, _) in &module_read.imports {
                from_outside |=
                    plan.needs_members_from_outside(parsed, parsed.imported(index, from, name)?)?;
            }
            if from_outside {
                plan.outside.insert(index);
                started_outside |= module_read.has_start;
            } else if started_outside || module_read.has_start && !plan.outside.is_empty() {
                // Its code would run before that of an instance which came first.
                return None;
            } else {
                plan.members.push(index);
            }
        }
        let gains = plan.members.len() > 1
            && plan.members.iter().any(|&index| parsed.module(index).is_some_and(|m| m.fills_imported_table));
        gains.then_some(plan)
    }

    pub fn is_member(&self, instance: u32) -> bool {
        self.members.binary_search(&instance).is_ok()
    }

    /// Everything of the core that is used by others than members.
    pub fn leaves_outside<'a>(&self, parsed: &Parsed<'a>) -> Option<Vec<Leaf<'a>>> {
        let mut leaves = Vec::new();
        for item in &parsed.items {
            if let Item::Canonical { function, .. } = item {
                for (kind, index) in core_uses(function)? {
                    leaves.push(parsed.leaf(kind, index)?);
                }
            }
        }
        for &instance in &self.outside {
            for (from, name, _) in &parsed.module(instance)?.imports {
                leaves.push(parsed.imported(instance, from, name)?);
            }
        }
        Some(leaves)
    }

    /// Whether this can only be had once the members are there, and not from one of them.
    fn needs_members_from_outside(&self, parsed: &Parsed<'_>, leaf: Leaf<'_>) -> Option<bool> {
        match leaf {
            Leaf::Export { instance, .. } => Some(self.outside.contains(&instance)),
            Leaf::Canonical(index) => match parsed.entities.get(&(Kind::Func, index))? {
                Origin::Canonical(function) => self.canonical_needs_members(parsed, function),
                Origin::Export { .. } => None,
            },
        }
    }

    /// Whether a canonical function uses a member's memory or functions, or what comes after the members.
    pub fn canonical_needs_members(&self, parsed: &Parsed<'_>, function: &CanonicalFunction) -> Option<bool> {
        let mut needs = false;
        for (kind, index) in core_uses(function)? {
            let leaf = parsed.leaf(kind, index)?;
            needs |= match leaf {
                Leaf::Export { instance, .. } => self.is_member(instance) || self.outside.contains(&instance),
                Leaf::Canonical(_) => self.needs_members_from_outside(parsed, leaf)?,
            };
        }
        Some(needs)
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
        let args: &HashMap<&str, u32> = match self.instances.get(instance as usize)? {
            CoreInstance::Module { args, .. } => args,
            CoreInstance::Exports(_) => return None,
        };
        self.export(*args.get(from)?, name)
    }

    /// Where something of the core comes from, through all names it was given.
    pub fn leaf(&self, kind: Kind, index: u32) -> Option<Leaf<'a>> {
        match self.entities.get(&(kind, index))? {
            Origin::Canonical(_) => Some(Leaf::Canonical(index)),
            Origin::Export { instance, name } => self.export(*instance, name),
        }
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
