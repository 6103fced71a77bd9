//! Page tables, as the VMM lays them for a guest that cannot change them.

use std::ops::Range;

/// Physical address of the root; the other tables follow. The guest does not have them mapped.
pub(crate) const ROOT: u64 = 0x1000;

/// Where the room for tables ends.
const END: u64 = TASK_STATE;

/// Where the task state segment is: it says which ports the guest may use.
pub(crate) const TASK_STATE: u64 = 0x1f_f000;

const SMALL: u64 = 1 << 12;
const LARGE: u64 = 1 << 21;

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
/// Accessed and dirty are set from the start, so that the processor never writes to a table: tables stay shared among machines.
const TOUCHED: u64 = 1 << 5 | 1 << 6;
const IS_LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;

/// What the guest may do with a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    Execute,
    /// Nothing: the processor itself reads it.
    Processor,
}

impl Access {
    const fn bits(self) -> u64 {
        let common = PRESENT | USER | TOUCHED;
        match self {
            Self::Processor => PRESENT | TOUCHED | NO_EXECUTE,
            Self::Read => common | NO_EXECUTE,
            Self::Write => common | WRITABLE | NO_EXECUTE,
            Self::Execute => common,
        }
    }
}

/// Page tables under construction: virtual addresses are physical ones.
pub(crate) struct Tables {
    tables: Vec<[u64; 512]>,
}

impl Tables {
    pub fn new() -> Self {
        Self { tables: vec![[0; 512]] }
    }

    /// Maps whole pages of 4 KiB, in pages of 2 MiB where the range allows. A later call overrides an earlier one.
    ///
    /// # Errors
    /// There is no room for more tables.
    pub fn map(&mut self, range: Range<u64>, access: Access) -> Result<(), &'static str> {
        let mut at = range.start & !(SMALL - 1);
        let end = range.end.next_multiple_of(SMALL);
        while at < end {
            let directory = self.directory(at)?;
            let index = (at >> 21) as usize % 512;
            let entry = self.tables[directory][index];
            if at.is_multiple_of(LARGE) && end - at >= LARGE {
                self.tables[directory][index] = at | access.bits() | IS_LARGE;
                at += LARGE;
                continue;
            }
            let table = if entry & PRESENT != 0 && entry & IS_LARGE == 0 {
                self.index_of(entry)
            } else {
                self.split(directory, index)?
            };
            self.tables[table][(at >> 12) as usize % 512] = at | access.bits();
            at += SMALL;
        }
        Ok(())
    }

    /// The page directory that covers `address`.
    fn directory(&mut self, address: u64) -> Result<usize, &'static str> {
        let mut table = 0;
        for shift in [39, 30] {
            let index = (address >> shift) as usize % 512;
            let entry = self.tables[table][index];
            table = if entry & PRESENT != 0 {
                self.index_of(entry)
            } else {
                let (next, entry) = self.add([0; 512])?;
                self.tables[table][index] = entry;
                next
            };
        }
        Ok(table)
    }

    /// Replaces a large page, or nothing, by a table of small ones that say the same.
    fn split(&mut self, directory: usize, index: usize) -> Result<usize, &'static str> {
        let entry = self.tables[directory][index];
        let mut table = [0; 512];
        if entry & PRESENT != 0 {
            for (at, small) in table.iter_mut().enumerate() {
                *small = (entry & !IS_LARGE) + at as u64 * SMALL;
            }
        }
        let (table, entry) = self.add(table)?;
        self.tables[directory][index] = entry;
        Ok(table)
    }

    fn add(&mut self, table: [u64; 512]) -> Result<(usize, u64), &'static str> {
        let index = self.tables.len();
        let address = ROOT + index as u64 * SMALL;
        if address >= END {
            return Err("the page tables do not fit");
        }
        self.tables.push(table);
        Ok((index, address | PRESENT | WRITABLE | USER | TOUCHED))
    }

    fn index_of(&self, entry: u64) -> usize {
        (((entry & 0x000f_ffff_ffff_f000) - ROOT) / SMALL) as usize
    }

    /// The bytes that belong at [`ROOT`].
    pub fn bytes(&self) -> Vec<u8> {
        self.tables.iter().flatten().flat_map(|entry| entry.to_le_bytes()).collect()
    }

    /// What an address may be used for, as the processor would find it.
    #[cfg(test)]
    fn access(&self, address: u64) -> Option<Access> {
        let mut table = 0;
        for shift in [39, 30, 21, 12] {
            let entry = self.tables[table][(address >> shift) as usize % 512];
            if entry & PRESENT == 0 {
                return None;
            }
            if shift == 12 || (shift == 21 && entry & IS_LARGE != 0) {
                return [Access::Read, Access::Write, Access::Execute].into_iter().find(|access| {
                    access.bits() & (WRITABLE | NO_EXECUTE) == entry & (WRITABLE | NO_EXECUTE)
                });
            }
            table = self.index_of(entry);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mapped_is_what_was_asked() {
        let mut tables = Tables::new();
        tables.map(0x20_0000..0x40_0000, Access::Execute).unwrap();
        tables.map(0x40_0000..0x4000_0000, Access::Write).unwrap();
        tables.map(0x60_1000..0x60_3000, Access::Read).unwrap();
        assert_eq!(tables.access(0), None);
        assert_eq!(tables.access(ROOT), None, "a guest that reaches its tables can change them");
        assert_eq!(tables.access(0x20_0000), Some(Access::Execute));
        assert_eq!(tables.access(0x60_0fff), Some(Access::Write));
        assert_eq!(tables.access(0x60_1000), Some(Access::Read));
        assert_eq!(tables.access(0x60_3000), Some(Access::Write));
        assert_eq!(tables.access(0x3fff_ffff), Some(Access::Write));
        assert_eq!(tables.access(0x4000_0000), None);
    }

    #[test]
    fn nothing_is_writable_and_executable() {
        for access in [Access::Read, Access::Write, Access::Execute, Access::Processor] {
            let bits = access.bits();
            assert!(bits & NO_EXECUTE != 0 || bits & WRITABLE == 0, "{access:?}");
        }
    }
}
