//! The channel over vsock: one stream, which the guest opens to its host.
//!
//! The library's own driver for this device leaves the queue of events empty. There a machine that was restored from a snapshot is told that its stream
//! is gone. To find that out by sending would not do: a packet that is on its way while the snapshot is taken is lost, and each machine restored
//! from it would wait for it. So a guest that waits sends nothing.

use super::device::Device;
use super::inbox::Inbox;
use super::machine;
use super::sleep::Sleeper;
use super::virtio::Identity;
use crate::channel::Transport;
use crate::clock;
use core::mem::size_of;
use virtio_drivers::Result;
use virtio_drivers::device::common::Feature;
use virtio_drivers::queue::{OwningQueue, VirtQueue};
use virtio_drivers::transport::Transport as _;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The host, and where it listens.
const HOST: u64 = 2;
const HOST_PORT: u32 = 1234;

/// The guest's port of its first stream; each later one has the next.
const FIRST_PORT: u32 = 1024;

/// Cycles after which vsock's own program knows of QEMU's queues: some fifty milliseconds.
const SETTLED: u64 = 100_000_000;

/// Buffers of each queue.
const QUEUE: usize = 8;

/// Bytes of content, at most, of a packet that is sent, and of one that comes.
const SENT: usize = 64 << 10;
const CONTENT: usize = 16 << 10;

/// Bytes of a buffer for a packet that comes.
const PACKET: usize = size_of::<Header>() + CONTENT;

/// Bytes that the host may send before it hears that they were taken.
const WINDOW: u32 = 256 << 10;

/// Bytes of an event, of which there is one: that all streams are gone.
const EVENT: usize = 4;

/// A packet's beginning: `struct virtio_vsock_hdr` of the specification, 5.10.6.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C, packed)]
struct Header {
    from: u64,
    to: u64,
    from_port: u32,
    to_port: u32,
    length: u32,
    kind: u16,
    operation: u16,
    flags: u32,
    window: u32,
    taken: u32,
}

/// The kind of a stream's packets.
const STREAM: u16 = 1;

/// Operations.
const REQUEST: u16 = 1;
const RESPONSE: u16 = 2;
const RESET: u16 = 3;
const SHUTDOWN: u16 = 4;
const DATA: u16 = 5;
const CREDIT_UPDATE: u16 = 6;
const CREDIT_REQUEST: u16 = 7;

#[derive(Clone, Copy, PartialEq)]
enum State {
    Asked,
    Open,
    Gone,
}

/// The stream as both sides know it. Counts of bytes wrap around, as they do on the wire.
struct Stream {
    port: u32,
    state: State,
    inbox: Inbox,
    /// Read since the stream was opened, and what the host knows of that.
    taken: u32,
    told: u32,
    /// Sent since then, and what the host says of it: its window, and what it has taken.
    sent: u32,
    host_window: u32,
    host_taken: u32,
    /// The host wants to know what was read.
    asked: bool,
}

impl Stream {
    const fn new(port: u32) -> Self {
        Self {
            port,
            state: State::Asked,
            inbox: Inbox::new(),
            taken: 0,
            told: 0,
            sent: 0,
            host_window: 0,
            host_taken: 0,
            asked: false,
        }
    }

    /// Takes a packet; one of another stream, or that is none, is thrown away.
    fn hear(&mut self, packet: &[u8]) {
        let Ok((header, content)) = Header::read_from_prefix(packet) else { return };
        if (header.from, header.from_port, header.to_port) != (HOST, HOST_PORT, self.port) {
            return;
        }
        (self.host_window, self.host_taken) = (header.window, header.taken);
        match header.operation {
            RESPONSE => self.state = State::Open,
            RESET | SHUTDOWN => self.state = State::Gone,
            DATA => self.inbox.push(content.get(..header.length as usize).unwrap_or(content)),
            CREDIT_REQUEST => self.asked = true,
            _ => {}
        }
    }

    /// Reads what came.
    fn read(&mut self, into: &mut [u8]) -> usize {
        let count = self.inbox.read(into);
        self.taken = self.taken.wrapping_add(count as u32);
        count
    }

    /// Bytes that the host takes now.
    fn room(&self) -> usize {
        self.host_window.saturating_sub(self.sent.wrapping_sub(self.host_taken)) as usize
    }

    /// Whether the host should hear how much was read.
    fn owes_credit(&self) -> bool {
        self.asked || self.taken.wrapping_sub(self.told) >= WINDOW / 2
    }
}

