"""``limes.toml``: the name, the component, the sandbox, the limits and the grants of one function.

::

    name = "hello"                     # default: the name of the component's file
    component = "hello.wasm"           # relative to this file
    sandbox = "wasm"                   # or "microvm": a virtual machine for every request
    compile = "tiered"                 # a large component answers before its optimised code is ready
    hosts = ["hello.example.com"]      # requests for these hosts go to the function, whatever their path

    [limits]                           # see Limits; sizes "64MiB", durations "5s"
    memory = "64MiB"
    timeout = "2s"

    [microvm]                          # see MicroVm; for sandbox = "microvm"
    mode = "warm"

    [microvm.image]                    # see Image; then `component` is the kernel of an image of your own
    protocol = "spare"

    [grants]                           # see Grants; the default is nothing
    env = { GREETING = "Hello" }
    dirs = [{ host = "data", guest = "/data", writable = false }]
    http = ["api.example.com:443"]

The same names are the keyword arguments of :meth:`limes.Runtime.load`, the options of the command line and
the keys of the admin API.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from limes import _native
from limes.errors import InvalidArgument, LimesError, from_os
from limes.toml_positions import Position, key_positions
from limes.units import parse_duration, parse_size

MANIFEST_NAME = "limes.toml"
"""The name a manifest has in a function's folder."""

