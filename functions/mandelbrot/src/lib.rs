//! Counts the iterations of the Mandelbrot set. The component.
#[cfg(target_family = "wasm")]
use limes_functions_logic::mandelbrot;

limes_functions_wrap::component!(|_: &str| Ok(mandelbrot::run()));
