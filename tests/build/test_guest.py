"""The guest package outside the sandbox, where a function's own tests use it."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from limes.guest import FetchError, Headers, Request, Response, fetch, gateways


def test_a_request_is_decoded() -> None:
    request = Request("POST", "/a%20b?c=d&c=e&f=", {"X-Mine": "yes"}, '{"a": 1}')
    assert (request.path, request.query, request.json()) == ("/a b", {"c": "e", "f": ""}, {"a": 1})
    assert request.headers["x-mine"] == "yes"


def test_a_body_in_parts_is_read_when_asked_for() -> None:
    asked = []

    def parts() -> Iterator[bytes]:
        asked.append(True)
        yield from (b"a", b"b")

    request = Request(body=parts)
    assert not asked
    assert request.body == request.body == b"ab"
    assert len(asked) == 1


def test_headers_keep_order_and_ignore_case() -> None:
    headers = Headers([("Set-Cookie", "a"), ("set-cookie", "b")])
    assert headers.all("SET-COOKIE") == ["a", "b"]
    assert "Set-cookie" in headers
    with pytest.raises(KeyError):
        headers["none"]


def test_a_response_is_what_it_was_given() -> None:
    assert Response("é").content == "é".encode()
    assert Response("x").headers["content-type"] == "text/plain; charset=utf-8"
    assert Response(iter(["a", b"b"])).content == b"ab"
    assert Response.json([1], 201).content == b"[1]"


def test_an_asgi_application_may_wait() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.001)
        body = (await receive())["body"]
        await send({"type": "http.response.start", "status": 201, "headers": [(b"a", b"b")]})
        await send({"type": "http.response.body", "body": body})

    answer = gateways.asgi(app)(Request("POST", body="hi"))
    assert (answer.status, answer.headers["a"], answer.content) == (201, "b", b"hi")
    assert gateways.is_asgi(app)


def test_an_application_that_waits_for_nothing_is_told_so() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="never happens"):
        gateways.asgi(app)(Request())


def test_a_wsgi_application_answers_and_is_closed() -> None:
    closed = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            yield b"a"
            yield b"b"

        def close(self) -> None:
            closed.append(True)

    def app(environ: dict[str, Any], start_response: Any) -> Body:
        start_response("202 Accepted", [("x-path", environ["PATH_INFO"]), ("x-own", environ["HTTP_X_OWN"])])
        return Body()

    answer = gateways.wsgi(app)(Request("GET", "/p", {"X-Own": "o"}))
    assert (answer.status, answer.content) == (202, b"ab")
    assert (answer.headers["x-path"], answer.headers["x-own"]) == ("/p", "o")
    assert closed
    assert not gateways.is_asgi(app)


def test_fetch_says_where_it_works() -> None:
    with pytest.raises(FetchError, match="inside the sandbox alone"):
        fetch("http://example.com/")
