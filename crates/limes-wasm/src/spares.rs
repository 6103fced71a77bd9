//! What instances with little memory are made of: linear memories and stacks, which a thread keeps for its next calls.
//!
//! Wasmtime's pool serves instances of any size, from lists and counters that all threads share: those that start instances at once take the
//! cache lines from one another, a dozen times a call. Most instances have little memory, and are needed again on the same thread at once: so a
//! thread has a few of its own, and takes and gives them back without a word to another.

use rustix::mm::{self, Advice, MapFlags, MprotectFlags, ProtFlags};
use rustix::process::{Pid, getpid};
use std::cell::RefCell;
use std::fs::File;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::sync::LazyLock;
use std::thread::LocalKey;
use std::{io, ptr, slice};
use wasmtime::{LinearMemory, MemoryCreator, MemoryType, StackCreator, StackMemory};

/// How many memories, and how many stacks, a thread keeps.
const KEPT: usize = 64;
/// How many of one size.
const ALIKE: usize = 32;
/// A memory of up to this many bytes is zeroed in less time than the kernel takes to say which of its pages were written.
const SMALL: usize = 128 << 10;
/// A memory that has grown beyond this gives its pages back to the system, in bytes.
const RESIDENT: usize = 4 << 20;

/// What those errors begin with that come of the system giving no more address space.
pub(crate) const NO_ROOM: &str = "the system has no room for another instance";

fn no_room(error: &io::Error) -> String {
    format!("{NO_ROOM}: {error}")
}

/// Makes the memories and stacks of engines. How many there are is for whoever starts instances to say.
pub(crate) struct Spares;

/// `/proc/self/pagemap`, where the kernel can be asked which pages a mapping has of its own.
struct Pagemap {
    file: File,
    /// The process that it tells of: one that forks off has another.
    process: Pid,
}

static PAGEMAP: LazyLock<Option<Pagemap>> = LazyLock::new(Pagemap::open);

impl Pagemap {
    fn open() -> Option<Self> {
        let this = Self { file: File::open("/proc/self/pagemap").ok()?, process: getpid() };
        let here = ptr::from_ref(&this).addr() & !(rustix::param::page_size() - 1);
        this.own_pages(here..here + rustix::param::page_size(), |_| ()).is_ok().then_some(this)
    }

    fn own_pages(&self, range: Range<usize>, found: impl FnMut(Range<usize>)) -> io::Result<()> {
        if getpid() != self.process {
            return Err(io::Error::other("it is another process's"));
        }
        limes_pagemap::own_pages(&self.file, range, found)
    }
}

/// Address space that is mapped as long as this is there.
struct Space {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: it is memory that belongs to whoever has this.
unsafe impl Send for Space {}
// SAFETY: nothing is done to it through a shared reference.
unsafe impl Sync for Space {}

impl Space {
    /// `len` bytes that nothing can be done with yet.
    fn map(len: usize) -> io::Result<Self> {
        let (protection, flags) = (ProtFlags::empty(), MapFlags::PRIVATE | MapFlags::NORESERVE);
        // SAFETY: it is mapped where nothing is.
        let base = unsafe { mm::mmap_anonymous(ptr::null_mut(), len, protection, flags)? };
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self { base, len })
    }

    /// Makes `range` readable and writable, or neither.
    fn protect(&self, range: Range<usize>, open: bool) -> io::Result<()> {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {}", self.len);
        if range.is_empty() {
            return Ok(());
        }
        let flags = if open { MprotectFlags::READ | MprotectFlags::WRITE } else { MprotectFlags::empty() };
        // SAFETY: the range is inside, and nobody refers to what is closed.
        unsafe { mm::mprotect(self.at(range.start).cast(), range.len(), flags) }.map_err(Into::into)
    }

