//! Makes one core module of many that a component links together: each that is not there need not be instantiated for every call.
//!
//! A tool chain that links shared libraries gives each a core module of its own, and lets them share one memory and one table. When
//! such a component is instantiated, every module writes its functions into the shared table, eleven thousand of them for
//! Python, since the engine defers only what a module writes into a table of its own. In one module the table is its own, calls from
//! one library into another are direct, and an instance starts in half the time.
//!
//! Nearly every other component has two modules that can be one: its own code, and the shim through which that reaches what the component
//! imports (`wit-component` makes it, since an import may need the memory of the very module that imports it). A third, which fills in
//! the shim's table, needs what they export and stays. A small function starts half a microsecond sooner, of three.
//!
//! What the component does stays as it was: the modules' parts come in the order of their instantiation. Whatever is not
//! known to keep that true is left alone, and the result is an ordinary component, which the engine validates like any other.

mod emit;
mod interface;
mod module;
mod parse;
mod plan;
mod remap;
mod state;
#[cfg(test)]
pub(crate) mod tests;

use parse::Parsed;
use plan::Plan;

/// The component with its linked core modules made one, in the binary format; `None` where there is nothing to gain, or something
/// in it that this does not know.
pub(crate) fn fuse(component: &[u8]) -> Option<Vec<u8>> {
    let parsed = Parsed::read(component)?;
    let plan = Plan::of(&parsed)?;
    let module = module::build(&parsed, &plan, Form::Whole)?;
    emit::component(&parsed, &plan, &module)
}

/// A component in two parts: what it begins with, and its code, which is the same bytes in every component of the same libraries. Two
/// Python functions differ in the contents of their memory and the values of some variables: in what is kept of the interpreter
/// that was started when they were built.
pub(crate) struct Split {
    /// The component, which imports the core module [`CODE`].
    pub component: Vec<u8>,
    /// That core module.
    pub code: Vec<u8>,
}

/// What the component of a [`Split`] calls the core module that it imports.
pub(crate) const CODE: &str = "limes-code";

/// The same in two parts; `None` where no libraries are linked, or what they begin with is not only memory and numbers.
pub(crate) fn split(component: &[u8]) -> Option<Split> {
    let parsed = Parsed::read(component)?;
    let plan = Plan::of(&parsed).filter(|plan| plan.shares_table)?;
    let fused = module::build(&parsed, &plan, Form::Split)?;
    let component = emit::component(&parsed, &plan, &fused)?;
    Some(Split { component, code: fused.wasm })
}

/// What a fused module is made as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Whole,
    Split,
}
