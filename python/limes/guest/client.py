"""Outbound HTTP requests, to the hosts that the grant ``http`` names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from limes.guest import bindings
from limes.guest.messages import Fields, Headers, Response

_CHUNK = 65536


class FetchError(OSError):
    """A request that got no response: the host was not granted, not found, or went away."""


def fetch(url: str, method: str = "GET", headers: Fields = (), body: bytes | str = b"") -> Response:
    """Send a request and wait for the head of its response.

    Args:
        url: the whole URL, ``http`` or ``https``.
        method: in capitals.
        headers: header fields.
        body: the body; text is sent as UTF-8.

    Returns:
        The response, whatever its status. Its body is read as it is asked for: ``response.content`` is all
        of it.

    Raises:
        FetchError: there was no response; the message has the reason, by its name in ``wasi:http``.
        ValueError: the URL is not one.
    """
    if not bindings.inside:
        raise FetchError(f"{method} {url}: fetch() works inside the sandbox alone; a test replaces it")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(f"'{url}' is no URL to fetch; it needs http:// or https:// and a host")
    data = body.encode() if isinstance(body, str) else body
    fields = [(name.lower(), value.encode("latin-1")) for name, value in Headers(fields_of(headers))]
    if data and not any(name == "content-length" for name, _ in fields):
        fields.append(("content-length", str(len(data)).encode()))
    request = bindings.http.OutgoingRequest(bindings.http.Fields.from_list(fields))
    request.set_method(_method(method))
    request.set_scheme(
        bindings.http.Scheme_Https() if parts.scheme == "https" else bindings.http.Scheme_Http()
    )
    request.set_authority(parts.netloc)
    request.set_path_with_query((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
    outgoing = request.body()
    try:
        future = bindings.outgoing.handle(request, None)
        with outgoing.write() as stream:
            for start in range(0, len(data), 4096):
                stream.blocking_write_and_flush(data[start : start + 4096])
        bindings.http.OutgoingBody.finish(outgoing, None)
        future.subscribe().block()
        answer = future.get().value.value
        if not hasattr(answer, "status"):
            raise FetchError(f"{method} {url}: {_reason(answer)}")
    except Exception as error:
        if type(error).__name__ != "Err":
            raise
        raise FetchError(f"{method} {url}: {_reason(getattr(error, 'value', error))}") from None
    got = Headers([(name, value.decode("latin-1")) for name, value in answer.headers().entries()])
    return Response(_body(answer), answer.status(), got)


def fields_of(headers: Fields) -> list[tuple[str, str]]:
    """Header fields as pairs."""
    return list(headers.items() if isinstance(headers, dict) else headers)


def _body(response: Any) -> Iterator[bytes]:
    body = response.consume()
    with body.stream() as stream:
        yield from read_all(stream)


def read_all(stream: Any) -> Iterator[bytes]:
    """What comes from a ``wasi:io`` stream, to its end.

    Raises:
        ConnectionError: the other side went away.
    """
    while True:
        try:
            part: bytes = stream.blocking_read(_CHUNK)
        except Exception as error:
            if type(error).__name__ != "Err":
                raise
            if type(getattr(error, "value", None)).__name__ == "StreamError_Closed":
                return
            raise ConnectionError("the body ended before it was complete") from None
        if part:
            yield part


def _method(method: str) -> Any:
    known = getattr(bindings.http, f"Method_{method.capitalize()}", None) if method.isupper() else None
    return known() if known and method != "OTHER" else bindings.http.Method_Other(method)


def _reason(code: Any) -> str:
    name = type(code).__name__.removeprefix("ErrorCode_")
    words = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).strip("-")
    detail = getattr(code, "value", None)
    return f"{words} ({detail})" if detail else words
