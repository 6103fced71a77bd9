"""ASGI and WSGI applications as handlers."""

from __future__ import annotations

import asyncio
import inspect
import io
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from limes.guest.messages import Request, Response


def asgi(app: Callable[..., Coroutine[Any, Any, None]]) -> Callable[[Request], Response]:
    """A handler that calls an ASGI application, on an event loop of its own.

    The loop has timers and tasks; sockets, threads and subprocesses are not to be had in the sandbox. What
    is sent leaves when the application has ended.
    """

    def handle(request: Request) -> Response:
        parts: list[bytes] = []
        head: dict[str, Any] = {"status": 500, "headers": []}
        bodies = iter(({"type": "http.request", "body": request.body, "more_body": False},))

        async def receive() -> dict[str, Any]:
            return next(bodies, {"type": "http.disconnect"})

        async def send(event: dict[str, Any]) -> None:
            if event["type"] == "http.response.start":
                head.update(event)
            elif event["type"] == "http.response.body":
                parts.append(event.get("body", b""))

        loop = _Loop()
        try:
            loop.run_until_complete(app(_scope(request), receive, send))
        finally:
            loop.close()
        fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in head["headers"]]
        return Response(b"".join(parts), head["status"], fields)

    return handle


def wsgi(app: Callable[..., Iterable[bytes]]) -> Callable[[Request], Response]:
    """A handler that calls a WSGI application; what it yields is sent as it comes."""

    def handle(request: Request) -> Response:
        started: list[tuple[str, list[tuple[str, str]]]] = []
        written: list[bytes] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], _error: Any = None
        ) -> Callable[[bytes], None]:
            started[:] = [(status, headers)]
            return written.append

        parts = app(_environ(request), start_response)
        # An application may wait with its status until its first part is asked for.
        iterator = iter(parts)
        first = next(iterator, b"")
        status, headers = started[0]

        def body() -> Iterator[bytes]:
            try:
                yield from written
                yield first
                yield from iterator
            finally:
                if close := getattr(parts, "close", None):
                    close()

        return Response(body(), int(status.split(" ", 1)[0]), headers)

    return handle


def is_asgi(app: Any) -> bool:
    """Whether an application is of ASGI rather than WSGI: calling it gives a coroutine."""
    return inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(type(app).__call__)


def _address(request: Request) -> tuple[str, int, str]:
    parts = urlsplit(request.url)
    scheme = parts.scheme or "http"
    host, _, port = (request.headers.get("host") or parts.netloc or "localhost").partition(":")
    return host, int(port) if port.isdigit() else (443 if scheme == "https" else 80), scheme


def _scope(request: Request) -> dict[str, Any]:
    host, port, scheme = _address(request)
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": scheme,
        "path": request.path,
        "raw_path": urlsplit(request.url).path.encode(),
        "query_string": request.raw_query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in request.headers],
        "client": None,
        "server": (host, port),
    }


def _environ(request: Request) -> dict[str, Any]:
    host, port, scheme = _address(request)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": request.path.encode().decode("latin-1"),
        "QUERY_STRING": request.raw_query,
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": str(len(request.body)),
        "CONTENT_TYPE": request.headers.get("content-type"),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": True,
    }
    for name in dict.fromkeys(name.lower() for name, _ in request.headers):
        if name not in ("content-length", "content-type"):
            key = f"HTTP_{name.upper().replace('-', '_')}"
            environ[key] = ", ".join(request.headers.all(name))
    return environ


class _NoSockets:
    """What asyncio waits with: nothing but time passes here."""

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("the application waits for something that never happens in the sandbox")
        if timeout > 0:
            time.sleep(timeout)
        return []


class _Loop(asyncio.BaseEventLoop):
    def __init__(self) -> None:
        super().__init__()
        self._selector = _NoSockets()

    def _process_events(self, _events: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """There is one thread: nobody sleeps who could be woken."""