    fn at(&self, offset: usize) -> *mut u8 {
        self.base.as_ptr().wrapping_add(offset)
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // SAFETY: nobody refers to it any more.
        let _ = unsafe { mm::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// A linear memory: a guard, the bytes that can be used, those it may grow to, and another guard. All zero while nobody has it.
struct Memory {
    space: Space,
    guard: usize,
    reserved: usize,
    /// Bytes it begins with.
    minimum: usize,
    usable: usize,
}

impl Memory {
    fn map(minimum: usize, reserved: usize, guard: usize) -> io::Result<Self> {
        let len = reserved.checked_add(2 * guard).ok_or(io::ErrorKind::OutOfMemory)?;
        let mut memory = Self { space: Space::map(len)?, guard, reserved, minimum, usable: 0 };
        memory.set_usable(minimum)?;
        Ok(memory)
    }

    fn start(&self) -> *mut u8 {
        self.space.at(self.guard)
    }

    /// Lets the first `bytes` be used, and no others.
    fn set_usable(&mut self, bytes: usize) -> io::Result<()> {
        if bytes > self.reserved || !bytes.is_multiple_of(rustix::param::page_size()) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (now, then) = (self.guard + self.usable, self.guard + bytes);
        self.space.protect(now..then.max(now), true)?;
        self.space.protect(then..now.max(then), false)?;
        self.usable = bytes;
        Ok(())
    }

    fn zero(&mut self, range: Range<usize>) {
        assert!(range.end <= self.usable, "{range:?} of {}", self.usable);
        // SAFETY: so many bytes can be written, and nobody else has them.
        unsafe { slice::from_raw_parts_mut(self.start().add(range.start), range.len()) }.fill(0);
    }

    /// Zeroes the pages that were written; those that were not stay what costs nothing.
    fn zero_own_pages(&mut self) -> io::Result<()> {
        let (start, end) = (self.start().addr(), self.start().addr() + self.usable);
        if let Some(pagemap) = PAGEMAP.as_ref().filter(|_| self.usable <= RESIDENT) {
            return pagemap.own_pages(start..end, |pages| self.zero(pages.start - start..pages.end - start));
        }
        // SAFETY: nobody else has it; private anonymous pages are zero when they come back.
        Ok(unsafe { mm::madvise(self.start().cast(), self.usable, Advice::LinuxDontNeed) }?)
    }
}

/// A stack above its guard page.
struct Stack {
    space: Space,
}

impl Stack {
    fn map(size: usize) -> io::Result<Self> {
        let guard = rustix::param::page_size();
        let len = size.checked_next_multiple_of(guard).and_then(|size| size.checked_add(guard));
        let space = Space::map(len.ok_or(io::ErrorKind::OutOfMemory)?)?;
        space.protect(guard..space.len, true)?;
        Ok(Self { space })
    }

    fn size(&self) -> usize {
        self.space.len - rustix::param::page_size()
    }
}

/// What a thread keeps.
trait Spare: Sized + 'static {
    /// Where it keeps them.
    const KEPT: &'static LocalKey<RefCell<Vec<Self>>>;

    /// Those of one shape serve as well as one another.
    type Shape: PartialEq;

    fn shape(&self) -> Self::Shape;

    /// Makes it what it was at first.
    fn renew(&mut self) -> io::Result<()>;
}

thread_local! {
    static MEMORIES: RefCell<Vec<Memory>> = const { RefCell::new(Vec::new()) };
    static STACKS: RefCell<Vec<Stack>> = const { RefCell::new(Vec::new()) };
}

impl Spare for Memory {
    const KEPT: &'static LocalKey<RefCell<Vec<Self>>> = &MEMORIES;

    /// What it begins with, may grow to, and has around it.
    type Shape = (usize, usize, usize);

    fn shape(&self) -> Self::Shape {
        (self.minimum, self.reserved, self.guard)
    }

    fn renew(&mut self) -> io::Result<()> {
        if self.usable <= SMALL && self.usable == self.minimum {
            self.zero(0..self.usable);
        } else {
            self.zero_own_pages()?;
        }
        self.set_usable(self.minimum)
    }
}

impl Spare for Stack {
    const KEPT: &'static LocalKey<RefCell<Vec<Self>>> = &STACKS;

    /// Its size.
    type Shape = usize;

    fn shape(&self) -> Self::Shape {
        self.size()
    }

    /// It is not cleared: no guest can read it.
    fn renew(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One in use.
struct Lent<T: Spare>(Option<T>);

impl<T: Spare> Lent<T> {
    /// The one of this shape that the thread kept last; a new one where it has none.
    fn new(shape: &T::Shape, make: impl FnOnce() -> io::Result<T>) -> io::Result<Self> {
        // A thread that ends keeps nothing.
        let kept = T::KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            let place = kept.iter().rposition(|one| one.shape() == *shape)?;
            Some(kept.remove(place))
        });
        Ok(Self(Some(kept.ok().flatten().map_or_else(make, Ok)?)))
    }
}

impl<T: Spare> Deref for Lent<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("taken only when this is dropped")
    }
}

