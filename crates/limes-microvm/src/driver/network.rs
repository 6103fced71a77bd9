//! A network card for one machine: a tap device in a network namespace of its own, where nothing else is.
//!
//! The namespace holds the card, the host's end of it and no route: a guest reaches neither the host's services nor another network, and
//! all machines have the same addresses.

use limes_core::{Error, ErrorKind, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use tokio::net::{TcpSocket, TcpStream};

/// The tap device's name inside the namespace.
pub(crate) const DEVICE: &str = "limes0";
/// The address of the guest's card.
pub(crate) const GUEST_MAC: &str = "06:00:ac:10:00:02";
const GUEST_MAC_BYTES: [u8; 6] = [0x06, 0x00, 0xac, 0x10, 0x00, 0x02];

/// What an image is told of its network, by the name in its arguments.
pub(crate) struct Addresses {
    pub guest: Ipv4Addr,
    pub host: Ipv4Addr,
    pub netmask: Ipv4Addr,
}

impl Addresses {
    /// Those of a tap device.
    pub const TAP: Self = Self {
        guest: Ipv4Addr::new(172, 16, 0, 2),
        host: Ipv4Addr::new(172, 16, 0, 1),
        netmask: Ipv4Addr::new(255, 255, 255, 252),
    };
    /// Those of QEMU's network without privileges.
    pub const USER: Self = Self {
        guest: Ipv4Addr::new(10, 0, 2, 15),
        host: Ipv4Addr::new(10, 0, 2, 2),
        netmask: Ipv4Addr::new(255, 255, 255, 0),
    };

    /// `arguments` with the addresses where they are named.
    pub fn fill(&self, arguments: &str) -> String {
        arguments
            .replace("{ip}", &self.guest.to_string())
            .replace("{gateway}", &self.host.to_string())
            .replace("{netmask}", &self.netmask.to_string())
    }
}

/// The namespace with the card in it; gone with the last who uses it.
pub(crate) struct Network {
    namespace: Arc<OwnedFd>,
}

impl Network {
    /// Makes the namespace and the card, which `user` may open as well as who has the capability.
    ///
    /// # Errors
    /// It is not permitted: that takes root, or CAP_SYS_ADMIN and CAP_NET_ADMIN.
    pub fn make(user: Option<u32>) -> Result<Self> {
        let made = apart(|| {
            // SAFETY: it concerns this thread alone, which ends after it.
            succeeded(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
            make_card(user)?;
            File::open("/proc/thread-self/ns/net").map(OwnedFd::from)
        });
        made.map(|namespace| Self { namespace: Arc::new(namespace) }).map_err(|error| {
            Error::new(
                ErrorKind::Unavailable,
                "start microVM",
                "cannot make a network card for the machine; run Limes as root or with CAP_SYS_ADMIN and CAP_NET_ADMIN, with \
                 /dev/net/tun there, or use vmm = \"qemu\", which needs neither",
            )
            .from_source(error)
        })
    }

    /// Has `command` start in the namespace.
    pub fn enter(&self, command: &mut Command) {
        let namespace = self.namespace.clone();
        // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
        unsafe {
            command.pre_exec(move || join(&namespace));
        }
    }

    /// A connection to the guest.
    ///
    /// # Errors
    /// It does not listen there, or not yet.
    pub async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let namespace = self.namespace.clone();
        let socket = tokio::task::spawn_blocking(move || {
            apart(move || {
                join(&namespace)?;
                socket(SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
            })
        });
        let socket = socket.await.map_err(io::Error::other)??;
        let guest = SocketAddr::V4(SocketAddrV4::new(Addresses::TAP.guest, port));
        TcpSocket::from_std_stream(socket.into()).connect(guest).await
    }
}

/// Runs `work` on a thread that is gone after it, so that what it does to its namespaces is nobody else's.
fn apart<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let worker = std::thread::Builder::new().name("limes-net".into()).spawn_scoped(scope, work)?;
        worker.join().unwrap_or_else(|_| Err(io::Error::other("the thread of the network died")))
    })
}

fn join(namespace: &OwnedFd) -> io::Result<()> {
    // SAFETY: it concerns this thread alone, which ends after it or becomes another program.
    succeeded(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })
}

/// Makes the tap device of this thread's namespace, with an address, and with the guest's known.
fn make_card(user: Option<u32>) -> io::Result<()> {
    const TUN_DEVICE: &str = "/dev/net/tun";
    let tun = File::options()
        .read(true)
        .write(true)
        .open(TUN_DEVICE)
        .map_err(|error| io::Error::new(error.kind(), format!("{TUN_DEVICE}: {error}")))?;
    let mut request = interface();
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
    control(&tun, libc::TUNSETIFF, &raw mut request)?;
    if let Some(user) = user {
        // SAFETY: the call takes its argument as a number.
        succeeded(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETOWNER, libc::c_ulong::from(user)) })?;
    }
    // The monitor opens it anew.
    // SAFETY: the call takes its argument as a number.
    succeeded(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETPERSIST, 1) })?;
    let socket = socket(SocketType::DGRAM, SocketFlags::CLOEXEC)?;
    for (call, address) in
        [(libc::SIOCSIFADDR, Addresses::TAP.host), (libc::SIOCSIFNETMASK, Addresses::TAP.netmask)]
    {
        let mut request = interface();
        request.ifr_ifru.ifru_addr = socket_address(address);
        control(&socket, call, &raw mut request)?;
    }
    let mut request = interface();
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    control(&socket, libc::SIOCSIFFLAGS, &raw mut request)?;
    know_guest(&socket)
}

/// Enters the guest's hardware address, so that nobody has to wait for an answer to the question for it.
fn know_guest(socket: &OwnedFd) -> io::Result<()> {
    const ATF_COM: libc::c_int = 0x02;
    const ATF_PERM: libc::c_int = 0x04;
    // SAFETY: all zero is a value of the structure.
    let mut entry: libc::arpreq = unsafe { std::mem::zeroed() };
    entry.arp_pa = socket_address(Addresses::TAP.guest);
    entry.arp_ha.sa_family = libc::ARPHRD_ETHER;
    for (to, from) in entry.arp_ha.sa_data.iter_mut().zip(GUEST_MAC_BYTES) {
        *to = from as libc::c_char;
    }
    entry.arp_flags = ATF_COM | ATF_PERM;
    for (to, from) in entry.arp_dev.iter_mut().zip(DEVICE.bytes()) {
        *to = from as libc::c_char;
    }
    control(socket, libc::SIOCSARP, &raw mut entry)
}

fn interface() -> libc::ifreq {
    // SAFETY: all zero is a value of the structure.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(DEVICE.bytes()) {
        *to = from as libc::c_char;
    }
    request
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let mut bytes = [0; 14];
    bytes[2..6].copy_from_slice(&address.octets().map(|octet| octet as libc::c_char));
    libc::sockaddr { sa_family: libc::AF_INET as libc::sa_family_t, sa_data: bytes }
}

fn control<T>(descriptor: &impl AsRawFd, call: libc::Ioctl, argument: *mut T) -> io::Result<()> {
    // SAFETY: each of the calls made here takes a pointer to the structure that it is given.
    succeeded(unsafe { libc::ioctl(descriptor.as_raw_fd(), call, argument) })
}

fn socket(kind: SocketType, flags: SocketFlags) -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(AddressFamily::INET, kind, flags, None)?)
}

fn succeeded(result: libc::c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
