//! The core's log lines, on stderr.

use pyo3::prelude::*;
use std::io;
use tracing_subscriber::filter::LevelFilter;

#[pyfunction]
#[pyo3(signature = (level, *, as_json))]
pub(crate) fn start_log(level: &str, as_json: bool) {
    let level = match level {
        "error" => LevelFilter::ERROR,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        _ => LevelFilter::WARN,
    };
    let lines = tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr);
    // An error means that lines are written already, which is all that is wanted.
    let _ = if as_json { lines.json().try_init() } else { lines.with_ansi(false).try_init() };
}
