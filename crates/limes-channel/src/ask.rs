use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The pollable, in [`Ask::Poll`], that is ready when the guest may send bytes of its answer: it sends [`Credit`](crate::ToGuest::Credit) first.
pub const POLL_WINDOW: u32 = u32::MAX;

/// What a guest asks of its host. Handles are those of the host's table for this call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask<'a> {
    /// A function of WASI, answered by [`Answer::Values`].
    Forward {
        /// Index into [`FORWARDED`].
        function: u16,
        /// Its arguments one after the other, as described at [`FORWARDED`].
        arguments: &'a [u8],
    },
    /// Reads at most `max` bytes from an input stream, answered by [`Answer::Bytes`]; 0 only tells whether it goes on.
    Read {
        /// The stream.
        stream: u32,
        /// Bytes, at most [`MAX_CHUNK`](crate::MAX_CHUNK).
        max: u32,
        /// Waits for at least one byte, or the end.
        block: bool,
    },
    /// How many bytes an output stream takes now, answered by [`Answer::Count`]; at most [`MAX_CHUNK`](crate::MAX_CHUNK).
    CheckWrite(u32),
    /// Writes to an output stream, no more than it said it takes; answered by [`Answer::Unit`].
    Write {
        /// The stream.
        stream: u32,
        /// What to write.
        bytes: &'a [u8],
    },
    /// Flushes an output stream; `block` waits until that is done. Answered by [`Answer::Unit`].
    Flush {
        /// The stream.
        stream: u32,
        /// Whether to wait.
        block: bool,
    },
    /// A pollable for a stream, a future or a socket; answered by [`Answer::Handle`].
    Subscribe(u32),
    /// Waits until one of the pollables is ready or the time has passed; answered by [`Answer::Ready`].
    Poll {
        /// Handles, and [`POLL_WINDOW`].
        pollables: Vec<u32>,
        /// Nanoseconds from now; `None` waits for ever, 0 only looks.
        timeout: Option<u64>,
    },
    /// Gives a handle back; answered by [`Answer::Unit`].
    Drop(u32),
    /// The text of an error; answered by [`Answer::Bytes`].
    ErrorText(u32),
    /// Sends an HTTP request; answered by [`Answer::Exchange`] or [`Answer::HttpFailure`].
    Send(#[serde(borrow)] Outbound<'a>),
    /// The request body that was written to this output stream is complete, with these trailers; answered by [`Answer::Unit`].
    FinishBody {
        /// The output stream of [`Answer::Exchange`].
        body: u32,
        /// Trailers, empty for none.
        #[serde(borrow)]
        trailers: Vec<(&'a str, &'a [u8])>,
    },
    /// The response of an exchange, if it is there: [`Answer::Response`], [`Answer::NotYet`] or [`Answer::HttpFailure`].
    Response(u32),
    /// The trailers after a body whose input stream has ended: [`Answer::Trailers`], [`Answer::NotYet`] or [`Answer::HttpFailure`].
    Trailers(u32),
}

/// What the host answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer<'a> {
    /// Done; there is nothing to say.
    Unit,
    /// The result of a forwarded function, as described at [`FORWARDED`].
    Values(&'a [u8]),
    /// Bytes read.
    Bytes(&'a [u8]),
    /// An amount of bytes.
    Count(u64),
    /// A new handle.
    Handle(u32),
    /// Indexes of the pollables that are ready; empty when the time has passed.
    Ready(Vec<u32>),
    /// Not there yet: poll.
    NotYet,
    /// The stream has ended or failed.
    Stream(StreamFailure),
    /// A request is on its way.
    Exchange {
        /// For [`Ask::Response`], [`Ask::Subscribe`] and [`Ask::Drop`].
        exchange: u32,
        /// The output stream of its body, if one was announced.
        body: Option<u32>,
    },
    /// The head of a response, and the input stream of its body.
    Response {
        /// The head.
        #[serde(borrow)]
        head: Head<'a>,
        /// The input stream.
        body: u32,
    },
    /// Trailers; empty for none.
    Trailers(#[serde(borrow)] Vec<(&'a str, &'a [u8])>),
    /// The exchange failed.
    HttpFailure(#[serde(borrow)] Failure<'a>),
    /// The guest cannot go on: it traps with this message.
    Trap(&'a str),
}

/// Why a stream gives nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamFailure {
    /// It has ended.
    Closed,
    /// It failed; the handle of the error.
    Failed(u32),
}

/// The head of an HTTP response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head<'a> {
    /// 100 to 599.
    pub status: u16,
    /// In the order they were set.
    #[serde(borrow)]
    pub headers: Vec<(&'a str, &'a [u8])>,
}

/// An `error-code` of `wasi:http`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure<'a> {
    /// The name of the case, as `HTTP-request-denied`.
    pub code: &'a str,
    /// Its payload as text: of `internal-error` the message, of the others empty or for people.
    pub detail: &'a str,
}

/// An HTTP request that a guest sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outbound<'a> {
    /// Upper case for the methods that have a name.
    pub method: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Host and port.
    pub authority: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// In the order they were set.
    #[serde(borrow)]
    pub headers: Vec<(&'a str, &'a [u8])>,
    /// Whether a body follows.
    pub body: bool,
    /// Nanoseconds until it is connected, until the first byte, and between bytes.
    pub timeouts: [Option<u64>; 3],
}

