//! Values of WIT on the channel: each as postcard writes the Rust type of the same shape (see `limes_channel::FORWARDED`).

use crate::host::Host;
use crate::io::{InputStream, IoError, OutputStream};
use crate::poll::Pollable;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use wasmtime::component::types::Type;
use wasmtime::component::{Resource, ResourceAny, ResourceType, Val};
use wasmtime::{StoreContextMut, bail, format_err};

/// A resource of the host's that is neither a stream, an error nor a pollable: a descriptor, a socket, a network, ...
pub(crate) struct Remote(pub u32);

/// Appends a value.
pub(crate) fn encode(
    store: &mut StoreContextMut<'_, Host>,
    value: &Val,
    out: &mut Vec<u8>,
) -> wasmtime::Result<()> {
    match value {
        Val::Bool(value) => out.push((*value).into()),
        Val::S8(value) => out.push(value.cast_unsigned()),
        Val::U8(value) => out.push(*value),
        Val::S16(value) => varint(zigzag((*value).into()), out),
        Val::U16(value) => varint((*value).into(), out),
        Val::S32(value) => varint(zigzag((*value).into()), out),
        Val::U32(value) => varint((*value).into(), out),
        Val::S64(value) => varint(zigzag(*value), out),
        Val::U64(value) => varint(*value, out),
        Val::Float32(value) => out.extend_from_slice(&value.to_le_bytes()),
        Val::Float64(value) => out.extend_from_slice(&value.to_le_bytes()),
        Val::Char(value) => bytes(value.to_string().as_bytes(), out),
        Val::String(value) => bytes(value.as_bytes(), out),
        Val::List(values) => {
            varint(values.len() as u64, out);
            values.iter().try_for_each(|value| encode(store, value, out))?;
        }
        Val::Record(fields) => fields.iter().try_for_each(|(_, value)| encode(store, value, out))?,
        Val::Tuple(values) => values.iter().try_for_each(|value| encode(store, value, out))?,
        Val::Option(value) => {
            out.push(value.is_some().into());
            value.iter().try_for_each(|value| encode(store, value, out))?;
        }
        Val::Result(value) => {
            out.push(value.is_err().into());
            let (Ok(value) | Err(value)) = value;
            value.iter().try_for_each(|value| encode(store, value, out))?;
        }
        Val::Resource(resource) => varint(handle(store, *resource)?.into(), out),
        // Their numbers are the type's to tell.
        Val::Variant(..) | Val::Enum(_) | Val::Flags(_) => bail!("a case without its type"),
        other => bail!("{other:?} cannot be sent"),
    }
    Ok(())
}

