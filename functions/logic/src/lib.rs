//! What the functions that Limes ships compute, without an operating system.
//!
//! The same code runs as a component, as a Linux program and in a unikernel of its own, so that these can be compared. It needs
//! an allocator, and [`Files`] where a function reads or writes any.
#![no_std]
#![deny(missing_docs)]

extern crate alloc;

mod error;
mod files;
pub mod image;
pub mod mandelbrot;
pub mod noop;
mod png;

pub use error::Error;
pub use files::Files;
