//! The functions of WASI that a guest cannot do itself, answered by wasmtime-wasi.

use super::Services;
use super::wire::{Arguments, Put};
use limes_channel::FORWARDED;
use limes_wasm::grants::name_lookup_allowed;
use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::WasiFilesystemView;
use wasmtime_wasi::p2::bindings::filesystem::preopens::Host as _;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self as fs, Host as _, HostDescriptor, HostDirectoryEntryStream,
};
use wasmtime_wasi::p2::bindings::sockets::instance_network::Host as _;
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{Host as _, HostResolveAddressStream};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, Host as _};
use wasmtime_wasi::p2::bindings::sockets::tcp::HostTcpSocket;
use wasmtime_wasi::p2::bindings::sockets::tcp_create_socket::Host as _;
use wasmtime_wasi::p2::bindings::sockets::udp::{
    HostIncomingDatagramStream, HostOutgoingDatagramStream, HostUdpSocket,
};
use wasmtime_wasi::p2::bindings::sockets::udp_create_socket::Host as _;
use wasmtime_wasi::p2::{FsError, Network, SocketError};
use wasmtime_wasi::sockets::WasiSocketsView;

/// What wasmtime-wasi's functions return: a value, or an error that is a code of WASI or ends the guest.
trait Returned {
    fn put(self, into: &mut Vec<u8>) -> wasmtime::Result<()>;
}

impl<T: Put> Returned for wasmtime::Result<T> {
    fn put(self, into: &mut Vec<u8>) -> wasmtime::Result<()> {
        self?.put(into);
        Ok(())
    }
}

impl<T: Put> Returned for Result<T, FsError> {
    fn put(self, into: &mut Vec<u8>) -> wasmtime::Result<()> {
        match self {
            Ok(value) => Ok::<_, fs::ErrorCode>(value).put(into),
            Err(error) => Err::<T, fs::ErrorCode>(error.downcast()?).put(into),
        }
        Ok(())
    }
}

impl<T: Put> Returned for Result<T, SocketError> {
    fn put(self, into: &mut Vec<u8>) -> wasmtime::Result<()> {
        match self {
            Ok(value) => Ok::<_, ErrorCode>(value).put(into),
            Err(error) => Err::<T, ErrorCode>(error.downcast()?).put(into),
        }
        Ok(())
    }
}

/// Calls `method` of `trait` on a view: the types of the arguments are those of its parameters.
macro_rules! call {
    ($view:expr, $into:ident, $from:ident, $trait:ident :: $method:ident ( $($arg:ident)* )) => {{
        $(let $arg = $from.take()?;)*
        Returned::put($trait::$method(&mut $view, $($arg),*), $into)
    }};
    ($view:expr, $into:ident, $from:ident, async $trait:ident :: $method:ident ( $($arg:ident)* )) => {{
        $(let $arg = $from.take()?;)*
        Returned::put($trait::$method(&mut $view, $($arg),*).await, $into)
    }};
}

impl Services {
    /// Answers function number `function`; the result goes to `into`.
    ///
    /// # Errors
    /// There is none of that number, its arguments are others, a handle is wrong, or the function ends the guest.
    pub(super) async fn forward(
        &mut self,
        function: u16,
        arguments: &[u8],
        into: &mut Vec<u8>,
    ) -> wasmtime::Result<()> {
        let Some((interface, name)) = FORWARDED.get(usize::from(function)) else {
            wasmtime::bail!("there is no function {function} to forward");
        };
        let from = Arguments(arguments);
        let name = name.strip_prefix("[method]").unwrap_or(name);
        match *interface {
            "wasi:filesystem/preopens" => Returned::put(self.filesystem().get_directories(), into),
            "wasi:filesystem/types" => self.file_function(name, from, into).await,
            "wasi:sockets/tcp" | "wasi:sockets/tcp-create-socket" => {
                self.tcp_function(name, from, into).await
            }
            "wasi:sockets/udp" | "wasi:sockets/udp-create-socket" => {
                self.udp_function(name, from, into).await
            }
            _ => self.network_function(name, from, into),
        }
    }

