//! The PyO3 boundary between the Rust core and the Python package.
