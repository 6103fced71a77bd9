//! The page tables of the other VMMs' ways in, as far as they depend on the machine: where the artifact is.

use core::ops::Range;

const SMALL: usize = 4 << 10;
const LARGE: usize = 2 << 20;

/// Present, for ring 3, accessed and dirty.
const READ: u64 = 1 | 1 << 2 | 1 << 5 | 1 << 6;
const IS_LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
/// A table: present, writable, for ring 3, accessed.
const TABLE: u64 = 1 | 1 << 1 | 1 << 2 | 1 << 5;

type Table = [u64; 512];

unsafe extern "C" {
    static mut boot_pd: [u64; 2048];
    static mut boot_edges: [Table; 2];
    /// Has ring 0 take the tables away.
    fn boot_seal();
}

/// Makes the artifact read-only and its code, and nothing else of it, executable; then takes the tables away from ring 3. Returns the address
/// from which on memory is the artifact's alone, the largest one for none.
///
/// # Safety
/// Called once, before anything but this kernel's own code has run; `artifact` is mapped and nobody's but the host's.
pub(super) unsafe fn protect(artifact: &Range<usize>) -> usize {
    let text = if artifact.is_empty() {
        0..0
    } else {
        // SAFETY: the caller's promise.
        let bytes = unsafe { core::slice::from_raw_parts(artifact.start as *const u8, artifact.len()) };
        text(bytes).map_or(0..0, |text| artifact.start + text.start..artifact.start + text.end)
    };
    let first = artifact.start / LARGE;
    let pages = if artifact.is_empty() { 0..0 } else { first..artifact.end.div_ceil(LARGE) };
    let mut edges = 0;
    for page in pages {
        let range = page * LARGE..(page + 1) * LARGE;
        let entry = if text.start <= range.start && range.end <= text.end {
            range.start as u64 | READ | IS_LARGE
        } else if text.end <= range.start || range.end <= text.start || edges == 2 {
            range.start as u64 | READ | IS_LARGE | NO_EXECUTE
        } else {
            edges += 1;
            // SAFETY: the table is this kernel's, and the one processor does not use it yet.
            unsafe {
                let table = &raw mut boot_edges[edges - 1];
                fill(&mut *table, range.start, &text);
                table as u64 | TABLE
            }
        };
        // SAFETY: the index is that of an address below 4 GiB, and until they are taken away the tables may be written.
        unsafe { (&raw mut boot_pd[page]).write(entry) };
    }
    // SAFETY: ring 0 changes one entry of a table, and nothing that this program sees.
    unsafe { boot_seal() };
    if artifact.is_empty() { usize::MAX } else { first * LARGE }
}

/// The pages of a large one that begins at `start`.
fn fill(table: &mut Table, start: usize, text: &Range<usize>) {
    for (at, entry) in table.iter_mut().enumerate() {
        let page = start + at * SMALL;
        let executable = page < text.end && text.start < page + SMALL;
        *entry = page as u64 | READ | if executable { 0 } else { NO_EXECUTE };
    }
}

/// Where in an artifact (an ELF file) its code is: the section that is marked executable.
fn text(artifact: &[u8]) -> Option<Range<usize>> {
    const EXECUTABLE: u64 = 1 << 2;
    let word = |at: usize| Some(u64::from_le_bytes(artifact.get(at..at.checked_add(8)?)?.try_into().ok()?));
    let half = |at: usize| Some(u16::from_le_bytes(artifact.get(at..at + 2)?.try_into().ok()?));
    let (start, size, count) = (usize::try_from(word(0x28)?).ok()?, half(0x3a)?, half(0x3c)?);
    for section in 0..usize::from(count) {
        let header = start.checked_add(section * usize::from(size))?;
        if word(header.checked_add(8)?)? & EXECUTABLE != 0 {
            let offset = usize::try_from(word(header.checked_add(24)?)?).ok()?;
            let end = offset.checked_add(usize::try_from(word(header.checked_add(32)?)?).ok()?)?;
            return (end <= artifact.len()).then_some(offset..end);
        }
    }
    None
}