pub(super) struct Vsock {
    device: Device,
    incoming: OwningQueue<Identity, QUEUE, PACKET>,
    outgoing: VirtQueue<Identity, QUEUE>,
    events: OwningQueue<Identity, QUEUE, EVENT>,
    address: u64,
    stream: Stream,
    sleeper: Sleeper,
}

impl Vsock {
    /// Opens the stream, for which the host listens before it starts the machine.
    ///
    /// # Errors
    /// The device does not work.
    pub fn open(mut device: Device) -> Result<Self> {
        device.begin_init(Feature::VERSION_1);
        let address = device.read_config_space::<u32>(0)?;
        let incoming = VirtQueue::new(&mut device, 0, false, false)?;
        let outgoing = VirtQueue::new(&mut device, 1, false, false)?;
        let events = VirtQueue::new(&mut device, 2, false, false)?;
        let (incoming, events) = (OwningQueue::new(incoming)?, OwningQueue::new(events)?);
        device.finish_init();
        for queue in [0, 2] {
            device.notify(queue);
        }
        if machine::is_qemu() {
            // Vsock is another program's there, which learns of the queues by messages: what is said before they came is lost.
            let begun = clock::cycles();
            while clock::cycles().wrapping_sub(begun) < SETTLED {
                core::hint::spin_loop();
            }
        }
        let stream = Stream::new(FIRST_PORT);
        let (address, sleeper) = (address.into(), Sleeper::new());
        let mut vsock = Self { device, incoming, outgoing, events, address, stream, sleeper };
        vsock.connect();
        Ok(vsock)
    }

    /// Asks for the stream until there is one.
    fn connect(&mut self) {
        loop {
            self.send_packet(REQUEST, &[]);
            while self.stream.state == State::Asked {
                self.look();
                core::hint::spin_loop();
            }
            match self.stream.state {
                State::Open => return,
                _ => self.stream = Stream::new(self.stream.port.wrapping_add(1)),
            }
        }
    }

    fn send_packet(&mut self, operation: u16, content: &[u8]) {
        let Stream { port, taken, .. } = self.stream;
        let header = Header {
            from: self.address,
            to: HOST,
            from_port: port,
            to_port: HOST_PORT,
            length: content.len() as u32,
            kind: STREAM,
            operation,
            flags: 0,
            window: WINDOW,
            taken,
        };
        let parts = [header.as_bytes(), content];
        let parts = if content.is_empty() { &parts[..1] } else { &parts };
        if self.outgoing.add_notify_wait_pop(parts, &mut [], &mut self.device).is_err() {
            super::halt();
        }
        self.stream.told = taken;
        self.stream.asked = false;
    }

    /// Takes what the device has to say; a packet at most.
    fn look(&mut self) {
        let Self { device, incoming, events, stream, .. } = self;
        let gone = events.poll(device, |_| Ok(Some(())));
        let heard = incoming.poll(device, |packet| {
            stream.hear(packet);
            Ok(Some(()))
        });
        match (gone, heard) {
            (Ok(None), Ok(_)) => {}
            // What came before the event belongs to a stream that is no more.
            (Ok(Some(())), Ok(_)) => stream.state = State::Gone,
            _ => super::halt(),
        }
    }

    /// The same, with a stream that is gone made anew: a restored machine's always is.
    fn step(&mut self) {
        self.look();
        if self.stream.state == State::Gone {
            self.stream = Stream::new(self.stream.port.wrapping_add(1));
            self.connect();
        }
        if self.stream.owes_credit() {
            self.send_packet(CREDIT_UPDATE, &[]);
        }
    }
}

impl Transport for Vsock {
    fn send(&mut self, mut bytes: &[u8]) {
        let mut asks = true;
        while !bytes.is_empty() {
            let count = bytes.len().min(SENT).min(self.stream.room());
            if count > 0 {
                let (piece, rest) = bytes.split_at(count);
                self.send_packet(DATA, piece);
                self.stream.sent = self.stream.sent.wrapping_add(count as u32);
                (bytes, asks) = (rest, true);
                continue;
            }
            // No room at the host: it says when there is, if it is asked.
            if asks {
                self.send_packet(CREDIT_REQUEST, &[]);
                asks = false;
            }
            self.step();
        }
    }

    fn receive(&mut self, into: &mut [u8]) -> usize {
        if self.stream.inbox.is_empty() {
            self.step();
        }
        let count = self.stream.read(into);
        if count > 0 {
            self.sleeper.wake();
        }
        count
    }

    fn wait(&mut self) {
        if self.sleeper.is_tired() {
            self.device.ack_interrupt();
            // Only what comes after that raises the device's line again.
            self.step();
            if self.stream.inbox.is_empty() {
                self.sleeper.sleep();
            }
        }
    }
}
