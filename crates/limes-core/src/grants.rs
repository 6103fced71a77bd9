use crate::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// What one function may reach. The default is nothing; clocks and randomness need no grant.
///
/// The names are those of `limes.toml` and of the Python keyword arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    /// Environment variables the guest sees.
    pub env: BTreeMap<String, String>,
    /// Arguments every invocation starts with, after the program name.
    pub args: Vec<String>,
    /// Directories the guest may open.
    pub dirs: Vec<DirectoryGrant>,
    /// Hosts the guest may send HTTP requests to, such as `api.example.com:443`.
    pub http: Vec<HostPattern>,
    /// Addresses the guest may open TCP connections to.
    pub tcp: Vec<AddressPattern>,
    /// Addresses the guest may exchange UDP datagrams with.
    pub udp: Vec<AddressPattern>,
    /// Whether the guest may look up host names.
    pub dns: bool,
    /// Whether stdin, stdout and stderr are those of the process. For the command line; a node refuses it.
    pub stdio: bool,
}

/// A directory of the host, where the guest sees it, and whether it may write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectoryGrant {
    /// The directory on the host.
    pub host: PathBuf,
    /// Its path in the guest, such as `/data`.
    pub guest: String,
    /// Whether the guest may create, change and remove files. Default false.
    #[serde(default)]
    pub writable: bool,
}

/// Which port a pattern covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    Any,
    Web,
    One(u16),
}

impl Port {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "*" => Some(Self::Any),
            _ => text.parse().ok().map(Self::One),
        }
    }

    fn covers(self, port: u16) -> bool {
        match self {
            Self::Any => true,
            Self::Web => port == 80 || port == 443,
            Self::One(only) => only == port,
        }
    }
}

fn invalid(what: &str, found: &str, accepted: &str) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        "read grants",
        format!("`{found}` is no {what}; write it as {accepted}"),
    )
}

/// A host name and port that outbound HTTP may reach: `api.example.com:443`, `*.example.com:8080`,
/// `127.0.0.1:9000`, `[::1]:80`, `*:*`. Without a port, 80 and 443.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern {
    text: String,
    host: String,
    port: Port,
}

impl HostPattern {
    /// Whether a request to `host` (without brackets) on `port` is covered.
    /// Names are compared without regard to case; `*.` covers every name below, not the name itself.
    pub fn covers(&self, host: &str, port: u16) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let named = if self.host == "*" {
            true
        } else if let Some(domain) = self.host.strip_prefix('*') {
            host.len() > domain.len() && host.ends_with(domain)
        } else {
            host == self.host
        };
        named && self.port.covers(port)
    }
}

impl FromStr for HostPattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let error = || {
            invalid("host", text, "HOST, HOST:PORT, *.DOMAIN:PORT or [IPV6]:PORT, with PORT a number or *")
        };
        let (host, port) = split_port(text).ok_or_else(error)?;
        let port = match port {
            Some(port) => Port::parse(port).ok_or_else(error)?,
            None => Port::Web,
        };
        let is_ipv6 = host.contains(':');
        let name = host.strip_prefix("*.").unwrap_or(host);
        let valid = if is_ipv6 {
            host.parse::<std::net::Ipv6Addr>().is_ok()
        } else {
            host == "*"
                || (!name.is_empty()
                    && name.split('.').all(|label| {
                        !label.is_empty()
                            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                    }))
        };
        if !valid {
            return Err(error());
        }
        Ok(Self { text: text.to_owned(), host: host.to_ascii_lowercase(), port })
    }
}

/// Splits `host[:port]`, brackets taken off an IPv6 address.
fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        return match after {
            "" => Some((host, None)),
            _ => Some((host, Some(after.strip_prefix(':')?))),
        };
    }
    match text.rsplit_once(':') {
        Some((host, port)) => Some((host, Some(port))),
        None => Some((text, None)),
    }
}

/// Socket addresses: `10.0.0.5:5432`, `10.0.0.0/8:443`, `[fd00::/8]:53`, `*:53`. The port is needed, `*` is any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressPattern {
    text: String,
    network: Option<(IpAddr, u8)>,
    port: Port,
}

