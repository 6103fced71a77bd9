"""The admin API as a client of its own sees it, past the command line."""

import json
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from tests.conftest import DEADLINE, Node, guest_path

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients of plain HTTP: reading the system's certificates would take longer than most tests."""


def stamped(component: bytes, stamp: str) -> bytes:
    """The same component with other bytes: a custom section more, which means nothing."""
    content = bytes([5]) + b"stamp" + stamp.encode()
    assert len(content) < 128, "one byte must hold the section's length"
    return component + bytes([0, len(content)]) + content


class Admin(httpx.Client):
    """An HTTP client that knows a node's token."""

    def __init__(self, node: Node) -> None:
        super().__init__(
            base_url=node.admin,
            headers=node.authorization,
            timeout=DEADLINE,
            trust_env=False,
            verify=NO_TLS,
        )

    def put(self, name: str, component: str | bytes, **settings: Any) -> httpx.Response:  # type: ignore[override]
        """Deploy a guest by its name, or bytes."""
        return super().put(
            f"/v1/functions/{name}",
            content=component if isinstance(component, bytes) else guest_path(component).read_bytes(),
            headers={"Limes-Config": json.dumps(settings)},
        )

    def deploy(self, name: str, component: str | bytes, **settings: Any) -> dict[str, Any]:
        """Deploy what must be accepted."""
        answer = self.put(name, component, **settings)
        assert answer.is_success, answer.text
        deployed: dict[str, Any] = answer.json()
        return deployed

    def function(self, name: str) -> dict[str, Any]:
        """What the node says of a function."""
        details: dict[str, Any] = self.get(f"/v1/functions/{name}").raise_for_status().json()
        return details

    def names(self) -> list[str]:
        """The functions there are."""
        return [row["name"] for row in self.get("/v1/functions").raise_for_status().json()["functions"]]

    def running(self, name: str) -> list[dict[str, Any]]:
        """The invocations of a function that run."""
        listed = self.get("/v1/invocations", params={"function": name}).raise_for_status()
        rows: list[dict[str, Any]] = listed.json()["invocations"]
        return rows

    def invoke(self, name: str, *args: str, **order: Any) -> httpx.Response:
        """Call a function through the admin API."""
        return self.post(f"/v1/functions/{name}/invoke", json={"args": args, **order})


OpenAdmin = Callable[[Node], Admin]


@pytest.fixture
def open_admin() -> Iterator[OpenAdmin]:
    """Opens clients for nodes of one test."""
    clients: list[Admin] = []

    def open_client(node: Node) -> Admin:
        clients.append(Admin(node))
        return clients[-1]

    yield open_client
    for client in clients:
        client.close()


@pytest.fixture(scope="module")
def admin(node: Node) -> Iterator[Admin]:
    """A client for the node that the tests of a module share."""
    with Admin(node) as client:
        yield client


@pytest.fixture(scope="session")
def anyone() -> Iterator[httpx.Client]:
    """A client without a token."""
    with httpx.Client(timeout=DEADLINE, trust_env=False, verify=NO_TLS) as client:
        yield client


def error_of(answer: httpx.Response) -> dict[str, Any]:
    """The error in an answer, which must have the shape that all of them have."""
    payload = answer.json()
    assert set(payload) == {"error"}
    error: dict[str, Any] = payload["error"]
    assert set(error) == {"kind", "message", "operation", "retryable", "context"}
    return error
