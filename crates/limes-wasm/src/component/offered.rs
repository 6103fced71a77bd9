use super::interface::{Interface, Wasi};
use super::source::list;
use limes_core::{Error, ErrorKind};

/// What a grant opens; its name is that of the manifest.
#[derive(Clone, Copy)]
struct Offer {
    package: &'static str,
    interface: &'static str,
    wasi: Wasi,
    grants: &'static [&'static str],
}

const fn v02(package: &'static str, interface: &'static str, grants: &'static [&'static str]) -> Offer {
    Offer { package, interface, wasi: Wasi::V02, grants }
}

const fn v03(package: &'static str, interface: &'static str, grants: &'static [&'static str]) -> Offer {
    Offer { package, interface, wasi: Wasi::V03, grants }
}

/// Every interface that the component sandbox hosts, and the grants without which it opens nothing.
const OFFERED: &[Offer] = &[
    v02("wasi:cli", "environment", &["env"]),
    v02("wasi:cli", "exit", &[]),
    v02("wasi:cli", "stderr", &[]),
    v02("wasi:cli", "stdin", &[]),
    v02("wasi:cli", "stdout", &[]),
    v02("wasi:cli", "terminal-input", &[]),
    v02("wasi:cli", "terminal-output", &[]),
    v02("wasi:cli", "terminal-stderr", &[]),
    v02("wasi:cli", "terminal-stdin", &[]),
    v02("wasi:cli", "terminal-stdout", &[]),
    v02("wasi:clocks", "monotonic-clock", &[]),
    v02("wasi:clocks", "wall-clock", &[]),
    v02("wasi:filesystem", "preopens", &["dirs"]),
    v02("wasi:filesystem", "types", &["dirs"]),
    v02("wasi:http", "outgoing-handler", &["http"]),
    v02("wasi:http", "types", &[]),
    v02("wasi:io", "error", &[]),
    v02("wasi:io", "poll", &[]),
    v02("wasi:io", "streams", &[]),
    v02("wasi:random", "insecure", &[]),
    v02("wasi:random", "insecure-seed", &[]),
    v02("wasi:random", "random", &[]),
    v02("wasi:sockets", "instance-network", &[]),
    v02("wasi:sockets", "ip-name-lookup", &["dns"]),
    v02("wasi:sockets", "network", &[]),
    v02("wasi:sockets", "tcp", &["tcp"]),
    v02("wasi:sockets", "tcp-create-socket", &["tcp"]),
    v02("wasi:sockets", "udp", &["udp"]),
    v02("wasi:sockets", "udp-create-socket", &["udp"]),
    v03("wasi:cli", "environment", &["env"]),
    v03("wasi:cli", "exit", &[]),
    v03("wasi:cli", "stderr", &[]),
    v03("wasi:cli", "stdin", &[]),
    v03("wasi:cli", "stdout", &[]),
    v03("wasi:cli", "terminal-input", &[]),
    v03("wasi:cli", "terminal-output", &[]),
    v03("wasi:cli", "terminal-stderr", &[]),
    v03("wasi:cli", "terminal-stdin", &[]),
    v03("wasi:cli", "terminal-stdout", &[]),
    v03("wasi:cli", "types", &[]),
    v03("wasi:clocks", "monotonic-clock", &[]),
    v03("wasi:clocks", "system-clock", &[]),
    v03("wasi:clocks", "types", &[]),
    v03("wasi:filesystem", "preopens", &["dirs"]),
    v03("wasi:filesystem", "types", &["dirs"]),
    v03("wasi:http", "client", &["http"]),
    v03("wasi:http", "types", &[]),
    v03("wasi:random", "insecure", &[]),
    v03("wasi:random", "insecure-seed", &[]),
    v03("wasi:random", "random", &[]),
    v03("wasi:sockets", "ip-name-lookup", &["dns"]),
    v03("wasi:sockets", "types", &["tcp", "udp"]),
];

/// Grants in the order of the manifest.
const GRANTS: [&str; 6] = ["env", "dirs", "http", "tcp", "udp", "dns"];

fn offer(import: &str) -> Option<&'static Offer> {
    let interface = Interface::parse(import)?;
    let wasi = interface.wasi()?;
    OFFERED.iter().find(|offer| {
        offer.wasi == wasi && offer.package == interface.package && offer.interface == interface.name
    })
}

/// Whether the component sandbox hosts the interface `import`, of any release of WASI 0.2 or 0.3.
pub fn is_offered(import: &str) -> bool {
    offer(import).is_some()
}

/// The interfaces that the component sandbox hosts, as `wasi:http/types@0.2`.
pub fn offered_interfaces() -> impl Iterator<Item = String> {
    OFFERED.iter().map(|offer| {
        let release = match offer.wasi {
            Wasi::V02 => "0.2",
            Wasi::V03 => "0.3",
        };
        format!("{}/{}@{release}", offer.package, offer.interface)
    })
}

/// The grants that imports may come to need; an import does not tell whether the guest will use it.
pub(super) fn grants<'a>(imports: impl Iterator<Item = &'a str>) -> Vec<&'static str> {
    let needed: Vec<_> = imports.filter_map(offer).flat_map(|offer| offer.grants).collect();
    GRANTS.into_iter().filter(|grant| needed.contains(&grant)).collect()
}

/// The error for a component that imports what no sandbox offers. `imports` are the names of those imports.
pub fn unsupported_import_error(imports: &[impl AsRef<str>]) -> Error {
    let mut packages: Vec<_> = OFFERED.iter().map(|offer| offer.package).collect();
    packages.dedup();
    packages.sort_unstable();
    packages.dedup();
    Error::new(
        ErrorKind::BadComponent,
        "link component",
        format!(
            "component imports {}, which no sandbox of Limes offers; offered: {}, each of WASI 0.2 or 0.3 \
             (pre-releases excepted). Compose it with a component that exports what it lacks, or build it without",
            list(imports),
            packages.join(", ")
        ),
    )
    .with("imports", imports.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(" "))
}