impl<T: Spare> DerefMut for Lent<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("taken only when this is dropped")
    }
}

impl<T: Spare> Drop for Lent<T> {
    /// Keeps it, unless there are enough that are like it. What has been here for the longest goes where there are too many of all.
    fn drop(&mut self) {
        let Some(mut used) = self.0.take() else { return };
        let _ = T::KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            let shape = used.shape();
            if kept.len() >= ALIKE && kept.iter().filter(|one| one.shape() == shape).count() >= ALIKE {
                return;
            }
            if used.renew().is_ok() {
                if kept.len() == KEPT {
                    kept.remove(0);
                }
                kept.push(used);
            }
        });
    }
}

// SAFETY: what `map` has reserved, guards included, stays where it is and is the instance's alone until this is dropped; past the
// usable bytes nothing is accessible.
unsafe impl LinearMemory for Lent<Memory> {
    fn byte_size(&self) -> usize {
        self.usable
    }

    fn byte_capacity(&self) -> usize {
        self.reserved
    }

    fn grow_to(&mut self, new_size: usize) -> wasmtime::Result<()> {
        self.set_usable(new_size).map_err(Into::into)
    }

    fn as_ptr(&self) -> *mut u8 {
        self.start()
    }
}

// SAFETY: see `LinearMemory` above; a memory is zero when it is taken, since it is new or was cleared.
unsafe impl MemoryCreator for Spares {
    fn new_memory(
        &self,
        _ty: MemoryType,
        minimum: usize,
        maximum: Option<usize>,
        reserved: Option<usize>,
        guard: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        let reserved = reserved.or(maximum).unwrap_or(minimum);
        let lent = Lent::new(&(minimum, reserved, guard), || Memory::map(minimum, reserved, guard));
        Ok(Box::new(lent.map_err(|error| no_room(&error))?))
    }
}

// SAFETY: the range is page-aligned, readable and writable, below it is a page that is neither, and it is the fiber's alone until this is
// dropped.
unsafe impl StackMemory for Lent<Stack> {
    fn top(&self) -> *mut u8 {
        self.space.at(self.space.len)
    }

    fn range(&self) -> Range<usize> {
        let top = self.top().addr();
        top - self.size()..top
    }

    fn guard_range(&self) -> Range<*mut u8> {
        self.space.at(0)..self.space.at(rustix::param::page_size())
    }
}

