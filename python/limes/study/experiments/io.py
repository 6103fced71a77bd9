"""Input and output: files, outbound HTTP and large bodies, in each sandbox."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from limes.errors import LimesError, Unavailable
from limes.runtime import Function, Runtime
from limes.study.experiments.sandboxes import in_each
from limes.study.statistics import median, rounded
from limes.study.verdict import milliseconds
from limes.study.workloads import ROOM, project_root

REPEATS = {"ci": 5, "quick": 30, "full": 300}
BODY_BYTES = 4 << 20
FILE_BYTES = 256 << 10
FETCHED_BYTES = 64 << 10


@dataclass(frozen=True)
class InputOutput:
    """Three guests of the project's tests that do little but move bytes."""

    form: str
    name: str = "io"
    title: str = "Input and output"
    question: str = "What do files, outbound HTTP and large bodies cost, in process and in a microVM?"

    def run(self, work: Path) -> dict[str, Any]:
        """Call each guest in each sandbox that works here."""
        built = project_root() / "guests" / "build"
        absent = [
            name for name in ("fs", "http_client", "http_echo") if not (built / f"{name}.wasm").is_file()
        ]
        if absent:
            raise Unavailable(
                f"{built} lacks {', '.join(f'{name}.wasm' for name in absent)}: run `make guests` in the "
                "project's folder",
                operation="study",
            )
        failed: list[str] = []
        with _server() as port:
            rows, missing = in_each(lambda sandbox: self._of(sandbox, built, work, port, failed))
        told = [
            f"{row['what']} in {row['sandbox']}: {milliseconds(row['median_ms'])} a call, "
            f"{row['mib_per_second']:.4g} MiB/s."
            for row in rows
        ]
        return {
            "title": self.title,
            "question": self.question,
            "finding": " ".join([*told, *failed, *missing]),
            "rows": rows,
        }

    def _of(
        self, sandbox: str, built: Path, work: Path, port: int, failed: list[str]
    ) -> list[dict[str, Any]]:
        runtime = Runtime(work / "cache")
        base: dict[str, Any] = {**ROOM, "request": "64MiB", "response": "64MiB"}
        if sandbox != "wasm":
            base["sandbox"] = sandbox
        folder = work / "files"
        folder.mkdir(exist_ok=True)
        (folder / "large").write_bytes(b"x" * FILE_BYTES)
        files = runtime.load(
            built / "fs.wasm", dirs=[{"host": str(folder), "guest": "/data", "writable": True}], **base
        )
        client = runtime.load(built / "http_client.wasm", http=[f"127.0.0.1:{port}"], **base)
        echo = runtime.load(built / "http_echo.wasm", **base)
        body = b"x" * BODY_BYTES
        text = "x" * FILE_BYTES
        cases: list[tuple[str, int, Callable[[], int]]] = [
            ("reading a file", FILE_BYTES, lambda: len(files.run("read /data/large").output)),
            (
                "writing a file",
                FILE_BYTES,
                lambda: FILE_BYTES * (files.run(f"write /data/new {text}").output == "ok"),
            ),
            ("fetching over HTTP", FETCHED_BYTES, lambda: _fetched(client, port)),
            ("echoing a body", BODY_BYTES, lambda: len(echo.http("POST", "/", (), body).body)),
        ]
        rows = []
        for what, size, call in cases:
            try:
                rows.append(self._case(sandbox, what, size, call))
            except LimesError as error:
                failed.append(f"{what.capitalize()} in {sandbox} failed: {error.message.rstrip('.')}.")
        return rows

    def _case(self, sandbox: str, what: str, size: int, call: Callable[[], int]) -> dict[str, Any]:
        seconds = []
        for index in range(REPEATS[self.form] + 1):
            began = time.perf_counter()
            moved = call()
            took = time.perf_counter() - began
            if moved != size:
                raise Unavailable(f"{what}: {moved} bytes instead of {size} came through", operation="study")
            if index:
                seconds.append(took)
        middle = median(seconds)
        return {
            "what": what,
            "sandbox": sandbox,
            "bytes": size,
            "median_ms": rounded(middle * 1e3),
            "mib_per_second": rounded(size / (1 << 20) / middle),
        }


def _fetched(client: Function, port: int) -> int:
    answer = client.http("GET", f"/?url=http://127.0.0.1:{port}/")
    return len(answer.body) if answer.ok else 0


class _Bytes(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with the bytes to fetch."""
        self.send_response(200)
        self.send_header("Content-Length", str(FETCHED_BYTES))
        self.end_headers()
        self.wfile.write(b"x" * FETCHED_BYTES)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Say nothing."""


@contextmanager
def _server() -> Iterator[int]:
    """A server on this machine with something to fetch; gives its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Bytes)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
