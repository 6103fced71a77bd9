//! Processes a photograph that it carries inside. The Linux program.
use limes_functions_logic::image;

fn main() -> std::process::ExitCode {
    limes_functions_wrap::program(|_: &str| image::run(include_bytes!("../../build/picture.jpg")))
}
