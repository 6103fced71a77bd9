//! Writes a picture of the Mandelbrot set. The Linux program.
use limes_functions_logic::mandelbrot;

fn main() -> std::process::ExitCode {
    limes_functions_wrap::program(|args| {
        mandelbrot::run_io(args, &mut limes_functions_wrap::Directory::new("."))
    })
}
