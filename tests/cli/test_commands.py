"""Every command: what it writes for people and for programs, and its exit code."""

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import RunLimes
from tests.conftest import DEADLINE, Node, eventually, guest_path

from limes import _native
from limes.cli.app import COMMANDS


def text(done: "subprocess.CompletedProcess[bytes]") -> str:
    return done.stdout.decode()


def error_json(stderr: str | bytes) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(stderr)["error"]
    return error


# Commands that need no node


def test_version_names_all_that_matters(limes_here: RunLimes) -> None:
    told = json.loads(limes_here("version", "--json").stdout)
    assert told == {
        "limes": _native.__version__,
        "wasmtime": _native.WASMTIME_VERSION,
        "python": platform.python_version(),
    }
    line = limes_here("version").stdout
    assert line.startswith(f"limes {_native.__version__} ")
    assert _native.WASMTIME_VERSION in line


def test_help_names_every_command(limes_here: RunLimes) -> None:
    for done in (limes_here("--help"), limes_here()):
        assert done.returncode == 0
        for command in COMMANDS:
            assert f" {command} " in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(limes_here: RunLimes, command: str) -> None:
    done = limes_here(command, "--help")
    assert done.returncode == 0, done.stderr
    assert f"limes {command}" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    "args",
    [
        ["nonsense"],
        ["run"],
        ["version", "--nonsense"],
        ["stop", "abc"],
        ["logs", "name", "--tail", "0"],
        ["run", "--memory", "much", "FILE"],
        ["run", "--env", "novalue", "FILE"],
        ["run", "--dir", "nocolons", "FILE"],
        ["run", "--header", "nocolon", "FILE"],
    ],
)
def test_what_cannot_be_understood_is_an_invalid_argument(limes_here: RunLimes, args: list[str]) -> None:
    filled = [str(guest_path("http_hello")) if arg == "FILE" else arg for arg in args]
    done = limes_here(*filled)
    assert done.returncode == 64, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    with_json = limes_here(filled[0], "--json", *filled[1:])
    assert with_json.returncode == 64
    assert error_json(with_json.stderr)["kind"] == "invalid_argument"


@pytest.mark.parametrize("option", [["--listen", "nowhere"], ["--grace", "soon"], ["--cache-size", "big"]])
def test_serve_refuses_what_has_no_meaning(limes: RunLimes, option: list[str]) -> None:
    done = limes("serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", *option, "--json")
    assert (done.returncode, done.stdout) == (64, "")
    assert error_json(done.stderr)["kind"] == "invalid_argument"


def test_inspect_tells_what_a_component_is(limes_here: RunLimes) -> None:
    found = json.loads(limes_here("inspect", guest_path("fs"), "--json").stdout)
    assert (found["kind"], found["contract"]) == ("component", "run")
    assert "dirs" in found["grants_needed"]
    assert found["size"] == guest_path("fs").stat().st_size
    written = limes_here("inspect", guest_path("fs")).stdout
    assert found["digest"] in written
    assert "component:run/run" in written
    assert any(line.startswith("import  wasi:filesystem/") for line in written.splitlines())


def test_inspect_tells_what_is_not_offered(limes_here: RunLimes) -> None:
    done = limes_here("inspect", guest_path("unknown_import"))
    assert done.returncode == 0
    assert "foo:bar/baz" in next(line for line in done.stdout.splitlines() if "not offered" in line)


def test_run_passes_arguments_to_a_run_function(limes: RunLimes) -> None:
    done = limes("run", guest_path("hello"), "big", "world")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hello, big world!\n", "")
    answer = json.loads(limes("run", "--json", guest_path("hello"), "world").stdout)
    assert (answer["kind"], answer["output"]) == ("run", "Hello, world!")


