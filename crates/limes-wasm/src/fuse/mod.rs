//! Makes one core module of many that a component links together, as Python components are: an instance of such a component
//! starts in half the time.
//!
//! A tool chain that links shared libraries gives each a core module of its own, and lets them share one memory and one table. When
//! such a component is instantiated, every module writes its functions into the shared table, eleven thousand of them for
//! Python, since the engine defers only what a module writes into a table of its own. In one module the table is its own, and calls from
//! one library into another are direct.
//!
//! What the component does stays as it was: the modules' parts come in the order of their instantiation. Whatever is not
//! known to keep that true is left alone, and the result is an ordinary component, which the engine validates like any other.

mod emit;
mod module;
mod parse;
mod plan;
mod remap;
#[cfg(test)]
mod tests;

use parse::Parsed;
use plan::Plan;

/// The component with its linked core modules made one, in the binary format; `None` where there is nothing to gain, or something
/// in it that this does not know.
pub(crate) fn fuse(component: &[u8]) -> Option<Vec<u8>> {
    let parsed = Parsed::read(component)?;
    let plan = Plan::of(&parsed)?;
    let module = module::build(&parsed, &plan)?;
    emit::component(&parsed, &plan, &module)
}
