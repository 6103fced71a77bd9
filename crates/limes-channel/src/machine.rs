//! What the built-in VMM and the unikernel agree on besides messages: where things are, and how the processor starts.
//!
//! The VMM places the unikernel's segments where its headers say, the artifact at the top of memory, the page tables below the first
//! segment, and starts the processor in ring 3 at the address in the note [`NOTE_OWNER`], with the end of memory in `rdi`, the artifact's address in `rsi`
//! and its length in `rdx`. Addresses are physical and virtual alike. The first 2 MiB, page tables included, are not mapped for the guest.

/// Owner of the ELF note whose description is the entry for the built-in VMM, as a little-endian `u64`.
pub const NOTE_OWNER: &str = "Limes";

/// Type of that note.
pub const NOTE_TYPE: u32 = 1;

/// Type of the note of a unikernel that has a function linked in, and is called as `component:run`. Its description is the
/// [version](crate::VERSION) of the channel that it speaks, as a little-endian `u32`.
pub const NATIVE_NOTE_TYPE: u32 = 2;

/// Where the shared rings are mapped. Memory ends below.
pub const RING: u64 = 0xc000_0000;

/// The port that a guest writes a byte to when it waits for its host: the only one that it may use.
pub const WAIT_PORT: u16 = 0x4c;

/// Bytes of memory a guest needs beside its function's linear memory and its artifact.
pub const OVERHEAD: u64 = 48 << 20;
