//! Processes a photograph from one file into another. The Linux program.
use limes_functions_logic::image;

fn main() -> std::process::ExitCode {
    limes_functions_wrap::program(|args| image::run_io(args, &mut limes_functions_wrap::Directory::new(".")))
}