    async fn file_function(
        &mut self,
        name: &str,
        mut from: Arguments<'_>,
        into: &mut Vec<u8>,
    ) -> wasmtime::Result<()> {
        use HostDescriptor as D;
        use HostDirectoryEntryStream as E;
        let mut view = self.filesystem();
        match name {
            "descriptor.read-via-stream" => call!(view, into, from, D::read_via_stream(a b)),
            "descriptor.write-via-stream" => call!(view, into, from, D::write_via_stream(a b)),
            "descriptor.append-via-stream" => call!(view, into, from, D::append_via_stream(a)),
            "descriptor.advise" => call!(view, into, from, async D::advise(a b c d)),
            "descriptor.sync-data" => call!(view, into, from, async D::sync_data(a)),
            "descriptor.get-flags" => call!(view, into, from, async D::get_flags(a)),
            "descriptor.get-type" => call!(view, into, from, async D::get_type(a)),
            "descriptor.set-size" => call!(view, into, from, async D::set_size(a b)),
            "descriptor.set-times" => call!(view, into, from, async D::set_times(a b c)),
            "descriptor.read" => {
                let (descriptor, length, offset) = (from.take()?, from.take::<u64>()?, from.take()?);
                let length = length.min(limes_channel::MAX_CHUNK as u64);
                Returned::put(D::read(&mut view, descriptor, length, offset).await, into)
            }
            "descriptor.write" => call!(view, into, from, async D::write(a b c)),
            "descriptor.read-directory" => call!(view, into, from, async D::read_directory(a)),
            "descriptor.sync" => call!(view, into, from, async D::sync(a)),
            "descriptor.create-directory-at" => call!(view, into, from, async D::create_directory_at(a b)),
            "descriptor.stat" => call!(view, into, from, async D::stat(a)),
            "descriptor.stat-at" => call!(view, into, from, async D::stat_at(a b c)),
            "descriptor.set-times-at" => call!(view, into, from, async D::set_times_at(a b c d e)),
            "descriptor.link-at" => call!(view, into, from, async D::link_at(a b c d e)),
            "descriptor.open-at" => call!(view, into, from, async D::open_at(a b c d e)),
            "descriptor.readlink-at" => call!(view, into, from, async D::readlink_at(a b)),
            "descriptor.remove-directory-at" => call!(view, into, from, async D::remove_directory_at(a b)),
            "descriptor.rename-at" => call!(view, into, from, async D::rename_at(a b c d)),
            "descriptor.symlink-at" => call!(view, into, from, async D::symlink_at(a b c)),
            "descriptor.unlink-file-at" => call!(view, into, from, async D::unlink_file_at(a b)),
            "descriptor.is-same-object" => call!(view, into, from, async D::is_same_object(a b)),
            "descriptor.metadata-hash" => call!(view, into, from, async D::metadata_hash(a)),
            "descriptor.metadata-hash-at" => call!(view, into, from, async D::metadata_hash_at(a b c)),
            "directory-entry-stream.read-directory-entry" => {
                call!(view, into, from, async E::read_directory_entry(a))
            }
            _ => Returned::put(view.filesystem_error_code(from.take()?), into),
        }
    }

    async fn tcp_function(
        &mut self,
        name: &str,
        mut from: Arguments<'_>,
        into: &mut Vec<u8>,
    ) -> wasmtime::Result<()> {
        use HostTcpSocket as T;
        let mut view = self.sockets();
        match name.strip_prefix("tcp-socket.").unwrap_or(name) {
            "create-tcp-socket" => Returned::put(view.create_tcp_socket(from.take()?), into),
            "start-bind" => call!(view, into, from, async T::start_bind(a b c)),
            "finish-bind" => call!(view, into, from, T::finish_bind(a)),
            "start-connect" => call!(view, into, from, T::start_connect(a b c)),
            "finish-connect" => call!(view, into, from, T::finish_connect(a)),
            "start-listen" => call!(view, into, from, async T::start_listen(a)),
            "finish-listen" => call!(view, into, from, T::finish_listen(a)),
            "accept" => call!(view, into, from, T::accept(a)),
            "local-address" => call!(view, into, from, T::local_address(a)),
            "remote-address" => call!(view, into, from, T::remote_address(a)),
            "is-listening" => call!(view, into, from, T::is_listening(a)),
            "address-family" => call!(view, into, from, T::address_family(a)),
            "set-listen-backlog-size" => call!(view, into, from, T::set_listen_backlog_size(a b)),
            "keep-alive-enabled" => call!(view, into, from, T::keep_alive_enabled(a)),
            "set-keep-alive-enabled" => call!(view, into, from, T::set_keep_alive_enabled(a b)),
            "keep-alive-idle-time" => call!(view, into, from, T::keep_alive_idle_time(a)),
            "set-keep-alive-idle-time" => call!(view, into, from, T::set_keep_alive_idle_time(a b)),
            "keep-alive-interval" => call!(view, into, from, T::keep_alive_interval(a)),
            "set-keep-alive-interval" => call!(view, into, from, T::set_keep_alive_interval(a b)),
            "keep-alive-count" => call!(view, into, from, T::keep_alive_count(a)),
            "set-keep-alive-count" => call!(view, into, from, T::set_keep_alive_count(a b)),
            "hop-limit" => call!(view, into, from, T::hop_limit(a)),
            "set-hop-limit" => call!(view, into, from, T::set_hop_limit(a b)),
            "receive-buffer-size" => call!(view, into, from, T::receive_buffer_size(a)),
            "set-receive-buffer-size" => call!(view, into, from, T::set_receive_buffer_size(a b)),
            "send-buffer-size" => call!(view, into, from, T::send_buffer_size(a)),
            "set-send-buffer-size" => call!(view, into, from, T::set_send_buffer_size(a b)),
            "subscribe" => call!(view, into, from, T::subscribe(a)),
            _ => call!(view, into, from, T::shutdown(a b)),
        }
    }

