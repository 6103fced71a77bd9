//! What a machine starts from.

use crate::pages::{Access, ROOT, TASK_STATE, Tables};
use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs, kvm_xsave};
use limes_channel::machine::{NOTE_OWNER, NOTE_TYPE, RING, WAIT_PORT};
use limes_channel::ring;
use object::elf::{FileHeader64, PF_W, PF_X, PT_LOAD, PT_NOTE};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSection};
use rustix::fs::{MemfdFlags, SealFlags};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

const PAGE: u64 = 4096;

/// Memory in a memfd, and the registers to go on with. Clones share the memory, which never changes.
#[derive(Clone, Debug)]
pub struct Image {
    pub(crate) memory: Arc<File>,
    pub(crate) layout: Layout,
}

/// Everything of an image but its bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Layout {
    /// Bytes of the machine's memory.
    pub ram: u64,
    /// Which of them are in the memfd, at the same offsets; all others are zero.
    pub extents: Vec<Range<u64>>,
    pub registers: Registers,
}

/// The processor's state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Registers {
    pub(crate) general: kvm_regs,
    pub(crate) special: kvm_sregs,
    pub(crate) vectors: Vectors,
}

/// The x87, SSE and AVX state: as much of an XSAVE area that is not compacted, in KVM's words of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Vectors(Vec<u32>);

impl Vectors {
    /// The area of FXSAVE, the header, and the upper halves of the AVX registers (Intel SDM vol. 1, 13.4).
    const WORDS: usize = (512 + 64 + 256) / 4;
    const CONTROL: usize = 0;
    const MXCSR: usize = 24 / 4;
    /// Which of the states are in the area; the others are as after a reset.
    const PRESENT: usize = 512 / 4;

    fn boot() -> Self {
        let mut words = vec![0; Self::WORDS];
        words[Self::CONTROL] = 0x37f;
        words[Self::MXCSR] = 0x1f80;
        words[Self::PRESENT] = 3;
        Self(words)
    }
}

impl From<&kvm_xsave> for Vectors {
    fn from(area: &kvm_xsave) -> Self {
        let mut words = area.region[..Self::WORDS].to_vec();
        words[Self::PRESENT] &= XCR0 as u32;
        words[Self::PRESENT + 1] = 0;
        Self(words)
    }
}

impl From<&Vectors> for kvm_xsave {
    fn from(vectors: &Vectors) -> Self {
        let mut area = Self::default();
        for (word, known) in area.region.iter_mut().zip(&vectors.0) {
            *word = *known;
        }
        area
    }
}

/// States that guests may use where the processor has AVX: x87, SSE and AVX.
pub(crate) const XCR0: u64 = 7;
/// The bit of CR4 by which a guest may use what [`XCR0`] says.
pub(crate) const OSXSAVE: u64 = 1 << 18;

impl Image {
    /// A machine of `ram` bytes that boots `unikernel` (an ELF file made for it) with `artifact` in its memory.
    ///
    /// # Errors
    /// The unikernel is none, memory is too small for both or larger than 3 GiB, or no memfd can be made.
    pub fn build(unikernel: &[u8], artifact: &[u8], ram: u64) -> io::Result<Self> {
        let ram = ram.next_multiple_of(PAGE);
        let kernel = Kernel::parse(unikernel)?;
        let place = (ram.saturating_sub(artifact.len() as u64)) & !(PAGE - 1);
        if ram > RING || place < kernel.end {
            let needed = kernel.end.saturating_add(artifact.len() as u64);
            return Err(invalid(format!(
                "a machine of {ram} bytes of memory; this function needs more than {needed}, and {RING} is the most"
            )));
        }
        let memory = File::from(rustix::fs::memfd_create(
            "limes-image",
            MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
        )?);
        memory.set_len(ram)?;
        let mut extents = Extents::default();
        let mut tables = Tables::new();
        let map = |tables: &mut Tables, range, access| tables.map(range, access).map_err(invalid);
        map(&mut tables, kernel.end..place, Access::Write)?;
        for segment in &kernel.segments {
            memory.write_all_at(segment.bytes, segment.range.start)?;
            extents.add(segment.range.start..segment.range.start + segment.bytes.len() as u64);
            map(&mut tables, segment.range.clone(), segment.access)?;
        }
        map(&mut tables, kernel.stack.clone(), Access::Write)?;
        memory.write_all_at(artifact, place)?;
        extents.add(place..place + artifact.len() as u64);
        map(&mut tables, place..place + artifact.len() as u64, Access::Read)?;
        if let Some(text) = text(artifact)? {
            map(&mut tables, place + text.start..place + text.end, Access::Execute)?;
        }
        map(&mut tables, RING..RING + ring::BYTES as u64, Access::Write)?;
        let task = task_state();
        memory.write_all_at(&task, TASK_STATE)?;
        extents.add(TASK_STATE..TASK_STATE + task.len() as u64);
        map(&mut tables, TASK_STATE..TASK_STATE + task.len() as u64, Access::Processor)?;
        let tables = tables.bytes();
        memory.write_all_at(&tables, ROOT)?;
        extents.add(ROOT..ROOT + tables.len() as u64);
        let registers = Registers::boot(kernel.entry, [ram, place, artifact.len() as u64]);
        Ok(Self::sealed(memory, Layout { ram, extents: extents.finish(), registers })?)
    }

