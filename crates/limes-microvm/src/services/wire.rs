//! Values of WIT as they travel, into and out of the types of wasmtime-wasi: see [`limes_channel::FORWARDED`].

use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::filesystem::types as fs;
use wasmtime_wasi::p2::bindings::sockets::{network, tcp, udp};

/// The arguments of one call, taken from the front.
pub(super) struct Arguments<'a>(pub &'a [u8]);

impl<'a> Arguments<'a> {
    /// The next argument.
    ///
    /// # Errors
    /// The guest sent something else.
    pub fn take<T: Take>(&mut self) -> wasmtime::Result<T> {
        T::take(self)
    }

    fn plain<T: serde::Deserialize<'a>>(&mut self) -> wasmtime::Result<T> {
        let (value, rest) = postcard::take_from_bytes(self.0).map_err(|_| malformed())?;
        self.0 = rest;
        Ok(value)
    }
}

fn malformed() -> wasmtime::Error {
    wasmtime::format_err!("the arguments are not those of the function")
}

/// A value that a guest sends.
pub(super) trait Take: Sized {
    fn take(from: &mut Arguments<'_>) -> wasmtime::Result<Self>;
}

/// A value that a guest is sent.
pub(super) trait Put {
    fn put(&self, into: &mut Vec<u8>);
}

fn put_plain(value: &impl serde::Serialize, into: &mut Vec<u8>) {
    // Fails on sequences of unknown length only; there are none.
    if let Ok(bytes) = postcard::to_allocvec(value) {
        into.extend_from_slice(&bytes);
    }
}

macro_rules! plain {
    ($($type:ty)*) => {$(
        impl Take for $type {
            fn take(from: &mut Arguments<'_>) -> wasmtime::Result<Self> {
                from.plain()
            }
        }
        impl Put for $type {
            fn put(&self, into: &mut Vec<u8>) {
                put_plain(self, into);
            }
        }
    )*};
}

plain! { u8 u16 u32 u64 bool String }

impl Put for () {
    fn put(&self, _: &mut Vec<u8>) {}
}

impl<T: 'static> Take for Resource<T> {
    fn take(from: &mut Arguments<'_>) -> wasmtime::Result<Self> {
        Ok(Self::new_borrow(from.plain()?))
    }
}

impl<T: 'static> Put for Resource<T> {
    fn put(&self, into: &mut Vec<u8>) {
        self.rep().put(into);
    }
}

impl<T: Take> Take for Vec<T> {
    fn take(from: &mut Arguments<'_>) -> wasmtime::Result<Self> {
        let length: u32 = from.plain()?;
        // Each element takes a byte at least: no more room is made than was sent.
        let mut values = Self::with_capacity((length as usize).min(from.0.len()));
        for _ in 0..length {
            values.push(from.take()?);
        }
        Ok(values)
    }
}

impl<T: Put> Put for Vec<T> {
    fn put(&self, into: &mut Vec<u8>) {
        put_plain(&self.len(), into);
        self.iter().for_each(|value| value.put(into));
    }
}

impl<T: Take> Take for Option<T> {
    fn take(from: &mut Arguments<'_>) -> wasmtime::Result<Self> {
        Ok(if from.plain::<bool>()? { Some(from.take()?) } else { None })
    }
}

impl<T: Put> Put for Option<T> {
    fn put(&self, into: &mut Vec<u8>) {
        self.is_some().put(into);
        if let Some(value) = self {
            value.put(into);
        }
    }
}

impl<T: Put, E: Put> Put for Result<T, E> {
    fn put(&self, into: &mut Vec<u8>) {
        match self {
            Ok(value) => {
                0_u32.put(into);
                value.put(into);
            }
            Err(error) => {
                1_u32.put(into);
                error.put(into);
            }
        }
    }
}

macro_rules! tuples {
    ($(($($type:ident $index:tt),*))*) => {$(
        impl<$($type: Take),*> Take for ($($type,)*) {
            fn take(from: &mut Arguments<'_>) -> wasmtime::Result<Self> {
                Ok(($(from.take::<$type>()?,)*))
            }
        }
        impl<$($type: Put),*> Put for ($($type,)*) {
            fn put(&self, into: &mut Vec<u8>) {
                $(self.$index.put(into);)*
            }
        }
    )*};
}

tuples! {
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}

