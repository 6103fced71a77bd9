//! Gives its argument back.
#![no_std]
#![no_main]

limes_native::program!(|args| Ok(limes_functions_logic::noop::run(args)));
