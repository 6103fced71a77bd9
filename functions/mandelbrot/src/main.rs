//! Counts the iterations of the Mandelbrot set. The Linux program.
use limes_functions_logic::mandelbrot;

fn main() -> std::process::ExitCode {
    limes_functions_wrap::program(|_: &str| Ok(mandelbrot::run()))
}
