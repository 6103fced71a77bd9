"""A node that starts again goes on where it was."""

import fcntl
import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from tests.conftest import DEADLINE, Node, StartNode, eventually, guest_path
from tests.node.conftest import OpenAdmin, error_of

from limes.node.home import Home

DEPLOYED = {
    "hello": "run",
    "wat_echo": "run",
    "http_hello": "http02",
    "http3_hello": "http03",
    "cli_cat": "cli02",
    "cli3_cat": "cli03",
    "p1_command": "cli02",
}
"""Guests, and the contracts they have."""


def name_of(guest: str) -> str:
    return guest.replace("_", "-")


def cache_entries(node: Node) -> set[Path]:
    return {path for path in (node.home / "cache").rglob("*") if path.is_file()}


def blob_of(home: Path, digest: str) -> Path:
    return home / "blobs" / digest[:2] / digest


def test_every_function_is_served_again_without_compiling(
    start_node: StartNode, open_admin: OpenAdmin
) -> None:
    first = start_node()
    admin = open_admin(first)
    answers = {}
    for guest, contract in DEPLOYED.items():
        assert admin.deploy(name_of(guest), guest)["contract"] == contract
        answers[guest] = admin.invoke(name_of(guest), body="text").raise_for_status().json()["output"]
    entries = admin.get("/v1/cache").json()["entries"]
    assert entries == len(DEPLOYED)
    before = cache_entries(first)
    assert first.stop() == 0

    second = start_node(home=first.home)
    assert second.started["functions"] == len(DEPLOYED)
    admin = open_admin(second)
    for guest in DEPLOYED:
        answer = admin.invoke(name_of(guest), body="text").raise_for_status().json()
        assert answer["output"] == answers[guest]
        assert answer["timing"]["compile"] == 0
        assert answer["timing"]["cache"] != "miss"
        assert admin.function(name_of(guest))["stats"]["phases_ns"].get("compile", 0) == 0
    assert admin.get("/v1/cache").json()["entries"] == entries
    assert cache_entries(second) == before


def test_a_lost_cache_is_made_again(start_node: StartNode, anyone: httpx.Client) -> None:
    first = start_node()
    first.deploy("hello")
    assert first.stop() == 0
    for path in cache_entries(first):
        path.unlink()
    second = start_node(home=first.home)
    assert anyone.post(second.function_url("hello"), content="again").text == "Hello, again!"


def test_settings_and_history_survive(start_node: StartNode, open_admin: OpenAdmin) -> None:
    first = start_node()
    admin = open_admin(first)
    for revision in (1, 2, 3):
        admin.deploy("kept", "env", grants={"env": {"R": str(revision)}}, hosts=["kept.example"])
    admin.post("/v1/functions/kept/rollback").raise_for_status()
    before = admin.function("kept")
    token = first.token
    assert first.stop() == 0

    second = start_node(home=first.home)
    assert second.token == token
    admin = open_admin(second)
    after = admin.function("kept")
    same = ("revision", "hosts", "limits", "grants", "revisions", "created", "updated", "contract")
    assert {key: after[key] for key in same} == {key: before[key] for key in same}
    assert json.loads(admin.invoke("kept").json()["output"])["env"] == {"R": "2"}


