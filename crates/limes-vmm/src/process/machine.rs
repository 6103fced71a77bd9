//! The machine itself, on KVM.

use super::memory::{Mapping, Memory};
use crate::control::Fault;
use crate::image::{Extents, Layout, OSXSAVE, Registers, XCR0};
use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_userspace_memory_region, kvm_xcr, kvm_xcrs};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use limes_channel::machine::{RING, WAIT_PORT};
use limes_channel::ring;
use rustix::fs::MemfdFlags;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

const EINTR: i32 = rustix::io::Errno::INTR.raw_os_error();
const EAGAIN: i32 = rustix::io::Errno::AGAIN.raw_os_error();

/// Addresses that KVM wants for itself on some processors, above all memory.
const TASK_STATE: usize = 0xfffb_d000;
const IDENTITY_MAP: u64 = 0xfffb_c000;

/// KVM's numbers of the two regions.
const MEMORY: u32 = 0;
const RINGS: u32 = 1;

pub(super) struct Machine {
    processor: VcpuFd,
    machine: VmFd,
    /// The rings, as long as the machine is.
    rings: Option<Mapping>,
    /// Where memory will be.
    room: Option<Mapping>,
    loaded: Option<Loaded>,
    /// The registers are those that were loaded.
    fresh: bool,
}

struct Loaded {
    memory: Memory,
    layout: Layout,
}

impl Machine {
    /// A machine without anything.
    pub fn new() -> io::Result<Self> {
        let kvm = Kvm::new().map_err(|error| {
            let error = io::Error::from(error);
            io::Error::new(error.kind(), format!("/dev/kvm cannot be opened: {error}"))
        })?;
        let machine = kvm.create_vm()?;
        machine.set_identity_map_address(IDENTITY_MAP)?;
        machine.set_tss_address(TASK_STATE)?;
        let processor = machine.create_vcpu(0)?;
        processor.set_cpuid2(&kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?)?;
        Ok(Self { processor, machine, rings: None, room: None, loaded: None, fresh: false })
    }