macro_rules! forwarded {
    ($($interface:literal { $($function:literal)* })*) => {
        /// The functions of WASI 0.2 that a guest cannot do itself, as `(interface, function)`.
        ///
        /// Arguments and results are values of WIT, each written as postcard writes the Rust type of the same shape: `u8`, `s8` and `bool`
        /// as one byte, wider integers and lengths as varints (signed ones zigzag), `f32` and `f64` in little endian, `char` and `string`
        /// as UTF-8 with a length, `list` with a length, records and tuples field after field, `variant`, `enum` and `result` as a varint
        /// of the case (`ok` is 0, `err` is 1) with its payload, `option` as 0, or 1 and the value, `flags` as a varint with the first flag
        /// as the lowest bit, and handles (`own` and `borrow`) as a varint of the host's handle. Of a method, `self` is the first argument.
        /// A function without a result answers nothing.
        pub const FORWARDED: &[(&str, &str)] = &[$($(($interface, $function),)*)*];
    };
}

forwarded! {
    "wasi:filesystem/preopens" { "get-directories" }
    "wasi:filesystem/types" {
        "[method]descriptor.read-via-stream" "[method]descriptor.write-via-stream" "[method]descriptor.append-via-stream"
        "[method]descriptor.advise" "[method]descriptor.sync-data" "[method]descriptor.get-flags" "[method]descriptor.get-type"
        "[method]descriptor.set-size" "[method]descriptor.set-times" "[method]descriptor.read" "[method]descriptor.write"
        "[method]descriptor.read-directory" "[method]descriptor.sync" "[method]descriptor.create-directory-at"
        "[method]descriptor.stat" "[method]descriptor.stat-at" "[method]descriptor.set-times-at" "[method]descriptor.link-at"
        "[method]descriptor.open-at" "[method]descriptor.readlink-at" "[method]descriptor.remove-directory-at"
        "[method]descriptor.rename-at" "[method]descriptor.symlink-at" "[method]descriptor.unlink-file-at"
        "[method]descriptor.is-same-object" "[method]descriptor.metadata-hash" "[method]descriptor.metadata-hash-at"
        "[method]directory-entry-stream.read-directory-entry" "filesystem-error-code"
    }
    "wasi:sockets/instance-network" { "instance-network" }
    "wasi:sockets/network" { "network-error-code" }
    "wasi:sockets/ip-name-lookup" {
        "resolve-addresses" "[method]resolve-address-stream.resolve-next-address" "[method]resolve-address-stream.subscribe"
    }
    "wasi:sockets/tcp-create-socket" { "create-tcp-socket" }
    "wasi:sockets/tcp" {
        "[method]tcp-socket.start-bind" "[method]tcp-socket.finish-bind" "[method]tcp-socket.start-connect"
        "[method]tcp-socket.finish-connect" "[method]tcp-socket.start-listen" "[method]tcp-socket.finish-listen"
        "[method]tcp-socket.accept" "[method]tcp-socket.local-address" "[method]tcp-socket.remote-address"
        "[method]tcp-socket.is-listening" "[method]tcp-socket.address-family" "[method]tcp-socket.set-listen-backlog-size"
        "[method]tcp-socket.keep-alive-enabled" "[method]tcp-socket.set-keep-alive-enabled"
        "[method]tcp-socket.keep-alive-idle-time" "[method]tcp-socket.set-keep-alive-idle-time"
        "[method]tcp-socket.keep-alive-interval" "[method]tcp-socket.set-keep-alive-interval"
        "[method]tcp-socket.keep-alive-count" "[method]tcp-socket.set-keep-alive-count" "[method]tcp-socket.hop-limit"
        "[method]tcp-socket.set-hop-limit" "[method]tcp-socket.receive-buffer-size"
        "[method]tcp-socket.set-receive-buffer-size" "[method]tcp-socket.send-buffer-size"
        "[method]tcp-socket.set-send-buffer-size" "[method]tcp-socket.subscribe" "[method]tcp-socket.shutdown"
    }
    "wasi:sockets/udp-create-socket" { "create-udp-socket" }
    "wasi:sockets/udp" {
        "[method]udp-socket.start-bind" "[method]udp-socket.finish-bind" "[method]udp-socket.stream"
        "[method]udp-socket.local-address" "[method]udp-socket.remote-address" "[method]udp-socket.address-family"
        "[method]udp-socket.unicast-hop-limit" "[method]udp-socket.set-unicast-hop-limit"
        "[method]udp-socket.receive-buffer-size" "[method]udp-socket.set-receive-buffer-size"
        "[method]udp-socket.send-buffer-size" "[method]udp-socket.set-send-buffer-size" "[method]udp-socket.subscribe"
        "[method]incoming-datagram-stream.receive" "[method]incoming-datagram-stream.subscribe"
        "[method]outgoing-datagram-stream.check-send" "[method]outgoing-datagram-stream.send"
        "[method]outgoing-datagram-stream.subscribe"
    }
}

/// The index in [`FORWARDED`] of a function; `interface` without its version.
pub fn forwarded(interface: &str, function: &str) -> Option<u16> {
    let index = FORWARDED.iter().position(|found| *found == (interface, function))?;
    u16::try_from(index).ok()
}
