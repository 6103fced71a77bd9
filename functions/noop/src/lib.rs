//! Gives its arguments back. The component.
#[cfg(target_family = "wasm")]
use limes_functions_logic::noop;

limes_functions_wrap::component!(|args: &str| Ok(noop::run(args)));
