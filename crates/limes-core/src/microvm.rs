use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// How a function runs when its sandbox is a microVM. Every field has a default.
///
/// The names are those of the table `[microvm]` of `limes.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MicroVm {
    /// Which virtual machine monitor. Default: the first that works here of built-in, Firecracker, QEMU.
    pub vmm: Vmm,
    /// What runs QEMU's machine. Default: KVM where it works.
    pub accelerator: Accelerator,
    /// What is done before a request comes. Default: the fastest that the monitor knows.
    pub mode: Mode,
    /// What a request shares with the one before it. Default: nothing of the machine's state.
    pub isolation: Isolation,
    /// Memory of the machine in bytes. Default: what the limit `memory` and the unikernel need.
    pub memory: Option<u64>,
    /// Machines kept waiting in the mode `warm`. Default 2.
    pub warm: Option<u32>,
    /// Set when the function's bytes are the kernel of an image of one's own.
    pub image: Option<Image>,
}

/// An image of one's own: Nanos, Unikraft, OSv, Linux, or anything else that a monitor boots.
///
/// The names are those of the table `[microvm.image]` of `limes.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// How a call reaches the function in it.
    pub protocol: Protocol,
    /// The root drive, a raw image; each machine gets a copy of its own.
    #[serde(default)]
    pub drive: Option<PathBuf>,
    /// What the kernel is booted with. `{ip}`, `{netmask}` and `{gateway}` become those of the machine's network card.
    #[serde(default)]
    pub arguments: String,
    /// The port that the image listens on, for [`Protocol::Http`]. Default 8080.
    #[serde(default = "Image::default_port")]
    pub port: u16,
}

impl Image {
    const fn default_port() -> u16 {
        8080
    }
}

macro_rules! named {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $type { $($(#[$variant_doc])* $variant,)* }

        impl $type {
            /// The name in the manifest.
            pub const fn name(self) -> &'static str { match self { $(Self::$variant => $name,)* } }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(self.name()) }
        }
    };
}

named! {
    /// A virtual machine monitor.
    Vmm {
        /// The first that works here.
        #[default]
        Auto = "auto",
        /// Limes' own, on KVM.
        Builtin = "builtin",
        /// Firecracker, on KVM.
        Firecracker = "firecracker",
        /// QEMU's machine `microvm`; by software where there is no KVM.
        Qemu = "qemu",
    }
}

named! {
    /// What runs the machine of QEMU; the other monitors have KVM only.
    Accelerator {
        /// KVM where QEMU boots the unikernel with it, software elsewhere.
        #[default]
        Auto = "auto",
        /// Software: the machine is emulated, at a fraction of the speed.
        Tcg = "tcg",
        /// Hardware virtualisation.
        Kvm = "kvm",
    }
}

named! {
    /// What is done before a request comes, and what is left for it.
    Mode {
        /// The fastest that the monitor knows.
        #[default]
        Auto = "auto",
        /// Nothing: process, machine and function are made for each request.
        EndToEnd = "end-to-end",
        /// All but the start of the machine.
        PreConfigured = "pre-configured",
        /// The function was started once; each request gets a machine restored from that state.
        Snapshot = "snapshot",
        /// Machines are put back to that state after a request and wait for the next.
        Reset = "reset",
        /// As `reset`, with machines made before the first request.
        Warm = "warm",
    }
}

named! {
    /// How a call reaches the function in an image of one's own.
    Protocol {
        /// SPARE's: the guest connects to vsock CID 2, port 1234, and says `ready`; then a length, as 64 bits in network order, and as many
        /// bytes go each way.
        #[default]
        Spare = "spare",
        /// HTTP/1.1, on a port of the guest's network card.
        Http = "http",
    }
}

named! {
    /// What a request shares with the one before it.
    Isolation {
        /// Nothing of the machine's state; it may run in the same process of the monitor.
        #[default]
        FreshState = "fresh-state",
        /// Nothing at all: machine and process end with the request.
        FreshProcess = "fresh-process",
        /// The machine goes on as it is, its memory included: for functions that trust all their callers alike.
        Reuse = "reuse",
    }
}
