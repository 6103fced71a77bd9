use super::digest::Digest;
use super::module;
use limes_core::{Error, ErrorKind, Result};
use serde::Serialize;
use std::fmt::Write as _;
use wasmparser::Parser;

/// The largest input that is looked at, in bytes: 256 MiB.
pub const MAX_INPUT: usize = 256 << 20;

/// Names listed in an error; what is beyond is counted.
const LISTED: usize = 20;

/// What an input was, text or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A component.
    Component,
    /// A core module, which has been made a component.
    Module,
    /// A native function: a unikernel of its own, for a microVM.
    Native,
}

/// An input, brought into the form of a binary component (not validated when it came as one).
#[derive(Debug)]
pub(super) struct Source {
    pub bytes: Vec<u8>,
    pub kind: Kind,
    pub digest: Digest,
}

impl Source {
    pub fn read(input: &[u8]) -> Result<Self> {
        if input.len() > MAX_INPUT {
            return Err(bad(format!(
                "the component is {} bytes; at most {MAX_INPUT} are taken, so strip its debug information",
                input.len()
            )));
        }
        let digest = Digest::of(input);
        let binary = if input.starts_with(b"\0asm") { input.to_vec() } else { from_text(input)? };
        if Parser::is_core_wasm(&binary) {
            Ok(Self { bytes: module::componentize(&binary)?, kind: Kind::Module, digest })
        } else {
            Ok(Self { bytes: binary, kind: Kind::Component, digest })
        }
    }
}

pub(super) fn bad(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::BadComponent, "read component", message)
}

/// The error for bytes that do not validate.
pub(super) fn invalid(what: &str, error: &wasmparser::Error) -> Error {
    bad(format!("not a valid WebAssembly {what}: {} (at offset {:#x})", error.message(), error.offset()))
        .with("offset", error.offset())
}

fn from_text(input: &[u8]) -> Result<Vec<u8>> {
    let accepted = "a WebAssembly component, a core module, or the text of either (.wat)";
    if input.is_empty() {
        return Err(bad(format!("the file is empty; it must be {accepted}")));
    }
    if input.starts_with(b"\x7fELF") {
        return Err(bad(format!(
            "this is machine code (an ELF file, perhaps a compiled artifact); give {accepted}; a native function runs with \
             sandbox = \"microvm\""
        )));
    }
    let Ok(text) = std::str::from_utf8(input) else {
        let start: Vec<_> = input.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        return Err(bad(format!(
            "the file starts with the bytes {}; it must be {accepted}",
            start.join(" ")
        )));
    };
    let binary = wat::parse_str(text).map_err(|error| text_error(&error))?;
    if binary.len() > MAX_INPUT {
        return Err(bad(format!(
            "the text makes a binary of {} bytes; at most {MAX_INPUT} are taken",
            binary.len()
        )));
    }
    Ok(binary)
}

/// Puts line and column first; the parser has them in the drawing it makes below its message.
fn text_error(error: &wat::Error) -> Error {
    let text = error.to_string();
    let place = text.split_once("<anon>:").and_then(|(_, place)| {
        let mut numbers = place.split(|c: char| !c.is_ascii_digit());
        Some((numbers.next()?.parse::<usize>().ok()?, numbers.next()?.parse::<usize>().ok()?))
    });
    let reason = text.split("\n     -->").next().unwrap_or(&text);
    match place {
        Some((line, column)) => {
            let reason = reason.split(" at <anon>:").next().unwrap_or(reason);
            bad(format!("not valid WebAssembly text: line {line}, column {column}: {reason}"))
                .with("line", line)
                .with("column", column)
        }
        None => bad(format!("not valid WebAssembly text: {reason}")),
    }
}

/// Names for an error, at most [`LISTED`] of them.
pub(super) fn list(names: &[impl AsRef<str>]) -> String {
    if names.is_empty() {
        return "nothing".into();
    }
    let mut text =
        names.iter().take(LISTED).map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ");
    if names.len() > LISTED {
        let _ = write!(text, " and {} more", names.len() - LISTED);
    }
    text
}
