//! Grants into WASI: the one place that decides what a guest may reach.

use crate::capture::Capture;
use crate::function::Prepared;
use crate::host::Host;
use crate::session::Session;
use bytes::Bytes;
use http::uri::Scheme;
use http_body_util::BodyExt;
use limes_core::{DirectoryGrant, Error, ErrorKind, Grants, Result};
use rustix::fs::{self, CWD, Mode, OFlags, ResolveFlags};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::Network;
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{Host as _, ResolveAddressStream};
use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode;
use wasmtime_wasi::sockets::{SocketAddrUse, WasiSocketsView};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder};
use wasmtime_wasi_http::{Error as HttpError, RequestOptions, WasiBody, WasiHttpHooks};

/// How the guest's standard streams and arguments are set up for one invocation.
pub(crate) struct Stdio {
    pub args: Vec<String>,
    pub stdin: Bytes,
    pub stdout: Capture,
    pub stderr: Capture,
}

/// A call under grants, in whatever sandbox: what was granted, and who hears of what was not.
pub trait Granted: Send + Sync + 'static {
    /// What the function may reach.
    fn grants(&self) -> &Grants;

    /// The guest asked for `wanted`, which the grant `grant` does not hold.
    fn deny(&self, grant: &'static str, wanted: String);
}

/// A builder of the WASI context that holds exactly what was granted: environment, directories, sockets. Arguments and standard
/// streams are left to the caller.
///
/// # Errors
/// A granted directory cannot be opened.
pub fn context(granted: Arc<dyn Granted>) -> Result<WasiCtxBuilder> {
    let grants = granted.grants();
    let mut wasi = WasiCtxBuilder::new();
    for (key, value) in &grants.env {
        wasi.env(key, value);
    }
    for dir in &grants.dirs {
        open_directory(&mut wasi, dir)?;
    }
    // Each connection and datagram is checked below, each look-up by `name_lookup_allowed`.
    wasi.allow_tcp(true).allow_udp(true).allow_ip_name_lookup(grants.dns);
    wasi.socket_addr_check(move |address, usage| {
        let allowed = socket_allowed(&*granted, address, usage);
        Box::pin(async move { allowed })
    });
    Ok(wasi)
}

/// The context of a call in the process.
///
/// # Errors
/// As [`context`].
pub(crate) fn wasi_context(
    function: &Arc<Prepared>,
    session: &Arc<Session>,
    stdio: Stdio,
) -> Result<WasiCtx> {
    let grants = &function.grants;
    let mut wasi = context(Arc::new(Outbound { function: function.clone(), session: session.clone() }))?;
    wasi.arg(&function.name).args(&grants.args).args(&stdio.args);
    if grants.stdio {
        wasi.inherit_stdio();
    } else {
        if !stdio.stdin.is_empty() {
            wasi.stdin(wasmtime_wasi::p2::pipe::MemoryInputPipe::new(stdio.stdin));
        }
        wasi.stdout(stdio.stdout).stderr(stdio.stderr);
    }
    Ok(wasi.build())
}

