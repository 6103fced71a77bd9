"""Every example is built, and does what it says."""

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.build.conftest import EXAMPLES, BuildFunction
from tests.conftest import DEADLINE, Node

from limes import Function, Request, Runtime

# The first Rust build compiles the standard library, where rustup has none for WebAssembly.
pytestmark = pytest.mark.timeout(1200)


def load(runtime: Runtime, built: BuildFunction, name: str, **options: Any) -> Function:
    return runtime.load(built(EXAMPLES / name).component, **options)


@pytest.mark.parametrize("language", ["python", "rust", "c", "go", "javascript"])
def test_hello_answers_over_http_in_every_language(
    runtime: Runtime, built: BuildFunction, language: str
) -> None:
    answer = load(runtime, built, f"hello-{language}", timeout="30s").http("GET", "/")
    assert (answer.status, answer.body) == (200, b"Hello, world!\n"), answer.stderr


def test_a_handler_of_wasi_0_3_is_asynchronous_and_streams(runtime: Runtime, built: BuildFunction) -> None:
    function = load(runtime, built, "wasi3-rust")
    assert function.contract == "http03"
    answer = function.http("GET", "/a?b=c")
    assert (answer.status, answer.body) == (200, b"Hello from WASI 0.3! You asked for /a?b=c\n")


@pytest.fixture(scope="module")
def api(runtime: Runtime, built: BuildFunction) -> Function:
    return load(runtime, built, "json-api-python")


@pytest.mark.parametrize(
    ("method", "url", "body", "status", "answer"),
    [
        ("GET", "/books?after=1952", b"", 200, [{"id": 1, "title": "Watt", "year": 1953}]),
        ("GET", "/books/2", b"", 200, {"id": 2, "title": "Molloy", "year": 1951}),
        ("GET", "/books/9", b"", 404, {"error": "there is no book 9"}),
        ("GET", "/books?after=x", b"", 400, {"error": "after must be a year, found 'x'"}),
        (
            "POST",
            "/books",
            b'{"title": "How It Is", "year": 1961}',
            201,
            {"id": 3, "title": "How It Is", "year": 1961},
        ),
        ("POST", "/books", b"not json", 422, {"error": "a book is an object with a title and a year"}),
        ("DELETE", "/books", b"", 405, {"error": "method not allowed"}),
        ("GET", "/", b"", 404, {"error": "there is nothing at /"}),
    ],
)
def test_the_json_api_has_routes_parameters_bodies_and_statuses(
    api: Function, method: str, url: str, body: bytes, status: int, answer: Any
) -> None:
    got = api.http(method, url, body=body)
    assert (got.status, json.loads(got.body)) == (status, answer)
    assert dict(got.headers)["content-type"] == "application/json"


def test_a_package_of_pypi_is_built_in(runtime: Runtime, built: BuildFunction) -> None:
    answer = load(runtime, built, "package-python").http("POST", "/", body="# Title\n\n*text*")
    assert answer.body == b"<h1>Title</h1>\n<p><em>text</em></p>\n"


LOADS = """\
import sys, time
from pathlib import Path
from limes import Runtime

def held() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) >> 10

function = Runtime(Path(sys.argv[1])).load(Path(sys.argv[2]))
most, end = held(), time.monotonic() + 60
while held() > most // 3 and time.monotonic() < end:
    time.sleep(0.1)
print(most, held())
"""


def test_the_memory_of_a_compilation_goes_back_to_the_system(built: BuildFunction, tmp_path: Path) -> None:
    component = built(EXAMPLES / "hello-python").component
    done = subprocess.run([sys.executable, "-c", LOADS, tmp_path, component], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    most, left = map(int, done.stdout.split())
    assert left <= most // 3, f"{most} MiB after it was compiled, {left} MiB for good"


def test_an_asgi_application_answers(runtime: Runtime, built: BuildFunction) -> None:
    answer = load(runtime, built, "asgi-python").http("POST", "/a%20b?c=d", body="12345")
    assert (answer.status, answer.body) == (200, b"POST /a b 5 bytes\n"), answer.stderr


@pytest.fixture
def upstream() -> Iterator[str]:
    """A server that answers with the path."""

    class Echo(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = f"you asked for {self.path}".encode()
            self.send_response(203)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_fetch_reaches_a_granted_host_and_no_other(
    runtime: Runtime, built: BuildFunction, upstream: str
) -> None:
    env = {"UPSTREAM": upstream}
    host = upstream.removeprefix("http://")
    answer = load(runtime, built, "fetch-python", http=[host], env=env).http("GET", "/x?y=z")
    assert (answer.status, answer.body) == (203, b"you asked for /x?y=z"), answer.stderr
    denied = load(runtime, built, "fetch-python", env=env).http("GET", "/x")
    assert denied.status == 502
    assert "http-request-denied" in json.loads(denied.body)["error"].lower()


def test_files_are_read_and_written_where_granted(
    runtime: Runtime, built: BuildFunction, tmp_path: Path
) -> None:
    def notes(writable: bool) -> Function:
        dirs = [{"host": str(tmp_path), "guest": "/data", "writable": writable}]
        return load(runtime, built, "files-python", dirs=dirs)

    assert notes(True).http("PUT", "/note", body="kept").status == 204
    assert (tmp_path / "note").read_text() == "kept"
    assert notes(False).http("GET", "/note").body == b"kept"
    assert notes(False).http("PUT", "/other", body="no").status == 403
    assert notes(True).http("GET", "/none").status == 404


def test_a_stream_leaves_in_parts(node: Node, built: BuildFunction) -> None:
    node.deploy(built(EXAMPLES / "stream-python").component, "stream", "--timeout", "60s", "--cpu", "30s")
    url = node.function_url("stream", "?lines=2&pause=30")
    with httpx.stream("GET", url, timeout=DEADLINE) as answer:
        # The second line is half a minute away: the first is not held back for it.
        assert next(answer.iter_text()) == "line 1 of 2\n"


def test_a_response_in_parts_is_whole(runtime: Runtime, built: BuildFunction) -> None:
    answer = load(runtime, built, "stream-python").http(Request("GET", "/?lines=3"))
    assert answer.body == b"line 1 of 3\nline 2 of 3\nline 3 of 3\n"
