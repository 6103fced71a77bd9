//! Does nothing: what is left is the cost of calling it.

use alloc::borrow::ToOwned;
use alloc::string::String;

/// Gives `args` back.
pub fn run(args: &str) -> String {
    args.to_owned()
}
