//! Headers and trailers.

use crate::bindings::wasi::http::types::{self, HeaderError};
use crate::body::Entries;
use crate::host::Host;
use alloc::string::String;
use alloc::vec::Vec;
use wasmtime::component::Resource;

/// Names in lower case, and values, in their order.
#[derive(Clone, Default)]
pub struct Fields {
    pub entries: Entries,
    /// Those of something that came, or was handed over: they can only be read.
    pub fixed: bool,
}

/// What only the host may say; the same as in the component sandbox.
const FORBIDDEN: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
    "host",
    "http2-settings",
];

/// The name in lower case.
fn checked_name(name: &str) -> Result<String, HeaderError> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(HeaderError::InvalidSyntax);
    }
    let name = name.to_ascii_lowercase();
    if FORBIDDEN.contains(&name.as_str()) { Err(HeaderError::Forbidden) } else { Ok(name) }
}

fn checked_value(value: &[u8]) -> Result<(), HeaderError> {
    let printable = |byte: &u8| *byte == b'\t' || (*byte >= 32 && *byte != 127);
    if value.iter().all(printable) { Ok(()) } else { Err(HeaderError::InvalidSyntax) }
}

impl Fields {
    /// Those of something that came.
    pub fn fixed(entries: Entries) -> Self {
        Self { entries, fixed: true }
    }

    /// Names written twice, as a request's length and ours, are told by their value.
    pub fn content_length(&self) -> Option<u64> {
        let (_, value) = self.entries.iter().find(|(name, _)| name == "content-length")?;
        core::str::from_utf8(value).ok()?.trim().parse().ok()
    }

    fn set(&mut self, name: &str, values: Vec<Vec<u8>>) -> Result<(), HeaderError> {
        if self.fixed {
            return Err(HeaderError::Immutable);
        }
        let name = checked_name(name)?;
        values.iter().try_for_each(|value| checked_value(value))?;
        self.entries.retain(|(found, _)| *found != name);
        self.entries.extend(values.into_iter().map(|value| (name.clone(), value)));
        Ok(())
    }

    fn append(&mut self, name: &str, value: Vec<u8>) -> Result<(), HeaderError> {
        if self.fixed {
            return Err(HeaderError::Immutable);
        }
        let name = checked_name(name)?;
        checked_value(&value)?;
        self.entries.push((name, value));
        Ok(())
    }
}

impl types::HostFields for Host {
    fn new(&mut self) -> wasmtime::Result<Resource<Fields>> {
        Ok(self.table.push(Fields::default())?)
    }

    fn from_list(&mut self, entries: Entries) -> wasmtime::Result<Result<Resource<Fields>, HeaderError>> {
        let mut fields = Fields::default();
        for (name, value) in entries {
            if let Err(error) = fields.append(&name, value) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(self.table.push(fields)?))
    }

    fn get(&mut self, fields: Resource<Fields>, name: String) -> wasmtime::Result<Vec<Vec<u8>>> {
        let name = name.to_ascii_lowercase();
        let entries = &self.table.get(&fields)?.entries;
        Ok(entries.iter().filter(|(found, _)| *found == name).map(|(_, value)| value.clone()).collect())
    }

    fn has(&mut self, fields: Resource<Fields>, name: String) -> wasmtime::Result<bool> {
        let name = name.to_ascii_lowercase();
        Ok(self.table.get(&fields)?.entries.iter().any(|(found, _)| *found == name))
    }

    fn set(
        &mut self,
        fields: Resource<Fields>,
        name: String,
        values: Vec<Vec<u8>>,
    ) -> wasmtime::Result<Result<(), HeaderError>> {
        Ok(self.table.get_mut(&fields)?.set(&name, values))
    }

    fn delete(
        &mut self,
        fields: Resource<Fields>,
        name: String,
    ) -> wasmtime::Result<Result<(), HeaderError>> {
        Ok(self.table.get_mut(&fields)?.set(&name, Vec::new()))
    }

    fn append(
        &mut self,
        fields: Resource<Fields>,
        name: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), HeaderError>> {
        Ok(self.table.get_mut(&fields)?.append(&name, value))
    }

    fn entries(&mut self, fields: Resource<Fields>) -> wasmtime::Result<Entries> {
        Ok(self.table.get(&fields)?.entries.clone())
    }

    fn clone(&mut self, fields: Resource<Fields>) -> wasmtime::Result<Resource<Fields>> {
        let entries = self.table.get(&fields)?.entries.clone();
        Ok(self.table.push(Fields { entries, fixed: false })?)
    }

    fn drop(&mut self, fields: Resource<Fields>) -> wasmtime::Result<()> {
        self.table.delete(fields)?;
        Ok(())
    }
}