    /// Tells KVM where the rings and `room` bytes of memory are, which takes it longer than all else about memory.
    pub fn prepare(&mut self, room: u64, rings: &OwnedFd) -> io::Result<()> {
        if self.room.is_some() {
            return Err(io::Error::other("the machine was prepared already"));
        }
        let rings = Mapping::shared(rings, ring::BYTES)?;
        self.tell(RINGS, RING, &rings)?;
        self.rings = Some(rings);
        self.make_room(room)
    }

    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        let room = Mapping::anonymous(usize::try_from(bytes).map_err(io::Error::other)?)?;
        self.tell(MEMORY, 0, &room)?;
        self.room = Some(room);
        Ok(())
    }

    fn tell(&self, slot: u32, address: u64, mapping: &Mapping) -> io::Result<()> {
        let region = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr: address,
            memory_size: mapping.length() as u64,
            userspace_addr: mapping.address(),
        };
        // SAFETY: the machine keeps the mapping as long as it knows it, and nothing else writes to it while the machine runs.
        unsafe { self.machine.set_user_memory_region(region)? };
        Ok(())
    }

    pub fn load(&mut self, layout: Layout, image: &OwnedFd) -> io::Result<()> {
        let Some(mut room) = self.room.take() else {
            return Err(io::Error::other("the machine has its memory already, or no room for it"));
        };
        if room.length() as u64 != layout.ram {
            let none = kvm_userspace_memory_region { slot: MEMORY, ..Default::default() };
            // SAFETY: a region without length only makes KVM forget one.
            unsafe { self.machine.set_user_memory_region(none)? };
            self.make_room(layout.ram)?;
            room = self.room.take().ok_or_else(|| io::Error::other("the machine has no room"))?;
        }
        if layout.registers.special.cr4 & OSXSAVE != 0 {
            let mut registers = kvm_xcrs { nr_xcrs: 1, ..Default::default() };
            registers.xcrs[0] = kvm_xcr { value: XCR0, ..Default::default() };
            self.processor.set_xcrs(&registers)?;
        }
        self.loaded = Some(Loaded { memory: Memory::of_image(room, &layout, image)?, layout });
        self.set_registers()
    }

    fn loaded(&self) -> io::Result<&Loaded> {
        self.loaded.as_ref().ok_or_else(|| io::Error::other("the machine has no memory yet"))
    }

    fn loaded_mut(&mut self) -> io::Result<&mut Loaded> {
        self.loaded.as_mut().ok_or_else(|| io::Error::other("the machine has no memory yet"))
    }

    fn set_registers(&mut self) -> io::Result<()> {
        let registers = &self.loaded()?.layout.registers;
        self.processor.set_sregs(&registers.special)?;
        self.processor.set_regs(&registers.general)?;
        // SAFETY: no state was asked for that makes the area longer than the structure.
        unsafe { self.processor.set_xsave(&(&registers.vectors).into())? };
        self.fresh = true;
        Ok(())
    }

    /// Runs until the guest waits, or cannot go on.
    pub fn run(&mut self) -> io::Result<Result<(), Fault>> {
        self.loaded()?;
        self.fresh = false;
        loop {
            let exit = match self.processor.run() {
                Ok(VcpuExit::IoOut(WAIT_PORT, _)) => return Ok(Ok(())),
                Ok(VcpuExit::Intr) => continue,
                Ok(exit) => format!("{exit:?}"),
                Err(error) if matches!(error.errno(), EINTR | EAGAIN) => continue,
                Err(error) => format!("KVM: {error}"),
            };
            return Ok(Err(self.fault(exit)));
        }
    }

    fn fault(&self, exit: String) -> Fault {
        let general = self.processor.get_regs().unwrap_or_default();
        let special = self.processor.get_sregs().unwrap_or_default();
        Fault { exit, rip: general.rip, rsp: general.rsp, rbp: general.rbp, cr2: special.cr2 }
    }

    /// Puts memory and registers back, and clears the rings: a guest may have written anywhere in them.
    pub fn reset(&mut self, pagemap: &File) -> io::Result<()> {
        self.settle()?;
        if let Some(rings) = &mut self.rings {
            rings.clear();
        }
        self.loaded_mut()?.memory.reset(pagemap)?;
        self.set_registers()
    }

    /// Lets KVM finish the instruction that the guest left with, so that the registers are all there is of its state.
    fn settle(&mut self) -> io::Result<()> {
        if self.fresh {
            return Ok(());
        }
        self.processor.set_kvm_immediate_exit(1);
        let ended = self.processor.run().map(|exit| format!("{exit:?}"));
        self.processor.set_kvm_immediate_exit(0);
        match ended {
            Err(error) if error.errno() == EINTR => Ok(()),
            Err(error) => Err(error.into()),
            Ok(exit) => Err(io::Error::other(format!("the machine went on: {exit}"))),
        }
    }

    /// Memory and registers as they are, for an image.
    pub fn snapshot(&mut self, pagemap: &File) -> io::Result<(OwnedFd, Vec<Range<u64>>, Registers)> {
        self.settle()?;
        let Loaded { memory, layout } = self.loaded()?;
        let mut extents = Extents::default();
        layout.extents.iter().cloned().for_each(|extent| extents.add(extent));
        memory
            .written(pagemap)?
            .into_iter()
            .for_each(|range| extents.add(range.start as u64..range.end as u64));
        let extents = extents.finish();
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(rustix::fs::memfd_create("limes-snapshot", flags)?);
        file.set_len(layout.ram)?;
        for extent in &extents {
            file.write_all_at(&memory.bytes()[extent.start as usize..extent.end as usize], extent.start)?;
        }
        let registers = Registers {
            general: self.processor.get_regs()?,
            special: self.processor.get_sregs()?,
            vectors: (&self.processor.get_xsave()?).into(),
        };
        Ok((file.into(), extents, registers))
    }
}