    /// An image of memory that is never to change again.
    pub(crate) fn sealed(memory: File, layout: Layout) -> rustix::io::Result<Self> {
        rustix::fs::fcntl_add_seals(
            &memory,
            SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
        )?;
        Ok(Self { memory: Arc::new(memory), layout })
    }

    /// Bytes of memory that a machine of this image has.
    pub fn ram(&self) -> u64 {
        self.layout.ram
    }

    /// Bytes that the image itself holds; machines share them.
    pub fn bytes(&self) -> u64 {
        self.layout.extents.iter().map(|extent| extent.end - extent.start).sum()
    }
}

impl AsFd for Image {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }
}

/// Ranges of memory that hold something: whole pages, near ones joined.
#[derive(Default)]
pub(crate) struct Extents(Vec<Range<u64>>);

impl Extents {
    /// Ranges that are not further apart are joined: a mapping costs more than some pages of zeroes.
    const NEAR: u64 = 256 << 10;

    pub fn add(&mut self, range: Range<u64>) {
        if !range.is_empty() {
            self.0.push(range.start & !(PAGE - 1)..range.end.next_multiple_of(PAGE));
        }
    }

    pub fn finish(mut self) -> Vec<Range<u64>> {
        self.0.sort_by_key(|range| range.start);
        let mut joined: Vec<Range<u64>> = Vec::new();
        for range in self.0 {
            match joined.last_mut() {
                Some(last) if range.start <= last.end + Self::NEAR => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        joined
    }
}

struct Segment<'a> {
    range: Range<u64>,
    bytes: &'a [u8],
    access: Access,
}

struct Kernel<'a> {
    segments: Vec<Segment<'a>>,
    stack: Range<u64>,
    entry: u64,
    /// Where its memory, stack included, ends.
    end: u64,
}

