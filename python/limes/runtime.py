"""The library: load a component, call it.

>>> from limes import Runtime
>>> hello = Runtime().load("hello.wasm", memory="64MiB", timeout="2s")
>>> result = hello.run("world")
>>> result.output, result.timing.execute
('Hello, world!', 31250)
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

from limes import _native, microvm
from limes.errors import InvalidArgument
from limes.invocation import (
    Headers,
    Invocation,
    Request,
    Response,
    Result,
    Timing,
    read_command,
    read_response,
    read_run,
    settle,
)
from limes.units import parse_duration, parse_size

if TYPE_CHECKING:
    from limes.manifest import DirectoryGrant, Grants, Limits, MicroVm

Component = str | os.PathLike[str] | bytes | bytearray | memoryview
"""A path, or the bytes themselves: a component, a wasip1 module, or wat text. For ``sandbox="microvm"`` also
a native function; with ``microvm.image``, the kernel of an image."""
Duration = int | str
"""Milliseconds, or ``"500ms"``, ``"5s"``, ``"2m"``."""
Size = int | str
"""Bytes, or ``"64MiB"``, ``"10MB"``."""
CompileMode = Literal["optimized", "tiered"]
"""How a component that the cache does not have is compiled: by the optimising compiler before its first call;
or, a large one, by a fast compiler first, whose code answers until the optimised code is ready."""


class Options(TypedDict, total=False):
    """Limits and grants as keyword arguments; see :class:`limes.Limits` and :class:`limes.Grants`."""

    memory: Size
    table_elements: int
    instances: int
    timeout: Duration
    cpu: Duration
    stack: Size
    output: Size
    response: Size
    request: Size
    concurrency: int
    queue: int
    handles: int
    env: Mapping[str, str]
    args: Sequence[str]
    dirs: Sequence[DirectoryGrant | Mapping[str, Any]]
    http: Sequence[str]
    tcp: Sequence[str]
    udp: Sequence[str]
    dns: bool
    stdio: bool


def default_cache_dir() -> Path:
    """Where machine code is kept: ``LIMES_CACHE_DIR``, ``$XDG_CACHE_HOME/limes`` or ``~/.cache/limes``."""
    if chosen := os.environ.get("LIMES_CACHE_DIR"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "limes"


class Runtime:
    """An engine, its compile cache, and the threads that asynchronous calls run on.

    One for a process is enough; it is safe to share between threads.
    """

    def __init__(
        self,
        cache_dir: str | os.PathLike[str] | None = None,
        *,
        cache: bool = True,
        cache_size: Size = "2GiB",
        jit: bool = False,
        slots: int | None = None,
    ) -> None:
        """Start an engine.

        Args:
            cache_dir: where machine code is kept; None is :func:`default_cache_dir`. Processes may share it.
            cache: False keeps nothing on disk.
            cache_size: what the cache may hold; the least recently used goes first.
            jit: compile in memory at each load, and never touch a cache.
            slots: instances alive at once in the whole engine; None is the core's default.

        Raises:
            InvalidArgument: a value has no meaning.
            LimesIOError: the cache directory cannot be used.
        """
        directory: str | None = None
        if cache and not jit:
            directory = os.fspath(cache_dir) if cache_dir is not None else str(default_cache_dir())
        options: dict[str, Any] = {} if slots is None else {"slots": slots}
        self._engine = _native.Engine(
            cache_dir=directory,
            cache_bytes=_quantity(parse_size, cache_size, "cache_size"),
            jit=jit,
            microvm=json.dumps(microvm.settings()),
            **options,
        )

    @property
    def engine(self) -> _native.Engine:
        """The compiled core's engine; not public."""
        return self._engine

    def load(
        self,
        component: Component,
        *,
        name: str | None = None,
        limits: Limits | None = None,
        grants: Grants | None = None,
        compile: CompileMode = "optimized",
        sandbox: str = "wasm",
        microvm: MicroVm | Mapping[str, Any] | None = None,
        **options: Unpack[Options],
    ) -> Function:
        """Compile a component (or fetch it from the cache), link it, and check it.

        Args:
            component: its path, or its bytes.
            name: what the guest sees as its program name, and errors name; by default that of the file.
            limits: all limits at once, instead of keywords.
            grants: all grants at once, instead of keywords.
            compile: ``tiered`` lets a large component answer before its optimised code is ready; results are
                the same. :attr:`Function.tier` and ``timing.tier`` say which code answers.
            sandbox: ``wasm``, inside this process, or ``microvm``, a virtual machine for every call.
            microvm: how it runs in a virtual machine, by the names of ``[microvm]`` in ``limes.toml``.
            **options: limits and grants by the names of ``limes.toml``; relative host directories start at
            the
                current directory.

        Raises:
            BadComponent: the bytes are no valid WebAssembly, or import what is not offered.
            UnsupportedContract: it exports nothing Limes can call.
            InvalidArgument: a limit or grant has no meaning.
            LimesIOError: the file cannot be read.
            Unavailable: no virtual machine runs here.
        """
        limits_json, grants_json = _settings(limits, grants, options)
        tiered = _is_tiered(compile)
        kind, machine = _sandbox(sandbox, microvm)
        if isinstance(component, str | os.PathLike):
            path = os.fspath(component)
            named = name if name is not None else Path(path).stem
            native = self._engine.load(
                path=path,
                name=named,
                limits=limits_json,
                grants=grants_json,
                tiered=tiered,
                sandbox=kind,
                microvm=machine,
            )
        else:
            native = self._engine.load(
                bytes(component),
                name=name or "",
                limits=limits_json,
                grants=grants_json,
                tiered=tiered,
                sandbox=kind,
                microvm=machine,
            )
        return Function(native, name or "")


