"""Deploys under load, rollbacks, and how much of a function's past is kept."""

import asyncio
import json
import threading
from dataclasses import dataclass, field

import httpx
import pytest
from tests.conftest import DEADLINE, Node, StartNode, guest_path
from tests.node.conftest import Admin, OpenAdmin, stamped

CLIENTS = 200
DEPLOYS = 50
ANSWERS_BETWEEN_DEPLOYS = 100
"""How many answers come before the next deploy: enough to see the old revision and the new one."""


@dataclass
class Watched:
    """A function under load: which revisions an answer may be of."""

    begun: int = 1
    """The newest revision whose deploy was asked for."""
    acknowledged: int = 1
    """The newest revision whose deploy was answered."""
    seen: set[int] = field(default_factory=set)


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str) -> tuple[int, bytes]:
    """One request on a connection that stays open: status and body."""
    writer.write(f"POST /function/{name} HTTP/1.1\r\nHost: node\r\nContent-Length: 0\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    status, *fields = head.decode("latin-1").split("\r\n")
    lengths = [line.partition(":")[2] for line in fields if line.lower().startswith("content-length:")]
    return int(status.split()[1]), await reader.readexactly(int(lengths[0]))


def environment(revision: int) -> dict[str, object]:
    """Settings whose answer says which revision it is of."""
    return {"env": {"REVISION": str(revision)}}


def deploy_anew(node: Node, watched: dict[str, Watched], answers: threading.Semaphore) -> None:
    """One function after the other is deployed anew, each time after so many answers."""
    names = list(watched)
    component = guest_path("env").read_bytes()
    with Admin(node) as admin:
        for number in range(DEPLOYS):
            name = names[number % len(names)]
            state = watched[name]
            state.begun += 1
            # Every third deploy brings bytes that must be compiled.
            content = stamped(component, str(number)) if number % 3 == 0 else component
            deployed = admin.deploy(name, content, grants=environment(state.begun))
            assert deployed["revision"] == state.begun
            state.acknowledged = state.begun
            for _ in range(ANSWERS_BETWEEN_DEPLOYS):
                assert answers.acquire(timeout=DEADLINE), "the load stands still"


async def load_and_deploy(node: Node, watched: dict[str, Watched]) -> list[str]:
    """200 clients that ask without pause while functions are deployed anew; gives what was wrong."""
    wrong: list[str] = []
    over = asyncio.Event()
    answers = threading.Semaphore(0)
    names = list(watched)

    async def client(number: int) -> None:
        name = names[number % len(names)]
        state = watched[name]
        reader, writer = await asyncio.open_connection(*node.address)
        try:
            while not over.is_set():
                oldest = state.acknowledged
                status, body = await ask(reader, writer, name)
                answers.release()
                if status != 200:
                    wrong.append(f"{name}: {status} {body!r}")
                    continue
                revision = int(json.loads(body)["env"]["REVISION"])
                state.seen.add(revision)
                if not oldest <= revision <= state.begun:
                    wrong.append(f"{name}: revision {revision}, not {oldest} to {state.begun}")
        finally:
            writer.close()
            await writer.wait_closed()

    clients = [asyncio.create_task(client(number)) for number in range(CLIENTS)]
    try:
        await asyncio.to_thread(deploy_anew, node, watched, answers)
    finally:
        over.set()
        await asyncio.wait_for(asyncio.gather(*clients), DEADLINE)
    return wrong


def test_no_request_fails_while_functions_are_deployed_anew(fresh_node: Node, open_admin: OpenAdmin) -> None:
    admin = open_admin(fresh_node)
    watched = {f"busy-{letter}": Watched() for letter in "abcde"}
    for name in watched:
        admin.deploy(name, "env", grants=environment(1))
    wrong = asyncio.run(load_and_deploy(fresh_node, watched))
    assert wrong == []
    for name, state in watched.items():
        assert state.begun == 1 + DEPLOYS // len(watched)
        assert len(state.seen) > state.begun // 2, f"{name}: the load saw too few of its revisions"
        assert set(admin.function(name)["requests"]) == {"ok"}


def test_a_request_that_runs_ends_on_the_revision_it_began_with(
    node: Node, admin: Admin, anyone: httpx.Client
) -> None:
    admin.deploy("streaming", "http_never")
    with anyone.stream("GET", node.function_url("streaming", "?head=1")) as answer:
        assert answer.status_code == 200
        (before,) = admin.running("streaming")
        admin.deploy("streaming", "http_hello")
        assert anyone.get(node.function_url("streaming")).text == "Hello, World!\n"
        (after,) = admin.running("streaming")
        assert (after["id"], after["revision"]) == (before["id"], 1)
    assert admin.function("streaming")["revision"] == 2


def test_a_removed_function_lets_what_runs_go_on(node: Node, admin: Admin, anyone: httpx.Client) -> None:
    admin.deploy("parting", "http_never")
    with anyone.stream("GET", node.function_url("parting", "?head=1")) as answer:
        assert answer.status_code == 200
        admin.delete("/v1/functions/parting").raise_for_status()
        assert anyone.get(node.function_url("parting")).status_code == 404
        assert len(admin.running("parting")) == 1


def test_rollbacks_walk_back_and_deploys_go_on_counting(admin: Admin) -> None:
    def answered() -> str:
        output = json.loads(admin.invoke("walking").raise_for_status().json()["output"])
        return str(output["env"]["REVISION"])

    for revision in (1, 2, 3):
        admin.deploy("walking", "env", grants=environment(revision))
    for expected in ("2", "1"):
        admin.post("/v1/functions/walking/rollback").raise_for_status()
        assert answered() == expected
    assert admin.post("/v1/functions/walking/rollback").status_code == 404
    assert answered() == "1"
    assert admin.deploy("walking", "env", grants=environment(4))["revision"] == 4
    assert answered() == "4"


def test_a_rollback_restores_hosts_too(node: Node, admin: Admin, anyone: httpx.Client) -> None:
    def served(host: str) -> int:
        return anyone.post(node.url, headers={"Host": host}, content="x").status_code

    admin.deploy("moving", "run_echo", hosts=["old.example"])
    admin.deploy("moving", "run_echo", hosts=["new.example"])
    assert (served("old.example"), served("new.example")) == (404, 200)
    admin.post("/v1/functions/moving/rollback").raise_for_status()
    assert (served("old.example"), served("new.example")) == (200, 404)


def test_a_rollback_to_hosts_that_others_took_changes_nothing(
    node: Node, admin: Admin, anyone: httpx.Client
) -> None:
    admin.deploy("giving", "run_echo", hosts=["shared.example"])
    admin.deploy("giving", "run_echo")
    admin.deploy("taking", "hello", hosts=["shared.example"])
    answer = admin.post("/v1/functions/giving/rollback")
    assert answer.status_code == 400
    assert admin.function("giving")["revision"] == 2
    assert anyone.post(node.url, headers={"Host": "shared.example"}, content="x").text == "Hello, x!"


@pytest.mark.parametrize("keep", [1, 3])
def test_only_so_many_revisions_are_kept_and_their_bytes_with_them(
    start_node: StartNode, open_admin: OpenAdmin, keep: int
) -> None:
    node = start_node("--keep", str(keep))
    admin = open_admin(node)
    component = guest_path("run_echo").read_bytes()
    digests = [admin.deploy("pruned", stamped(component, str(n)))["digest"] for n in range(5)]
    assert [row["revision"] for row in admin.function("pruned")["revisions"]] == [5, 4, 3][:keep]
    stored = {path.name for path in (node.home / "blobs").glob("??/*")}
    assert stored == set(digests[5 - keep :])


def test_the_current_revision_is_kept_however_old_it_is(start_node: StartNode, open_admin: OpenAdmin) -> None:
    admin = open_admin(start_node("--keep", "2"))
    for revision in (1, 2):
        admin.deploy("anchored", "env", grants=environment(revision))
    admin.post("/v1/functions/anchored/rollback").raise_for_status()
    assert admin.deploy("anchored", "env", grants=environment(3))["revision"] == 3
    kept = {row["revision"]: row["current"] for row in admin.function("anchored")["revisions"]}
    assert kept == {3: True, 2: False}
