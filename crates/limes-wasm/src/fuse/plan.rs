use super::parse::{CoreInstance, Item, Leaf, Parsed};
use super::remap::core_uses;
use std::collections::HashSet;

/// Which core instances become one.
#[derive(Default)]
pub(super) struct Plan<'a> {
    /// Indices of core instances, in the order of their instantiation.
    pub members: Vec<u32>,
    /// What others than members use.
    pub used_outside: Vec<Leaf<'a>>,
    /// Core instances that need the members, but cannot be one of them.
    outside: HashSet<u32>,
    /// Canonical functions that need the members, by their indices as core functions.
    functions: HashSet<u32>,
    /// Places of the items that need the members.
    late: HashSet<usize>,
    /// Whether a member writes functions into a table of another, as libraries that are linked together do.
    pub shares_table: bool,
}

impl<'a> Plan<'a> {
    /// `None` when nothing is gained, or the order of what happens would change.
    pub fn of(parsed: &Parsed<'a>) -> Option<Self> {
        let mut plan = Self::default();
        let mut modules = HashSet::new();
        let mut started_outside = false;
        for (place, item) in parsed.items.iter().enumerate() {
            match item {
                Item::Canonical { function, core } => {
                    let uses = core_uses(function)?.into_iter();
                    let uses: Vec<_> =
                        uses.map(|(kind, index)| parsed.leaf(kind, index)).collect::<Option<_>>()?;
                    if uses.iter().any(|&leaf| plan.needs_members(leaf)) {
                        plan.late.insert(place);
                        plan.functions.extend(core);
                    }
                    plan.used_outside.extend(uses);
                }
                Item::Instance(index) => {
                    let CoreInstance::Module { module, .. } = &parsed.instances[*index] else { continue };
                    // Two instances of one module would be two copies of its code.
                    if !modules.insert(module) {
                        return None;
                    }
                    plan.place(parsed, u32::try_from(*index).ok()?, place, &mut started_outside)?;
                }
                _ => {}
            }
        }
        let fills = |&index: &u32| parsed.module(index).is_some_and(|module| module.fills_imported_table);
        plan.shares_table = plan.members.iter().any(fills);
        (plan.members.len() > 1).then_some(plan)
    }

    fn place(
        &mut self,
        parsed: &Parsed<'a>,
        index: u32,
        place: usize,
        started_outside: &mut bool,
    ) -> Option<()> {
        let module = parsed.module(index)?;
        let imports = module.imports.iter();
        let imports: Vec<_> =
            imports.map(|(from, name, _)| parsed.imported(index, from, name)).collect::<Option<_>>()?;
        if imports.iter().any(|&leaf| self.comes_from_outside(leaf)) {
            self.outside.insert(index);
            self.late.insert(place);
            self.used_outside.extend(imports);
            *started_outside |= module.has_start;
        } else if *started_outside || module.has_start && !self.outside.is_empty() {
            // Its code would run before that of an instance which came first.
            return None;
        } else {
            self.members.push(index);
        }
        Some(())
    }

    pub fn is_member(&self, instance: u32) -> bool {
        // They are found in the order of their indices.
        self.members.binary_search(&instance).is_ok()
    }

    /// Whether the item at `place` can only be once the members are there.
    pub fn is_late(&self, place: usize) -> bool {
        self.late.contains(&place)
    }

    fn needs_members(&self, leaf: Leaf<'_>) -> bool {
        matches!(leaf, Leaf::Export { instance, .. } if self.is_member(instance))
            || self.comes_from_outside(leaf)
    }

    /// Whether this comes after the members.
    fn comes_from_outside(&self, leaf: Leaf<'_>) -> bool {
        match leaf {
            Leaf::Export { instance, .. } => self.outside.contains(&instance),
            Leaf::Canonical(index) => self.functions.contains(&index),
        }
    }
}
