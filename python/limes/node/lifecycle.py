"""A node's life: start, restore, serve, drain, end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import uvicorn

from limes import _native, microvm
from limes.errors import InvalidArgument, from_os
from limes.node.admin import AdminState, create_app
from limes.node.blobs import BlobStore
from limes.node.deployments import Deployments
from limes.node.home import Home, Running
from limes.node.registry import KEEP_REVISIONS, Registry

DEFAULT_LISTEN = "127.0.0.1:8080"
DEFAULT_ADMIN = "127.0.0.1:8081"
DEFAULT_GRACE_MS = 30_000
MAX_PORT = 65_535

_MAX_HEADER = 256 << 10  # of an admin request: the settings of a deploy are one
_ADMIN_GRACE_SECONDS = 5

_log = structlog.get_logger("limes.node")


@dataclass(frozen=True)
class Settings:
    """How to run a node."""

    home: Home
    listen: str = DEFAULT_LISTEN
    """Where functions are served, ``HOST:PORT``; port 0 is any."""
    admin: str = DEFAULT_ADMIN
    """Where the admin API is, ``HOST:PORT``; port 0 is any."""
    threads: int = 0
    """Server threads of the data plane; 0 is one a core."""
    busy_poll_us: int | None = None
    """How long a server thread polls for its next request before it sleeps, in microseconds, where the last one came as
    quickly; 0 is never, None the core's default."""
    grace_ms: int = DEFAULT_GRACE_MS
    """How long a shutdown waits for requests that were accepted."""
    cache_bytes: int = 10 << 30
    """What the compile cache may hold."""
    slots: int | None = None
    """Instances alive at once in the whole node; None is the core's default."""
    keep: int = KEEP_REVISIONS
    """Revisions to keep of each function."""


@dataclass(frozen=True)
class Ready:
    """What a node says when it serves."""

    running: Running
    home: Path
    functions: int
    broken: list[str]
    """Names of functions whose bytes are not what was deployed."""


@dataclass(frozen=True)
class Drained:
    """What a shutdown came to."""

    finished: int
    """Requests that ran to their end."""
    stopped: int
    """Requests that the grace period did not suffice for."""


def serve(settings: Settings, on_ready: Callable[[Ready], None]) -> Drained:
    """Run a node until SIGTERM or SIGINT, then drain it; a second signal ends the grace period.

    Args:
        settings: how to run it.
        on_ready: called once everything deployed is served.

    Raises:
        InvalidArgument: an address has no meaning.
        Unavailable: another node uses the home.
        CorruptedState: the registry cannot be trusted.
        LimesIOError: an address is taken, or the home cannot be used.
    """
    home = settings.home
    home.create()
    with home.locked(), _bound(settings.admin) as listener:
        home.retract()  # what one that was killed said
        token = home.token()
        registry = Registry(home.database)
        try:
            state = _assemble(settings, registry, listener)
            home.announce(state.running)
            try:
                app = create_app(state, token, str(home.path))
                return asyncio.run(_Server(settings, state, listener, app, on_ready).run())
            finally:
                home.retract()
                state.close()
        finally:
            registry.close()


def _assemble(settings: Settings, registry: Registry, listener: socket.socket) -> AdminState:
    home = settings.home
    blobs = BlobStore(home.blobs)
    slots: dict[str, Any] = {} if settings.slots is None else {"slots": settings.slots}
    engine = _native.Engine(
        cache_dir=str(home.cache),
        cache_bytes=settings.cache_bytes,
        microvm=json.dumps(microvm.settings()),
        **slots,
    )
    host, port, _ = _resolve(settings.listen)
    node = _native.Node(
        engine, _written(host, port), threads=settings.threads, busy_poll_us=settings.busy_poll_us
    )
    return AdminState(
        engine=engine,
        node=node,
        registry=registry,
        blobs=blobs,
        deployments=Deployments(node, registry, blobs, keep=settings.keep),
        running=Running(
            pid=os.getpid(),
            listen=node.address,
            admin=_written(*listener.getsockname()[:2]),
            version=_native.__version__,
        ),
    )


