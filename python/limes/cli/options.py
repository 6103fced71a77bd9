"""Options that several commands share, and those for limits and grants."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from limes.errors import InvalidArgument

COMPONENT_HELP = "A component, a wasip1 module, wat text, or a function's folder (or its limes.toml)."

Json = Annotated[bool, typer.Option("--json", help="Write JSON, for programs.")]
HomeDir = Annotated[
    Path | None,
    typer.Option("--home", metavar="DIR", envvar="LIMES_HOME", help="The node's state and token."),
]
CacheDir = Annotated[
    Path | None,
    typer.Option("--cache-dir", metavar="DIR", envvar="LIMES_CACHE_DIR", help="Where machine code is kept."),
]
Method = Annotated[
    str | None, typer.Option("--method", "-X", help="HTTP: the method. Default: GET, or POST with --data.")
]
UrlPath = Annotated[str, typer.Option("--path", help="HTTP: path and query.")]
HeaderList = Annotated[
    list[str] | None,
    typer.Option("--header", "-H", metavar="NAME:VALUE", help="HTTP: a header field. Repeatable."),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        "-d",
        metavar="TEXT|@FILE|-",
        help="The request body, or stdin of a command; '-' reads it from stdin.",
    ),
]
Include = Annotated[bool, typer.Option("--include", "-i", help="HTTP: print status and header fields too.")]


_MACHINE = "MicroVM"
Sandbox = Annotated[
    str | None,
    typer.Option(
        "--sandbox",
        metavar="wasm|microvm",
        help="Where it runs: in the process, or in a virtual machine for every request.",
        rich_help_panel=_MACHINE,
    ),
]
Vmm = Annotated[
    str | None,
    typer.Option(
        "--vmm",
        metavar="auto|builtin|firecracker|qemu",
        help="The virtual machine monitor.",
        rich_help_panel=_MACHINE,
    ),
]
Accelerator = Annotated[
    str | None,
    typer.Option(
        "--accelerator",
        metavar="auto|tcg|kvm",
        help="What runs QEMU's machine: KVM, software (tcg), or KVM where it works.",
        rich_help_panel=_MACHINE,
    ),
]
VmMode = Annotated[
    str | None,
    typer.Option(
        "--vm-mode",
        metavar="MODE",
        help="What is done before a request: end-to-end, pre-configured, snapshot, reset or warm.",
        rich_help_panel=_MACHINE,
    ),
]


def sandbox_settings(
    sandbox: str | None, vmm: str | None, mode: str | None, accelerator: str | None = None
) -> dict[str, Any]:
    """The settings `sandbox` and `microvm` that options gave; nothing when they gave none."""
    given = (("vmm", vmm), ("mode", mode), ("accelerator", accelerator))
    machine = {name: value for name, value in given if value is not None}
    if sandbox is None and not machine:
        return {}
    return {"sandbox": sandbox or "microvm", "microvm": machine}


def complete_function(incomplete: str) -> list[str]:
    """Names of deployed functions, for the shell's completion; none when no node answers."""
    from limes.cli.client import NodeClient
    from limes.errors import LimesError
    from limes.node.home import Home

    try:
        listed = NodeClient(Home()).call("GET", "/v1/functions")
    except LimesError:
        return []
    return [row["name"] for row in listed["functions"] if row["name"].startswith(incomplete)]


FunctionName = Annotated[
    str, typer.Argument(metavar="NAME", help="A deployed function.", autocompletion=complete_function)
]

Compile = Annotated[
    str | None,
    typer.Option(
        "--compile",
        metavar="optimized|tiered",
        help="tiered: a large component answers before its optimised code is ready.",
    ),
]

