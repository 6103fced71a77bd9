"""One call of a function: what goes in, what comes out, what it cost, and how to stop it."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from limes.errors import LimesError

if TYPE_CHECKING:
    from limes import _native

T = TypeVar("T")

Headers = Mapping[str, str] | Iterable[tuple[str, str]]
"""Header fields as a mapping, or as pairs when a name comes more than once."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What each phase cost, in nanoseconds; 0 for a phase that did not happen."""

    compile: int = 0
    """WebAssembly to machine code."""
    load: int = 0
    """From bytes on disk to something that can be instantiated."""
    route: int = 0
    """From the accepted request to the function it names. Only on a node."""
    queue: int = 0
    """Waiting for a slot."""
    instantiate: int = 0
    """A fresh store and instance."""
    first_byte: int = 0
    """From the start of the guest's code to its response head; a part of `execute`."""
    execute: int = 0
    """From the start of the guest's code to its end."""
    reset: int = 0
    """Giving the instance back, its memory clean."""
    process: int = 0
    """Starting a monitor's process. Only in a microVM, as are `create`, `boot` and `teardown`."""
    create: int = 0
    """Making the virtual machine, or restoring it."""
    boot: int = 0
    """From the machine's first instruction to the function being instantiated."""
    teardown: int = 0
    """Ending the virtual machine and its process."""
    cache: str = "unused"
    """Whether the compile cache answered: ``hit``, ``miss`` or ``unused``."""
    tier: str = "optimized"
    """Which compiler made the code: ``baseline`` (a fast one, until the other is ready) or ``optimized``."""

    @property
    def total(self) -> int:
        """All phases together."""
        machine = self.process + self.create + self.boot + self.teardown
        host = self.compile + self.load + self.route + self.queue
        return host + machine + self.instantiate + self.execute + self.reset

    def to_json(self) -> dict[str, int | str]:
        """The phases by name, with the total."""
        phases = {name: getattr(self, name) for name in self.__slots__}
        return {**phases, "total": self.total}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Timing:
        """From the core's JSON object; what it does not know is left out."""
        return cls(**{name: values[name] for name in cls.__slots__ if name in values})


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request for a function, without a socket."""

    method: str = "GET"
    url: str = "/"
    """A path with its query (``/items?id=1``), or a whole URL whose host the guest will see."""
    headers: Headers = ()
    body: bytes | str = b""

    def encoded_headers(self) -> list[tuple[str, bytes]]:
        """The header fields as the core takes them."""
        pairs = self.headers.items() if isinstance(self.headers, Mapping) else self.headers
        return [(name, value.encode("latin-1")) for name, value in pairs]

    def encoded_body(self) -> bytes:
        """The body as bytes; text is UTF-8."""
        return self.body.encode() if isinstance(self.body, str) else self.body


def encode_output(data: bytes) -> tuple[str, str]:
    """Bytes for JSON: as text with ``utf-8`` if they are that, or else in ``base64``."""
    try:
        return data.decode(), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(data).decode("ascii"), "base64"


def decode_output(text: str, encoding: str) -> bytes:
    """The bytes that :func:`encode_output` was given."""
    return base64.b64decode(text) if encoding == "base64" else text.encode()


@dataclass(frozen=True, slots=True)
class Result(Generic[T]):
    """What a function answered.

    `T` is `str` for ``run``, `bytes` for commands.
    """

    output: T
    """The answer of ``run``; the stdout of a command."""
    stdout: bytes = b""
    """What the guest wrote to stdout, unless it was granted ``stdio``."""
    stderr: bytes = b""
    """What the guest wrote to stderr, unless it was granted ``stdio``."""
    exit_code: int = 0
    """The exit code of a command; 0 for the other contracts."""
    timing: Timing = field(default_factory=Timing)

    def to_json(self) -> dict[str, Any]:
        """The result as the admin API and ``--json`` write it."""
        data = self.output if isinstance(self.output, bytes) else str(self.output).encode()
        answer = _answer_json(data, self.stdout, self.stderr, self.timing)
        kind = "command" if isinstance(self.output, bytes) else "run"
        return {"kind": kind, **answer, "exit_code": self.exit_code}


@dataclass(frozen=True, slots=True)
class Response:
    """What an HTTP function answered."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    stdout: bytes = b""
    """What the guest wrote to stdout while it answered."""
    stderr: bytes = b""
    """What the guest wrote to stderr while it answered."""
    timing: Timing = field(default_factory=Timing)

    @property
    def ok(self) -> bool:
        """Whether the status is a 2xx."""
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The body as UTF-8, with replacement characters where it is not."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ValueError: it is none.
        """
        return json.loads(self.body)

    def header(self, name: str, default: str | None = None) -> str | None:
        """The first header field of that name, whatever its case."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), default)

    def to_json(self) -> dict[str, Any]:
        """The response as the admin API and ``--json`` write it; its body is ``output``."""
        answer = _answer_json(self.body, self.stdout, self.stderr, self.timing)
        return {"kind": "http", **answer, "status": self.status, "headers": self.headers}


