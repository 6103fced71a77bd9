//! Processes a photograph from one file into another. The component.
#[cfg(target_family = "wasm")]
use limes_functions_logic::image;

limes_functions_wrap::component!(|args: &str| image::run_io(
    args,
    &mut limes_functions_wrap::Directory::new("/data")
));
