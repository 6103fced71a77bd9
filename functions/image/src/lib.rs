//! Processes a photograph that it carries inside. The component.
#[cfg(target_family = "wasm")]
use limes_functions_logic::image;

limes_functions_wrap::component!(|_: &str| image::run(include_bytes!("../../build/picture.jpg")));
