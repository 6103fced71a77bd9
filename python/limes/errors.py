"""Everything in Limes that fails raises one of these.

::

    LimesError
    ├── InvalidArgument      (also ValueError)    a bad name, limit, grant or request
    ├── BadComponent                              the bytes are no valid WebAssembly
    ├── UnsupportedContract                       a component that exports nothing Limes can call
    ├── Unauthorized                              the bearer token is missing or wrong
    ├── NotFound                                  no such function, revision or invocation
    ├── Unavailable                               the node cannot be reached, is starting, or is shutting down
    ├── InternalError                             a fault of Limes itself
    ├── CorruptedState                            something on disk is not what was written there
    ├── LimesIOError         (also OSError)       the system refused a file or socket operation
    ├── Overloaded                                every slot and the queue are taken
    ├── RequestTooLarge                           the request body is past the `request` limit
    ├── MissingGrant                              the guest was denied what its grants do not hold
    ├── LimitExceeded                             the guest went past one of its limits
    ├── GuestFailure                              the guest itself reported failure
    ├── LimesTimeout         (also TimeoutError)  the wall-clock limit passed
    ├── Stopped                                   the invocation was stopped
    └── GuestTrap                                 WebAssembly trapped

The HTTP status, the exit code and whether a retry makes sense come from the core's own table;
``python -m limes.errors`` prints it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, NamedTuple


class Kind(NamedTuple):
    """One row of the error table."""

    name: str
    http_status: int
    exit_code: int
    retryable: bool


@cache
def kinds() -> dict[str, Kind]:
    """The error table of the core, by the name of the kind, in its order."""
    from limes import _native

    return {row[0]: Kind(*row) for row in _native.error_kinds()}


class LimesError(Exception):
    """The base of every error of Limes.

    Attributes:
        message: what was asked, what was found and what to do next.
        operation: the step that failed, such as ``load`` or ``invoke``; empty when there is none to name.
        context: facts for programs, such as ``limit``, ``allowed`` or ``backtrace``.
    """

    kind: ClassVar[str] = "internal"
    """The row of the error table this is."""

    def __init__(
        self, message: str, *, operation: str = "", context: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.operation = operation
        self.context: dict[str, str] = dict(context or {})

    @property
    def http_status(self) -> int:
        """The HTTP status that answers a request which failed this way."""
        return kinds()[self.kind].http_status

    @property
    def exit_code(self) -> int:
        """The exit code of the command line."""
        return kinds()[self.kind].exit_code

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed when made again, unchanged."""
        return kinds()[self.kind].retryable

    def to_json(self) -> dict[str, Any]:
        """The error as the data plane, the admin API and ``--json`` write it."""
        return {
            "error": {
                "kind": self.kind,
                "message": self.message,
                "operation": self.operation,
                "retryable": self.retryable,
                "context": self.context,
            }
        }

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.operation, self.context)


class InvalidArgument(LimesError, ValueError):
    """The caller asked for something that has no meaning: a bad name, limit, grant or request."""

    kind = "invalid_argument"


class BadComponent(LimesError):
    """The bytes are no valid WebAssembly component or module, or import what no sandbox offers."""

    kind = "bad_component"


class UnsupportedContract(LimesError):
    """A valid component that exports nothing Limes can call; the message lists what was found."""

    kind = "unsupported_contract"


class Unauthorized(LimesError):
    """The bearer token is missing or wrong."""

    kind = "unauthorized"


class NotFound(LimesError):
    """No such function, revision or invocation."""

    kind = "not_found"


class Unavailable(LimesError):
    """The node cannot be reached, is starting, or is shutting down."""

    kind = "unavailable"


class InternalError(LimesError):
    """A fault of Limes itself."""

    kind = "internal"


class CorruptedState(LimesError):
    """Something on disk is not what was written there, and cannot be made again."""

    kind = "corrupted_state"


class LimesIOError(LimesError, OSError):
    """The operating system refused a file or socket operation."""

    kind = "io"


class Overloaded(LimesError):
    """Every slot of the function, and its queue, is taken. Over HTTP it comes with ``Retry-After``."""

    kind = "overloaded"


class RequestTooLarge(LimesError):
    """The request body is larger than the function's ``request`` limit."""

    kind = "request_too_large"


class MissingGrant(LimesError):
    """The guest failed after it was denied something its grants do not hold."""

    kind = "missing_grant"


class LimitExceeded(LimesError):
    """The guest went past one of its limits; ``context`` holds ``limit``, ``allowed`` and ``asked``."""

    kind = "limit_exceeded"


class GuestFailure(LimesError):
    """The guest itself reported failure: a non-zero exit, an error code, or no answer at all."""

    kind = "guest_failure"


class LimesTimeout(LimesError, TimeoutError):
    """The wall-clock limit passed before the guest answered."""

    kind = "timeout"


class Stopped(LimesError):
    """The invocation was stopped: by an operator, by the caller, or because its client went away."""

    kind = "stopped"


class GuestTrap(LimesError):
    """WebAssembly trapped; ``context["backtrace"]`` holds the wasm backtrace."""

    kind = "guest_trap"


_CLASSES: dict[str, type[LimesError]] = {cls.kind: cls for cls in LimesError.__subclasses__()}


def _rebuild(cls: type[LimesError], message: str, operation: str, context: dict[str, str]) -> LimesError:
    return cls(message, operation=operation, context=context)


def from_native(kind: str, operation: str, message: str, context: Mapping[str, str]) -> LimesError:
    """The exception for an error of the core. Called by the core."""
    return _CLASSES.get(kind, InternalError)(message, operation=operation, context=context)


def from_http(payload: Any, status: int) -> LimesError:
    """The exception for an error answer of a node.

    Args:
        payload: the decoded JSON body; whatever it is, an exception comes out.
        status: the HTTP status, used when the payload names no kind.
    """
    error = payload.get("error") if isinstance(payload, dict) else None
    if isinstance(error, dict) and error.get("kind") in _CLASSES:
        context = error.get("context")
        return _CLASSES[error["kind"]](
            str(error.get("message", "")),
            operation=str(error.get("operation", "")),
            context={str(k): str(v) for k, v in context.items()} if isinstance(context, dict) else {},
        )
    for kind in kinds().values():
        if kind.http_status == status:
            return _CLASSES[kind.name](f"the node answered with status {status} and no error of Limes in it")
    return InternalError(f"the node answered with status {status} and no error of Limes in it")


def from_os(error: OSError, operation: str, what: str) -> LimesIOError:
    """The exception for an operation the system refused: ``what`` failed, and why."""
    reason = error.strerror or str(error)
    context = {"path": str(error.filename)} if error.filename is not None else {}
    return LimesIOError(f"{what}: {reason}", operation=operation, context=context)


def markdown_table() -> str:
    """The error table as Markdown, for the reference."""
    lines = [
        "| Kind | Python exception | HTTP status | Exit code | Retryable | Meaning |",
        "|---|---|---|---|---|---|",
    ]
    for kind in kinds().values():
        cls = _CLASSES[kind.name]
        meaning = " ".join((cls.__doc__ or "").split())
        retry = "yes" if kind.retryable else "no"
        numbers = f"{kind.http_status} | {kind.exit_code} | {retry}"
        lines.append(f"| `{kind.name}` | `{cls.__name__}` | {numbers} | {meaning} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown_table())