def _settings(limits: Limits | None, grants: Grants | None, options: Options) -> tuple[str, str]:
    keywords: dict[str, Any] = dict(options)
    if limits is None and grants is None and keywords in ({}, {"stdio": True}):
        # The defaults need no checking, and so no pydantic: it takes longer to import than a guest to run.
        return "{}", json.dumps(keywords)
    from limes import manifest

    given_limits, given_grants = manifest.from_keywords(keywords, operation="load")
    for model, given, what in ((limits, given_limits, "limits"), (grants, given_grants, "grants")):
        if model is not None and given:
            raise InvalidArgument(
                f"{what} is given as a whole and by the keyword '{next(iter(given))}'; use one of the two",
                operation="load",
            )
    base = Path.cwd()
    chosen_limits = limits or manifest.check(manifest.Limits, given_limits, base=base, operation="load")
    chosen_grants = grants or manifest.check(manifest.Grants, given_grants, base=base, operation="load")
    return chosen_limits.model_dump_json(), chosen_grants.model_dump_json()


def _is_tiered(compile: str) -> bool:
    if compile not in ("optimized", "tiered"):
        raise InvalidArgument(
            f"'compile' is {compile!r}; use 'optimized' or 'tiered'",
            operation="load",
            context={"key": "compile"},
        )
    return compile == "tiered"


def _sandbox(sandbox: str, microvm: MicroVm | Mapping[str, Any] | None) -> tuple[str, str]:
    """The sandbox, and how a function runs in a virtual machine as JSON, both checked."""
    if sandbox == "wasm" and microvm is None:
        return sandbox, "{}"
    from limes import manifest

    values = {"sandbox": sandbox, "microvm": microvm or {}}
    checked = manifest.check(manifest.Configuration, values, operation="load")
    return checked.sandbox, checked.microvm.model_dump_json()


def _quantity(parse: Any, value: Size | Duration, name: str) -> int:
    try:
        return int(parse(value))
    except ValueError as error:
        raise InvalidArgument(f"'{name}': {error}", operation="load", context={"key": name}) from None


def _timeout(value: Duration | None) -> int | None:
    return None if value is None else _quantity(parse_duration, value, "timeout")


_METHODS = {"run": "run", "http02": "http", "http03": "http", "cli02": "command", "cli03": "command"}


