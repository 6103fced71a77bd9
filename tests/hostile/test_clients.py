"""Clients that are slow, rude or gone take nothing from the others."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
from tests.conftest import Node, eventually

ENDLESS = {"timeout": "10m", "cpu": "10m"}


@pytest.fixture(scope="module")
def serving(node: Node) -> Node:
    node.put("http_hello", "healthy", {})
    node.put("http_echo", "echo", {"request": 1000})
    node.put("run_echo", "run", {"request": 1000})
    node.put("http_never", "never", ENDLESS)
    node.put("spin_http", "spin", ENDLESS)
    node.put("spin", "spin-run", ENDLESS)
    return node


def _running(node: Node) -> list[str]:
    listed = httpx.get(f"{node.admin}/v1/invocations", headers=node.authorization, timeout=30)
    return [invocation["function"] for invocation in listed.json()["invocations"]]


def _answers(node: Node) -> bool:
    return httpx.get(node.function_url("healthy"), timeout=30).content == b"Hello, World!\n"


@pytest.fixture
def client(serving: Node) -> Iterator[socket.socket]:
    with socket.create_connection(serving.address, timeout=30) as connection:
        yield connection


def _read_all(connection: socket.socket) -> bytes:
    """What comes until the node closes; a reset ends it too."""
    data = b""
    try:
        while part := connection.recv(65536):
            data += part
    except ConnectionResetError:
        pass
    return data


def test_heads_that_never_end_hold_up_nobody_and_are_given_up(serving: Node) -> None:
    with ExitStack() as slow:
        clients = [
            slow.enter_context(socket.create_connection(serving.address, timeout=60)) for _ in range(200)
        ]
        for number, connection in enumerate(clients):
            connection.sendall(b"GET /function/healthy HTTP/1.1\r\nHost: x\r\nX-Slow: 1"[: 1 + number % 50])
        for _ in range(20):
            assert _answers(serving)
        assert _running(serving) == []
        for connection in clients:
            head = _read_all(connection)  # comes to an end: the node has closed
            assert head == b"" or head.startswith(b"HTTP/1.1 4")
    assert _answers(serving)


def test_bodies_that_never_end_hold_up_nobody(serving: Node) -> None:
    head = b"POST /function/run HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nonly this"
    with ExitStack() as slow:
        for _ in range(100):
            connection = slow.enter_context(socket.create_connection(serving.address, timeout=30))
            connection.sendall(head)
        for _ in range(20):
            assert _answers(serving)
    eventually(lambda: _running(serving) == [], "the end of what the slow clients began")


@pytest.mark.parametrize("name", ["never", "spin"])
def test_a_client_that_closes_its_side_counts_as_gone(
    serving: Node, client: socket.socket, name: str
) -> None:
    client.sendall(f"GET /function/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    eventually(lambda: _running(serving) == [name], "the invocation")
    client.shutdown(socket.SHUT_WR)
    assert _read_all(client) == b""
    eventually(lambda: _running(serving) == [], "the end of the invocation")
    assert _answers(serving)


@pytest.mark.parametrize("name", ["echo", "run"])
def test_a_body_cut_short_is_never_taken_for_a_whole_one(
    serving: Node, client: socket.socket, name: str
) -> None:
    head = f"POST /function/{name} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\ncut short"
    client.sendall(head.encode())
    client.shutdown(socket.SHUT_WR)
    answer = _read_all(client)
    if name == "run":
        assert not answer.startswith(b"HTTP/1.1 2")
    else:
        assert not answer.endswith(b"0\r\n\r\n")
    eventually(lambda: _running(serving) == [], "the end of the function")


def test_a_client_that_goes_away_in_its_head_leaves_nothing(serving: Node, client: socket.socket) -> None:
    client.sendall(b"GET /function/healthy HTT")
    client.close()
    assert _answers(serving)
    assert _running(serving) == []


@pytest.mark.parametrize("name", ["echo", "run"])
def test_a_declared_body_past_the_limit_is_refused(serving: Node, name: str) -> None:
    url = serving.function_url(name)
    assert httpx.post(url, content=b"x" * 1000, timeout=30).content == b"x" * 1000
    refused = httpx.post(url, content=b"x" * 1001, timeout=30)
    assert refused.status_code == 413
    assert refused.json()["error"]["kind"] == "request_too_large"


def test_a_declared_body_past_the_limit_is_refused_before_it_is_sent(
    serving: Node, client: socket.socket
) -> None:
    client.sendall(b"POST /function/run HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_chunked_body_past_the_limit_is_refused(serving: Node) -> None:
    refused = httpx.post(serving.function_url("run"), content=iter([b"x" * 600] * 2), timeout=30)
    assert refused.status_code == 413
    assert refused.json()["error"]["kind"] == "request_too_large"


def test_a_chunked_body_past_the_limit_never_passes_whole(serving: Node) -> None:
    # Its head may have been answered by the time the limit is passed: then the answer is cut.
    try:
        answer = httpx.post(serving.function_url("echo"), content=iter([b"x" * 600] * 2), timeout=30)
    except httpx.RemoteProtocolError:
        return
    assert answer.status_code == 413


@pytest.mark.parametrize("name", ["never", "never?head=1", "spin", "spin?head=1", "spin-run"])
def test_a_client_that_goes_away_frees_its_slot(serving: Node, client: socket.socket, name: str) -> None:
    client.sendall(f"GET /function/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    eventually(lambda: _running(serving) == [name.partition("?")[0]], "the invocation")
    client.close()
    eventually(lambda: _running(serving) == [], "the end of the invocation")
    assert json.loads(serving.limes("ps", "--json").stdout) == {"invocations": []}


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\0" * 100 + b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /function/healthy HTTP/9.9\r\n\r\n",
        b"POST /function/run HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /function/run HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"POST /function/run HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnot hex\r\n",
        b"GET /function/healthy HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
    ],
)
def test_what_is_no_request_is_refused(serving: Node, client: socket.socket, rubbish: bytes) -> None:
    try:
        client.sendall(rubbish)
        client.shutdown(socket.SHUT_WR)
    except (BrokenPipeError, ConnectionResetError, OSError):
        pass  # the node has closed already
    answer = _read_all(client)
    assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 505", b"HTTP/1.0 4"))
    assert _answers(serving)