@pytest.mark.parametrize(
    "damage",
    [
        "flipped",
        "truncated",
        "missing",
    ],
)
def test_a_function_with_broken_bytes_says_so_and_the_others_are_served(
    start_node: StartNode, open_admin: OpenAdmin, anyone: httpx.Client, damage: str
) -> None:
    first = start_node()
    digest = first.deploy("hello", "damaged")["digest"]
    first.deploy("run_echo", "whole")
    assert first.stop() == 0
    blob = blob_of(first.home, digest)
    content = bytearray(blob.read_bytes())
    blob.unlink()
    if damage != "missing":
        content[len(content) // 2] ^= 0xFF
        blob.write_bytes(content if damage == "flipped" else content[:100])

    second = start_node(home=first.home)
    assert second.started["broken"] == ["damaged"]
    admin = open_admin(second)
    assert anyone.post(second.function_url("whole"), content="fine").text == "fine"
    for answer in (anyone.post(second.function_url("damaged")), admin.invoke("damaged")):
        assert answer.status_code == 500
        assert error_of(answer)["kind"] == "corrupted_state"
    described = admin.function("damaged")
    assert described["state"] == "broken"
    assert digest in described["error"]
    patched = admin.patch("/v1/functions/damaged", json={"limits": {"cpu": "1s"}})
    assert error_of(patched)["kind"] == "corrupted_state"

    admin.deploy("damaged", "hello")
    assert anyone.post(second.function_url("damaged"), content="you").text == "Hello, you!"
    assert admin.function("damaged")["state"] == "loaded"


def serve_again(home: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """`limes serve` that is expected to end by itself."""
    addresses = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    command = [sys.executable, "-m", "limes", "serve", "--home", str(home), *addresses, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)


def test_a_second_node_of_the_same_home_is_refused(fresh_node: Node) -> None:
    refused = serve_again(fresh_node.home)
    assert refused.returncode == 69
    assert str(fresh_node.home) in refused.stderr
    assert str(fresh_node.pid) in refused.stderr
    assert "--home" in refused.stderr
    assert fresh_node.json("list") == {"functions": []}, "the first one goes on"


def test_a_taken_address_is_refused(fresh_node: Node, tmp_path: Path) -> None:
    for option, address in (("--listen", fresh_node.url), ("--admin", fresh_node.admin)):
        refused = serve_again(tmp_path / "other", option, address.removeprefix("http://"))
        assert refused.returncode == 74, refused.stderr
        assert address.removeprefix("http://") in refused.stderr
        assert "Traceback" not in refused.stderr


def test_a_registry_that_is_none_is_refused_and_left_alone(start_node: StartNode) -> None:
    node = start_node()
    node.deploy("hello")
    assert node.stop() == 0
    database = node.home / "registry.db"
    for path in node.home.glob("registry.db-*"):
        path.unlink()
    damaged = b"not a database" + database.read_bytes()[14:]
    database.write_bytes(damaged)
    refused = serve_again(node.home)
    assert refused.returncode == 71, refused.stderr
    assert str(database) in refused.stderr
    assert "Traceback" not in refused.stderr
    assert database.read_bytes() == damaged


def test_what_a_killed_node_left_behind_is_in_nobodys_way(
    start_node: StartNode, open_admin: OpenAdmin
) -> None:
    first = start_node()
    first.deploy("hello")
    first.kill()
    assert (first.home / "node.json").exists()
    gone = first.limes("list", check=False)
    assert gone.returncode == 69
    second = start_node(home=first.home)
    assert open_admin(second).names() == ["hello"]
    assert second.stop() == 0
    assert not (second.home / "node.json").exists()


def test_a_node_that_is_gone_is_not_told_the_token(start_node: StartNode) -> None:
    node = start_node()
    node.kill()
    admin = httpx.URL(node.admin)
    with socket.create_server((admin.host, admin.port or 0)) as other:
        other.setblocking(False)
        assert node.limes("list", check=False).returncode == 69
        with pytest.raises(BlockingIOError):
            other.accept()


def test_a_client_that_looks_for_a_node_does_not_keep_it_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    with home.locked():
        assert home.held()
    assert not home.held()
    client = home.lock_file.open()
    fcntl.flock(client, fcntl.LOCK_SH)
    monkeypatch.setattr(time, "sleep", lambda _seconds: client.close())
    with home.locked():
        assert client.closed
        assert home.held()


SLOW_TO_RESTORE = """
import pathlib, sys, time
from limes.cli.app import run
from limes.node.deployments import Deployments

restore = Deployments.restore

def restore_later(deployments):
    while not pathlib.Path(sys.argv[1]).exists():
        time.sleep(0.01)
    restore(deployments)

Deployments.restore = restore_later
sys.exit(run(sys.argv[2:]))
"""
"""`limes ARGS...` of a node that waits for a file, the first argument, before it serves what was deployed."""


def test_nothing_changes_and_nothing_is_missing_before_all_is_restored(
    start_node: StartNode, anyone: httpx.Client, tmp_path: Path
) -> None:
    first = start_node()
    first.deploy("hello")
    first.deploy("run_echo", "kept")
    assert first.stop() == 0
    go = tmp_path / "go"
    addresses = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    command = [sys.executable, "-c", SLOW_TO_RESTORE, str(go), "serve", "--home", str(first.home), *addresses]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            running = eventually(Home(first.home).running, "the node to say where it is")
            function, admin = f"http://{running.listen}/function/hello", f"http://{running.admin}"
            of_hello = f"{admin}/v1/functions/hello"
            headers = first.authorization

            def is_starting() -> bool:
                with suppress(httpx.ConnectError):
                    return bool(anyone.get(f"{admin}/readyz").json() == {"status": "starting"})
                return False

            eventually(is_starting, "the admin API")
            early = anyone.post(function, content="you")
            assert early.headers["retry-after"] == "1"
            for answer in (
                early,
                anyone.put(of_hello, content=guest_path("run_echo").read_bytes(), headers=headers),
                anyone.patch(of_hello, json={}, headers=headers),
                anyone.post(f"{of_hello}/rollback", headers=headers),
                anyone.delete(of_hello, headers=headers),
                anyone.post(f"{of_hello}/invoke", json={}, headers=headers),
            ):
                assert answer.status_code == 503
                assert error_of(answer)["kind"] == "unavailable"
                assert error_of(answer)["retryable"]
            go.touch()
            eventually(lambda: anyone.get(f"{admin}/readyz").is_success, "it to serve")
            assert anyone.post(function, content="you").text == "Hello, you!"
            assert anyone.delete(of_hello, headers=headers).is_success
            assert anyone.post(function, content="you").status_code == 404
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE) == 0
        finally:
            process.kill()
