"""On a pipe there is text and nothing else; on a terminal there may be more."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import RunLimes
from tests.conftest import DEADLINE, Node, guest_path

ESCAPE = "\x1b"
COLOR_WANTED = {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1", "TERM": "xterm-256color", "COLORTERM": "truecolor"}
"""What makes many programs write colours wherever they write to."""


@pytest.mark.parametrize(
    "args",
    [
        ["version"],
        ["doctor"],
        ["inspect", "GUEST:fs"],
        ["cache", "info"],
        ["run", "--jit", "GUEST:hello", "x"],
        ["run", "--jit", "--timing", "GUEST:hello", "x"],
        ["run", "GUEST:trap"],
        ["list"],
        ["compile", "--jit", "GUEST:http3_echo", "-o", "out.cwasm"],
    ],
)
def test_no_colour_and_no_spinner_in_a_pipe(limes: RunLimes, args: list[str]) -> None:
    filled = [str(guest_path(arg[6:])) if arg.startswith("GUEST:") else arg for arg in args]
    done = limes(*filled, env={"TERM": "xterm-256color"})
    assert done.stdout or done.stderr
    for written in (done.stdout, done.stderr):
        assert ESCAPE not in written
        assert "\r" not in written
        assert "⠋" not in written


def test_tables_in_a_pipe_are_plain_columns(node: Node) -> None:
    node.deploy("hello")
    node.environment.update(COLOR_WANTED)
    for args in (["list"], ["describe", "hello"], ["logs", "hello"], ["ps"]):
        done = node.limes(*args)
        written = (done.stdout + done.stderr).decode()
        assert ESCAPE not in written
        assert not set("━─│┃╭") & set(written)


def test_a_long_name_is_not_cut_in_a_pipe(node: Node) -> None:
    name = "n" * 63
    node.deploy("hello", name)
    node.environment["COLUMNS"] = "20"
    assert name in node.limes("list").stdout.decode()


def test_a_deploy_in_a_pipe_writes_two_lines(node: Node) -> None:
    done = node.limes("deploy", guest_path("hello"))
    assert len(done.stdout.decode().splitlines()) == 2
    assert done.stderr == b""


def on_terminal(args: list[str], env: dict[str, str]) -> str:
    """What a command writes when its stdout and stderr are a terminal."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "limes", *args], stdin=theirs, stdout=theirs, stderr=theirs, env=env
        )
    finally:
        os.close(theirs)
    written = b""
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        try:
            while part := terminal.read(1 << 16):
                written += part
        except OSError:
            pass  # the last writer closed the terminal: Linux says EIO
    process.wait(DEADLINE)
    return written.decode()


def test_an_error_is_coloured_on_a_terminal_unless_told_otherwise(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    environment |= {"LIMES_HOME": str(tmp_path), "TERM": "xterm-256color"}
    assert ESCAPE in on_terminal(["list"], environment)
    assert ESCAPE not in on_terminal(["list"], {**environment, "NO_COLOR": "1"})


def test_a_reader_that_goes_away_ends_the_command_quietly(limes: RunLimes, cache_dir: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "limes",
        "run",
        "--cache-dir",
        str(cache_dir),
        str(guest_path("cli_cat")),
    ]
    done = subprocess.run(
        ["/bin/sh", "-c", '"$@" | head -c 1', "sh", *command],
        input=b"x" * (4 << 20),
        capture_output=True,
        timeout=DEADLINE,
    )
    assert done.stdout == b"x"
    assert b"Traceback" not in done.stderr


def test_json_stays_on_stdout_and_notes_on_stderr(node: Node) -> None:
    node.deploy("cli_cat")
    done = node.limes("invoke", "cli-cat", "--json", "--timing", "--", "--stderr", "aside")
    assert done.stdout.decode().count("\n") == 1
    assert b"total" in done.stderr
