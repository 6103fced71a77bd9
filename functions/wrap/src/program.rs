use limes_functions_logic::Error;
use std::process::ExitCode;
use std::time::Instant;

/// Runs a function's logic as a program: `NAME [--time CALLS] [ARGS]`, where ARGS is what a component gets as its argument.
///
/// Prints the answer; with `--time`, what each of so many calls took instead, in nanoseconds, one a line. Exits with 1 when there
/// is no answer, and 2 when it is called in another way.
pub fn program(mut logic: impl FnMut(&str) -> Result<String, Error>) -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let calls = if args.first().is_some_and(|arg| arg == "--time") {
        let calls = args.get(1).and_then(|calls| calls.parse().ok());
        args.drain(..args.len().min(2));
        calls
    } else {
        Some(0)
    };
    let (Some(calls), [] | [_]) = (calls, &args[..]) else {
        eprintln!("expected [--time CALLS] [ARGS]");
        return ExitCode::from(2);
    };
    match run(&mut logic, args.first().map_or("", String::as_str), calls) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(logic: &mut impl FnMut(&str) -> Result<String, Error>, args: &str, calls: u32) -> Result<(), Error> {
    if calls == 0 {
        println!("{}", logic(args)?);
    }
    for _ in 0..calls {
        let start = Instant::now();
        std::hint::black_box(logic(args)?);
        println!("{}", start.elapsed().as_nanos());
    }
    Ok(())
}