_SIZE, _DURATION, _COUNT = "SIZE", "DURATION", "COUNT"
_LIMITS = (
    ("memory", _SIZE, "All linear memories together, such as 64MiB."),
    ("table_elements", _COUNT, "Elements of all tables together."),
    ("instances", _COUNT, "Core instances, tables and memories of the component, each."),
    ("timeout", _DURATION, "Wall-clock time of an invocation, such as 5s."),
    ("cpu", _DURATION, "Time the guest may compute."),
    ("stack", _SIZE, "WebAssembly stack, at most 8MiB."),
    ("output", _SIZE, "Bytes on stdout and on stderr, each."),
    ("response", _SIZE, "Bytes of a response body or an answer."),
    ("request", _SIZE, "Bytes of a request body, args or stdin."),
    ("concurrency", _COUNT, "Invocations at once."),
    ("queue", _COUNT, "Requests that may wait for a slot."),
    ("handles", _COUNT, "Host resources open at once."),
)
_GRANTS = (
    ("env", "--env", "NAME=VALUE", "An environment variable. Repeatable."),
    ("args", "--arg", "ARG", "An argument before those of the call. Repeatable."),
    ("dirs", "--dir", "HOST::GUEST[:rw]", "A directory, read-only without :rw. Repeatable."),
    ("http", "--http", "HOST[:PORT]", "A host that HTTP requests may go to. Repeatable."),
    ("tcp", "--tcp", "ADDRESS:PORT", "An address for TCP connections. Repeatable."),
    ("udp", "--udp", "ADDRESS:PORT", "An address for UDP. Repeatable."),
)


def takes_settings(function: Callable[..., None]) -> Callable[..., None]:
    """Gives a command an option for every limit and grant.

    The command gets those that were given in its parameter `settings`: a dictionary by the names of
    limes.toml.
    """
    options = _parameters()  # with a prefix, for a command may have arguments of its own called `args`
    own = [p for p in inspect.signature(function).parameters.values() if p.name != "settings"]

    @functools.wraps(function)
    def command(**values: Any) -> None:
        given = {name: values.pop(parameter.name) for name, parameter in options.items()}
        function(**values, settings=_read(given))

    parameters = [*(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own), *options.values()]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _parameters() -> dict[str, inspect.Parameter]:
    annotations: dict[str, Any] = {}
    for name, kind, text in _LIMITS:
        option = typer.Option(
            f"--{name.replace('_', '-')}", metavar=kind, help=text, rich_help_panel="Limits"
        )
        annotations[name] = Annotated[int | None if kind == _COUNT else str | None, option]
    for name, flag, metavar, text in _GRANTS:
        option = typer.Option(flag, metavar=metavar, help=text, rich_help_panel="Grants")
        annotations[name] = Annotated[list[str] | None, option]
    annotations["dns"] = Annotated[
        bool, typer.Option("--dns", help="Host name look-ups.", rich_help_panel="Grants")
    ]
    return {
        name: inspect.Parameter(
            f"setting_{name}",
            inspect.Parameter.KEYWORD_ONLY,
            default=False if name == "dns" else None,
            annotation=annotation,
        )
        for name, annotation in annotations.items()
    }


def _read(given: dict[str, Any]) -> dict[str, Any]:
    # By identity: 0 is a setting, though it equals False.
    missing = [name for name, value in given.items() if value is None or value is False or value == []]
    settings = {name: _as_number(value) for name, value in given.items() if name not in missing}
    if "env" in settings:
        settings["env"] = dict(_split_env(text) for text in settings["env"])
    if "dirs" in settings:
        settings["dirs"] = [_split_dir(text) for text in settings["dirs"]]
    return settings


def _as_number(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _split_env(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InvalidArgument(f"--env {text}: write it as NAME=VALUE", operation="read options")
    return name, value


def _split_dir(text: str) -> dict[str, Any]:
    host, colons, guest = text.partition("::")
    writable = guest.endswith(":rw")
    guest = guest.removesuffix(":rw").removesuffix(":ro")
    if not colons or not host or not guest:
        raise InvalidArgument(
            f"--dir {text}: write it as HOST::GUEST or HOST::GUEST:rw, such as ./data::/data:rw",
            operation="read options",
        )
    return {"host": str(Path(host).expanduser().absolute()), "guest": guest, "writable": writable}


def quantity(parse: Callable[[object], int], text: str, flag: str) -> int:
    """A size or duration that an option was given.

    Raises:
        InvalidArgument: it is none.
    """
    try:
        return parse(_as_number(text))
    except ValueError as error:
        raise InvalidArgument(f"{flag}: {error}", operation="read options") from None
