//! An image that listens on port 8080 of its network card, 172.16.0.2 or what `ip=` says in its boot arguments, and speaks HTTP.
//!
//! It answers with the request's first line, its body in upper case, and how many requests it has had. `GET /halt` ends the machine, `/silence`
//! has no answer, `/flood` a long one, `/garbage` one that is no HTTP. `GET /drive` answers with the text at the beginning of its drive, and writes
//! something else there.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use kernel::{Card, Drive, Machine, clock};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpCidr};

const PORT: u16 = 8080;

/// The network card as the stack sees it.
struct Wire(Card);

struct Received(Vec<u8>);
struct Sending<'a>(&'a mut Card);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut frame = vec![0; length];
        let result = fill(&mut frame);
        self.0.send(&frame);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sending<'_>)> {
        let frame = self.0.receive()?;
        Some((Received(frame), Sending(&mut self.0)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        Some(Sending(&mut self.0))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.max_transmission_unit = 1514;
        capabilities.medium = Medium::Ethernet;
        capabilities
    }
}

fn now() -> Instant {
    // Some two cycles a nanosecond: what it is used for is no more precise.
    Instant::from_micros(i64::try_from(clock::cycles() / 2000).unwrap_or(0))
}

/// Called by the kernel.
#[unsafe(no_mangle)]
fn limes_main(machine: Machine) -> ! {
    let address =
        machine.arguments.split_ascii_whitespace().find_map(|word| word.strip_prefix("ip=")?.parse().ok());
    let address: Ipv4Addr = address.unwrap_or(Ipv4Addr::new(172, 16, 0, 2));
    let Some(card) = Card::find() else { panic!("there is no network card") };
    let mut wire = Wire(card);
    let mut config = Config::new(EthernetAddress(wire.0.address()).into());
    config.random_seed = clock::cycles();
    let mut interface = Interface::new(config, &mut wire, now());
    interface.update_ip_addrs(|addresses| {
        let _ = addresses.push(IpCidr::new(address.into(), 24));
    });
    let mut sockets = SocketSet::new(Vec::new());
    let handle = sockets.add(socket());
    let mut requests = 0;
    let mut heard = Vec::new();
    loop {
        interface.poll(now(), &mut wire, &mut sockets);
        serve(&mut sockets, handle, &mut heard, &mut requests);
    }
}

fn socket() -> tcp::Socket<'static> {
    let buffer = || tcp::SocketBuffer::new(vec![0; 64 << 10]);
    tcp::Socket::new(buffer(), buffer())
}

/// One step of the one connection.
fn serve(sockets: &mut SocketSet<'_>, handle: SocketHandle, heard: &mut Vec<u8>, requests: &mut u32) {
    let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
    if !socket.is_open() {
        heard.clear();
        let _ = socket.listen(PORT);
    }
    if socket.can_recv() {
        let _ = socket.recv(|bytes| {
            heard.extend_from_slice(bytes);
            (bytes.len(), ())
        });
    }
    if let Some((line, body)) = request(heard) {
        *requests += 1;
        let answer = answer(&line, &body, *requests);
        let _ = socket.send_slice(answer.as_bytes());
        heard.clear();
        socket.close();
    }
    if socket.state() == tcp::State::CloseWait {
        socket.close();
    }
}

/// The first line and the body of a request that is complete.
fn request(heard: &[u8]) -> Option<(String, String)> {
    let text = core::str::from_utf8(heard).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    (body.len() >= length.unwrap_or(0)).then(|| (head.lines().next().unwrap_or("").into(), body.into()))
}

fn answer(line: &str, body: &str, requests: u32) -> String {
    if line.starts_with("GET /halt") {
        kernel::halt();
    }
    if line.starts_with("GET /silence") {
        loop {
            core::hint::spin_loop();
        }
    }
    if line.starts_with("GET /garbage") {
        return "what is this?\r\n\r\n".into();
    }
    if line.starts_with("GET /flood") {
        return format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(60_000));
    }
    if line.starts_with("GET /drive") {
        return whole(&drive());
    }
    whole(&format!("{line}\n{}\n{requests}\n", body.to_ascii_uppercase()))
}

fn whole(text: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Image: yes\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )
}

/// What the drive begins with, up to the first zero.
fn drive() -> String {
    let Some(mut drive) = Drive::find() else { return "there is no drive".into() };
    let Some(sector) = drive.read() else { return "the drive cannot be read".into() };
    if !drive.write(&[b'#'; Drive::SECTOR]) || drive.read() != Some([b'#'; Drive::SECTOR]) {
        return "the drive cannot be written".into();
    }
    let text = sector.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}