class Function:
    """A component ready to be called; every call gets a fresh instance. Safe to share between threads."""

    def __init__(self, native: _native.Function, name: str) -> None:
        self._native = native
        self._name = name

    @property
    def contract(self) -> str:
        """How it is called: ``run``, ``http02``, ``http03``, ``cli02`` or ``cli03``."""
        return self._native.contract

    @property
    def tier(self) -> str:
        """Which compiler made the code that the next call runs: ``baseline`` or ``optimized``."""
        return self._native.tier

    @property
    def timing(self) -> Timing:
        """What loading cost, and whether the compile cache answered."""
        return Timing.from_json(json.loads(self._native.timing))

    def run(self, args: str = "", *, timeout: Duration | None = None) -> Result[str]:
        """Call a ``component:run`` function on this thread, without the GIL.

        Args:
            args: what the guest gets.
            timeout: for this call, instead of the function's limit.

        Raises:
            InvalidArgument: the function has another contract; the message names the method to use.
            LimesError: the guest failed, or was stopped.
        """
        return read_run(self._run(args, timeout).wait())

    async def arun(self, args: str = "", *, timeout: Duration | None = None) -> Result[str]:
        """:meth:`run` for asyncio. Cancelling the task stops the guest."""
        return read_run(await settle(self._run(args, timeout)))

    def http(
        self,
        request: Request | str = "GET",
        url: str = "/",
        headers: Headers = (),
        body: bytes | str = b"",
        *,
        timeout: Duration | None = None,
    ) -> Response:
        """Send an HTTP function a request, without a socket.

        Args:
            request: the whole request, or its method with the other arguments.
            url: path and query, or a whole URL.
            headers: header fields.
            body: the body; text is sent as UTF-8.
            timeout: for this call, instead of the function's limit.

        Raises:
            InvalidArgument: the function has another contract; the message names the method to use.
            LimesError: the guest failed, or was stopped.
        """
        return read_response(self._http(_request(request, url, headers, body), timeout).wait())

    async def ahttp(
        self,
        request: Request | str = "GET",
        url: str = "/",
        headers: Headers = (),
        body: bytes | str = b"",
        *,
        timeout: Duration | None = None,
    ) -> Response:
        """:meth:`http` for asyncio. Cancelling the task stops the guest."""
        return read_response(await settle(self._http(_request(request, url, headers, body), timeout)))

    def command(
        self, args: Sequence[str] = (), stdin: bytes | str = b"", *, timeout: Duration | None = None
    ) -> Result[bytes]:
        """Run a ``wasi:cli`` command to its end.

        Args:
            args: arguments after the program name and the granted ones.
            stdin: standard input; text is sent as UTF-8.
            timeout: for this call, instead of the function's limit.

        Returns:
            The result, whose ``exit_code`` may be other than 0: that raises nothing.

        Raises:
            InvalidArgument: the function has another contract; the message names the method to use.
            LimesError: the guest trapped, passed a limit, or was stopped.
        """
        return read_command(self._command(args, stdin, timeout).wait())

    async def acommand(
        self, args: Sequence[str] = (), stdin: bytes | str = b"", *, timeout: Duration | None = None
    ) -> Result[bytes]:
        """:meth:`command` for asyncio. Cancelling the task stops the guest."""
        return read_command(await settle(self._command(args, stdin, timeout)))

    @overload
    def start(self, call: str = "", *, timeout: Duration | None = None) -> Invocation[Result[str]]: ...
    @overload
    def start(self, call: Request, *, timeout: Duration | None = None) -> Invocation[Response]: ...
    @overload
    def start(
        self, call: list[str] | tuple[str, ...], *, stdin: bytes | str = b"", timeout: Duration | None = None
    ) -> Invocation[Result[bytes]]: ...
    def start(
        self,
        call: str | Request | list[str] | tuple[str, ...] = "",
        *,
        stdin: bytes | str = b"",
        timeout: Duration | None = None,
    ) -> Invocation[Any]:
        """Begin a call on the engine's threads and return at once.

        Args:
            call: a string for ``component:run``, a Request for HTTP, a list or tuple of arguments for a
                command.
            stdin: standard input of a command.
            timeout: for this call, instead of the function's limit.

        Returns:
            The running call, with ``result()`` and ``stop()``.

        Raises:
            InvalidArgument: the function has another contract.
        """
        if isinstance(call, str):
            return Invocation(self._run(call, timeout), read_run)
        if isinstance(call, Request):
            return Invocation(self._http(call, timeout), read_response)
        return Invocation(self._command(call, stdin, timeout), read_command)

    def __repr__(self) -> str:
        return f"<limes.Function {self._name!r} ({self.contract})>"

    def _run(self, args: str, timeout: Duration | None) -> _native.Invocation:
        self._expect("run")
        return self._native.run(args, timeout_ms=_timeout(timeout))

    def _http(self, request: Request, timeout: Duration | None) -> _native.Invocation:
        self._expect("http")
        return self._native.http(
            request.method,
            request.url,
            request.encoded_headers(),
            request.encoded_body(),
            timeout_ms=_timeout(timeout),
        )

    def _command(
        self, args: Sequence[str], stdin: bytes | str, timeout: Duration | None
    ) -> _native.Invocation:
        self._expect("command")
        if isinstance(args, str):
            raise InvalidArgument(
                f"a command takes a list of arguments, found the string {args!r}", operation="invoke"
            )
        stdin = stdin.encode() if isinstance(stdin, str) else stdin
        return self._native.command(list(args), stdin, timeout_ms=_timeout(timeout))

    def _expect(self, method: str) -> None:
        right = _METHODS.get(self.contract, method)
        if right != method:
            inputs = {"run": "a string", "http": "a Request", "command": "a list of arguments"}
            raise InvalidArgument(
                f"this function's contract is {self.contract}, so {method}() cannot call it; "
                f"use {right}(), a{right}(), or start() with {inputs[right]}",
                operation="invoke",
                context={"contract": self.contract},
            )


def _request(request: Request | str, url: str, headers: Headers, body: bytes | str) -> Request:
    return request if isinstance(request, Request) else Request(request, url, headers, body)