// SAFETY: see `StackMemory` above.
unsafe impl StackCreator for Spares {
    fn new_stack(&self, size: usize, zeroed: bool) -> wasmtime::Result<Box<dyn StackMemory>> {
        let new = || Stack::map(size);
        let lent = if zeroed { new().map(|stack| Lent(Some(stack))) } else { Lent::new(&size, new) };
        Ok(Box::new(lent.map_err(|error| wasmtime::Error::msg(no_room(&error)))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use wasmtime::{Config, Engine, Memory as Imported, MemoryType, Store};

    const PAGE: usize = 64 << 10;

    fn lend(minimum: usize) -> Box<dyn LinearMemory> {
        let ty = MemoryType::new(0, None);
        Spares.new_memory(ty, minimum, None, Some(1 << 30), 1 << 20).unwrap()
    }

    fn bytes(memory: &mut Box<dyn LinearMemory>) -> &mut [u8] {
        // SAFETY: so many are usable, and the borrow is the only one.
        unsafe { slice::from_raw_parts_mut(memory.as_ptr(), memory.byte_size()) }
    }

    #[test]
    fn a_memory_is_zero_and_of_its_first_size_when_it_is_taken_again() {
        for (minimum, grown) in
            [(PAGE, PAGE), (0, PAGE), (PAGE, 2 * PAGE), (17 * PAGE, 17 * PAGE), (PAGE, 2 * RESIDENT)]
        {
            let mut memory = lend(minimum);
            memory.grow_to(grown).unwrap();
            bytes(&mut memory).fill(1);
            let start = memory.as_ptr().addr();
            drop(memory);
            let mut again = lend(minimum);
            assert_eq!(again.as_ptr().addr(), start, "{minimum} to {grown}: it is kept");
            assert_eq!(again.byte_size(), minimum);
            again.grow_to(grown).unwrap();
            assert!(bytes(&mut again).iter().all(|&byte| byte == 0), "{minimum} to {grown}");
        }
    }

    #[test]
    fn a_memory_of_another_size_is_not_taken() {
        let starts = [PAGE, 2 * PAGE].map(|size| lend(size).as_ptr().addr());
        assert_ne!(starts[0], starts[1]);
        assert_eq!(lend(PAGE).as_ptr().addr(), starts[0]);
        assert_eq!(lend(2 * PAGE).as_ptr().addr(), starts[1]);
    }

    #[test]
    fn a_memory_grows_no_further_than_was_reserved_and_by_whole_pages() {
        let mut memory = lend(PAGE);
        assert!(memory.grow_to((1 << 30) + PAGE).is_err());
        assert!(memory.grow_to(PAGE + 1).is_err());
        assert_eq!(memory.byte_size(), PAGE);
    }

    #[test]
    fn a_thread_keeps_a_bounded_number_of_each() {
        let stack = |size| Spares.new_stack(size, false).unwrap();
        for pages in 1..=4 {
            drop((0..2 * ALIKE).map(|_| lend(pages * PAGE)).collect::<Vec<_>>());
            assert_eq!(MEMORIES.with_borrow(Vec::len), (pages * ALIKE).min(KEPT));
            drop((0..2 * ALIKE).map(|_| stack(pages * PAGE)).collect::<Vec<_>>());
            assert_eq!(STACKS.with_borrow(Vec::len), (pages * ALIKE).min(KEPT));
        }
        assert!(MEMORIES.with_borrow(|kept| kept.iter().all(|memory| memory.usable >= 3 * PAGE)));
    }

    #[test]
    fn a_stack_lies_above_its_guard_and_is_taken_again() {
        let spares = Spares;
        let first = spares.new_stack(PAGE, false).unwrap();
        let (range, guard) = (first.range(), first.guard_range());
        assert_eq!((range.len(), first.top().addr()), (PAGE, range.end));
        assert_eq!(guard.end.addr(), range.start);
        assert!(guard.start < guard.end);
        drop(first);
        assert_eq!(spares.new_stack(PAGE, false).unwrap().range(), range);
        assert_ne!(spares.new_stack(PAGE, true).unwrap().range(), range, "a zeroed one is new");
    }

    #[test]
    fn what_lies_beyond_a_memory_traps_after_another_had_grown_there() {
        let mut config = Config::new();
        config.with_host_memory(Arc::new(Spares)).memory_init_cow(false);
        let engine = Engine::new(&config).unwrap();
        let memory = |store: &mut Store<()>| Imported::new(store, MemoryType::new(1, None)).unwrap();
        let mut store = Store::new(&engine, ());
        memory(&mut store).grow(&mut store, 3).unwrap();
        drop(store);
        let peek = wat::parse_str(
            r#"(module
                (import "" "" (memory 1))
                (func (export "peek") (param i32) (result i32) (i32.load8_u (local.get 0))))"#,
        );
        let module = wasmtime::Module::new(&engine, peek.unwrap()).unwrap();
        let mut store = Store::new(&engine, ());
        let memory = memory(&mut store);
        let instance = wasmtime::Instance::new(&mut store, &module, &[memory.into()]).unwrap();
        let peek = instance.get_typed_func::<u32, u32>(&mut store, "peek").unwrap();
        assert_eq!(peek.call(&mut store, 65_535).unwrap(), 0);
        for beyond in [65_536, 3 * 65_536, u32::MAX] {
            let trap = peek.call(&mut store, beyond).unwrap_err();
            assert_eq!(trap.downcast_ref(), Some(&wasmtime::Trap::MemoryOutOfBounds), "{beyond}");
        }
    }
}
