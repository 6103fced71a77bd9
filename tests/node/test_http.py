"""The data plane over real sockets: connections, streams, routes, contracts and errors."""

import http.client
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from tests.conftest import DEADLINE, Node, eventually
from tests.node.conftest import Admin, error_of

LIMITS = {"timeout": "60s", "cpu": "60s"}


@contextmanager
def connected(node: Node) -> Iterator[socket.socket]:
    with socket.create_connection(node.address, timeout=DEADLINE) as connection:
        yield connection


def read_until(connection: socket.socket, received: bytes, enough: Callable[[bytes], bool]) -> bytes:
    """Read on until `enough` says so, or the other side has no more."""
    while not enough(received):
        more = connection.recv(1 << 16)
        if not more:
            break
        received += more
    return received


def post(name: str, body: bytes, *fields: str) -> bytes:
    lines = [f"POST /function/{name} HTTP/1.1", "Host: node", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join([*lines, "", ""]).encode() + body


def test_a_connection_serves_one_request_after_the_other(node: Node, admin: Admin) -> None:
    admin.deploy("echo", "run_echo")
    connection = http.client.HTTPConnection(*node.address, timeout=DEADLINE)
    try:
        connection.connect()
        own = connection.sock.getsockname()
        for number in range(5):
            connection.request("POST", "/function/echo", f"body {number}")
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (200, b"body %d" % number)
            assert connection.sock.getsockname() == own, "the connection was closed in between"
        connection.request("POST", "/function/nowhere", "lost")
        answer = connection.getresponse()
        assert answer.status == 404
        answer.read()
    finally:
        connection.close()


def test_requests_that_come_at_once_are_answered_in_order(node: Node, admin: Admin) -> None:
    admin.deploy("echo", "run_echo")
    bodies = [f"<{number}>".encode() for number in range(20)]
    with connected(node) as connection:
        requests = [post("echo", body) for body in bodies[:-1]]
        connection.sendall(b"".join([*requests, post("echo", bodies[-1], "Connection: close")]))
        received = read_until(connection, b"", lambda _: False)
    assert received.count(b"HTTP/1.1 200 OK") == len(bodies)
    places = [received.index(body) for body in bodies]
    assert places == sorted(places)


def test_a_client_that_asks_to_close_is_closed_on(node: Node, admin: Admin) -> None:
    admin.deploy("echo", "run_echo")
    with connected(node) as connection:
        connection.sendall(post("echo", b"bye", "Connection: close"))
        received = read_until(connection, b"", lambda _: False)
    assert received.endswith(b"bye")
    assert b"connection: close" in received.lower()


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """An HTTP/2 frame (RFC 9113, section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def read_frames(connection: socket.socket) -> Iterator[tuple[int, int, int, bytes]]:
    """Kind, flags, stream and payload of each frame that comes."""
    received = b""
    while True:
        received = read_until(connection, received, lambda data: len(data) >= 9)
        if len(received) < 9:
            return
        length = int.from_bytes(received[:3], "big")
        received = read_until(connection, received, lambda data, size=9 + length: len(data) >= size)
        kind, flags = received[3], received[4]
        stream = int.from_bytes(received[5:9], "big")
        yield kind, flags, stream, received[9 : 9 + length]
        received = received[9 + length :]


def literal(index: int, value: bytes) -> bytes:
    """A header field with a name of the static table, not indexed (RFC 7541, section 6.2.2)."""
    return bytes([index, len(value)]) + value


def test_http2_with_prior_knowledge_serves_streams_side_by_side(node: Node, admin: Admin) -> None:
    admin.deploy("echo", "run_echo")
    data, headers, settings = 0, 1, 4
    end_stream, end_headers, ack = 1, 4, 1
    # 0x83: ":method: POST", 0x86: ":scheme: http"; names 4 and 1 are ":path" and ":authority".
    fields = bytes([0x83, 0x86]) + literal(4, b"/function/echo") + literal(1, b"node")
    bodies = {1: b"one", 3: b"three", 5: b"five"}
    answers = dict.fromkeys(bodies, b"")
    heads: dict[int, bytes] = {}
    with connected(node) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(settings, 0, 0))
        for stream in bodies:
            connection.sendall(frame(headers, end_headers, stream, fields))
        for stream, body in reversed(bodies.items()):
            connection.sendall(frame(data, end_stream, stream, body))
        open_streams = set(bodies)
        for kind, flags, stream, payload in read_frames(connection):
            if kind == settings and not flags & ack:
                connection.sendall(frame(settings, ack, 0))
            elif kind == headers:
                heads[stream] = payload
            elif kind == data:
                answers[stream] += payload
            if kind in (data, headers) and flags & end_stream:
                open_streams.discard(stream)
            if not open_streams:
                break
    assert answers == bodies
    # 0x88 is ":status: 200"; before it there may be table size updates (0b001.....).
    assert {head.lstrip(bytes(range(0x20, 0x40)))[0] for head in heads.values()} == {0x88}


def test_a_body_is_streamed_to_the_guest_and_back(node: Node, admin: Admin) -> None:
    admin.deploy("stream-echo", "http_echo", limits=LIMITS)
    with connected(node) as connection:
        connection.sendall(
            b"POST /function/stream-echo HTTP/1.1\r\nHost: node\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        received = b""
        for part in (b"first", b"second", b"third"):
            connection.sendall(b"%x\r\n%s\r\n" % (len(part), part))
            # The part comes back although the request has not ended.
            received = read_until(connection, received, lambda data, part=part: part in data)
            assert part in received
        assert not received.endswith(b"0\r\n\r\n")
        connection.sendall(b"0\r\n\r\n")
        received = read_until(connection, received, lambda data: data.endswith(b"0\r\n\r\n"))
        assert received.endswith(b"0\r\n\r\n")


def test_the_head_of_a_response_comes_while_the_guest_runs(
    node: Node, admin: Admin, anyone: httpx.Client
) -> None:
    admin.deploy("never", "http_never", limits=LIMITS)
    with anyone.stream("GET", node.function_url("never", "?head=1")) as answer:
        assert answer.status_code == 200
        assert len(admin.running("never")) == 1
    eventually(lambda: not admin.running("never"), "the guest to be stopped, its client being gone")


def test_chunks_come_as_the_guest_flushes_them(node: Node, admin: Admin, anyone: httpx.Client) -> None:
    admin.deploy("chunks", "http_stream", limits=LIMITS)
    with anyone.stream("GET", node.function_url("chunks", "?chunks=4&size=16&pause=50")) as answer:
        parts = list(answer.iter_raw())
    assert [len(part) for part in parts] == [16] * 4
    assert b"".join(parts).count(b"\n") == 4


def test_a_large_body_goes_both_ways(node: Node, admin: Admin, anyone: httpx.Client) -> None:
    admin.deploy("stream-echo", "http_echo", limits=LIMITS)
    body = bytes(range(256)) * (4 << 12)
    assert anyone.post(node.function_url("stream-echo"), content=body).content == body


def test_a_host_name_leads_to_its_function_whatever_the_path(
    node: Node, admin: Admin, anyone: httpx.Client
) -> None:
    admin.deploy("hosted", "http_echo", hosts=["app.example", "other.example"])
    for host in ("app.example", "APP.example", "other.example:8080"):
        answer = anyone.get(f"{node.url}/function/echo/x?y=1", headers={"Host": host})
        assert answer.status_code == 200, host
        assert answer.headers["x-path"] == "/function/echo/x?y=1"
        assert answer.headers["x-authority"].lower().startswith(host.split(":")[0].lower())
    unknown = anyone.get(f"{node.url}/", headers={"Host": "unknown.example"})
    assert unknown.status_code == 404
    assert error_of(unknown)["kind"] == "not_found"


def test_a_function_sees_the_path_below_its_own(node: Node, admin: Admin, anyone: httpx.Client) -> None:
    admin.deploy("paths", "http_echo")
    for rest, seen in (("", "/"), ("/", "/"), ("/a/b?c=d", "/a/b?c=d"), ("?q", "/?q")):
        assert anyone.get(node.function_url("paths", rest)).headers["x-path"] == seen


def test_a_run_function_gets_the_body_as_its_args(node: Node, admin: Admin, anyone: httpx.Client) -> None:
    admin.deploy("runs", "hello")
    answer = anyone.post(node.function_url("runs"), content="wörld".encode())
    assert (answer.status_code, answer.text) == (200, "Hello, wörld!")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_a_command_gets_the_body_on_stdin(node: Node, admin: Admin, anyone: httpx.Client) -> None:
    for name, guest in (("cat", "cli_cat"), ("cat-p3", "cli3_cat")):
        admin.deploy(name, guest)
        body = bytes(range(256))
        answer = anyone.post(node.function_url(name), content=body)
        assert (answer.status_code, answer.content) == (200, body)


def test_a_command_that_fails_is_a_guest_failure(node: Node, admin: Admin, anyone: httpx.Client) -> None:
    admin.deploy("failing", "cli_cat", grants={"args": ["--exit", "3"]})
    answer = anyone.post(node.function_url("failing"), content="x")
    assert answer.status_code == 500
    assert error_of(answer)["kind"] == "guest_failure"


@pytest.mark.parametrize("method", ["DELETE", "PATCH"])
def test_only_http_functions_take_every_method(
    node: Node, admin: Admin, anyone: httpx.Client, method: str
) -> None:
    admin.deploy("runs", "hello")
    admin.deploy("any-method", "http_echo")
    assert anyone.request(method, node.function_url("runs")).status_code == 405
    answer = anyone.request(method, node.function_url("any-method"))
    assert (answer.status_code, answer.headers["x-method"]) == (200, method)


@pytest.mark.parametrize(
    ("guest", "settings", "body", "status", "kind"),
    [
        ("trap", {}, b"", 500, "guest_trap"),
        ("http_trap", {}, b"", 500, "guest_trap"),
        ("http_no_response", {}, b"", 500, "guest_failure"),
        ("memory_bomb", {"limits": {"memory": "8MiB"}}, b"", 500, "limit_exceeded"),
        ("spin", {"limits": {"cpu": "50ms"}}, b"", 500, "limit_exceeded"),
        ("sleep", {"limits": {"timeout": "50ms"}}, b"60000", 504, "timeout"),
        ("run_echo", {"limits": {"request": 10}}, b"more than ten", 413, "request_too_large"),
        ("run_echo", {}, b"\xff", 400, "invalid_argument"),
    ],
)
def test_each_failure_has_its_status_and_kind(
    node: Node,
    admin: Admin,
    anyone: httpx.Client,
    guest: str,
    settings: dict[str, Any],
    body: bytes,
    status: int,
    kind: str,
) -> None:
    admin.deploy("broken", guest, **settings)
    answer = anyone.post(node.function_url("broken"), content=body)
    assert (answer.status_code, error_of(answer)["kind"]) == (status, kind), answer.text
    assert answer.headers["content-type"] == "application/json"
    assert error_of(answer)["message"]


def test_more_than_a_function_takes_is_told_when_to_come_again(
    node: Node, admin: Admin, anyone: httpx.Client
) -> None:
    admin.deploy("small", "sleep", limits={**LIMITS, "concurrency": 1, "queue": 0})
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(anyone.post, node.function_url("small"), content="60000")
        (row,) = eventually(lambda: admin.running("small"), "the first to run")
        answer = anyone.post(node.function_url("small"), content="0")
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        error = error_of(answer)
        assert (error["kind"], error["retryable"]) == ("overloaded", True)
        invoked = admin.invoke("small", "0")
        assert invoked.status_code == 503
        assert invoked.headers["retry-after"] == "1"
        admin.delete(f"/v1/invocations/{row['id']}").raise_for_status()
        assert first.result(DEADLINE).status_code == 503
    assert anyone.post(node.function_url("small"), content="0").text == "awake"


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0\1\2\3\r\n\r\n",
        b"GET / HTTP/1.1\r\nbroken\r\n\r\n",
        b"POST /function/echo HTTP/1.1\r\nHost: n\r\nContent-Length: x\r\n\r\n",
    ],
)
def test_garbage_harms_nobody(node: Node, admin: Admin, anyone: httpx.Client, garbage: bytes) -> None:
    admin.deploy("echo", "run_echo")
    with connected(node) as connection:
        connection.sendall(garbage)
        received = read_until(connection, b"", lambda _: False)
    assert received == b"" or received.startswith(b"HTTP/1.1 400")
    assert anyone.post(node.function_url("echo"), content="well").text == "well"
