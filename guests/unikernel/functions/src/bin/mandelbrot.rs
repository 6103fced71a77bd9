//! Counts the iterations of the Mandelbrot set.
#![no_std]
#![no_main]

limes_native::program!(|_| Ok(limes_functions_logic::mandelbrot::run()));