MAX_STACK = 8 << 20
"""The largest WebAssembly stack, in bytes."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*", re.ASCII)

Size = Annotated[int, BeforeValidator(parse_size), Field(ge=1, le=2**63 - 1)]
Duration = Annotated[int, BeforeValidator(parse_duration), Field(ge=1, le=2**53)]
Count = Annotated[int, Field(strict=True, ge=1, le=2**32 - 1)]


@cache
def _default_limits() -> dict[str, int]:
    defaults: dict[str, int] = json.loads(_native.default_limits())
    return defaults


def _default(name: str) -> Any:
    return Field(default_factory=lambda: _default_limits()[name])


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(_Strict):
    """What one function may use. Every limit has a default; none can be switched off."""

    memory: Size = _default("memory")
    """Linear memory, all memories of an instance together, in bytes; and as many again of bodies that the guest wrote
    and nobody has read.
    """
    table_elements: Count = _default("table_elements")
    """Table elements, all tables of an instance together."""
    instances: Count = _default("instances")
    """Core instances, tables and memories one component may hold, each."""
    timeout: Duration = _default("timeout")
    """Wall-clock time from admission to the end of the guest, in milliseconds."""
    cpu: Duration = _default("cpu")
    """Time the guest may compute, in milliseconds; waiting does not count."""
    stack: Annotated[Size, Field(le=MAX_STACK)] = _default("stack")
    """WebAssembly stack, in bytes; at most 8 MiB."""
    output: Size = _default("output")
    """Bytes written to stdout and to stderr, each."""
    response: Size = _default("response")
    """Bytes of a response body, or of a ``component:run`` answer."""
    request: Size = _default("request")
    """Bytes of a request body, of ``args``, or of stdin."""
    concurrency: Count = _default("concurrency")
    """Invocations running at once."""
    queue: Annotated[int, Field(strict=True, ge=0, le=2**32 - 1)] = _default("queue")
    """Requests that may wait for a slot when all are taken."""
    handles: Count = _default("handles")
    """Host resources (streams, files, sockets, ...) open at once in an instance."""


def _granted_directory(path: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base")
    expanded = path.expanduser()
    if not expanded.is_absolute():
        if base is None:
            raise ValueError(f"'{path}' is relative; give the absolute path of the directory on the node")
        expanded = base / expanded
    if not expanded.is_dir():
        raise ValueError(f"'{expanded.absolute()}' is no directory; create it, or correct the path")
    # From here on a link on the way is not followed: a guest may have made it.
    return expanded.resolve()


class DirectoryGrant(_Strict):
    """A directory of the host, where the guest sees it, and whether it may write."""

    host: Annotated[Path, AfterValidator(_granted_directory)]
    """The directory on the host; in a manifest relative to its folder. It must exist. Links are followed when it
    is granted, not when it is opened.
    """
    guest: StrictStr
    """Its absolute path in the guest, such as ``/data``."""
    writable: StrictBool = False
    """Whether the guest may create, change and remove files."""

    @field_validator("guest")
    @classmethod
    def _absolute_in_guest(cls, guest: str) -> str:
        if not guest.startswith("/") or "\0" in guest or ".." in guest.split("/"):
            raise ValueError(f"'{guest}' is no path for the guest; write an absolute one, such as '/data'")
        return guest


def _environment(env: dict[str, str]) -> dict[str, str]:
    for name, value in env.items():
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise ValueError(f"'{name}' is no environment variable: no '=', no NUL, and not empty")
    return env


def _pattern_check(grant: str) -> AfterValidator:
    def check(pattern: str) -> str:
        try:
            _native.check_pattern(grant, pattern)
        except LimesError as error:
            raise ValueError(str(error)) from error
        return pattern

    return AfterValidator(check)


HttpPattern = Annotated[StrictStr, _pattern_check("http")]
TcpPattern = Annotated[StrictStr, _pattern_check("tcp")]
UdpPattern = Annotated[StrictStr, _pattern_check("udp")]


class Grants(_Strict):
    """What one function may reach. The default is nothing; clocks and randomness need no grant."""

    env: Annotated[dict[StrictStr, StrictStr], AfterValidator(_environment)] = {}
    """Environment variables the guest sees."""
    args: list[StrictStr] = []
    """Arguments every invocation starts with, after the program name."""
    dirs: list[DirectoryGrant] = []
    """Directories the guest may open."""
    http: list[HttpPattern] = []
    """Hosts the guest may send HTTP requests to, such as ``api.example.com:443``; without a port, 80 and
    443.
    """
    tcp: list[TcpPattern] = []
    """Addresses the guest may open TCP connections to, such as ``10.0.0.0/8:5432``."""
    udp: list[UdpPattern] = []
    """Addresses the guest may exchange UDP datagrams with."""
    dns: StrictBool = False
    """Whether the guest may look up host names."""
    stdio: StrictBool = False
    """Whether stdin, stdout and stderr are those of the process. A node refuses it."""


def check_name(name: str) -> str:
    """``name``, if a function can have it.

    Raises:
        ValueError: it cannot; the message says what is accepted.
    """
    if _NAME.fullmatch(name):
        return name
    raise ValueError(
        f"'{name}' is no function name; use 1 to 63 of a-z, 0-9, '-', '_' and '.', a letter or digit first"
    )


def _check_host(host: str) -> str:
    lowered = host.lower()
    if not _HOST.fullmatch(lowered):
        raise ValueError(f"'{host}' is no host name; write one such as 'hello.example.com', without a port")
    return lowered


def _host_file(path: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base")
    expanded = path.expanduser()
    if not expanded.is_absolute():
        if base is None:
            raise ValueError(f"'{path}' is relative; give the absolute path of the file on the node")
        expanded = base / expanded
    absolute = Path(expanded).absolute()
    if not absolute.is_file():
        raise ValueError(f"'{absolute}' is no file; create it, or correct the path")
    return absolute


class Image(_Strict):
    """An image of your own, in place of a component: the function's bytes are its kernel."""

    protocol: Literal["spare", "http"]
    """How a call reaches it: SPARE's protocol over vsock (it is then called as ``component:run``), or HTTP on
    a port.
    """
    drive: Annotated[Path, AfterValidator(_host_file)] | None = None
    """Its root drive, a raw image on the host; in a manifest relative to its folder. Each machine gets a
    copy.
    """
    arguments: Annotated[StrictStr, Field(max_length=2000)] = ""
    """What the kernel is booted with. ``{ip}``, ``{netmask}`` and ``{gateway}`` become those of the machine's
    network card, where it has one.
    """
    port: Annotated[int, Field(strict=True, ge=1, le=65_535)] = 8080
    """The port it listens on, for ``http``."""