def _answer_json(data: bytes, stdout: bytes, stderr: bytes, timing: Timing) -> dict[str, Any]:
    output, encoding = encode_output(data)
    return {
        "output": output,
        "output_encoding": encoding,
        "stdout": stdout.decode(errors="replace"),
        "stderr": stderr.decode(errors="replace"),
        "timing": timing.to_json(),
    }


class Invocation(Generic[T]):
    """A call that runs on the engine's threads.

    Dropping it does not stop the guest; its limits do, and :meth:`stop` does.
    """

    def __init__(self, native: _native.Invocation, read: Callable[[_native.Outcome], T]) -> None:
        self._native = native
        self._read = read
        self._over = threading.Event()
        self._taking = threading.Lock()
        self._taken: tuple[T | None, BaseException | None] | None = None
        native.start(self._over.set)

    @property
    def id(self) -> int:
        """Unique in the process."""
        return self._native.id

    def done(self) -> bool:
        """Whether it is over, one way or the other."""
        return self._over.is_set()

    def stop(self) -> None:
        """End the guest now; :meth:`result` then raises Stopped. From any thread, any number of times."""
        self._native.stop()

    def result(self, timeout: float | None = None) -> T:
        """Wait for the end, and give the answer.

        Args:
            timeout: seconds to wait; None waits as long as the function's own limits allow.

        Raises:
            TimeoutError: it still runs after `timeout` seconds; it goes on running. (When the function's own
                limit has passed, it is LimesTimeout, which is a TimeoutError too.)
            LimesError: the guest failed.
        """
        if not self._over.wait(timeout):
            raise TimeoutError(f"invocation {self.id} still runs after {timeout} s; stop() would end it")
        with self._taking:
            if self._taken is None:
                try:
                    self._taken = (self._read(self._native.outcome()), None)
                except LimesError as error:
                    self._taken = (None, error)
            answer, failure = self._taken
        if failure is not None:
            raise failure
        return cast("T", answer)


async def settle(native: _native.Invocation) -> _native.Outcome:
    """Run an invocation on the engine's threads and wait for it on the event loop.

    Cancelling stops the guest, waits until it is gone, and then lets the cancellation go on.

    Raises:
        LimesError: the guest failed.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    over = asyncio.Event()

    def done() -> None:
        # The loop may be closed by the time the guest ends: then nobody waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(over.set)

    native.start(done)
    try:
        await over.wait()
    except asyncio.CancelledError:
        native.stop()
        await over.wait()
        raise
    return native.outcome()


def read_run(outcome: _native.Outcome) -> Result[str]:
    """The result of the ``run`` contract."""
    return Result(
        output=outcome.text or "",
        stdout=outcome.stdout,
        stderr=outcome.stderr,
        timing=Timing.from_json(json.loads(outcome.timing)),
    )


def read_command(outcome: _native.Outcome) -> Result[bytes]:
    """The result of a command."""
    return Result(
        output=outcome.stdout,
        stdout=outcome.stdout,
        stderr=outcome.stderr,
        exit_code=outcome.exit_code or 0,
        timing=Timing.from_json(json.loads(outcome.timing)),
    )


def read_response(outcome: _native.Outcome) -> Response:
    """The response of an HTTP function."""
    return Response(
        status=outcome.status or 0,
        headers=[(name, value.decode("latin-1")) for name, value in outcome.headers or ()],
        body=outcome.body or b"",
        stdout=outcome.stdout,
        stderr=outcome.stderr,
        timing=Timing.from_json(json.loads(outcome.timing)),
    )


def read_any(outcome: _native.Outcome) -> Result[str] | Result[bytes] | Response:
    """What an invocation came to, by the fields that are set."""
    if outcome.text is not None:
        return read_run(outcome)
    return read_response(outcome) if outcome.status is not None else read_command(outcome)