def _resolve(address: str) -> tuple[str, int, socket.AddressFamily]:
    """The IP address, port and family of a ``HOST:PORT``; a name may have several, the first is taken."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > MAX_PORT or not host:
        raise InvalidArgument(
            f"'{address}' is no address; write HOST:PORT, such as {DEFAULT_ADMIN} (port 0: any)",
            operation="listen",
        )
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError as error:
        raise InvalidArgument(
            f"'{address}': the host is not known ({error.strerror}); write HOST:PORT, as {DEFAULT_ADMIN}",
            operation="listen",
        ) from error
    family, _, _, _, place = found[0]
    return str(place[0]), int(port), family


@contextmanager
def _bound(address: str) -> Iterator[socket.socket]:
    host, port, family = _resolve(address)
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise from_os(error, "listen", f"cannot listen on {address} for the admin API") from error
        yield listener


def _written(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _AdminServer(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: they begin a drain, which ends the server."""
        yield


class _Server:
    """One run of a node, on its event loop."""

    def __init__(
        self,
        settings: Settings,
        state: AdminState,
        listener: socket.socket,
        app: object,
        on_ready: Callable[[Ready], None],
    ) -> None:
        self._settings = settings
        self._state = state
        self._listener = listener
        self._on_ready = on_ready
        self._signals = 0
        self._hurry = asyncio.Event()
        self._http = _AdminServer(
            uvicorn.Config(
                app,  # type: ignore[arg-type]
                log_config=None,
                access_log=False,
                lifespan="off",
                h11_max_incomplete_event_size=_MAX_HEADER,
                timeout_graceful_shutdown=_ADMIN_GRACE_SECONDS,
                http="h11",
                server_header=False,
            )
        )

    async def run(self) -> Drained:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        admin = asyncio.create_task(self._http.serve(sockets=[self._listener]))
        stopping = asyncio.create_task(self._state.stopping.wait())
        try:
            await asyncio.to_thread(self._state.deployments.restore)
            self._state.ready = True
            self._on_ready(await asyncio.to_thread(self._describe))
            checking = asyncio.create_task(
                asyncio.to_thread(self._state.deployments.check_rest, self._state.stopping.is_set)
            )
            await asyncio.wait({stopping, admin}, return_when=asyncio.FIRST_COMPLETED)
            drained = await self._drain()
            await checking
        finally:
            self._state.stopping.set()
            self._http.should_exit = True
            await asyncio.gather(admin, stopping)
        return drained

    def _on_signal(self) -> None:
        self._signals += 1
        _log.info("signal", count=self._signals)
        if self._signals == 1:
            self._state.stopping.set()
        else:
            self._hurry.set()

    def _describe(self) -> Ready:
        entries = self._state.registry.entries()
        broken = [entry.current.name for entry in entries if self._state.deployments.broken(entry.current)]
        return Ready(self._state.running, self._settings.home.path, len(entries), broken)

    async def _drain(self) -> Drained:
        self._state.stopping.set()
        node = self._state.node
        draining = asyncio.create_task(asyncio.to_thread(node.drain, self._settings.grace_ms))
        hurry = asyncio.create_task(self._hurry.wait())
        await asyncio.wait({draining, hurry}, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        cut_off = 0
        if not draining.done():
            # The first drain goes on waiting, and ends once this one has stopped what still runs.
            cut_off = json.loads(await asyncio.to_thread(node.drain, 0))["stopped"]
        result = json.loads(await draining)
        drained = Drained(
            finished=max(result["finished"] - cut_off, 0),
            stopped=result["stopped"] + cut_off,
        )
        _log.info("drained", finished=drained.finished, stopped=drained.stopped)
        return drained
