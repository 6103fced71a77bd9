"""The compiled core (crate ``limes-python``). Not public: use :mod:`limes`.

Durations are nanoseconds unless the name says otherwise, sizes are bytes. ``limits`` and ``grants`` are JSON
objects with the names of ``limes.toml``. Whatever fails raises the exception that
:func:`limes.errors.from_native` makes of the core's error.
"""

from collections.abc import Callable, Sequence
from typing import Any, final

__all__ = [
    "WASMTIME_VERSION",
    "Engine",
    "Function",
    "Invocation",
    "Node",
    "Outcome",
    "__version__",
    "check_pattern",
    "componentize",
    "default_limits",
    "error_kinds",
    "inspect",
    "start_log",
]

__version__: str
"""Version of the core; equals that of the Python package."""
WASMTIME_VERSION: str
"""Version of the Wasmtime engine inside."""

def error_kinds() -> list[tuple[str, int, int, bool]]:
    """The error table: (kind, HTTP status, exit code, retryable), in its order."""

def default_limits() -> str:
    """The default limits as a JSON object."""

def check_pattern(grant: str, pattern: str) -> None:
    """Check one pattern of the grants ``http``, ``tcp`` or ``udp``; raises InvalidArgument saying what is accepted."""

def inspect(component: bytes) -> str:
    """What a component (or module, wat text, or native function) is, as JSON, without compiling it.

    ``{"kind": "component"|"module"|"native", "contract": str|null, "contract_interface": str|null, "size": int,
    "digest": hex SHA-256 of the bytes, "imports": [{"name": str, "items": [str]}], "exports": [the same],
    "core_modules": [{"size": int}], "grants_needed": [str], "unsupported_imports": [str]}``. Raises BadComponent.
    """

def start_log(level: str, *, as_json: bool) -> None:
    """Write the core's log lines to stderr: those of `level` (error, warning, info, debug) and above.

    Does nothing when they are written already.
    """

def componentize(module: bytes) -> bytes:
    """The component that a core module becomes; a component stays as it is. Raises BadComponent."""

@final
class Engine:
    """An engine, its compile cache and the threads that asynchronous calls run on."""

    def __new__(
        cls,
        *,
        cache_dir: str | None = None,
        cache_bytes: int = ...,
        jit: bool = False,
        slots: int = ...,
        microvm: str = "{}",
    ) -> Engine:
        """``cache_dir`` None: no cache on disk. ``jit``: compile in memory each time, never touch the cache.
        ``slots``: instances alive at once in the whole engine. ``microvm``: JSON, where the unikernel and the monitors are:
        ``unikernel``, ``builtin``, ``firecracker``, ``qemu``, ``memory`` (bytes of all machines together), ``folder``."""

    def load(
        self,
        component: bytes | None = None,
        path: str | None = None,
        *,
        name: str = "",
        limits: str = "{}",
        grants: str = "{}",
        tiered: bool = False,
        sandbox: str = "wasm",
        microvm: str = "{}",
    ) -> Function:
        """Compile (or fetch from the cache), link, and check a component. Give the bytes or the path.
        ``tiered``: a large one that is not in the cache by a fast compiler first."""

    def compile(self, component: bytes) -> tuple[bytes, str]:
        """Machine code for this machine, and its timing as JSON. Goes through the cache."""

    def microvms(self) -> str:
        """Boots the unikernel with each monitor: JSON, a list of ``{"vmm": str, "works": bool, "took": nanoseconds, "problem": str}``."""

    def cache_info(self) -> str:
        """JSON: ``{"dir": str|null, "entries": int, "bytes": int, "max_bytes": int}``."""

    def cache_clear(self) -> int:
        """Remove every entry; returns the bytes freed."""

    def cache_verify(self) -> tuple[int, int]:
        """Check every entry, discard the bad ones: (good, discarded)."""