impl AddressPattern {
    /// Whether `address` is covered. An IPv4 address mapped into IPv6 is taken as IPv4.
    pub fn covers(&self, address: &SocketAddr) -> bool {
        self.port.covers(address.port())
            && self.network.is_none_or(|(network, prefix)| match (network, address.ip().to_canonical()) {
                (IpAddr::V4(n), IpAddr::V4(a)) => {
                    let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                    n.to_bits() & mask == a.to_bits() & mask
                }
                (IpAddr::V6(n), IpAddr::V6(a)) => {
                    let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                    n.to_bits() & mask == a.to_bits() & mask
                }
                _ => false,
            })
    }
}

impl FromStr for AddressPattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let error = || {
            invalid(
                "address",
                text,
                "ADDRESS:PORT, ADDRESS/PREFIX:PORT, [IPV6]:PORT or *:PORT, with PORT a number or *",
            )
        };
        let (host, port) = split_port(text).ok_or_else(error)?;
        let port = port.and_then(Port::parse).ok_or_else(error)?;
        let network = if host == "*" {
            None
        } else {
            let (address, prefix) = match host.split_once('/') {
                Some((address, prefix)) => (address, Some(prefix.parse::<u8>().map_err(|_| error())?)),
                None => (host, None),
            };
            let address: IpAddr = address.parse().map_err(|_| error())?;
            let widest = if address.is_ipv4() { 32 } else { 128 };
            let prefix = prefix.unwrap_or(widest);
            if prefix > widest {
                return Err(error());
            }
            Some((address, prefix))
        };
        Ok(Self { text: text.to_owned(), network, port })
    }
}

macro_rules! as_text {
    ($($type:ident)*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.text)
            }
        }
        impl TryFrom<String> for $type {
            type Error = Error;
            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(pattern: $type) -> Self {
                pattern.text
            }
        }
    )*};
}
as_text!(HostPattern AddressPattern);

#[cfg(test)]
mod tests {
    use super::*;

    fn host(pattern: &str, name: &str, port: u16) -> bool {
        pattern.parse::<HostPattern>().unwrap().covers(name, port)
    }

    fn address(pattern: &str, address: &str) -> bool {
        pattern.parse::<AddressPattern>().unwrap().covers(&address.parse().unwrap())
    }

    #[test]
    fn a_host_covers_its_own_name_and_port_only() {
        assert!(host("api.example.com:443", "API.example.com.", 443));
        assert!(!host("api.example.com:443", "api.example.com", 80));
        assert!(!host("api.example.com:443", "evil-api.example.com", 443));
        assert!(host("api.example.com", "api.example.com", 80));
        assert!(!host("api.example.com", "api.example.com", 8080));
        assert!(host("[::1]:80", "::1", 80));
    }

    #[test]
    fn a_wildcard_covers_names_below_it_only() {
        assert!(host("*.example.com:443", "a.b.example.com", 443));
        assert!(!host("*.example.com:443", "example.com", 443));
        assert!(!host("*.example.com:443", "badexample.com", 443));
        assert!(host("*:*", "anything", 1));
    }

    #[test]
    fn an_address_covers_its_network_and_port_only() {
        assert!(address("10.0.0.0/8:443", "10.9.8.7:443"));
        assert!(!address("10.0.0.0/8:443", "11.0.0.1:443"));
        assert!(!address("10.0.0.0/8:443", "10.0.0.1:80"));
        assert!(address("127.0.0.1:80", "[::ffff:127.0.0.1]:80"));
        assert!(address("[fd00::/8]:*", "[fd12::1]:9"));
        assert!(address("0.0.0.0/0:1", "1.2.3.4:1"));
        assert!(address("*:53", "[::1]:53"));
    }

    #[test]
    fn a_bad_pattern_says_what_is_accepted() {
        for bad in ["", ":80", "a b:80", "http://x", "x:y", "*x.com:1", "[::1", "a..b"] {
            let error = bad.parse::<HostPattern>().unwrap_err();
            assert!(error.to_string().contains("HOST:PORT"), "{bad}: {error}");
        }
        for bad in ["10.0.0.1", "10.0.0.1/33:1", "name:80", "10.0.0.1:99999"] {
            assert!(bad.parse::<AddressPattern>().is_err(), "{bad}");
        }
    }
}
