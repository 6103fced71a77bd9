"""What a function is called with and what it answered, for `limes run` and `limes invoke`."""

import sys
from pathlib import Path
from typing import Any

from limes.cli.output import note, write_bytes, write_json
from limes.errors import InvalidArgument, from_os
from limes.invocation import decode_output
from limes.units import format_nanoseconds

PHASES = (
    "compile",
    "load",
    "route",
    "queue",
    "process",
    "create",
    "boot",
    "instantiate",
    "first_byte",
    "execute",
    "reset",
    "teardown",
    "total",
)


def read_data(data: str | None) -> bytes:
    """The bytes `--data` stands for: the text itself, a file's with `@FILE`, stdin's with `-`.

    Raises:
        LimesIOError: the file cannot be read.
    """
    if data is None:
        return b""
    if data == "-":
        return sys.stdin.buffer.read()
    if data.startswith("@"):
        try:
            return Path(data[1:]).read_bytes()
        except OSError as error:
            raise from_os(error, "read data", f"cannot read '{data[1:]}'") from error
    return data.encode()


def read_headers(lines: list[str] | None) -> list[tuple[str, str]]:
    """The pairs of `--header NAME:VALUE`.

    Raises:
        InvalidArgument: one has no colon.
    """
    pairs = []
    for line in lines or []:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise InvalidArgument(f"--header {line}: write it as NAME:VALUE", operation="read options")
        pairs.append((name.strip(), value.strip()))
    return pairs


def write_answer(
    answer: dict[str, Any], *, as_json: bool, include: bool = False, timing: bool = False
) -> int:
    """Write an answer (JSON as of the admin API), and give the exit code that goes with it.

    Args:
        answer: what the function answered.
        as_json: write it as it is.
        include: HTTP: status and header fields before the body.
        timing: what each phase took, to stderr.
    """
    exit_code = int(answer.get("exit_code") or 0)
    if as_json:
        write_json(answer)
    else:
        _write_plain(answer, include)
    if timing:
        _write_timing(answer["timing"])
    return exit_code


def _write_plain(answer: dict[str, Any], include: bool) -> None:
    output = decode_output(answer["output"], answer["output_encoding"])
    status = answer.get("status")
    is_command = answer["kind"] == "command"
    if not is_command and answer["stdout"]:
        sys.stderr.write(answer["stdout"])
    if answer["stderr"]:
        sys.stderr.write(answer["stderr"])
        sys.stderr.flush()
    if status is not None:
        if include:
            print(f"HTTP {status}")
            for name, value in answer["headers"]:
                print(f"{name}: {value}")
            print()
        elif not 200 <= status < 300:
            note(f"status {status}")
    if answer["kind"] == "run":
        print(output.decode(errors="replace"))
    else:
        write_bytes(output)


def _write_timing(timing: dict[str, Any]) -> None:
    for phase in PHASES:
        if nanoseconds := timing.get(phase):
            note(f"{phase:>12}  {format_nanoseconds(nanoseconds):>10}")
    note(f"{'cache':>12}  {timing.get('cache', 'unused'):>10}")
    note(f"{'tier':>12}  {timing.get('tier', 'optimized'):>10}")