class MicroVm(_Strict):
    """How a function runs with ``sandbox = "microvm"``. Every setting has a default."""

    vmm: Literal["auto", "builtin", "firecracker", "qemu"] = "auto"
    """The virtual machine monitor; ``auto`` is the first that works here, in this order."""
    accelerator: Literal["auto", "tcg", "kvm"] = "auto"
    """What runs QEMU's machine: KVM, software (``tcg``), or KVM where it works."""
    mode: Literal["auto", "end-to-end", "pre-configured", "snapshot", "reset", "warm"] = "auto"
    """What is done before a request comes; ``auto`` is the fastest that the monitor knows."""
    isolation: Literal["fresh-state", "fresh-process", "reuse"] = "fresh-state"
    """What a request shares with the one before it: nothing of the machine's state; not even the monitor's
    process; or everything.
    """
    memory: Size | None = None
    """Memory of one machine, in bytes; by default the limit ``memory`` and what the unikernel needs."""
    warm: Annotated[int, Field(strict=True, ge=0, le=10_000)] | None = None
    """Machines kept waiting in the mode ``warm``; by default 2."""
    image: Image | None = None
    """Set for an image of your own: the component's file is then the kernel."""


class Configuration(_Strict):
    """What is deployed beside a component's bytes. The admin API takes this as JSON."""

    sandbox: Literal["wasm", "microvm"] = "wasm"
    """Which sandbox runs it: inside the process, or in a virtual machine of its own."""
    microvm: MicroVm = Field(default_factory=MicroVm)
    """How it runs in a virtual machine."""
    compile: Literal["optimized", "tiered"] = "optimized"
    """How a component that was never seen is compiled; see :data:`limes.runtime.CompileMode`."""
    hosts: list[Annotated[StrictStr, AfterValidator(_check_host)]] = []
    """Host names whose requests go to this function, whatever their path."""
    limits: Limits = Field(default_factory=Limits)
    """What it may use."""
    grants: Grants = Field(default_factory=Grants)
    """What it may reach."""


class Manifest(Configuration):
    """One ``limes.toml``, read and checked."""

    name: Annotated[StrictStr, AfterValidator(check_name)] = ""
    """The name in ``/function/NAME``; by default that of the component's file."""
    component: Path
    """The component's file; in a manifest relative to its folder."""

    @model_validator(mode="after")
    def _resolve(self, info: ValidationInfo) -> Self:
        base = (info.context or {}).get("base")
        if base is not None:
            object.__setattr__(self, "component", (base / self.component.expanduser()).absolute())
        if not self.name:
            object.__setattr__(self, "name", name_of(self.component))
        return self

    @classmethod
    def read(cls, path: Path | str) -> Manifest:
        """Read a ``limes.toml``, or the one in a folder.

        Raises:
            LimesIOError: it cannot be read.
            InvalidArgument: it is no TOML, or says something that is not accepted; the message points at
                ``file:line:column``.
        """
        file = Path(path)
        if file.is_dir():
            file = file / MANIFEST_NAME
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InvalidArgument(f"{file}: not UTF-8: {error}", operation="read manifest") from None
        except OSError as error:
            raise from_os(error, "read manifest", f"cannot read '{file}'") from error
        return cls.parse(text, file)

    @classmethod
    def parse(cls, text: str, file: Path) -> Manifest:
        """Check the text of a manifest; ``file`` is where relative paths start, and what errors point at."""
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise _syntax_error(error, file) from None
        context = {"base": file.absolute().parent}
        try:
            return cls.model_validate(values, context=context)
        except ValidationError as error:
            raise explain(cls, error, file=file, positions=key_positions(text)) from None

    def configuration(self) -> dict[str, Any]:
        """What the admin API is told beside the bytes, as JSON values."""
        return self.model_dump(mode="json", exclude={"name", "component"})


def name_of(component: Path) -> str:
    """The function name a component's file suggests, such as ``hello`` for ``out/hello.wasm``.

    Raises:
        InvalidArgument: the file's name suggests none.
    """
    stem = component.name.split(".")[0]
    name = re.sub(r"[^a-z0-9._-]+", "-", stem.lower())[:63].strip("._-")
    if not name:
        raise InvalidArgument(f"'{component}' suggests no function name; give one", operation="read manifest")
    return name


_M = TypeVar("_M", bound=BaseModel)


