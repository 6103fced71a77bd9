//! The owner's side of one VMM process.

use crate::control::{self, Event, Order, Report};
use crate::image::{Image, Layout, invalid};
use limes_channel::ring::{self, Direction, End};
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::ptr;

/// One VMM process with one machine. Dropping it ends both.
///
/// Orders are carried out one after the other and each is answered by an event. None of the methods wait: [`fd`](Self::fd) is readable when there is an
/// [event](Self::event).
#[derive(Debug)]
pub struct Worker {
    process: Child,
    socket: OwnedFd,
    rings: Rings,
    room: u64,
    image: Option<Image>,
}

impl Worker {
    /// Starts the program `limes-vmm` at `binary`. It makes a machine with room for `room` bytes of memory, locks itself in, and waits. It is killed when
    /// the thread that started it ends.
    ///
    /// # Errors
    /// The program cannot be started, or there is no memory for the rings. That KVM does not work comes as [`Event::Failed`].
    pub fn start(binary: &Path, room: u64) -> io::Result<Self> {
        let (socket, other) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let memory = File::from(rustix::fs::memfd_create("limes-rings", MemfdFlags::CLOEXEC)?);
        memory.set_len(ring::BYTES as u64)?;
        let rings = Rings::map(&memory)?;
        let mut command = Command::new(binary);
        command.env_clear().stdin(Stdio::from(other)).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn()?;
        let worker = Self { process, socket, rings, room, image: None };
        control::send(&worker.socket, &Order::Prepare(room), &[memory.as_fd()])?;
        Ok(worker)
    }

    /// Bytes of memory that it has room for; an image of another size takes a moment longer to load.
    pub fn room(&self) -> u64 {
        self.room
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Readable when there is an event, or the process is gone.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Gives the machine its memory and registers; once. Answered by [`Event::Loaded`].
    ///
    /// # Errors
    /// The process is gone.
    pub fn load(&mut self, image: &Image) -> io::Result<()> {
        control::send(&self.socket, &Order::Load(image.layout.clone()), &[image.as_fd()])?;
        self.image = Some(image.clone());
        Ok(())
    }

    /// Runs the guest until it waits or stops. Answered by [`Event::Waiting`] or [`Event::Stopped`].
    ///
    /// # Errors
    /// The process is gone.
    pub fn resume(&self) -> io::Result<()> {
        control::send(&self.socket, &Order::Resume, &[])
    }

    /// Puts a machine that waits back to its image, and clears the rings, which are not used until that is done. Answered by [`Event::Reset`].
    ///
    /// # Errors
    /// The process is gone.
    pub fn reset(&mut self) -> io::Result<()> {
        self.rings.restart();
        control::send(&self.socket, &Order::Reset, &[])
    }

    /// Makes an image of a machine that waits and has read all that was sent to it. Answered by [`Event::Snapshot`]; the
    /// machine itself goes on from its old image.
    ///
    /// # Errors
    /// The process is gone.
    pub fn snapshot(&self) -> io::Result<()> {
        control::send(&self.socket, &Order::Snapshot, &[])
    }

    /// The host's end of the ring to the guest.
    pub fn to_guest(&mut self) -> &mut End {
        &mut self.rings.to_guest
    }

    /// The host's end of the ring from the guest.
    pub fn to_host(&mut self) -> &mut End {
        &mut self.rings.to_host
    }

    /// The next event; `None` when there is none yet. Does not wait.
    ///
    /// # Errors
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) when the process is gone.
    pub fn event(&self) -> io::Result<Option<Event>> {
        self.receive(RecvFlags::DONTWAIT)
    }

    /// The next event, waited for.
    ///
    /// # Errors
    /// As [`event`](Self::event).
    pub fn wait(&self) -> io::Result<Event> {
        loop {
            if let Some(event) = self.receive(RecvFlags::empty())? {
                return Ok(event);
            }
        }
    }

    fn receive(&self, flags: RecvFlags) -> io::Result<Option<Event>> {
        let (report, mut descriptors) = match control::receive::<Report>(&self.socket, flags) {
            Ok(Some(received)) => received,
            Ok(None) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.raw_os_error() == Some(Errno::AGAIN.raw_os_error()) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Err(error) => return Err(error),
        };
        Ok(Some(match report {
            Report::Loaded => Event::Loaded,
            Report::Waiting => Event::Waiting,
            Report::Reset => Event::Reset,
            Report::Stopped(fault) => Event::Stopped(fault),
            Report::Failed(message) => Event::Failed(message),
            Report::Snapshot { extents, registers } => {
                let (Some(memory), Some(image)) = (descriptors.pop(), &self.image) else {
                    return Err(invalid("a snapshot without memory"));
                };
                let layout = Layout { ram: image.layout.ram, extents, registers };
                Event::Snapshot(Image::sealed(memory.into(), layout)?)
            }
        }))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may be gone already; either way it is waited for, so that no zombie is left.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The shared memory, mapped.
#[derive(Debug)]
struct Rings {
    base: *mut u8,
    to_guest: End,
    to_host: End,
}

// SAFETY: the mapping belongs to this value alone and is reached through its ends, which are `Send`.
unsafe impl Send for Rings {}
// SAFETY: a shared reference gives no access to the memory.
unsafe impl Sync for Rings {}

impl Rings {
    fn map(memory: &File) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses disturbs nobody.
        let base = unsafe {
            rustix::mm::mmap(ptr::null_mut(), ring::BYTES, protection, MapFlags::SHARED, memory, 0)?
        };
        let base = base.cast::<u8>();
        // SAFETY: the mapping is that long, page-aligned, and unmapped only when this value is dropped.
        let (to_guest, to_host) =
            unsafe { (End::new(base, Direction::ToGuest), End::new(base, Direction::ToHost)) };
        Ok(Self { base, to_guest, to_host })
    }

    /// As new, once the process has cleared the memory.
    fn restart(&mut self) {
        self.to_guest.restart();
        self.to_host.restart();
    }
}

impl Drop for Rings {
    fn drop(&mut self) {
        // SAFETY: the ends are dropped with this value, and nobody else has the address.
        let _ = unsafe { rustix::mm::munmap(self.base.cast(), ring::BYTES) };
    }
}
