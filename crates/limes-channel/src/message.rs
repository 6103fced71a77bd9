use crate::ask::{Ask, Failure, Head};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// How the function is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Contract {
    /// `component:run/run`.
    Run,
    /// `wasi:http/incoming-handler@0.2`.
    Http,
    /// `wasi:cli/run@0.2`.
    Command,
}

/// What the guest enforces inside; the rest (time, computing, bodies) the host enforces from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Linear memory of all instances together, in bytes.
    pub memory: u64,
    /// Table elements of all tables together.
    pub table_elements: u64,
    /// Core instances, memories and tables, each.
    pub instances: u32,
    /// WebAssembly stack in bytes.
    pub stack: u64,
    /// Resources open at once, the host's counted.
    pub handles: u32,
}

/// What the function is called with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input<'a> {
    /// For [`Contract::Run`]: the length of the argument in bytes; the argument is read from the call's `first` and `rest`.
    Run(u64),
    /// For [`Contract::Http`]: the head; the body is read from `first` and `rest`.
    Http {
        /// Upper case for the methods that have a name.
        method: &'a str,
        /// `http` or `https`.
        scheme: &'a str,
        /// Host and port.
        authority: &'a str,
        /// Path and query.
        path: &'a str,
        /// In the order they came.
        #[serde(borrow)]
        headers: Vec<(&'a str, &'a [u8])>,
    },
    /// For [`Contract::Command`]: arguments, the program's name first; stdin is read from `first` and `rest`.
    Command(#[serde(borrow)] Vec<&'a str>),
}

/// From the host to the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToGuest<'a> {
    /// Instantiate the component. The first message, once.
    Load {
        /// The host's [`VERSION`](crate::VERSION).
        version: u16,
        /// How the component is called.
        contract: Contract,
        /// The export that holds the contract, by its exact name.
        export: &'a str,
        /// Whether the artifact lets linear memories move as they grow.
        memories_move: bool,
        /// What the guest enforces.
        limits: Limits,
        /// The environment that was granted.
        #[serde(borrow)]
        env: Vec<(&'a str, &'a str)>,
        /// The program's name and the arguments that were granted; a command's call brings its own.
        #[serde(borrow)]
        args: Vec<&'a str>,
        /// Cycles a second of the time stamp counter.
        tsc_hz: u64,
        /// Seed of what is random before the first call.
        seed: [u8; 32],
        /// Nanoseconds since 1970.
        wall_clock: u64,
    },
    /// Run the function.
    Call {
        /// Identity of the invocation.
        id: u64,
        /// Seed of what is random in this call; never used twice.
        seed: [u8; 32],
        /// Nanoseconds since 1970.
        wall_clock: u64,
        /// What it is called with.
        #[serde(borrow)]
        input: Input<'a>,
        /// The first bytes of the argument, body or stdin; at most [`MAX_CHUNK`](crate::MAX_CHUNK).
        first: &'a [u8],
        /// The host's input stream that has the bytes after `first`; `None` when that was all.
        rest: Option<u32>,
    },
    /// The answer to the one question that is open.
    Reply(#[serde(borrow)] crate::ask::Answer<'a>),
    /// The guest may send this many bytes of answer more.
    Credit(u64),
}

/// Which of the guest's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The unikernel itself.
    Console,
}

/// Why WebAssembly stopped, or the machine did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trap {
    /// WebAssembly trapped, or a function of WASI ended it.
    Wasm,
    /// The limit `stack`.
    StackOverflow,
    /// A panic of the unikernel.
    Panic,
    /// An exception of the processor.
    Fault,
}

/// How a load or a call ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome<'a> {
    /// `run` returned its string, sent before as chunks, or the HTTP handler has returned.
    Returned,
    /// A command's exit code, or the code of a guest that left through `exit`.
    Exited(i32),
    /// It trapped.
    Trapped {
        /// How.
        trap: Trap,
        /// What the engine says of it, without prefix.
        message: &'a str,
        /// The frames of WebAssembly, one a line, innermost first; empty where there are none.
        backtrace: &'a str,
    },
    /// It went past a limit.
    Limit {
        /// The manifest's name of the limit: `memory`, `table_elements`, `instances`, `handles`.
        limit: &'a str,
        /// What the guest asked for; 0 when that is not known.
        asked: u64,
    },
    /// The component does not fit: it does not link, or has no such export.
    Unfit(&'a str),
}

/// From the guest to the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToHost<'a> {
    /// The component is instantiated; a call may come.
    Ready {
        /// The guest's [`VERSION`](crate::VERSION).
        version: u16,
        /// Cycles that instantiating took.
        instantiate: u64,
    },
    /// The guest wrote.
    Output(Output, &'a [u8]),
    /// A question; the guest does nothing until it is answered.
    Ask(#[serde(borrow)] Ask<'a>),
    /// The head of the HTTP response. Chunks of its body follow.
    Head(#[serde(borrow)] Result<Head<'a>, Failure<'a>>),
    /// Bytes of the string that `run` returned, or of the response body; counted against the window.
    Chunk(&'a [u8]),
    /// The response body is complete; with trailers, if there are any.
    Finished(#[serde(borrow)] Vec<(&'a str, &'a [u8])>),
    /// The response body ends here without being what was announced.
    Broken(&'a str),
    /// The load or the call is over; the guest waits for the next.
    Done(#[serde(borrow)] Outcome<'a>),
}

/// A message that did not decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecodable;

impl core::fmt::Display for Undecodable {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("a message that is none of the channel's")
    }
}

impl core::error::Error for Undecodable {}

/// Reading and writing of messages. Bytes after a message make it undecodable.
pub trait Decode<'a>: Serialize + Deserialize<'a> {
    /// Reads the payload of one frame.
    ///
    /// # Errors
    /// The bytes are no such message.
    fn decode(payload: &'a [u8]) -> Result<Self, Undecodable> {
        match postcard::take_from_bytes(payload) {
            Ok((message, [])) => Ok(message),
            _ => Err(Undecodable),
        }
    }

    /// Appends the payload to `out`.
    fn encode(&self, out: &mut Vec<u8>) {
        // It fails on a sequence of unknown length only, and no message has one.
        if let Ok(bytes) = postcard::to_extend(self, Appended(core::mem::take(out))) {
            *out = bytes.0;
        }
    }
}

impl<'a> Decode<'a> for ToGuest<'a> {}
impl<'a> Decode<'a> for ToHost<'a> {}

struct Appended(Vec<u8>);

impl Extend<u8> for Appended {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        self.0.extend(bytes);
    }
}