def check(model: type[_M], values: Any, *, base: Path | None = None, operation: str) -> _M:
    """``values`` as ``model``; for values that come from a program rather than from a file.

    Args:
        model: Limits, Grants or Configuration.
        values: decoded JSON, or keyword arguments.
        base: where relative host paths start; None refuses them.
        operation: what the error says failed.

    Raises:
        InvalidArgument: naming the key, and what is accepted.
    """
    try:
        return model.model_validate(values, context={"base": base})
    except ValidationError as error:
        raise explain(model, error, operation=operation) from None


def from_keywords(keywords: Mapping[str, Any], *, operation: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Splits flat keyword arguments into those of Limits and those of Grants.

    Raises:
        InvalidArgument: a name is neither, with the nearest one that is.
    """
    limits = {name: value for name, value in keywords.items() if name in Limits.model_fields}
    grants = {name: value for name, value in keywords.items() if name in Grants.model_fields}
    for name in keywords:
        if name not in limits and name not in grants:
            accepted = [*Limits.model_fields, *Grants.model_fields]
            raise InvalidArgument(
                f"'{name}' is neither a limit nor a grant{_suggest(name, accepted)}",
                operation=operation,
                context={"key": name},
            )
    return limits, grants


def explain(
    model: type[BaseModel],
    error: ValidationError,
    *,
    operation: str = "read manifest",
    file: Path | None = None,
    positions: Mapping[tuple[str | int, ...], Position] | None = None,
) -> InvalidArgument:
    """The one error for what pydantic found: a line for each mistake, in the order of the file.

    The context has the place of the first one.
    """
    mistakes = []
    for details in error.errors(include_url=False):
        path = tuple(part for part in details["loc"] if part != "[key]")
        mistakes.append((_place(path, positions or {}), _dotted(path), _describe(model, path, details)))
    mistakes.sort(key=lambda mistake: mistake[0] or (0, 0))
    lines = []
    for place, _, description in mistakes:
        prefix = f"{file}:{place.line}:{place.column}: " if file and place else f"{file}: " if file else ""
        lines.append(prefix + description)
    place, key, _ = mistakes[0]
    context = {"key": key}
    if file and place:
        context |= {"file": str(file), "line": str(place.line), "column": str(place.column)}
    return InvalidArgument("\n".join(lines), operation=operation, context=context)


def _place(
    path: tuple[str | int, ...], positions: Mapping[tuple[str | int, ...], Position]
) -> Position | None:
    # A key that is missing has no place: its table has.
    while path:
        if path in positions:
            return positions[path]
        path = path[:-1]
    return None


def _dotted(path: tuple[str | int, ...]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _describe(model: type[BaseModel], path: tuple[str | int, ...], details: ErrorDetails) -> str:
    key = _dotted(path)
    kind = details["type"]
    if kind == "extra_forbidden":
        return f"'{key}' is no setting" + _suggest(str(path[-1]), _accepted(model, path[:-1]))
    if kind == "missing":
        return f"'{key}' is missing; it must be given"
    if kind == "value_error":
        return f"'{key}': {details['ctx']['error']}"
    found = details["input"]
    return f"'{key}': {_lowered(details['msg'])}, found {found!r}"


def _lowered(message: str) -> str:
    return message[:1].lower() + message[1:]


def _accepted(model: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    tables: dict[str, type[BaseModel]] = {
        "limits": Limits,
        "grants": Grants,
        "dirs": DirectoryGrant,
        "microvm": MicroVm,
        "image": Image,
    }
    names = [part for part in path if isinstance(part, str)]
    return list((tables[names[-1]] if names else model).model_fields)


def _suggest(name: str, accepted: list[str]) -> str:
    near = get_close_matches(name, accepted, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ";"
    return f"{hint} accepted: {', '.join(accepted)}"


def _syntax_error(error: tomllib.TOMLDecodeError, file: Path) -> InvalidArgument:
    message = str(error)
    context = {"file": str(file)}
    match = re.search(r" \(at line (\d+), column (\d+)\)$", message)
    place = ""
    if match:
        place = f"{match[1]}:{match[2]}:"
        context |= {"line": match[1], "column": match[2]}
        message = message[: match.start()]
    where = f"{file}:{place}" if place else f"{file}:"
    return InvalidArgument(
        f"{where} not valid TOML: {_lowered(message)}", operation="read manifest", context=context
    )
