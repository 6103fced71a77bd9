"""An HTTP client that measures from when a request was meant to be sent, so that a stall is not hidden.

A closed loop sends the next request when the last one is answered: a server that stalls for a second gets
one slow request instead of the hundreds that would have come meanwhile (G. Tene calls it coordinated
omission). An open loop sends by a schedule, and what has to wait for a free connection waits on the server's
account.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

from limes.errors import Unavailable, from_os

PATIENCE = 30.0
"""Seconds after the last request that answers are waited for."""


@dataclass
class Answers:
    """What a run of requests came to."""

    latencies: list[float] = field(default_factory=list)
    """Seconds from when a request was meant to be sent to its whole answer, in the order of the answers."""
    meant: list[float] = field(default_factory=list)
    """When each of those was meant to be sent, in seconds from the start."""
    refused: int = 0
    """Answered with a status other than 200."""
    lost: int = 0
    """Not answered: the connection ended, or patience did."""
    late: list[float] = field(default_factory=list)
    """Seconds by which this client itself came late to each request: its own fault, not the server's."""
    seconds: float = 0.0
    """From the start to the last answer."""


def request(
    host: str, path: str, body: bytes, headers: Iterable[tuple[str, str]] = (), method: str = "POST"
) -> bytes:
    """The bytes of one request on a connection that is kept."""
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


class Client:
    """Connections to one server, opened at once and used again and again."""

    def __init__(self, address: tuple[str, int], connections: int, message: bytes) -> None:
        """Connect.

        Args:
            address: host and port.
            connections: how many.
            message: the request, as :func:`request` makes it.

        Raises:
            LimesIOError: the server cannot be reached.
        """
        self._message = message
        self._stack = ExitStack()
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._free: list[int] = []
        self._meant: dict[int, float] = {}
        self._received: dict[int, bytes] = {}
        try:
            for _ in range(connections):
                self._connect(address)
        except OSError as error:
            self.close()
            raise from_os(error, "study", f"cannot connect to {address[0]}:{address[1]}") from error

    def open_loop(self, schedule: Iterable[float]) -> Answers:
        """Send by a schedule.

        Args:
            schedule: seconds from now at which requests are meant to be sent, rising.
        """
        return self._run(iter(schedule))

    def closed_loop(self, seconds: float) -> Answers:
        """Keep every connection busy: a request is meant to be sent when the one before is answered.

        Args:
            seconds: for how long.
        """
        return self._run(iter(()), closed_until=seconds)

    def close(self) -> None:
        """End the connections."""
        self._poll.close()
        for connection in self._sockets.values():
            connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connect(self, address: tuple[str, int]) -> None:
        connection = socket.create_connection(address, timeout=PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        descriptor = connection.fileno()
        self._sockets[descriptor] = connection
        self._poll.register(descriptor, select.EPOLLIN)
        self._free.append(descriptor)

    def _run(self, schedule: Iterator[float], closed_until: float = 0.0) -> Answers:
        answers = Answers()
        waiting: deque[float] = deque()
        began = time.perf_counter()
        if closed_until:
            for descriptor in [*self._free]:
                self._send(self._free.pop(), 0.0, answers)
                del descriptor
        following = next(schedule, None)
        last_meant = 0.0
        while following is not None or waiting or self._meant:
            now = time.perf_counter() - began
            while following is not None and following <= now:
                answers.late.append(now - following)
                waiting.append(following)
                last_meant = following
                following = next(schedule, None)
            while waiting and self._free:
                self._send(self._free.pop(), waiting.popleft(), answers)
            if not self._sockets or now - max(last_meant, closed_until) > PATIENCE:
                answers.lost += len(waiting) + len(self._meant)
                break
            self._receive(self._pause(following, now), began, closed_until, answers)
        answers.seconds = time.perf_counter() - began
        return answers

    def _pause(self, following: float | None, now: float) -> float:
        """How long to wait for answers: until a millisecond before the next request, spent looking."""
        if following is None:
            return 0.1
        return max(0.0, following - now - 1.5e-3)

    def _send(self, descriptor: int, meant: float, answers: Answers) -> None:
        self._meant[descriptor] = meant
        self._received[descriptor] = b""
        rest = memoryview(self._message)
        connection = self._sockets[descriptor]
        try:
            while rest:
                try:
                    rest = rest[connection.send(rest) :]
                except BlockingIOError:
                    select.select((), (descriptor,), (), PATIENCE)
        except OSError:
            self._drop(descriptor, answers)

    def _receive(self, pause: float, began: float, closed_until: float, answers: Answers) -> None:
        for descriptor, _ in self._poll.poll(pause):
            try:
                data = self._sockets[descriptor].recv(1 << 18)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                self._drop(descriptor, answers)
                continue
            received = self._received.get(descriptor, b"") + data
            self._received[descriptor] = received
            if descriptor in self._meant and is_whole(received):
                now = time.perf_counter() - began
                self._keep(descriptor, received, now, answers)
                if now < closed_until:
                    self._send(self._free.pop(), now, answers)

    def _keep(self, descriptor: int, received: bytes, now: float, answers: Answers) -> None:
        meant = self._meant.pop(descriptor)
        if received[9:12] == b"200":
            answers.latencies.append(now - meant)
            answers.meant.append(meant)
        else:
            answers.refused += 1
        self._free.append(descriptor)

    def _drop(self, descriptor: int, answers: Answers) -> None:
        if self._meant.pop(descriptor, None) is not None:
            answers.lost += 1
        if descriptor in self._free:
            self._free.remove(descriptor)
        self._poll.unregister(descriptor)
        self._sockets.pop(descriptor).close()


def is_whole(received: bytes) -> bool:
    """Whether these bytes are an answer to its end, by its length or its last chunk."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = received[:end].lower()
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        length = int(head[at + 17 :].split(b"\r\n", 1)[0])
        return len(received) >= end + 4 + length
    if b"\r\ntransfer-encoding: chunked" in head:
        return received.endswith(b"0\r\n\r\n")
    return True


def check_reachable(answers: Answers, what: str) -> None:
    """See that a run got answers.

    Raises:
        Unavailable: it got none.
    """
    if not answers.latencies:
        raise Unavailable(
            f"{what}: no answer with status 200 ({answers.refused} refused, {answers.lost} lost); see the "
            "node's log",
            operation="study",
        )
