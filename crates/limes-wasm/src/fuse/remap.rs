//! Indices of one module or component as those of another.

use super::parse::Kind;
use std::collections::HashMap;
use std::convert::Infallible;
use wasm_encoder::reencode::{Error, Reencode, ReencodeComponent, utils};
use wasm_encoder::{CanonicalFunctionSection, ConstExpr};
use wasmparser::{CanonicalFunction, Operator};

/// What a global holds for good, if that is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Constant {
    I32(i32),
    I64(i64),
}

impl Constant {
    pub fn expression(self) -> ConstExpr {
        match self {
            Self::I32(value) => ConstExpr::i32_const(value),
            Self::I64(value) => ConstExpr::i64_const(value),
        }
    }
}

/// Where a module's definitions are in the module it becomes a part of.
#[derive(Default)]
pub(super) struct ModuleMap {
    pub types: u32,
    pub data: u32,
    pub elements: u32,
    pub spaces: HashMap<Kind, Vec<u32>>,
    /// Of the whole module that is made.
    pub constants: HashMap<u32, Constant>,
}

impl ModuleMap {
    pub fn space(&mut self, kind: Kind) -> &mut Vec<u32> {
        self.spaces.entry(kind).or_default()
    }

    fn get(&self, kind: Kind, index: u32) -> Result<u32, Error<Infallible>> {
        let found = self.spaces.get(&kind).and_then(|space| space.get(index as usize)).copied();
        found.ok_or(Error::InvalidConstExpr)
    }

    /// The value of an expression, where only constants go into it.
    pub fn constant(&self, expression: &wasmparser::ConstExpr<'_>) -> Option<Constant> {
        use Constant::{I32, I64};
        let mut stack = Vec::new();
        for operator in expression.get_operators_reader() {
            let mut two = || Some((stack.pop()?, stack.pop()?));
            let value = match operator.ok()? {
                Operator::I32Const { value } => I32(value),
                Operator::I64Const { value } => I64(value),
                Operator::GlobalGet { global_index } => {
                    let global = self.get(Kind::Global, global_index).ok()?;
                    *self.constants.get(&global)?
                }
                Operator::I32Add => match two()? {
                    (I32(b), I32(a)) => I32(a.wrapping_add(b)),
                    _ => return None,
                },
                Operator::I64Add => match two()? {
                    (I64(b), I64(a)) => I64(a.wrapping_add(b)),
                    _ => return None,
                },
                Operator::End => break,
                _ => return None,
            };
            stack.push(value);
        }
        if stack.len() == 1 { stack.pop() } else { None }
    }
}

impl Reencode for ModuleMap {
    type Error = Infallible;

    fn type_index(&mut self, index: u32) -> Result<u32, Error<Infallible>> {
        Ok(self.types + index)
    }

    fn data_index(&mut self, index: u32) -> Result<u32, Error<Infallible>> {
        Ok(self.data + index)
    }

    fn element_index(&mut self, index: u32) -> Result<u32, Error<Infallible>> {
        Ok(self.elements + index)
    }

    fn function_index(&mut self, index: u32) -> Result<u32, Error<Infallible>> {
        self.get(Kind::Func, index)
    }

    fn table_index(&mut self, index: u32) -> Result<u32, Error<Infallible>> {
        self.get(Kind::Table, index)
    }

    fn memory_index(&mut self, index: u32) -> Result<u32, Error<Infallible>> {
        self.get(Kind::Memory, index)
    }

    fn global_index(&mut self, index: u32) -> Result<u32, Error<Infallible>> {
        self.get(Kind::Global, index)
    }

    fn tag_index(&mut self, index: u32) -> Result<u32, Error<Infallible>> {
        self.get(Kind::Tag, index)
    }

    /// An import's value becomes a constant where it is known: so the engine knows where a segment goes before it runs.
    fn const_expr(&mut self, expression: wasmparser::ConstExpr<'_>) -> Result<ConstExpr, Error<Infallible>> {
        match self.constant(&expression) {
            Some(value) => Ok(value.expression()),
            None => utils::const_expr(self, expression),
        }
    }
}

/// Where a component's core definitions are in the component that is made of it.
pub(super) struct ComponentMap<'a>(pub &'a mut dyn FnMut(Kind, u32) -> Option<u32>);

impl ComponentMap<'_> {
    fn get(&mut self, kind: Kind, index: u32) -> Result<u32, Error<Infallible>> {
        (self.0)(kind, index).ok_or(Error::InvalidConstExpr)
    }
}

impl Reencode for ComponentMap<'_> {
    type Error = Infallible;

    fn function_index(&mut self, index: u32) -> Result<u32, Error<Infallible>> {
        self.get(Kind::Func, index)
    }

    fn table_index(&mut self, index: u32) -> Result<u32, Error<Infallible>> {
        self.get(Kind::Table, index)
    }

    fn memory_index(&mut self, index: u32) -> Result<u32, Error<Infallible>> {
        self.get(Kind::Memory, index)
    }
}

impl ReencodeComponent for ComponentMap<'_> {}

/// The core definitions that a canonical function uses.
pub(super) fn core_uses(function: &CanonicalFunction) -> Option<Vec<(Kind, u32)>> {
    let mut uses = Vec::new();
    let mut note = |kind, index| {
        uses.push((kind, index));
        Some(index)
    };
    let mut section = CanonicalFunctionSection::new();
    ComponentMap(&mut note).parse_component_canonical(&mut section, function.clone()).ok()?;
    Some(uses)
}