impl<'a> Kernel<'a> {
    fn parse(file: &'a [u8]) -> io::Result<Self> {
        let bad = |what: &str| invalid(format!("the unikernel is not one of this release: {what}"));
        let header = FileHeader64::<Endianness>::parse(file).map_err(|error| bad(&error.to_string()))?;
        let endian = header.endian().map_err(|error| bad(&error.to_string()))?;
        let headers = header.program_headers(endian, file).map_err(|error| bad(&error.to_string()))?;
        let mut segments = Vec::new();
        let mut entry = None;
        let mut stack = None;
        for header in headers {
            let start = header.p_paddr(endian);
            match header.p_type(endian) {
                // The page tables of the other ways in.
                PT_LOAD if header.p_flags(endian) == 0 => {}
                PT_LOAD if header.p_filesz(endian) == 0 && header.p_memsz(endian) > 0 => {
                    let end = start.checked_add(header.p_memsz(endian));
                    let range = start..end.ok_or_else(|| bad("its stack has no end"))?;
                    // The stack is the last that holds nothing yet; one before it is variables that all begin as zero.
                    if let Some(range) = stack.replace(range) {
                        segments.push(Segment { range, bytes: &[], access: Access::Write });
                    }
                }
                PT_LOAD => {
                    let access = match header.p_flags(endian) & (PF_W | PF_X) {
                        PF_X => Access::Execute,
                        PF_W => Access::Write,
                        0 => Access::Read,
                        _ => return Err(bad("a segment is writable and executable")),
                    };
                    let bytes = header.data(endian, file).map_err(|()| bad("a segment is cut off"))?;
                    let size = header.p_memsz(endian);
                    let end = start.checked_add(size).filter(|_| bytes.len() as u64 <= size);
                    let end = end.ok_or_else(|| bad("a segment is longer than its place"))?;
                    segments.push(Segment { range: start..end, bytes, access });
                }
                PT_NOTE => {
                    let notes = header.notes(endian, file).map_err(|error| bad(&error.to_string()))?;
                    let Some(mut notes) = notes else { continue };
                    while let Some(note) = notes.next().map_err(|error| bad(&error.to_string()))? {
                        if note.name() == NOTE_OWNER.as_bytes() && note.n_type(endian) == NOTE_TYPE {
                            entry = note.desc().try_into().ok().map(u64::from_le_bytes);
                        }
                    }
                }
                _ => {}
            }
        }
        let entry = entry.ok_or_else(|| bad("it does not say where it starts"))?;
        let stack = stack.ok_or_else(|| bad("it has no stack"))?;
        if segments.iter().any(|segment| segment.range.start < 0x20_0000 || segment.range.end > stack.start) {
            return Err(bad("a segment lies outside its place"));
        }
        Ok(Self { segments, entry, end: stack.end, stack })
    }
}

/// Where in an artifact its machine code is.
fn text(artifact: &[u8]) -> io::Result<Option<Range<u64>>> {
    if artifact.is_empty() {
        return Ok(None);
    }
    let file = ElfFile64::<Endianness>::parse(artifact).map_err(|error| {
        invalid(format!("the artifact is not one that was compiled for a machine: {error}"))
    })?;
    Ok(file
        .section_by_name(".text")
        .and_then(|text| text.file_range())
        .map(|(start, size)| start..start + size))
}

/// Bytes of a task state segment before its map of ports, and of the map up to the one port that matters.
const TASK_FIXED: usize = 104;
const TASK_BYTES: usize = TASK_FIXED + WAIT_PORT as usize / 8 + 2;

/// A task state segment of which only the map of ports is used: a bit of 0 permits.
fn task_state() -> [u8; TASK_BYTES] {
    let mut bytes = [0; TASK_BYTES];
    bytes[TASK_FIXED - 2] = TASK_FIXED as u8;
    bytes[TASK_FIXED..].fill(0xff);
    bytes[TASK_FIXED + WAIT_PORT as usize / 8] &= !(1 << (WAIT_PORT % 8));
    bytes
}

impl Registers {
    /// In ring 3, in 64-bit mode, paging on.
    fn boot(entry: u64, [rdi, rsi, rdx]: [u64; 3]) -> Self {
        let code = kvm_segment {
            limit: u32::MAX,
            selector: 0x33,
            type_: 11,
            present: 1,
            dpl: 3,
            s: 1,
            l: 1,
            g: 1,
            ..Default::default()
        };
        let data = kvm_segment { selector: 0x2b, type_: 3, l: 0, db: 1, ..code };
        let task = kvm_segment {
            base: TASK_STATE,
            limit: TASK_BYTES as u32 - 1,
            selector: 0x40,
            type_: 11,
            present: 1,
            ..Default::default()
        };
        let special = kvm_sregs {
            cs: code,
            ds: data,
            es: data,
            fs: data,
            gs: data,
            ss: data,
            tr: task,
            ldt: kvm_segment { unusable: 1, ..Default::default() },
            // Protection, monitoring, extension type, numeric errors, write protection, alignment mask, paging.
            cr0: 0x8005_0033,
            cr3: ROOT,
            // Physical address extension, SSE with its exceptions, and the instructions for FS and GS.
            cr4: 0x1_0620 | if is_x86_feature_detected!("avx") { OSXSAVE } else { 0 },
            // System calls, long mode enabled and active, no-execute.
            efer: 0xd01,
            ..Default::default()
        };
        let general = kvm_regs { rip: entry, rdi, rsi, rdx, rflags: 2, ..Default::default() };
        Self { general, special, vectors: Vectors::boot() }
    }
}

pub(crate) fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message.into())
}
