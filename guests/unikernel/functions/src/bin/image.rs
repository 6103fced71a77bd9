//! Processes the photograph that it carries inside, made by `functions/picture.py`.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::string::ToString;

limes_native::program!(|_| {
    let picture = include_bytes!("../../../../../functions/build/picture.jpg");
    limes_functions_logic::image::run(picture).map_err(|error| error.to_string())
});
