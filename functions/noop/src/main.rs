//! Gives its arguments back. The Linux program.
use limes_functions_logic::noop;

fn main() -> std::process::ExitCode {
    limes_functions_wrap::program(|args: &str| Ok(noop::run(args)))
}
