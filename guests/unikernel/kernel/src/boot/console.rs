//! The channel over virtio's console device: the first of its ports that is no console.
//!
//! What is written to a console may be lost, since nobody is to wait for a terminal: QEMU throws away what its host does not take at once. A port is a
//! stream: there the device takes no more until its host has.

use super::device::Device;
use super::inbox::Inbox;
use super::sleep::Sleeper;
use super::virtio::Identity;
use crate::channel::Transport;
use bitflags::bitflags;
use virtio_drivers::queue::{OwningQueue, VirtQueue};
use virtio_drivers::transport::Transport as _;
use virtio_drivers::{Error, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The port; that with the number 0 can only be a console.
const PORT: u32 = 1;

/// The queues, of which each port has two and the control messages the second two.
const CONTROL_IN: u16 = 2;
const CONTROL_OUT: u16 = 3;
const PORT_IN: u16 = 4;
const PORT_OUT: u16 = 5;

/// Buffers of each queue, and the bytes of one for control messages and of one for the port's.
const QUEUE: usize = 4;
const CONTROL: usize = 64;
const CONTENT: usize = 4 << 10;

/// Bytes that are sent at once, at most.
const SENT: usize = 64 << 10;

bitflags! {
    /// What both sides know.
    #[derive(Clone, Copy, Debug)]
    struct Features: u64 {
        /// Ports, and messages that control them.
        const MULTIPORT = 1 << 1;
        const VERSION_1 = 1 << 32;
    }
}

/// What controls a port: `struct virtio_console_control` of the specification, 5.3.6.2.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C, packed)]
struct Message {
    port: u32,
    event: u16,
    value: u16,
}

/// Events.
const DEVICE_READY: u16 = 0;
const DEVICE_ADD: u16 = 1;
const PORT_READY: u16 = 3;
const PORT_OPEN: u16 = 6;

pub(super) struct Console {
    device: Device,
    control_in: OwningQueue<Identity, QUEUE, CONTROL>,
    control_out: VirtQueue<Identity, QUEUE>,
    incoming: OwningQueue<Identity, QUEUE, CONTENT>,
    outgoing: VirtQueue<Identity, QUEUE>,
    inbox: Inbox,
    sleeper: Sleeper,
}

impl Console {
    /// Opens the port.
    ///
    /// # Errors
    /// The device does not work, or has no ports.
    pub fn open(mut device: Device) -> Result<Self> {
        let features = device.begin_init(Features::all());
        if !features.contains(Features::MULTIPORT) {
            return Err(Error::Unsupported);
        }
        let mut queue = |index| VirtQueue::new(&mut device, index, false, false);
        let (control_in, control_out) = (OwningQueue::new(queue(CONTROL_IN)?)?, queue(CONTROL_OUT)?);
        let (incoming, outgoing) = (OwningQueue::new(queue(PORT_IN)?)?, queue(PORT_OUT)?);
        device.finish_init();
        let (inbox, sleeper) = (Inbox::new(), Sleeper::new());
        let mut console = Self { device, control_in, control_out, incoming, outgoing, inbox, sleeper };
        console.connect()?;
        Ok(console)
    }

    /// Says that there is a driver, hears of the port, and opens it.
    fn connect(&mut self) -> Result<()> {
        self.device.notify(CONTROL_IN);
        self.control(0, DEVICE_READY)?;
        let mut known = false;
        while !known {
            let Self { device, control_in, .. } = self;
            control_in.poll(device, |message| {
                let message = Message::read_from_prefix(message);
                known |= message.is_ok_and(|(said, _)| (said.port, said.event) == (PORT, DEVICE_ADD));
                Ok(Some(()))
            })?;
            core::hint::spin_loop();
        }
        self.control(PORT, PORT_READY)?;
        self.control(PORT, PORT_OPEN)?;
        // Not before: QEMU then looks for what its host wrote, which it does not do when a port is opened.
        self.device.notify(PORT_IN);
        Ok(())
    }

    fn control(&mut self, port: u32, event: u16) -> Result<()> {
        let message = Message { port, event, value: 1 };
        self.control_out.add_notify_wait_pop(&[message.as_bytes()], &mut [], &mut self.device).map(drop)
    }

    /// Takes what came; that the device says of its ports is of no use here.
    fn look(&mut self) {
        let Self { device, control_in, incoming, inbox, .. } = self;
        let controlled = control_in.poll(device, |_| Ok(Some(())));
        let heard = incoming.poll(device, |bytes| {
            inbox.push(bytes);
            Ok(Some(()))
        });
        if controlled.is_err() || heard.is_err() {
            super::halt();
        }
    }
}

impl Transport for Console {
    fn send(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(SENT) {
            if self.outgoing.add_notify_wait_pop(&[piece], &mut [], &mut self.device).is_err() {
                super::halt();
            }
        }
    }

    fn receive(&mut self, into: &mut [u8]) -> usize {
        if self.inbox.is_empty() {
            self.look();
        }
        let count = self.inbox.read(into);
        if count > 0 {
            self.sleeper.wake();
        }
        count
    }

    fn wait(&mut self) {
        if self.sleeper.is_tired() {
            self.device.ack_interrupt();
            // Only what comes after that raises the device's line again.
            self.look();
            if self.inbox.is_empty() {
                self.sleeper.sleep();
            }
        }
    }
}
