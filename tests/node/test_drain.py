"""A shutdown lets what was accepted come to its end."""

import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import pytest
from tests.conftest import DEADLINE, Node, StartNode, eventually
from tests.node.conftest import NO_TLS, Admin, OpenAdmin, error_of

LIMITS = {"timeout": "60s", "cpu": "60s"}


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


class Word:
    """What guests wait for: each connects to the test and is done when it has been told a word."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(DEADLINE)
        self.address = "{}:{}".format(*self._listener.getsockname())

    def tell(self, count: int) -> None:
        """Tell it to so many guests, one after the other."""
        for _ in range(count):
            guest, _ = self._listener.accept()
            with guest:
                while guest.recv(64):
                    pass
                guest.sendall(b"awake")

    def close(self) -> None:
        """No guest is told any more."""
        self._listener.close()


@pytest.fixture
def word() -> Iterator[Word]:
    word = Word()
    yield word
    word.close()


def ask(node: Node, name: str, body: str) -> httpx.Response:
    with httpx.Client(timeout=DEADLINE, trust_env=False, verify=NO_TLS) as client:
        return client.post(node.function_url(name), content=body)


def ask_many(pool: ThreadPoolExecutor, node: Node, name: str, *bodies: str) -> list[Future[httpx.Response]]:
    return [pool.submit(ask, node, name, body) for body in bodies]


def accepted(admin: Admin, name: str) -> int:
    """Requests of a function that run or wait for a slot."""
    function = admin.function(name)
    return int(function["running"]) + int(function["queued"])


@pytest.mark.parametrize("concurrency", [8, 1], ids=["all-run", "most-wait-for-a-slot"])
def test_everything_accepted_is_answered_before_the_node_ends(
    start_node: StartNode,
    open_admin: OpenAdmin,
    pool: ThreadPoolExecutor,
    anyone: httpx.Client,
    word: Word,
    concurrency: int,
) -> None:
    node = start_node()
    admin = open_admin(node)
    admin.deploy("net", "net", limits={**LIMITS, "concurrency": concurrency}, grants={"tcp": [word.address]})
    waiting = ask_many(pool, node, "net", *[f"tcp {word.address} hi"] * 8)
    eventually(lambda: accepted(admin, "net") == 8, "eight requests to be there")
    stopped = pool.submit(node.stop)
    eventually(lambda: anyone.get(node.admin + "/readyz").status_code == 503, "the drain to begin")
    assert accepted(admin, "net") == 8
    word.tell(8)
    assert stopped.result(DEADLINE) == 0
    answers = [future.result(DEADLINE) for future in waiting]
    assert [(answer.status_code, answer.text) for answer in answers] == [(200, "awake")] * 8


def test_a_response_that_streams_is_finished(
    start_node: StartNode, open_admin: OpenAdmin, pool: ThreadPoolExecutor
) -> None:
    node = start_node()
    admin = open_admin(node)
    admin.deploy("stream", "http_stream", limits=LIMITS)

    begun = threading.Event()

    def read() -> bytes:
        url = node.function_url("stream", "?chunks=5&size=64&pause=150")
        body = b""
        with (
            httpx.Client(timeout=DEADLINE, trust_env=False, verify=NO_TLS) as client,
            client.stream("GET", url) as response,
        ):
            for part in response.iter_raw():
                body += part
                begun.set()
        return body

    body = pool.submit(read)
    assert begun.wait(DEADLINE)
    assert node.stop() == 0
    assert len(body.result(DEADLINE)) == 5 * 64


def test_what_the_grace_period_does_not_suffice_for_is_stopped(
    start_node: StartNode, open_admin: OpenAdmin, pool: ThreadPoolExecutor
) -> None:
    node = start_node("--grace", "200ms")
    admin = open_admin(node)
    for name, guest in (("sleep", "sleep"), ("spin", "spin")):
        admin.deploy(name, guest, limits=LIMITS)
    waiting = ask_many(pool, node, "sleep", "50000") + ask_many(pool, node, "spin", "")
    eventually(lambda: accepted(admin, "sleep") + accepted(admin, "spin") == 2, "both to run")
    assert node.stop() == 0
    for future in waiting:
        answer = future.result(DEADLINE)
        assert answer.status_code == 503
        assert error_of(answer)["kind"] == "stopped"
    assert "stopped 2 requests" in node.stderr


def test_a_second_signal_ends_the_grace_period(
    start_node: StartNode, open_admin: OpenAdmin, pool: ThreadPoolExecutor, anyone: httpx.Client
) -> None:
    node = start_node("--grace", "10m")
    admin = open_admin(node)
    admin.deploy("sleep", "sleep", limits=LIMITS)
    (waiting,) = ask_many(pool, node, "sleep", "50000")
    eventually(lambda: accepted(admin, "sleep") == 1, "it to run")
    node.process.send_signal(signal.SIGTERM)
    eventually(lambda: anyone.get(node.admin + "/readyz").status_code == 503, "the drain to begin")
    age = admin.running("sleep")[0]["age_ms"]
    eventually(lambda: admin.running("sleep")[0]["age_ms"] > age + 300, "it to run on while the node drains")
    node.process.send_signal(signal.SIGINT)
    answer = waiting.result(DEADLINE)
    assert error_of(answer)["kind"] == "stopped"
    assert node.stop() == 0


def test_a_node_that_drains_says_so_and_takes_nothing_new(
    start_node: StartNode, open_admin: OpenAdmin, pool: ThreadPoolExecutor
) -> None:
    node = start_node("--grace", "10m")
    admin = open_admin(node)
    admin.deploy("sleep", "sleep", limits=LIMITS)
    (waiting,) = ask_many(pool, node, "sleep", "50000")
    (row,) = eventually(lambda: admin.running("sleep"), "it to run")
    node.process.send_signal(signal.SIGTERM)
    eventually(lambda: admin.get("/readyz").json() == {"status": "draining"}, "the drain to begin")
    assert admin.get("/healthz").status_code == 200

    def refused() -> bool:
        try:
            return ask(node, "sleep", "0").status_code == 503
        except httpx.TransportError:
            return True

    eventually(refused, "new requests to be refused")
    for answer in (
        admin.put("late", "hello"),
        admin.invoke("sleep", "0"),
        admin.delete("/v1/functions/sleep"),
        admin.patch("/v1/functions/sleep", json={}),
    ):
        assert answer.status_code == 503
        assert error_of(answer)["kind"] == "unavailable"
    admin.delete(f"/v1/invocations/{row['id']}").raise_for_status()
    assert error_of(waiting.result(DEADLINE))["kind"] == "stopped"
    assert node.stop() == 0


def test_an_idle_node_ends_although_clients_stay_connected(
    start_node: StartNode, anyone: httpx.Client
) -> None:
    node = start_node("--grace", "10m")
    node.deploy("hello")
    assert anyone.post(node.function_url("hello"), content="x").status_code == 200
    with (
        Admin(node) as client,
        client.stream("GET", "/v1/functions/hello/logs", params={"follow": "true"}) as logs,
    ):
        assert logs.status_code == 200
        assert node.stop() == 0