macro_rules! enums {
    ($($type:path { $($variant:ident)* })*) => {$(
        impl Take for $type {
            fn take(from: &mut Arguments<'_>) -> wasmtime::Result<Self> {
                use $type as Enum;
                const ALL: &[Enum] = &[$(Enum::$variant,)*];
                let case: u32 = from.plain()?;
                ALL.get(case as usize).copied().ok_or_else(malformed)
            }
        }
        impl Put for $type {
            fn put(&self, into: &mut Vec<u8>) {
                (*self as u32).put(into);
            }
        }
    )*};
}

enums! {
    fs::Advice { Normal Sequential Random WillNeed DontNeed NoReuse }
    fs::DescriptorType { Unknown BlockDevice CharacterDevice Directory Fifo SymbolicLink RegularFile Socket }
    network::IpAddressFamily { Ipv4 Ipv6 }
    tcp::ShutdownType { Receive Send Both }
}

macro_rules! codes {
    ($($type:path)*) => {$(
        impl Put for $type {
            fn put(&self, into: &mut Vec<u8>) {
                (*self as u32).put(into);
            }
        }
    )*};
}

codes! { fs::ErrorCode network::ErrorCode }

macro_rules! flags {
    ($($type:path { $($flag:ident)* })*) => {$(
        impl Take for $type {
            fn take(from: &mut Arguments<'_>) -> wasmtime::Result<Self> {
                use $type as Flags;
                let bits: u32 = from.plain()?;
                let mut flags = Flags::empty();
                for (index, flag) in [$(Flags::$flag,)*].into_iter().enumerate() {
                    if bits >> index & 1 == 1 {
                        flags |= flag;
                    }
                }
                Ok(flags)
            }
        }
        impl Put for $type {
            fn put(&self, into: &mut Vec<u8>) {
                self.as_array()[0].put(into);
            }
        }
    )*};
}

flags! {
    fs::DescriptorFlags { READ WRITE FILE_INTEGRITY_SYNC DATA_INTEGRITY_SYNC REQUESTED_WRITE_SYNC MUTATE_DIRECTORY }
    fs::PathFlags { SYMLINK_FOLLOW }
    fs::OpenFlags { CREATE DIRECTORY EXCLUSIVE TRUNCATE }
}

macro_rules! records {
    ($($type:path { $($field:ident)* })*) => {$(
        impl Take for $type {
            fn take(from: &mut Arguments<'_>) -> wasmtime::Result<Self> {
                use $type as Record;
                Ok(Record { $($field: from.take()?,)* })
            }
        }
        impl Put for $type {
            fn put(&self, into: &mut Vec<u8>) {
                $(self.$field.put(into);)*
            }
        }
    )*};
}

records! {
    Datetime { seconds nanoseconds }
    fs::MetadataHashValue { lower upper }
    fs::DirectoryEntry { type_ name }
    fs::DescriptorStat {
        type_ link_count size data_access_timestamp data_modification_timestamp status_change_timestamp
    }
    network::Ipv4SocketAddress { port address }
    network::Ipv6SocketAddress { port flow_info address scope_id }
    udp::IncomingDatagram { data remote_address }
    udp::OutgoingDatagram { data remote_address }
}

macro_rules! variants {
    ($($type:path { $($case:literal $variant:ident)* })*) => {$(
        impl Take for $type {
            fn take(from: &mut Arguments<'_>) -> wasmtime::Result<Self> {
                use $type as Variant;
                match from.plain::<u32>()? {
                    $($case => Ok(Variant::$variant(from.take()?)),)*
                    _ => Err(malformed()),
                }
            }
        }
        impl Put for $type {
            fn put(&self, into: &mut Vec<u8>) {
                use $type as Variant;
                match self {
                    $(Variant::$variant(value) => {
                        ($case as u32).put(into);
                        value.put(into);
                    })*
                }
            }
        }
    )*};
}

variants! {
    network::IpAddress { 0 Ipv4 1 Ipv6 }
    network::IpSocketAddress { 0 Ipv4 1 Ipv6 }
}

impl Take for fs::NewTimestamp {
    fn take(from: &mut Arguments<'_>) -> wasmtime::Result<Self> {
        match from.plain::<u32>()? {
            0 => Ok(Self::NoChange),
            1 => Ok(Self::Now),
            2 => Ok(Self::Timestamp(from.take()?)),
            _ => Err(malformed()),
        }
    }
}