def test_run_connects_a_command_to_its_own_stdio(limes: RunLimes) -> None:
    done = limes("run", guest_path("cli_cat"), "--stderr", "aside", stdin="through")
    assert (done.returncode, done.stdout, done.stderr) == (0, "through", "aside\n")
    answer = json.loads(limes("run", "--json", guest_path("cli_cat"), "--stderr", "x", stdin="in").stdout)
    assert (answer["output"], answer["stderr"], answer["exit_code"]) == ("in", "x\n", 0)


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_a_commands_exit_code_becomes_ours(limes: RunLimes, code: int) -> None:
    assert limes("run", guest_path("cli_cat"), "--exit", str(code)).returncode == code
    with_json = limes("run", "--json", guest_path("cli_cat"), "--exit", str(code))
    assert with_json.returncode == code
    assert json.loads(with_json.stdout)["exit_code"] == code


def test_run_describes_a_request_to_an_http_function(limes: RunLimes, tmp_path: Path) -> None:
    (tmp_path / "body").write_text("from a file")
    request = ["--method", "PUT", "--path", "/a?b=c", "--header", "x-mine: yes", "--data", "@body"]
    done = limes("run", "--include", *request, guest_path("http_echo"))
    head, _, body = done.stdout.partition("\n\n")
    assert done.returncode == 0, done.stderr
    assert head.splitlines()[0] == "HTTP 200"
    assert {"x-method: PUT", "x-path: /a?b=c", "x-header-x-mine: yes"} <= set(head.splitlines())
    assert body == "from a file"
    answer = json.loads(limes("run", "--json", *request, guest_path("http_echo")).stdout)
    assert (answer["status"], answer["output"]) == (200, "from a file")
    assert limes("run", "--data", "-", guest_path("http_echo"), stdin="from stdin").stdout == "from stdin"


def test_an_option_after_the_file_is_refused_unless_marked(limes: RunLimes) -> None:
    done = limes("run", guest_path("hello"), "--json")
    assert done.returncode == 64
    assert "before FILE" in done.stderr