/// Appends a value of a type; what has cases is written by their numbers.
pub(crate) fn encode_as(
    store: &mut StoreContextMut<'_, Host>,
    ty: &Type,
    value: &Val,
    out: &mut Vec<u8>,
) -> wasmtime::Result<()> {
    match (ty, value) {
        (Type::List(ty), Val::List(values)) => {
            varint(values.len() as u64, out);
            values.iter().try_for_each(|value| encode_as(store, &ty.ty(), value, out))
        }
        (Type::Record(ty), Val::Record(fields)) => ty
            .fields()
            .zip(fields)
            .try_for_each(|(field, (_, value))| encode_as(store, &field.ty, value, out)),
        (Type::Tuple(ty), Val::Tuple(values)) => {
            ty.types().zip(values).try_for_each(|(ty, value)| encode_as(store, &ty, value, out))
        }
        (Type::Option(ty), Val::Option(value)) => {
            out.push(value.is_some().into());
            value.iter().try_for_each(|value| encode_as(store, &ty.ty(), value, out))
        }
        (Type::Variant(ty), Val::Variant(name, payload)) => {
            let (number, case) = ty
                .cases()
                .enumerate()
                .find(|(_, case)| case.name == name)
                .ok_or_else(|| format_err!("there is no case `{name}`"))?;
            varint(number as u64, out);
            match (case.ty, payload) {
                (Some(ty), Some(payload)) => encode_as(store, &ty, payload, out),
                _ => Ok(()),
            }
        }
        (Type::Enum(ty), Val::Enum(name)) => {
            let number = ty.names().position(|found| found == name).unwrap_or(0);
            varint(number as u64, out);
            Ok(())
        }
        (Type::Flags(ty), Val::Flags(set)) => {
            let bits = ty.names().enumerate().filter(|(_, name)| set.iter().any(|found| found == name));
            varint(bits.fold(0, |bits, (number, _)| bits | 1 << number), out);
            Ok(())
        }
        (_, value) => encode(store, value, out),
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes(bytes: &[u8], out: &mut Vec<u8>) {
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// The host's handle behind a resource; an owned one leaves the guest's table with it.
fn handle(store: &mut StoreContextMut<'_, Host>, resource: ResourceAny) -> wasmtime::Result<u32> {
    let owned = resource.owned();
    if resource.ty() == ResourceType::host::<Remote>() {
        let resource: Resource<Remote> = resource.try_into_resource(&mut *store)?;
        let table = &mut store.data_mut().table;
        return Ok(if owned { table.delete(resource)?.0 } else { table.get(&resource)?.0 });
    }
    if resource.ty() == ResourceType::host::<IoError>() {
        let resource: Resource<IoError> = resource.try_into_resource(&mut *store)?;
        return match store.data().table.get(&resource)? {
            IoError::Remote(error) => Ok(*error),
            IoError::BodySize(_, text) => bail!("not an error of the host's: {text}"),
        };
    }
    bail!("a resource that the host does not have")
}

/// Reads values from an answer.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(values: &'a [u8]) -> Self {
        Self { rest: values }
    }

    /// Whether all was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn take(&mut self, count: usize) -> wasmtime::Result<&'a [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            bail!("the host's answer is cut off");
        };
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> wasmtime::Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn varint(&mut self) -> wasmtime::Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        bail!("the host's answer has a number that is too long")
    }

    fn signed(&mut self) -> wasmtime::Result<i64> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    fn text(&mut self) -> wasmtime::Result<String> {
        let length = usize::try_from(self.varint()?)?;
        Ok(core::str::from_utf8(self.take(length)?)?.to_string())
    }

    /// The next value, of this type.
    pub fn value(&mut self, store: &mut StoreContextMut<'_, Host>, ty: &Type) -> wasmtime::Result<Val> {
        Ok(match ty {
            Type::Bool => Val::Bool(self.byte()? != 0),
            Type::S8 => Val::S8(self.byte()?.cast_signed()),
            Type::U8 => Val::U8(self.byte()?),
            Type::S16 => Val::S16(self.signed()?.try_into()?),
            Type::U16 => Val::U16(self.varint()?.try_into()?),
            Type::S32 => Val::S32(self.signed()?.try_into()?),
            Type::U32 => Val::U32(self.varint()?.try_into()?),
            Type::S64 => Val::S64(self.signed()?),
            Type::U64 => Val::U64(self.varint()?),
            Type::String => Val::String(self.text()?),
            Type::List(list) => {
                let length = usize::try_from(self.varint()?)?;
                let mut values = Vec::with_capacity(length.min(self.rest.len()));
                for _ in 0..length {
                    values.push(self.value(store, &list.ty())?);
                }
                Val::List(values)
            }
            Type::Record(record) => Val::Record(
                record
                    .fields()
                    .map(|field| Ok((field.name.to_string(), self.value(store, &field.ty)?)))
                    .collect::<wasmtime::Result<_>>()?,
            ),
            Type::Tuple(tuple) => {
                Val::Tuple(tuple.types().map(|ty| self.value(store, &ty)).collect::<wasmtime::Result<_>>()?)
            }
            Type::Option(option) => Val::Option(match self.byte()? {
                0 => None,
                _ => Some(Box::new(self.value(store, &option.ty())?)),
            }),
            Type::Result(result) => Val::Result(match self.byte()? {
                0 => Ok(self.payload(store, result.ok())?),
                _ => Err(self.payload(store, result.err())?),
            }),
            Type::Variant(variant) => {
                let number = usize::try_from(self.varint()?)?;
                let case =
                    variant.cases().nth(number).ok_or_else(|| format_err!("there is no case {number}"))?;
                Val::Variant(case.name.to_string(), self.payload(store, case.ty)?)
            }
            Type::Enum(names) => {
                let number = usize::try_from(self.varint()?)?;
                let name =
                    names.names().nth(number).ok_or_else(|| format_err!("there is no case {number}"))?;
                Val::Enum(name.to_string())
            }
            Type::Flags(flags) => {
                let bits = self.varint()?;
                let set = flags.names().enumerate().filter(|(number, _)| bits & 1 << number != 0);
                Val::Flags(set.map(|(_, name)| name.to_string()).collect())
            }
            Type::Own(ty) => Val::Resource(self.resource(store, *ty)?),
            other => bail!("{other:?} cannot be received"),
        })
    }

    fn payload(
        &mut self,
        store: &mut StoreContextMut<'_, Host>,
        ty: Option<Type>,
    ) -> wasmtime::Result<Option<Box<Val>>> {
        ty.map(|ty| self.value(store, &ty).map(Box::new)).transpose()
    }

    fn resource(
        &mut self,
        store: &mut StoreContextMut<'_, Host>,
        ty: ResourceType,
    ) -> wasmtime::Result<ResourceAny> {
        let handle = u32::try_from(self.varint()?)?;
        let table = &mut store.data_mut().table;
        if ty == ResourceType::host::<Remote>() {
            return table.push(Remote(handle))?.try_into_resource_any(store);
        }
        if ty == ResourceType::host::<InputStream>() {
            return table.push(InputStream::Remote(handle))?.try_into_resource_any(store);
        }
        if ty == ResourceType::host::<OutputStream>() {
            return table.push(OutputStream::Remote(handle))?.try_into_resource_any(store);
        }
        if ty == ResourceType::host::<Pollable>() {
            return table.push(Pollable::Remote(handle))?.try_into_resource_any(store);
        }
        if ty == ResourceType::host::<IoError>() {
            return table.push(IoError::Remote(handle))?.try_into_resource_any(store);
        }
        Err(format_err!("{}", format!("the host gave a resource of an unknown type: {handle}")))
    }
}