/// Opens a directory at the path that it had when it was granted. A link on the way there may be the work of a guest that was granted what
/// lies around it, and is not followed.
fn open_directory(wasi: &mut WasiCtxBuilder, dir: &DirectoryGrant) -> Result<()> {
    let failed = |error: wasmtime::Error| {
        Error::new(
            ErrorKind::Io,
            "open granted directory",
            format!(
                "cannot open `{}`, granted as `{}`; make the directory or change `grants.dirs`",
                dir.host.display(),
                dir.guest
            ),
        )
        .from_source(error)
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = fs::openat2(CWD, &dir.host, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
        .map_err(|error| failed(io::Error::from(error).into()))?;
    let path = format!("/proc/self/fd/{}", opened.as_raw_fd());
    let perms = if dir.writable { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
    wasi.preopened_dir(path, &dir.guest, perms).map_err(failed)?;
    Ok(())
}

fn socket_allowed(granted: &dyn Granted, address: std::net::SocketAddr, usage: SocketAddrUse) -> bool {
    let grants = granted.grants();
    let (grant, patterns) = match usage {
        // Before it connects or sends, a socket is bound to any free port; it reaches nothing by that.
        SocketAddrUse::TcpBind | SocketAddrUse::UdpBind if address.port() == 0 => return true,
        SocketAddrUse::TcpBind | SocketAddrUse::TcpConnect => ("tcp", &grants.tcp),
        SocketAddrUse::UdpBind | SocketAddrUse::UdpSend | SocketAddrUse::UdpReceive => ("udp", &grants.udp),
        // Functions are called through their contract; there is no grant to listen.
        SocketAddrUse::TcpListen | SocketAddrUse::TcpAccept => {
            granted.deny("tcp", format!("listen on {address}"));
            return false;
        }
    };
    let allowed = patterns.iter().any(|pattern| pattern.covers(&address));
    if !allowed {
        granted.deny(grant, address.to_string());
    }
    allowed
}

/// Whether the guest may look up `name`.
pub fn name_lookup_allowed(granted: &dyn Granted, name: &str) -> bool {
    let allowed = granted.grants().dns;
    if !allowed {
        granted.deny("dns", shown(name));
    }
    allowed
}

/// What a log shows of a host that a guest has named: no more than a name can have, and no line of its own.
fn shown(host: &str) -> String {
    host.chars().take(253).flat_map(char::escape_debug).collect()
}

/// Whether the guest may send a request to `uri`; one without a host is left to whoever sends it.
fn http_allowed(granted: &dyn Granted, uri: &http::Uri) -> bool {
    let Some(host) = uri.host() else { return true };
    let default = if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let port = uri.port_u16().unwrap_or(default);
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let allowed = granted.grants().http.iter().any(|pattern| pattern.covers(bare, port));
    if !allowed {
        granted.deny("http", format!("{}:{port}", shown(host)));
    }
    allowed
}

/// Puts a check of the `dns` grant before `wasi:sockets/ip-name-lookup@0.2`, so that a refusal is noted.
pub(crate) fn define_name_lookup(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let mut lookup = linker.instance("wasi:sockets/ip-name-lookup@0.2.12")?;
    lookup.func_wrap(
        "resolve-addresses",
        |mut store: StoreContextMut<'_, Host>, (network, name): (Resource<Network>, String)| {
            let host = store.data_mut();
            let granted = Outbound { function: host.function().clone(), session: host.session.clone() };
            if !name_lookup_allowed(&granted, &name) {
                return Ok((Err(ErrorCode::AccessDenied),));
            }
            let stream: Result<Resource<ResolveAddressStream>, _> =
                host.sockets().resolve_addresses(network, name);
            match stream {
                Ok(stream) => Ok((Ok(stream),)),
                Err(error) => Ok((Err(error.downcast()?),)),
            }
        },
    )
}

/// Outbound HTTP through the grants, for wasi:http 0.2 and 0.3 alike.
pub(crate) struct Outbound {
    pub function: Arc<Prepared>,
    pub session: Arc<Session>,
}

impl Granted for Outbound {
    fn grants(&self) -> &Grants {
        &self.function.grants
    }

    fn deny(&self, grant: &'static str, wanted: String) {
        self.session.deny(grant, wanted);
    }
}

/// A response, and what moves its bytes as long as it is polled.
pub type Exchange = (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), HttpError>> + Send>);

impl WasiHttpHooks for Outbound {
    fn is_forbidden_header(&mut self, name: &http::HeaderName) -> bool {
        is_forbidden_header(name)
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), HttpError>> + Send>,
    ) -> Box<dyn Future<Output = Result<Exchange, HttpError>> + Send> {
        send(self, request, options)
    }
}

/// Whether a header field is the host's to set, and not to be seen or set by a guest.
pub fn is_forbidden_header(name: &http::HeaderName) -> bool {
    // The constant would be made anew at each look.
    static FORBIDDEN: [http::HeaderName; 9] = wasmtime_wasi_http::DEFAULT_FORBIDDEN_HEADERS;
    FORBIDDEN.contains(name)
}

/// Sends a request of the guest, if its destination was granted.
pub fn send(
    granted: &dyn Granted,
    request: http::Request<WasiBody>,
    options: Option<RequestOptions>,
) -> Box<dyn Future<Output = Result<Exchange, HttpError>> + Send> {
    if !http_allowed(granted, request.uri()) {
        return Box::new(async { Err(HttpError::HttpRequestDenied) });
    }
    Box::new(async move {
        let (response, io) = wasmtime_wasi_http::default_send_request(request, options).await?;
        let io: Box<dyn Future<Output = Result<(), HttpError>> + Send> = Box::new(io);
        Ok((response.map(BodyExt::boxed_unsync), io))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_a_guest_has_named_is_one_line_of_bounded_length() {
        assert_eq!(shown("example.com"), "example.com");
        assert_eq!(shown("x\nlimes: \u{1b}[2J"), "x\\nlimes: \\u{1b}[2J");
        assert_eq!(shown(&"x".repeat(1 << 20)).len(), 253);
    }
}
