"""The admin API as the commands use it."""

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import IO, Any
from urllib.parse import quote, urlencode

from limes.errors import LimesError, Unavailable, from_http
from limes.node.home import Home

CONNECT_TIMEOUT = 5.0
"""Seconds to reach the node; its answer may take as long as a deploy takes."""


def function_path(name: str, *more: str) -> str:
    """The path of a function in the admin API, or of something below it."""
    return "/".join(["/v1/functions", quote(name, safe=""), *more])


class NodeClient:
    """Talks to the node that runs with a home."""

    def __init__(self, home: Home) -> None:
        """Find the node; nothing is sent yet.

        Args:
            home: the node's home.

        Raises:
            Unavailable: no node says that it runs there.
        """
        running, token = home.running(), home.known_token()
        if running is None or token is None:
            raise self._unavailable(home, "no node runs with it")
        self._home = home
        self._address = running.admin
        self._headers = {"Authorization": f"Bearer {token}"}
        self.listen = running.listen

    @staticmethod
    def _unavailable(home: Home, why: str) -> Unavailable:
        return Unavailable(
            f"cannot reach a node with the home '{home.path}': {why}; start one with `limes serve`, "
            "or name its home with --home or LIMES_HOME",
            operation="reach node",
            context={"home": str(home.path)},
        )

    def call(
        self,
        method: str,
        path: str,
        *,
        value: Any = None,
        body: IO[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, object] | None = None,
    ) -> Any:
        """Make one request and decode its answer.

        Args:
            method: the HTTP method.
            path: the path, quoted.
            value: a JSON value for the body.
            body: a file for the body, instead.
            headers: more header fields.
            query: query parameters.

        Raises:
            Unavailable: the node cannot be reached.
            LimesError: what the node answered.
        """
        connection, response = self._send(method, path, value, body, headers, query)
        try:
            return json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._lost(error) from error
        finally:
            connection.close()

    def stream(self, path: str, *, query: Mapping[str, object]) -> Iterator[dict[str, Any]]:
        """Make one request and give the JSON lines of its answer as they come.

        Raises:
            Unavailable: the node cannot be reached, or went away.
            LimesError: what the node answered.
        """
        connection, response = self._send("GET", path, None, None, None, query)
        try:
            while line := response.readline():
                yield json.loads(line)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._lost(error) from error
        finally:
            connection.close()

    def _send(
        self,
        method: str,
        path: str,
        value: Any,
        body: IO[bytes] | None,
        headers: Mapping[str, str] | None,
        query: Mapping[str, object] | None,
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        if not self._home.held():
            # Whoever listens at that address now must not be told the token.
            raise self._unavailable(self._home, "no node runs with it")
        connection = http.client.HTTPConnection(self._address, timeout=CONNECT_TIMEOUT, blocksize=1 << 18)
        fields = {**self._headers, **(headers or {})}
        content: IO[bytes] | bytes | None = body
        if value is not None:
            content = json.dumps(value).encode()
            fields["Content-Type"] = "application/json"
        target = f"{path}?{urlencode(query)}" if query else path
        try:
            try:
                connection.connect()
            except OSError as error:
                raise self._unavailable(self._home, f"{self._address} does not answer ({error})") from error
            connection.sock.settimeout(None)
            with suppress(BrokenPipeError, ConnectionResetError):
                # When it is refused before the whole body was sent, the answer says why.
                connection.request(method, target, content, fields)
            response = connection.getresponse()
            if response.status >= 400:
                raise _error_of(response)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            if isinstance(error, LimesError):
                raise
            raise self._lost(error) from error
        except BaseException:
            connection.close()
            raise
        return connection, response

    def _lost(self, error: Exception) -> Unavailable:
        return Unavailable(
            f"the node at {self._address} went away while it answered ({error or type(error).__name__})",
            operation="reach node",
        )


def _error_of(response: http.client.HTTPResponse) -> LimesError:
    try:
        payload = json.loads(response.read())
    except ValueError:
        payload = None
    return from_http(payload, response.status)
