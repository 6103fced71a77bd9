"""Write what is made from code: ``docs/reference/*.md``, and the README's table of figures.

Run by ``make docs``. ``--check`` writes nothing and fails when a file is not what the code says.
"""

import argparse
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import figures
import typer
from typer.main import get_command

import limes
from limes import _native, errors
from limes.cli.app import app
from limes.node.admin.app import create_app

FOLDER = Path(__file__).resolve().parent / "reference"
STUDY = FOLDER.parents[1] / "bench" / "study" / "summary.json"
NOTE = "<!-- Made by `make docs` from the code; change that instead. -->\n\n"


def main() -> None:
    """Write every reference, or check them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when a file is stale")
    check = parser.parse_args().check
    made = {FOLDER / name: f"{NOTE}{make().rstrip()}\n" for name, make in REFERENCES.items()}
    made[figures.README] = figures.readme()
    stale = [path.name for path, text in made.items() if not update(path, text, check)]
    if stale:
        sys.exit(f"stale: {', '.join(stale)}; run `make docs`")


def update(path: Path, text: str, check: bool) -> bool:
    """Write ``text`` to ``path``, or only compare; returns whether the file is right afterwards."""
    if check:
        return path.exists() and path.read_text() == text
    path.write_text(text)
    return True


def command_line() -> str:
    """Every command with its arguments and options, as its ``--help`` has them."""
    group = get_command(app)
    context = typer.Context(group, info_name="limes")
    parts = ["# Command line", "Every command takes `--json` and `--help`."]
    for name in group.list_commands(context):  # type: ignore[attr-defined]
        command = group.get_command(context, name)  # type: ignore[attr-defined]
        parts.append(command_help(command, typer.Context(command, info_name=name, parent=context)))
    return "\n\n".join(parts)


def command_help(command: Any, context: typer.Context) -> str:
    """One command, and its subcommands below it."""
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    rows = [row for row in (parameter.get_help_record(context) for parameter in command.params) if row]
    lines = [f"## `{context.command_path}`", "", inspect.cleandoc(command.help or ""), "", f"    {usage}", ""]
    if rows:
        lines += ["| option | meaning |", "|---|---|"]
        lines += [f"| `{option}` | {' '.join(text.split())} |" for option, text in rows]
    for name, sub in getattr(command, "commands", {}).items():
        lines += ["", command_help(sub, typer.Context(sub, info_name=name, parent=context))]
    return "\n".join(line.replace("|", "\\|") if line.startswith("    ") else line for line in lines)


def error_table() -> str:
    """The one table of errors."""
    return f"# Errors\n\n{inspect.cleandoc(errors.__doc__ or '')}\n\n{errors.markdown_table()}"


def admin_api() -> str:
    """Every path of the admin API."""
    state: Any = SimpleNamespace(node=None, engine=None)
    document = create_app(state, "token", "").openapi()
    lines = ["# Admin API", "", document["info"]["description"], ""]
    lines += ["The full document is served at `/openapi.json`, a page to try it at `/docs`.", ""]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            lines += [f"## `{method.upper()} {path}`", "", operation.get("summary", ""), ""]
            lines += [operation.get("description", "").strip(), ""]
            for parameter in operation.get("parameters", []):
                text = " ".join(parameter.get("description", "").split())
                lines.append(f"- `{parameter['name']}` ({parameter['in']}): {text}".rstrip(": "))
            lines.append("")
    return "\n".join(lines)


def library() -> str:
    """Every public name with its signature and documentation."""
    parts = ["# Library", inspect.cleandoc(limes.__doc__ or "")]
    for name in limes.__all__:
        item = getattr(limes, name)
        if not inspect.isclass(item) or issubclass(item, errors.LimesError):
            continue
        parts.append(f"## `{name}`\n\n{inspect.getdoc(item) or ''}")
        for attribute, member in vars(item).items():
            function = member.fget if isinstance(member, property) else member
            documented = inspect.isfunction(function) and function.__doc__
            if documented and not attribute.startswith("_"):
                shown = (
                    attribute if isinstance(member, property) else f"{attribute}{inspect.signature(member)}"
                )
                parts.append(f"### `{name}.{shown}`\n\n{inspect.getdoc(function)}")
    return "\n\n".join(parts)


def study() -> str:
    """What the study in the repository found."""
    from limes.study.markdown import page

    if not STUDY.exists():
        return "# What functions cost\n\nNo study is kept in this repository yet: `make study` makes one."
    return page(json.loads(STUDY.read_text()), str(STUDY.relative_to(FOLDER.parents[1])))


def limits() -> str:
    """The default limits."""
    rows = [f"| `{name}` | {value:,} |" for name, value in json.loads(_native.default_limits()).items()]
    head = "# Limits\n\nBytes, milliseconds or counts; what each bounds is in `limes.Limits`.\n"
    return "\n".join([head, "| limit | default |", "|---|---|", *rows])


REFERENCES: dict[str, Callable[[], str]] = {
    "command-line.md": command_line,
    "errors.md": error_table,
    "admin-api.md": admin_api,
    "library.md": library,
    "limits.md": limits,
    "study.md": study,
}

if __name__ == "__main__":
    main()
