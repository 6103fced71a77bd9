//! Writes a picture of the Mandelbrot set. The component.
#[cfg(target_family = "wasm")]
use limes_functions_logic::mandelbrot;

limes_functions_wrap::component!(|args: &str| mandelbrot::run_io(
    args,
    &mut limes_functions_wrap::Directory::new("/data")
));