    async fn udp_function(
        &mut self,
        name: &str,
        mut from: Arguments<'_>,
        into: &mut Vec<u8>,
    ) -> wasmtime::Result<()> {
        use HostIncomingDatagramStream as I;
        use HostOutgoingDatagramStream as O;
        use HostUdpSocket as U;
        let mut view = self.sockets();
        match name {
            "create-udp-socket" => Returned::put(view.create_udp_socket(from.take()?).await, into),
            "udp-socket.start-bind" => call!(view, into, from, async U::start_bind(a b c)),
            "udp-socket.finish-bind" => call!(view, into, from, U::finish_bind(a)),
            "udp-socket.stream" => call!(view, into, from, async U::stream(a b)),
            "udp-socket.local-address" => call!(view, into, from, U::local_address(a)),
            "udp-socket.remote-address" => call!(view, into, from, U::remote_address(a)),
            "udp-socket.address-family" => call!(view, into, from, U::address_family(a)),
            "udp-socket.unicast-hop-limit" => call!(view, into, from, U::unicast_hop_limit(a)),
            "udp-socket.set-unicast-hop-limit" => call!(view, into, from, U::set_unicast_hop_limit(a b)),
            "udp-socket.receive-buffer-size" => call!(view, into, from, U::receive_buffer_size(a)),
            "udp-socket.set-receive-buffer-size" => call!(view, into, from, U::set_receive_buffer_size(a b)),
            "udp-socket.send-buffer-size" => call!(view, into, from, U::send_buffer_size(a)),
            "udp-socket.set-send-buffer-size" => call!(view, into, from, U::set_send_buffer_size(a b)),
            "udp-socket.subscribe" => call!(view, into, from, U::subscribe(a)),
            "incoming-datagram-stream.receive" => {
                let (stream, most) = (from.take()?, from.take::<u64>()?);
                // A datagram is at most 64 KiB: eight of them fit a frame.
                Returned::put(I::receive(&mut view, stream, most.min(8)), into)
            }
            "incoming-datagram-stream.subscribe" => call!(view, into, from, I::subscribe(a)),
            "outgoing-datagram-stream.check-send" => call!(view, into, from, O::check_send(a)),
            "outgoing-datagram-stream.send" => call!(view, into, from, O::send(a b)),
            _ => call!(view, into, from, O::subscribe(a)),
        }
    }

    fn network_function(
        &mut self,
        name: &str,
        mut from: Arguments<'_>,
        into: &mut Vec<u8>,
    ) -> wasmtime::Result<()> {
        use HostResolveAddressStream as R;
        match name {
            "instance-network" => Returned::put(self.sockets().instance_network(), into),
            "network-error-code" => Returned::put(self.sockets().network_error_code(from.take()?), into),
            "resolve-addresses" => {
                let (network, name): (Resource<Network>, String) = (from.take()?, from.take()?);
                if !name_lookup_allowed(&*self.granted, &name) {
                    Err::<(), _>(ErrorCode::AccessDenied).put(into);
                    return Ok(());
                }
                Returned::put(self.sockets().resolve_addresses(network, name), into)
            }
            "resolve-address-stream.resolve-next-address" => {
                call!(self.sockets(), into, from, R::resolve_next_address(a))
            }
            _ => call!(self.sockets(), into, from, R::subscribe(a)),
        }
    }
}
