"""Every method of `wasi:http` 0.2 answers as it does on the reference host, called in and out of order."""

import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import guest_path

from limes import Request, Runtime

HEADERS = {"X-Seen": "yes", "User-Agent": "test", "Accept-Encoding": "identity", "Content-Type": "text/plain"}
BODY = b"x" * 1234


@pytest.fixture(scope="module")
def reference() -> Iterator[str]:
    """The URL of the component on `wasmtime serve`, which hosts with `wasmtime-wasi-http`."""
    command = [str(Path(sys.executable).parent / "wasmtime"), "serve", "--addr", "127.0.0.1:0"]
    server = subprocess.Popen([*command, str(guest_path("http_methods"))], stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        for line in server.stderr:
            if found := re.search(r"http://127\.0\.0\.1:\d+/", line):
                yield found.group()
                break
        else:
            pytest.fail("wasmtime serve did not say where it serves")
    finally:
        server.kill()
        server.wait()
        server.stderr.close()


@pytest.mark.parametrize(("method", "body"), [("POST", BODY), ("GET", None)])
def test_every_method_answers_as_on_the_reference_host(
    runtime: Runtime, reference: str, method: str, body: bytes | None
) -> None:
    url = f"{reference}path?and=query"
    request = urllib.request.Request(url, body, HEADERS, method=method)
    with urllib.request.urlopen(request, timeout=30) as response:
        expected = response.read().decode().splitlines()
    headers = dict(HEADERS) if body is None else HEADERS | {"Content-Length": str(len(body))}
    answer = runtime.load(guest_path("http_methods")).http(Request(method, url, headers, body or b""))
    assert expected[-1].startswith("finish the request's body")
    assert answer.body.decode().splitlines() == expected
