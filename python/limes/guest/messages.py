"""Requests and responses as a function sees them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

Body: TypeAlias = bytes | str | Iterable[bytes | str]
"""What a response can carry; text becomes UTF-8, each item of an iterable is sent as it comes."""

Fields: TypeAlias = "dict[str, str] | Iterable[tuple[str, str]]"


class Headers:
    """Header fields, in their order; names are the same in capitals and small letters."""

    def __init__(self, fields: Fields = ()) -> None:
        """Take fields from a dictionary, or from pairs, where a name may come twice."""
        pairs = fields.items() if isinstance(fields, dict) else fields
        self._pairs = [(name, value) for name, value in pairs]

    def get(self, name: str, default: str = "") -> str:
        """The value of the first field of that name."""
        return next((value for value in self.all(name)), default)

    def all(self, name: str) -> list[str]:
        """The values of every field of that name."""
        return [value for known, value in self._pairs if known.lower() == name.lower()]

    def add(self, name: str, value: str) -> None:
        """Add a field; others of that name stay."""
        self._pairs.append((name, value))

    def __getitem__(self, name: str) -> str:
        values = self.all(name)
        if not values:
            raise KeyError(name)
        return values[0]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.all(name))

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._pairs)

    def __repr__(self) -> str:
        return f"Headers({self._pairs!r})"


class Request:
    """An HTTP request."""

    def __init__(
        self,
        method: str = "GET",
        url: str = "/",
        headers: Headers | Fields = (),
        body: bytes | str | Callable[[], Iterator[bytes]] = b"",
    ) -> None:
        """Describe a request; tests call a handler with one of these.

        Args:
            method: in capitals.
            url: path and query, or a whole URL.
            headers: the header fields.
            body: the body, or what gives it in parts when it is asked for.
        """
        self.method = method
        self.url = url
        self.headers = headers if isinstance(headers, Headers) else Headers(headers)
        self._body = body.encode() if isinstance(body, str) else body

    @cached_property
    def path(self) -> str:
        """The path, decoded: ``/a b`` for ``/a%20b?c=d``."""
        return unquote(urlsplit(self.url).path) or "/"

    @property
    def raw_query(self) -> str:
        """The query as it came: ``c=d``."""
        return urlsplit(self.url).query

    @cached_property
    def query(self) -> dict[str, str]:
        """The query, decoded; the last one of a name counts."""
        return dict(parse_qsl(self.raw_query, keep_blank_values=True))

    @cached_property
    def body(self) -> bytes:
        """The whole body, read when it is first asked for."""
        return self._body if isinstance(self._body, bytes) else b"".join(self._body())

    @property
    def text(self) -> str:
        """The body as UTF-8.

        Raises:
            UnicodeDecodeError: it is not.
        """
        return self.body.decode()

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ValueError: it is not.
        """
        return json.loads(self.body)

    def stream(self) -> Iterator[bytes]:
        """The body in parts, as they come: for bodies larger than memory. It can be read once."""
        if isinstance(self._body, bytes) or "body" in self.__dict__:
            return iter((self.body,))
        return self._body()

    def __repr__(self) -> str:
        return f"Request({self.method!r}, {self.url!r})"


class Response:
    """An HTTP response."""

    def __init__(self, body: Body = b"", status: int = 200, headers: Headers | Fields = ()) -> None:
        """Make a response.

        Args:
            body: bytes; text, sent as UTF-8; or an iterable of either (a generator, say), whose items are
                sent as they come.
            status: the status.
            headers: the header fields. Text without a ``content-type`` is sent as
                ``text/plain; charset=utf-8``.
        """
        self.body = body
        self.status = status
        self.headers = headers if isinstance(headers, Headers) else Headers(headers)
        if isinstance(body, str) and "content-type" not in self.headers:
            self.headers.add("content-type", "text/plain; charset=utf-8")

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: Headers | Fields = ()) -> Response:
        """A response that carries a value as JSON."""
        fields = headers if isinstance(headers, Headers) else Headers(headers)
        if "content-type" not in fields:
            fields.add("content-type", "application/json")
        return cls(json.dumps(value).encode(), status, fields)

    def parts(self) -> Iterator[bytes]:
        """The body in the parts it is sent in."""
        items = (self.body,) if isinstance(self.body, bytes | str) else self.body
        return (item.encode() if isinstance(item, str) else item for item in items)

    @property
    def content(self) -> bytes:
        """The whole body; an iterable is used up by it."""
        return b"".join(self.parts())

    def __repr__(self) -> str:
        return f"<Response {self.status}>"
