"""Limes: a serverless function runtime for one machine at the edge.

    >>> from limes import Runtime
    >>> Runtime().load("hello.wasm").run("world").output
    'Hello, world!'

Importing this package is cheap: a name is loaded from its module when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limes._native import __version__
    from limes.errors import (
        BadComponent,
        CorruptedState,
        GuestFailure,
        GuestTrap,
        InternalError,
        InvalidArgument,
        LimesError,
        LimesIOError,
        LimesTimeout,
        LimitExceeded,
        MissingGrant,
        NotFound,
        Overloaded,
        RequestTooLarge,
        Stopped,
        Unauthorized,
        Unavailable,
        UnsupportedContract,
    )
    from limes.invocation import Invocation, Request, Response, Result, Timing
    from limes.manifest import DirectoryGrant, Grants, Limits, Manifest
    from limes.runtime import Function, Runtime

__all__ = [
    "BadComponent",
    "CorruptedState",
    "DirectoryGrant",
    "Function",
    "Grants",
    "GuestFailure",
    "GuestTrap",
    "InternalError",
    "InvalidArgument",
    "Invocation",
    "LimesError",
    "LimesIOError",
    "LimesTimeout",
    "LimitExceeded",
    "Limits",
    "Manifest",
    "MissingGrant",
    "NotFound",
    "Overloaded",
    "Request",
    "RequestTooLarge",
    "Response",
    "Result",
    "Runtime",
    "Stopped",
    "Timing",
    "Unauthorized",
    "Unavailable",
    "UnsupportedContract",
    "__version__",
]

_HOMES = {
    "limes._native": ("__version__",),
    "limes.invocation": ("Invocation", "Request", "Response", "Result", "Timing"),
    "limes.manifest": ("DirectoryGrant", "Grants", "Limits", "Manifest"),
    "limes.runtime": ("Function", "Runtime"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF.get(name, "limes.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
