"""Each hostile guest ends in the right error, and the functions beside it keep answering."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx
import pytest
from tests.conftest import DEADLINE, Node, eventually


class Hostile(NamedTuple):
    guest: str
    limits: dict[str, Any]
    status: int
    kind: str
    limit: str = ""
    query: str = ""
    body: bytes = b""


WHOLE = [
    Hostile("spin", {"timeout": "200ms"}, 504, "timeout", "timeout"),
    Hostile("spin", {"cpu": "200ms"}, 500, "limit_exceeded", "cpu"),
    Hostile("spin_http", {"timeout": "200ms"}, 504, "timeout", "timeout"),
    Hostile("sleep", {"timeout": "200ms"}, 504, "timeout", "timeout", body=b"600000"),
    Hostile("http_never", {"timeout": "200ms"}, 504, "timeout", "timeout"),
    Hostile("recurse", {}, 500, "limit_exceeded", "stack"),
    Hostile("memory_bomb", {"memory": "32MiB"}, 500, "limit_exceeded", "memory"),
    Hostile("memory_static", {}, 500, "limit_exceeded", "memory"),
    Hostile("instances_bomb", {}, 500, "limit_exceeded", "instances"),
    Hostile("stdout_flood", {}, 500, "limit_exceeded", "output"),
    Hostile("stdout_flood", {}, 500, "limit_exceeded", "output", body=b"stderr"),
    Hostile("big_answer", {"response": 1000}, 500, "limit_exceeded", "response", body=b"1001"),
    Hostile("handles_flood", {}, 500, "limit_exceeded", "handles"),
    Hostile("handles_flood", {}, 500, "limit_exceeded", "handles", body=b"fields"),
    Hostile("trap", {}, 500, "guest_trap"),
    Hostile("http_trap", {}, 500, "guest_trap"),
    Hostile("http_double_set", {}, 500, "guest_trap"),
    Hostile("http_no_response", {}, 500, "guest_failure"),
    Hostile("http_bad_length", {}, 500, "guest_failure", query="?leave=1"),
    Hostile("run_echo", {"request": 1000}, 413, "request_too_large", "request", body=b"x" * 1001),
]
CUT = [
    Hostile("http_flood", {"response": "1MiB"}, 200, "limit_exceeded"),
    Hostile("http_trap", {}, 200, "guest_trap", query="?head=1"),
    Hostile("http_never", {"timeout": "200ms"}, 200, "timeout", query="?head=1"),
    Hostile("spin_http", {"timeout": "200ms"}, 200, "timeout", query="?head=1"),
    Hostile("http_bad_length", {}, 200, "guest_failure"),
]


def _id(hostile: Hostile) -> str:
    return "-".join(
        filter(None, (hostile.guest, hostile.limit, hostile.body[:6].decode(), hostile.query[1:]))
    )


@pytest.fixture(scope="module")
def healthy(node: Node) -> Node:
    node.put("http_hello", "healthy", {})
    return node


@contextmanager
def _keeps_answering(node: Node) -> Iterator[None]:
    """A client that calls the healthy function without a pause; each of its calls must succeed."""
    over, answers, first = threading.Event(), [], threading.Event()

    def call() -> None:
        with httpx.Client(timeout=30) as client:
            while not over.is_set() or not answers:
                try:
                    response = client.get(node.function_url("healthy"))
                    answers.append((response.status_code, response.content))
                except httpx.HTTPError as error:
                    answers.append((0, repr(error).encode()))
                first.set()

    caller = threading.Thread(target=call)
    caller.start()
    assert first.wait(30)
    before = len(answers)
    try:
        yield
        eventually(lambda: len(answers) > before, "an answer beside the hostile guest")
    finally:
        over.set()
        caller.join()
    assert set(answers) == {(200, b"Hello, World!\n")}


def _deploy(node: Node, hostile: Hostile, sandbox: str) -> str:
    name = f"hostile-{sandbox}-{[*WHOLE, *CUT].index(hostile)}"
    node.put(hostile.guest, name, hostile.limits, sandbox)
    return name


def _nothing_runs(node: Node) -> bool:
    listed = httpx.get(f"{node.admin}/v1/invocations", headers=node.authorization, timeout=30)
    return listed.json()["invocations"] == []


@pytest.mark.parametrize("hostile", WHOLE, ids=_id)
def test_a_hostile_guest_ends_in_its_error_beside_a_healthy_one(
    healthy: Node, hostile: Hostile, sandbox: str
) -> None:
    url = healthy.function_url(_deploy(healthy, hostile, sandbox), hostile.query)
    with _keeps_answering(healthy), httpx.Client(timeout=30) as client:
        for _ in range(2):
            response = client.post(url, content=hostile.body)
            assert response.status_code == hostile.status
            error = response.json()["error"]
            assert error["kind"] == hostile.kind
            assert error["context"].get("limit", "") == hostile.limit
    eventually(lambda: _nothing_runs(healthy), "the end of the guest")


def _is_cut(node: Node, name: str, hostile: Hostile) -> bool:
    """Whether no whole answer came: it broke off, or the failure was there before the head was sent."""
    try:
        answer = httpx.get(node.function_url(name, hostile.query), timeout=30)
    except httpx.RemoteProtocolError:
        return True
    return answer.status_code >= 500 and answer.json()["error"]["kind"] == hostile.kind


@pytest.mark.parametrize("hostile", CUT, ids=_id)
def test_a_response_that_cannot_be_finished_is_cut(healthy: Node, hostile: Hostile, sandbox: str) -> None:
    name = _deploy(healthy, hostile, sandbox)
    with _keeps_answering(healthy):
        assert _is_cut(healthy, name, hostile)
    eventually(lambda: _nothing_runs(healthy), "the end of the guest")


@pytest.mark.parametrize("hostile", CUT, ids=_id)
def test_a_response_that_was_cut_is_logged_with_its_error(
    healthy: Node, hostile: Hostile, sandbox: str
) -> None:
    name = _deploy(healthy, hostile, sandbox)
    assert _is_cut(healthy, name, hostile)
    eventually(
        lambda: hostile.kind in healthy.limes("logs", name).stdout.decode(),
        f"{hostile.kind} in the log",
        seconds=3 if hostile.guest == "http_bad_length" else DEADLINE,
    )


def test_many_hostile_guests_at_once_leave_the_node_serving(healthy: Node, sandbox: str) -> None:
    names = [
        _deploy(healthy, hostile, sandbox)
        for hostile in WHOLE
        if hostile.guest in ("spin", "memory_bomb", "recurse")
    ]
    statuses: list[int] = []

    def attack(name: str) -> None:
        statuses.append(httpx.post(healthy.function_url(name), timeout=60).status_code)

    with _keeps_answering(healthy):
        attackers = [threading.Thread(target=attack, args=(name,)) for name in names * 4]
        for attacker in attackers:
            attacker.start()
        for attacker in attackers:
            attacker.join()
    assert len(statuses) == len(attackers)
    assert set(statuses) <= {500, 503, 504}


def test_a_table_bomb_gets_no_more_than_its_limit(healthy: Node) -> None:
    healthy.put("table_bomb", "table", {"table_elements": 25_000})
    assert httpx.get(healthy.function_url("table"), timeout=30).text == "20001"


def test_bodies_that_nobody_reads_count_as_memory(healthy: Node) -> None:
    healthy.put("http_bodies", "bodies", {"memory": "16MiB"})
    error = httpx.get(healthy.function_url("bodies"), timeout=30).json()["error"]
    assert (error["kind"], error["context"]["limit"]) == ("limit_exceeded", "memory")
    assert (16 << 20) < int(error["context"]["asked"].split()[0]) < (17 << 20)


def test_a_timeout_on_a_node_says_the_limit_that_was_set(healthy: Node) -> None:
    healthy.put("spin", "says-limit", {"timeout": "200ms"})
    error = httpx.get(healthy.function_url("says-limit"), timeout=30).json()["error"]
    assert error["context"]["allowed"] == "200"