def test_grants_and_limits_are_options(limes_here: RunLimes, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_text("content")
    done = limes_here("run", "--dir", "data::/d", guest_path("fs"), "read", "/d/file")
    assert done.stdout == "content\n", done.stderr
    done = limes_here("run", "--dir", "data::/d:rw", guest_path("fs"), "write", "/d/new", "text")
    assert (done.stdout, (tmp_path / "data" / "new").read_text()) == ("ok\n", "text")
    told = json.loads(limes_here("run", "--env", "A=b=c", "--arg", "first", guest_path("env")).stdout)
    assert told["env"] == {"A": "b=c"}
    assert "first" in told["args"]
    assert limes_here("run", "--memory", "4MiB", guest_path("memory_bomb")).returncode == 78


def test_run_takes_a_manifest_and_options_stand_over_it(limes_here: RunLimes, tmp_path: Path) -> None:
    manifest = f'component = "{guest_path("env")}"\n[grants]\nenv = {{ A = "manifest" }}\n'
    (tmp_path / "limes.toml").write_text(manifest)
    assert json.loads(limes_here("run", tmp_path).stdout)["env"] == {"A": "manifest"}
    told = json.loads(limes_here("run", "--env", "A=option", tmp_path / "limes.toml").stdout)
    assert told["env"] == {"A": "option"}
    (tmp_path / "limes.toml").write_text(manifest + 'memry = "1"\n')
    wrong = limes_here("run", tmp_path)
    assert wrong.returncode == 64
    assert "memry" in wrong.stderr


def test_timing_goes_to_stderr(limes: RunLimes) -> None:
    done = limes("run", "--timing", guest_path("hello"), "x")
    assert done.stdout == "Hello, x!\n"
    phases = {line.split()[0] for line in done.stderr.splitlines()}
    assert {"instantiate", "execute", "total", "cache"} <= phases


def test_jit_leaves_the_cache_alone(limes: RunLimes, tmp_path: Path) -> None:
    cache = tmp_path / "own"
    done = limes("run", "--jit", "--timing", "--cache-dir", cache, guest_path("hello"), "x")
    assert done.stdout == "Hello, x!\n"
    assert "unused" in next(line for line in done.stderr.splitlines() if "cache" in line)
    assert not [path for path in cache.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("args", "code", "kind"),
    [
        (["run", "missing.wasm"], 74, "io"),
        (["run", "garbage"], 65, "bad_component"),
        (["run", "GUEST:no_contract"], 66, "unsupported_contract"),
        (["run", "GUEST:memory_bomb"], 78, "limit_exceeded"),
        (["run", "--timeout", "50ms", "GUEST:sleep", "60000"], 124, "timeout"),
        (["run", "--cpu", "50ms", "GUEST:spin"], 78, "limit_exceeded"),
        (["run", "GUEST:trap"], 134, "guest_trap"),
        (["run", "--request", "3", "GUEST:run_echo", "four"], 76, "request_too_large"),
        (["inspect", "garbage"], 65, "bad_component"),
        (["inspect", "missing.wasm"], 74, "io"),
        (["compile", "garbage"], 65, "bad_component"),
        (["compile", "missing.wasm"], 74, "io"),
        (["deploy", "GUEST:hello"], 69, "unavailable"),
        (["invoke", "hello"], 69, "unavailable"),
        (["list"], 69, "unavailable"),
        (["describe", "hello"], 69, "unavailable"),
        (["rollback", "hello"], 69, "unavailable"),
        (["remove", "hello"], 69, "unavailable"),
        (["ps"], 69, "unavailable"),
        (["stop", "1"], 69, "unavailable"),
        (["logs", "hello"], 69, "unavailable"),
    ],
)
def test_each_kind_of_error_has_its_exit_code(
    limes_here: RunLimes, tmp_path: Path, args: list[str], code: int, kind: str
) -> None:
    (tmp_path / "garbage").write_bytes(b"no component")
    filled = [str(guest_path(arg[6:])) if arg.startswith("GUEST:") else arg for arg in args]
    plain = limes_here(*filled)
    assert plain.returncode == code, plain.stderr
    assert plain.stdout == ""
    assert plain.stderr.startswith("error: ")
    assert "Traceback" not in plain.stderr
    if kind == "unavailable":
        assert "limes serve" in plain.stderr
        assert str(tmp_path / "home") in plain.stderr
    with_json = limes_here(filled[0], "--json", *filled[1:])
    assert (with_json.returncode, with_json.stdout) == (code, "")
    assert error_json(with_json.stderr)["kind"] == kind


def test_a_trap_shows_where(limes_here: RunLimes) -> None:
    done = limes_here("run", guest_path("trap"))
    assert "wasm backtrace" in done.stderr
    assert "inner_call" in done.stderr


def test_compile_writes_machine_code(limes_here: RunLimes, tmp_path: Path) -> None:
    target = tmp_path / "out.cwasm"
    done = limes_here("compile", guest_path("hello"), "-o", target)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{target}  ")
    size = target.stat().st_size
    told = json.loads(limes_here("compile", "--jit", guest_path("hello"), "-o", target, "--json").stdout)
    assert (told["output"], told["size"]) == (str(target), size)
    assert told["timing"]["compile"] > 0
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".cwasm"] == []


def test_compile_that_cannot_write_leaves_nothing(limes_here: RunLimes, tmp_path: Path) -> None:
    done = limes_here("compile", guest_path("hello"), "-o", tmp_path / "absent" / "out.cwasm")
    assert done.returncode == 74
    assert "absent" in done.stderr