@final
class Function:
    """A component ready to be invoked; every invocation gets a fresh instance."""

    @property
    def contract(self) -> str:
        """``run``, ``http02``, ``http03``, ``cli02`` or ``cli03``."""

    @property
    def tier(self) -> str:
        """Which compiler made the code that the next call runs: ``baseline`` or ``optimized``."""

    @property
    def timing(self) -> str:
        """JSON: what loading cost (``compile``, ``load``) and whether the cache answered (``cache``)."""

    def run(self, args: str, *, timeout_ms: int | None = None) -> Invocation: ...
    def http(
        self,
        method: str,
        uri: str,
        headers: Sequence[tuple[str, bytes]],
        body: bytes,
        *,
        timeout_ms: int | None = None,
    ) -> Invocation: ...
    def command(self, args: Sequence[str], stdin: bytes, *, timeout_ms: int | None = None) -> Invocation: ...

@final
class Invocation:
    """One call, not yet started. Use :meth:`wait` or :meth:`start`, once."""

    @property
    def id(self) -> int: ...
    def wait(self) -> Outcome:
        """Run on this thread, without the GIL, to the end. Signals are handled (Ctrl-C stops the guest)."""

    def start(self, done: Callable[[], Any]) -> None:
        """Run on the engine's threads; ``done`` is called (on one of them) when it is over."""

    def outcome(self) -> Outcome:
        """After ``done``: the outcome, or the error raised."""

    def stop(self) -> None:
        """End it now; it raises Stopped. From any thread, any number of times."""

@final
class Outcome:
    """What an invocation came to; which fields are set follows the contract."""

    @property
    def text(self) -> str | None:
        """The answer of ``run``."""

    @property
    def status(self) -> int | None: ...
    @property
    def headers(self) -> list[tuple[str, bytes]] | None: ...
    @property
    def body(self) -> bytes | None: ...
    @property
    def exit_code(self) -> int | None: ...
    @property
    def stdout(self) -> bytes:
        """What the guest wrote (also with the other contracts)."""

    @property
    def stderr(self) -> bytes: ...
    @property
    def timing(self) -> str:
        """JSON object: compile, load, route, queue, instantiate, first_byte, execute, reset (ns) and cache."""

@final
class Node:
    """The data plane: listens, routes, admits, runs."""

    def __new__(
        cls, engine: Engine, listen: str, *, threads: int = 0, busy_poll_us: int | None = None
    ) -> Node:
        """Bind ``listen`` (``HOST:PORT``, port 0 for any) and start ``threads`` server threads (0: one a core).

        ``busy_poll_us``: for how many microseconds one of them polls before it sleeps; None is the core's default.
        """

    @property
    def address(self) -> str:
        """Where it listens."""

    def restore(self, specs: str) -> None:
        """Serve these functions (a JSON list of specs), and only these; each is loaded at its first request."""

    def publish(self, spec: str) -> str:
        """Load a function, then put it in the place of its earlier revision at once.

        The spec is a JSON object: name, revision, component (path of the bytes), digest, sandbox, hosts, limits, grants.
        Returns JSON ``{"contract": str, "timing": {...}}``. On failure nothing changes.
        """

    def remove(self, name: str) -> bool: ...
    def invoke(
        self,
        name: str,
        *,
        args: Sequence[str] = ...,
        method: str = "GET",
        path: str = "/",
        headers: Sequence[tuple[str, bytes]] = ...,
        body: bytes = ...,
        timeout_ms: int | None = None,
    ) -> Invocation:
        """Call a function past HTTP, through the same admission. ``run`` takes the args joined by blanks (or else
        the body), commands take args and the body as stdin, HTTP functions take the request."""

    def running(self) -> str:
        """JSON list: ``{"id": int, "function": str, "revision": int, "age_ms": int, "client": str|null}``."""

    def stop(self, invocation: int) -> bool:
        """Stop a running invocation; False when there is none of that id."""

    def logs(self, name: str, *, after: int = 0, limit: int = 1000) -> str:
        """JSON list of lines newer than sequence number ``after``: ``{"seq", "time_ms", "invocation", "stream", "text"}``."""

    def stats(self) -> str:
        """JSON: counters of the node and of every function."""

    def drain(self, grace_ms: int) -> str:
        """Stop accepting, finish what was accepted, stop the rest after the grace period.
        JSON ``{"finished": int, "stopped": int}``."""
