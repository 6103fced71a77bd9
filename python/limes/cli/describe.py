"""`limes describe`: everything known of one function."""

from typing import Any

from limes.cli import options
from limes.cli.client import NodeClient, function_path
from limes.cli.output import guarded, new_app, write_facts, write_json, write_table
from limes.node.home import Home
from limes.units import format_size

app = new_app()

_BYTES = ("memory", "stack", "output", "response", "request")
_MILLISECONDS = ("timeout", "cpu")


@app.command()
@guarded
def describe(name: options.FunctionName, home: options.HomeDir = None, as_json: options.Json = False) -> None:
    """Show a function's settings, revisions and counters."""
    client = NodeClient(Home(home))
    function = client.call("GET", function_path(name))
    if as_json:
        write_json(function)
        return
    write_facts(
        [
            ("name", function["name"]),
            ("url", f"http://{client.listen}{function['path']}"),
            ("hosts", ", ".join(function["hosts"])),
            ("contract", function["contract"]),
            ("sandbox", function["sandbox"]),
            ("compile", _compile(function["compile"], function["tier"])),
            ("state", function["state"]),
            ("error", function["error"]),
            ("component", f"{format_size(function['size'])}, sha256 {function['digest']}"),
            ("limits", ", ".join(_limit(*item) for item in function["limits"].items())),
            ("grants", "; ".join(_grants(function["grants"])) or "nothing"),
            (
                "requests",
                ", ".join(f"{count} {outcome}" for outcome, count in function["requests"].items()) or 0,
            ),
            ("running", f"{function['running']}, {function['queued']} waiting"),
        ]
    )
    print()
    write_table(
        ("revision", "current", "contract", "size", "created", "component"),
        [
            (
                revision["revision"],
                "*" if revision["current"] else "",
                revision["contract"],
                format_size(revision["size"]),
                revision["created"][:19].replace("T", " "),
                revision["digest"][:12],
            )
            for revision in function["revisions"]
        ],
    )


def _compile(mode: str, tier: str | None) -> str:
    return f"{mode}, {tier} code now" if tier else mode


def _limit(name: str, value: int) -> str:
    if name in _BYTES:
        return f"{name} {format_size(value)}"
    return f"{name} {value} ms" if name in _MILLISECONDS else f"{name} {value}"


def _grants(grants: dict[str, Any]) -> list[str]:
    lines = []
    for name, value in grants.items():
        if name == "dirs":
            lines += [f"dir {d['host']}::{d['guest']}{':rw' if d['writable'] else ''}" for d in value]
        elif isinstance(value, dict):
            lines += [f"{name} {key}={text}" for key, text in value.items()]
        elif isinstance(value, list):
            lines += [f"{name} {text}" for text in value]
        elif value:
            lines.append(name)
    return lines