def test_cache_can_be_looked_at_verified_and_cleared(limes_here: RunLimes, tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    def ask(action: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(limes_here("cache", action, "--cache-dir", cache, "--json").stdout)
        return told

    assert ask("info")["entries"] == 0
    for guest in ("hello", "run_echo"):
        assert limes_here("run", "--cache-dir", cache, guest_path(guest)).returncode == 0
    info = ask("info")
    assert (info["dir"], info["entries"]) == (str(cache), 2)
    assert info["bytes"] > 0
    assert ask("verify") == {"good": 2, "discarded": 0}
    assert str(cache) in limes_here("cache", "info", "--cache-dir", cache).stdout
    damaged = max((path for path in cache.rglob("*") if path.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 0xFF
    damaged.chmod(0o600)
    damaged.write_bytes(content)
    assert limes_here("cache", "verify", "--cache-dir", cache).stdout == "1 good, 1 discarded\n"
    assert ask("info")["entries"] == 1
    assert ask("clear")["freed"] > 0
    assert ask("info") == {**info, "entries": 0, "bytes": 0}


def test_doctor_looks_at_the_machine(limes: RunLimes) -> None:
    report = json.loads(limes("doctor", "--json").stdout)
    names = [check["name"] for check in report["checks"]]
    assert len(names) == len(set(names)) >= 5
    assert {check["level"] for check in report["checks"]} <= {"ok", "warn", "fail"}
    done = limes("doctor")
    assert done.returncode == int(any(check["level"] == "fail" for check in report["checks"]))
    for name in names:
        assert name in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_made(limes: RunLimes, shell: str) -> None:
    done = limes(env={"_LIMES_COMPLETE": f"source_{shell}"})
    assert done.returncode == 0, done.stderr
    assert f"_LIMES_COMPLETE=complete_{shell}" in done.stdout


def complete(limes: RunLimes, words: str, home: Path | None = None) -> list[str]:
    env = {
        "_LIMES_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    if home:
        env["LIMES_HOME"] = str(home)
    return limes(env=env).stdout.split()


# Commands of a node


def test_completion_knows_commands_and_functions(limes: RunLimes, node: Node) -> None:
    node.deploy("hello", "completed")
    assert complete(limes, "limes inv") == ["invoke"]
    assert complete(limes, "limes invoke comp", node.home) == ["completed"]
    assert complete(limes, "limes invoke comp") == [], "no node, no names, no error"


def test_deploy_says_where_the_function_is(node: Node) -> None:
    done = text(node.limes("deploy", guest_path("hello"), "--name", "placed"))
    first, url = done.splitlines()
    assert first.startswith("deployed placed revision 1 (run, ")
    assert url == node.function_url("placed")
    again = node.deploy("hello", "placed")
    assert (again["revision"], again["created"], again["timing"]["cache"]) == (2, False, "hit")


def test_deploy_takes_the_name_from_the_file_or_the_manifest(node: Node, tmp_path: Path) -> None:
    assert node.json("deploy", guest_path("run_echo"))["name"] == "run_echo"
    (tmp_path / "limes.toml").write_text(
        f'name = "declared"\ncomponent = "{guest_path("env")}"\nhosts = ["declared.example"]\n'
        '[limits]\nmemory = "32MiB"\ncpu = "1s"\n[grants]\nenv = { A = "1" }\n'
    )
    assert node.json("deploy", tmp_path, "--memory", "16MiB")["name"] == "declared"
    told = node.json("describe", "declared")
    assert (told["limits"]["memory"], told["limits"]["cpu"]) == (16 << 20, 1000)
    assert told["hosts"] == ["declared.example"]
    written = text(node.limes("describe", "declared"))
    assert "declared.example" in written
    assert "memory 16.0 MiB" in written or "memory 16 MiB" in written
    assert "env A=1" in written


def test_a_queue_of_none_is_an_option(node: Node) -> None:
    node.deploy("hello", "no-queue", "--queue", "0", "--concurrency", "2")
    limits = node.json("describe", "no-queue")["limits"]
    assert (limits["queue"], limits["concurrency"]) == (0, 2)


def test_invoke_calls_every_contract(node: Node) -> None:
    for guest in ("hello", "cli_cat", "http_echo"):
        node.deploy(guest)
    assert text(node.limes("invoke", "hello", "big", "world")) == "Hello, big world!\n"
    assert text(node.limes("invoke", "hello", "--data", "body")) == "Hello, body!\n"
    assert text(node.limes("invoke", "cli-cat", "--data", "-", stdin=b"stdin")) == "stdin"
    failed = node.limes("invoke", "cli-cat", "--", "--stderr", "oh", "--exit", "9", check=False)
    assert (failed.returncode, failed.stderr) == (9, b"oh\n")
    request = ["--method", "PUT", "--path", "/p?q", "--header", "x-a: b", "--data", "body", "--include"]
    written = text(node.limes("invoke", "http-echo", *request))
    assert written.startswith("HTTP 200\n")
    assert "x-method: PUT\n" in written
    assert written.endswith("\n\nbody")
    answer = node.json("invoke", "hello", "json")
    assert (answer["kind"], answer["output"]) == ("run", "Hello, json!")
    timed = node.limes("invoke", "hello", "--timing")
    assert "execute" in timed.stderr.decode()


def test_invoke_binary_data_unchanged(node: Node) -> None:
    node.deploy("cli_cat")
    data = bytes(range(256))
    assert node.limes("invoke", "cli-cat", "--data", "-", stdin=data).stdout == data


@pytest.mark.parametrize(
    ("args", "code", "kind"),
    [
        (["invoke", "absent"], 68, "not_found"),
        (["describe", "absent"], 68, "not_found"),
        (["rollback", "absent"], 68, "not_found"),
        (["remove", "absent"], 68, "not_found"),
        (["logs", "absent"], 68, "not_found"),
        (["stop", "999999"], 68, "not_found"),
        (["rollback", "present", "--to", "99"], 68, "not_found"),
        (["invoke", "present", "--timeout", "soon"], 64, "invalid_argument"),
        (["deploy", "missing.wasm"], 74, "io"),
        (["deploy", "GUEST:hello", "--name", "Bad Name"], 64, "invalid_argument"),
        (["deploy", "GUEST:no_contract", "--name", "x"], 66, "unsupported_contract"),
    ],
)
def test_errors_of_the_node_keep_their_kind(
    node: Node,
    limes_here: RunLimes,
    monkeypatch: pytest.MonkeyPatch,
    args: list[str],
    code: int,
    kind: str,
) -> None:
    monkeypatch.setenv("LIMES_HOME", str(node.home))
    assert limes_here("deploy", guest_path("trap"), "--name", "present").returncode == 0
    filled = [str(guest_path(arg[6:])) if arg.startswith("GUEST:") else arg for arg in args]
    done = limes_here(*filled, "--json")
    assert (done.returncode, done.stdout) == (code, "")
    assert error_json(done.stderr)["kind"] == kind
    plain = limes_here(*filled)
    assert plain.returncode == code
    assert plain.stderr.startswith("error: ")


def test_a_trap_on_the_node_shows_where(node: Node) -> None:
    node.deploy("trap")
    done = node.limes("invoke", "trap", check=False)
    assert (done.returncode, done.stdout) == (134, b"")
    assert b"inner_call" in done.stderr


def test_list_shows_what_is_deployed(fresh_node: Node) -> None:
    nothing = fresh_node.limes("list")
    assert len(nothing.stdout.splitlines()) == 1, "the heading alone"
    assert b"limes deploy FILE" in nothing.stderr
    fresh_node.deploy("hello")
    fresh_node.limes("invoke", "hello")
    header, row = text(fresh_node.limes("list")).splitlines()
    assert header.split()[:4] == ["NAME", "REVISION", "CONTRACT", "STATE"]
    assert row.split()[:6] == ["hello", "1", "run", "loaded", "1", "0"]
    (listed,) = fresh_node.json("list")["functions"]
    assert (listed["name"], listed["requests"]) == ("hello", {"ok": 1})


def test_rollback_and_remove_say_what_they_did(node: Node) -> None:
    node.deploy("hello", "history")
    node.deploy("run_echo", "history")
    assert text(node.limes("rollback", "history")) == "history is back at revision 1\n"
    assert node.json("rollback", "history", "--to", "2")["revision"] == 2
    assert text(node.limes("remove", "history")) == "removed history\n"
    node.deploy("hello", "history")
    assert node.json("remove", "history") == {"removed": "history"}


def test_ps_shows_what_runs_and_stop_ends_it(node: Node) -> None:
    node.deploy("spin", "turning", "--cpu", "60s", "--timeout", "60s")
    assert node.json("ps", "--function", "turning") == {"invocations": []}
    for as_json in (False, True):
        command = [sys.executable, "-m", "limes", "invoke", "turning"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, env=node.environment) as caller:
            (row,) = eventually(
                lambda: node.json("ps", "--function", "turning")["invocations"], "the invocation"
            )
            header, line = text(node.limes("ps", "--function", "turning")).splitlines()
            assert header.split() == ["ID", "FUNCTION", "REVISION", "AGE", "CLIENT"]
            assert line.split()[:3] == [str(row["id"]), "turning", "1"]
            if as_json:
                assert node.json("stop", str(row["id"])) == {"stopped": row["id"]}
            else:
                assert text(node.limes("stop", str(row["id"]))) == f"stopped {row['id']}\n"
            assert caller.wait(DEADLINE) == 130
    assert b"nothing runs" in node.limes("ps", "--function", "turning").stderr


def test_logs_show_what_a_function_wrote(node: Node) -> None:
    node.deploy("cli_cat", "writer")
    for word in ("one", "two", "three"):
        node.limes("invoke", "writer", "--", "--stderr", word)
    lines = eventually(lambda: node.json("logs", "writer")["lines"][2:], "three lines")
    assert lines[-1]["text"] == "three"
    last = text(node.limes("logs", "writer", "--tail", "2")).splitlines()
    assert [line.rpartition("stderr: ")[2] for line in last] == ["two", "three"]


@pytest.mark.parametrize("as_json", [False, True])
def test_logs_can_be_followed(node: Node, as_json: bool) -> None:
    name = f"followed-{as_json}".lower()
    node.deploy("cli_cat", name)
    command = [sys.executable, "-m", "limes", "logs", name, "--follow", *(["--json"] if as_json else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=node.environment) as follower:
        assert follower.stdout is not None
        for word in ("first", "second"):
            node.limes("invoke", name, "--", "--stderr", word)
            line = follower.stdout.readline().decode()
            assert (json.loads(line)["text"] if as_json else line.split(": ", 1)[1].strip()) == word
        node.limes("remove", name)
        assert follower.wait(DEADLINE) == 0


def test_home_is_an_option_and_an_environment_variable(node: Node, limes: RunLimes) -> None:
    assert limes("list").returncode == 69
    assert limes("list", "--home", node.home).returncode == 0
    assert limes("list", env={"LIMES_HOME": str(node.home)}).returncode == 0
    assert limes("list", "--home", "elsewhere", env={"LIMES_HOME": str(node.home)}).returncode == 69


def test_a_wrong_token_is_an_error_of_its_own(fresh_node: Node) -> None:
    (fresh_node.home / "token").write_text("wrong\n")
    done = fresh_node.limes("list", check=False)
    assert done.returncode == 67
    assert done.stderr.startswith(b"error: ")


def test_serve_says_on_one_line_where_it_is(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "limes", "serve", "--home", str(tmp_path / "home")]
    addresses = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    with subprocess.Popen([*command, *addresses], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as served:
        assert served.stdout is not None
        line = served.stdout.readline().decode()
        served.terminate()
        rest, errors = served.communicate(timeout=DEADLINE)
    assert line.startswith("serving 0 functions on http://127.0.0.1:")
    assert str(tmp_path / "home") in line
    assert (served.returncode, rest, errors) == (0, b"", b"")
