"""The load generator: what a stall costs is seen, and answers are read whole."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from limes.errors import LimesIOError, Unavailable
from limes.study.experiments.client import Answers, Client, check_reachable, is_whole, request

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@contextmanager
def server(answer: Callable[[int], bytes]) -> Iterator[tuple[str, int]]:
    """One connection after the other; `answer` gives the bytes for the nth request, none to hang up."""
    listener = socket.create_server(("127.0.0.1", 0))
    number = iter(range(1_000_000))

    def serve(connection: socket.socket) -> None:
        with connection:
            while connection.recv(65536):
                data = answer(next(number))
                if not data:
                    return
                connection.sendall(data)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


MESSAGE = request("test", "/", b"x")


STALL = 10
"""The request whose answer comes late, counted from 0."""


def stall_once(number: int) -> bytes:
    if number == STALL:
        time.sleep(0.3)
    return OK


def test_requests_that_a_stall_held_up_are_all_slow() -> None:
    with server(stall_once) as address, Client(address, 1, MESSAGE) as client:
        # A request each 10 ms for half a second, on one connection: some 30 are meant to be sent in the
        # stall.
        opened = client.open_loop([index * 0.01 for index in range(50)])
    assert len(opened.latencies) == 50
    slow = [latency for latency in opened.latencies if latency > 0.05]
    # Those meant to be sent in its first 250 ms at least, though only one of them met the stall itself.
    assert len(slow) >= 20
    assert max(opened.latencies) >= 0.3


def test_a_closed_loop_hides_the_same_stall() -> None:
    with server(stall_once) as address, Client(address, 1, MESSAGE) as client:
        closed = client.closed_loop(0.5)
    assert closed.latencies[STALL] >= 0.3
    # One more may be the machine's own; an open loop has twenty.
    assert sum(latency > 0.25 for latency in closed.latencies) <= 2


def test_every_answer_is_counted_once() -> None:
    with server(lambda _: OK) as address, Client(address, 8, MESSAGE) as client:
        for _ in range(3):
            answers = client.open_loop([0.0] * 40)
            assert (len(answers.latencies), answers.refused, answers.lost) == (40, 0, 0)
            assert len(answers.late) == len(answers.meant) == 40


def test_refusals_are_no_latencies() -> None:
    refusal = b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"
    with (
        server(lambda number: refusal if number % 2 else OK) as address,
        Client(address, 1, MESSAGE) as client,
    ):
        answers = client.open_loop([0.0] * 10)
    assert (len(answers.latencies), answers.refused) == (5, 5)


def test_connections_that_end_are_lost_requests() -> None:
    with server(lambda number: OK if number < 3 else b"") as address, Client(address, 2, MESSAGE) as client:
        answers = client.open_loop([0.0] * 10)
    assert len(answers.latencies) == 3
    assert answers.lost == 7


def test_an_answer_in_pieces_is_put_together() -> None:
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    for whole in (OK, chunked, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nx: y\r\n\r\n"):
        assert is_whole(whole)
        assert not any(is_whole(whole[:length]) for length in range(len(whole)))


def test_a_server_that_is_not_there_is_an_error_of_limes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()
    with pytest.raises(LimesIOError, match="cannot connect"):
        Client(address, 1, MESSAGE)


def test_no_answers_are_no_measurement() -> None:
    with pytest.raises(Unavailable, match="3 refused, 4 lost"):
        check_reachable(Answers(refused=3, lost=4), "a test")
