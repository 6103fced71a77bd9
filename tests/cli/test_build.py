"""`limes new`, `build` and `dev`, and what `run` and `deploy` do with a folder of source."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.cli.conftest import RunLimes
from tests.conftest import DEADLINE, Node

from limes.build import build, scaffold


@pytest.fixture(scope="module", autouse=True)
def c_library(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Zig compiles its C library for the first program there is, which takes longer than a command may here."""
    folder = tmp_path_factory.mktemp("first") / "first"
    scaffold.create(folder, "c", "cli")
    build(folder)


def test_new_and_build_and_run_are_all_it_takes(limes: RunLimes, tmp_path: Path) -> None:
    made = json.loads(limes("new", "hello", "--lang", "c", "--contract", "cli", "--json").stdout)
    assert (made["language"], made["contract"]) == ("c", "cli")
    built = json.loads(limes("build", "hello", "--json").stdout)
    assert (built["fresh"], Path(built["component"]).parent) == (False, tmp_path / "hello" / "build")
    again = limes("build", "hello")
    assert "unchanged since it was built" in again.stdout
    (asks,) = (line for line in again.stdout.splitlines() if line.startswith("may ask for"))
    assert all(grant in asks for grant in built["grants"])
    assert "what is not granted is refused" in asks
    assert limes("run", "hello", "you").stdout == "Hello, you!\n"


def test_run_builds_a_folder_without_a_manifest(limes: RunLimes, tmp_path: Path) -> None:
    scaffold.create(tmp_path / "bare", "c", "cli")
    (tmp_path / "bare" / "limes.toml").unlink()
    done = limes("run", "bare", "you")
    assert done.stdout == "Hello, you!\n", done.stderr
    assert "built bare from c" in done.stderr


def test_build_shows_what_the_compiler_says(limes: RunLimes, tmp_path: Path) -> None:
    scaffold.create(tmp_path / "broken", "c", "cli")
    (tmp_path / "broken" / "function.c").write_text("int main(void) { return x; }\n")
    done = limes("build", "broken")
    assert done.returncode != 0
    assert "use of undeclared identifier 'x'" in done.stderr
    assert "Traceback" not in done.stderr


def test_deploy_builds_a_folder_first(fresh_node: Node, tmp_path: Path) -> None:
    scaffold.create(tmp_path / "hello", "c", "cli")
    answer = fresh_node.json("deploy", tmp_path / "hello")
    assert (answer["name"], answer["revision"]) == ("hello", 1)
    (tmp_path / "hello" / "limes.toml").unlink()
    assert fresh_node.json("deploy", tmp_path / "hello")["name"] == "hello"


def test_dev_deploys_each_change_and_ends_on_ctrl_c(fresh_node: Node, tmp_path: Path) -> None:
    folder = tmp_path / "hello"
    scaffold.create(folder, "c", "cli")
    source = folder / "function.c"
    with subprocess.Popen(
        [sys.executable, "-m", "limes", "dev", folder, "--json"],
        stdout=subprocess.PIPE,
        env=fresh_node.environment,
        text=True,
    ) as dev:
        assert dev.stdout is not None

        def event(kind: str) -> dict[str, Any]:
            for line in dev.stdout:
                told: dict[str, Any] = json.loads(line)
                if told["event"] == kind:
                    return told
            raise AssertionError(f"limes dev ended without the event {kind}")

        try:
            assert event("deployed")["revision"] == 1
            source.write_text("int main(void) { return nonsense; }\n")
            assert "nonsense" in event("failed")["error"]["message"]
            assert httpx.get(fresh_node.function_url("hello"), timeout=DEADLINE).status_code == 200
            source.write_text('#include <stdio.h>\nint main(void) { fputs("noted\\n", stderr); return 0; }\n')
            assert event("deployed")["revision"] == 2
            httpx.get(fresh_node.function_url("hello"), timeout=DEADLINE)
            assert event("log")["text"]
        finally:
            dev.send_signal(signal.SIGINT)
        assert dev.wait(DEADLINE) == 0
