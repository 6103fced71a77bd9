"""A guest reaches what it was granted, and nothing else."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import guest_path

from limes import LimesIOError, MissingGrant, Runtime

HERE = Path(__file__).parent
DENIED = "error: Operation not permitted"
ABSENT = "error: No such file or directory"


class Place:
    """A granted directory, with a secret beside it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.granted = root / "granted"
        self.granted.mkdir()
        (self.granted / "a.txt").write_text("inside")
        (self.granted / "link").symlink_to("a.txt")
        self.secret = root / "secret"
        self.secret.write_text("secret")
        (self.granted / "absolute").symlink_to(self.secret)
        (self.granted / "relative").symlink_to("../secret")
        (self.granted / "up").symlink_to("..")
        (self.granted / "loop").symlink_to("loop")

    def ask(self, runtime: Runtime, question: str, *, writable: bool = False) -> str:
        grant = {"host": self.granted, "guest": "/data", "writable": writable}
        return runtime.load(guest_path("fs"), dirs=[grant]).run(question).output

    def tree(self) -> dict[str, str | None]:
        """Everything below the root, with the content of files."""
        return {
            str(path.relative_to(self.root)): path.read_text() if path.is_file() else None
            for path in self.root.rglob("*")
        }


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_nothing_is_granted_by_default(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, place: Place
) -> None:
    monkeypatch.setenv("LEAKED", "leaked")
    seen = json.loads(runtime.load(guest_path("env")).run().output)
    assert seen == {"args": ["env"], "env": {}}
    files = runtime.load(guest_path("fs"))
    for path in (place.secret, "/", "/etc/passwd", ".", "/proc/self/environ"):
        assert files.run(f"read {path}").output == ABSENT
        assert files.run(f"list {path}").output.startswith("error: ")


def test_env_and_args_are_those_of_the_grant(runtime: Runtime) -> None:
    env = runtime.load(guest_path("env"), env={"A": "1", "EMPTY": "", "UMLAUT": "ü"}, args=["x", "", "y z"])
    seen = json.loads(env.run().output)
    assert seen == {"args": ["env", "x", "", "y z"], "env": {"A": "1", "EMPTY": "", "UMLAUT": "ü"}}


def test_a_granted_directory_is_the_one_that_was_granted(runtime: Runtime, place: Place) -> None:
    inner = place.granted / "inner"
    inner.mkdir()
    (inner / "a.txt").write_text("inner")
    through_link = place.root / "link"
    through_link.symlink_to(inner)
    files = runtime.load(guest_path("fs"), dirs=[{"host": through_link, "guest": "/data"}])
    assert files.run("read /data/a.txt").output == "inner"
    # As a guest could that may write around it.
    inner.rename(place.granted / "moved")
    inner.symlink_to("..")
    with pytest.raises(LimesIOError, match=r"grants\.dirs"):
        files.run("read /data/secret")


def test_a_directory_can_be_read(runtime: Runtime, place: Place) -> None:
    assert place.ask(runtime, "read /data/a.txt") == "inside"
    assert place.ask(runtime, "read /data/link") == "inside"
    assert "a.txt" in place.ask(runtime, "list /data").splitlines()
    assert place.ask(runtime, "read /data/missing") == ABSENT


@pytest.mark.parametrize(
    "question",
    [
        "write /data/new x",
        "write /data/a.txt x",
        "append /data/a.txt x",
        "remove /data/a.txt",
        "mkdir /data/new",
        "rename /data/a.txt /data/b.txt",
        "link /data/a.txt /data/b.txt",
        "symlink a.txt /data/b.txt",
    ],
)
def test_a_read_only_directory_stays_as_it_is(runtime: Runtime, place: Place, question: str) -> None:
    before = place.tree()
    assert place.ask(runtime, question) == DENIED
    assert place.tree() == before


def test_a_writable_directory_can_be_changed(runtime: Runtime, place: Place) -> None:
    for question in (
        "write /data/new x",
        "append /data/new y",
        "mkdir /data/folder",
        "rename /data/new /data/folder/moved",
        "remove /data/a.txt",
    ):
        assert place.ask(runtime, question, writable=True) == "ok"
    assert (place.granted / "folder" / "moved").read_text() == "xy"
    assert not (place.granted / "a.txt").exists()


@pytest.mark.parametrize(
    "question",
    [
        "read /data/../secret",
        "read /data/./.././secret",
        "read /data/absolute",
        "read /data/relative",
        "read /data/up/secret",
        "list /data/..",
        "list /data/up",
        "stat /data/../secret",
        "write /data/../planted x",
        "write /data/absolute x",
        "write /data/relative x",
        "write /data/up/planted x",
        "append /data/relative x",
        "remove /data/../secret",
        "remove /data/up/secret",
        "mkdir /data/../planted",
        "rename /data/a.txt /data/../planted",
        "rename /data/../secret /data/stolen",
        "link /data/../secret /data/stolen",
        "link /data/a.txt /data/up/planted",
        "symlink /etc/passwd /data/stolen",
        "read /data/loop",
    ],
)
@pytest.mark.parametrize("writable", [False, True], ids=["read-only", "writable"])
def test_no_path_and_no_link_leads_out_of_a_directory(
    runtime: Runtime, place: Place, question: str, writable: bool
) -> None:
    before = place.tree()
    answer = place.ask(runtime, question, writable=writable)
    assert answer.startswith("error: ")
    assert "secret" not in answer
    assert place.tree() == before


def test_a_link_that_the_guest_makes_leads_nowhere_outside(runtime: Runtime, place: Place) -> None:
    place.ask(runtime, "symlink ../secret /data/made", writable=True)
    assert place.ask(runtime, "read /data/made", writable=True).startswith("error: ")


def test_absolute_paths_of_the_host_do_not_exist(runtime: Runtime, place: Place) -> None:
    for path in (place.secret, place.granted / "a.txt", "/etc/passwd", "/"):
        assert place.ask(runtime, f"read {path}", writable=True).startswith("error: ")


def test_directories_are_granted_one_by_one(runtime: Runtime, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one = {"host": tmp_path / "one", "guest": "/one", "writable": True}
    two = {"host": tmp_path / "two", "guest": "/two", "writable": False}
    files = runtime.load(guest_path("fs"), dirs=[one, two])
    assert files.run("write /one/x 1").output == "ok"
    assert files.run("write /two/x 1").output == DENIED
    assert files.run("rename /one/x /two/x").output == DENIED


@pytest.fixture(scope="module")
def tcp_port() -> Iterator[int]:
    """A server that answers a connection's first bytes: HTTP with "ok", anything else with itself."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                if (data := connection.recv(65536)).startswith((b"GET ", b"POST ")):
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
                elif data:
                    connection.sendall(b"heard " + data)

    thread = threading.Thread(target=serve)
    thread.start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


@pytest.fixture(scope="module")
def udp_port() -> Iterator[int]:
    """A server that sends each datagram back, until an empty one comes."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            data, address = server.recvfrom(65536)
            if not data:
                return
            server.sendto(b"heard " + data, address)

    thread = threading.Thread(target=serve)
    thread.start()
    yield server.getsockname()[1]
    server.sendto(b"", server.getsockname())
    thread.join()
    server.close()


COVERING = ["127.0.0.1:{port}", "127.0.0.0/8:{port}", "127.0.0.1:*", "*:{port}", "*:*"]
OTHER = ["127.0.0.1:1", "127.0.0.2:{port}", "10.0.0.0/8:*", "[::1]:{port}", "*:1"]


@pytest.mark.parametrize("pattern", COVERING)
def test_tcp_reaches_a_granted_address(runtime: Runtime, tcp_port: int, pattern: str) -> None:
    net = runtime.load(guest_path("net"), tcp=[pattern.format(port=tcp_port)])
    assert net.run(f"tcp 127.0.0.1:{tcp_port} hi").output == "heard hi"


@pytest.mark.parametrize("pattern", OTHER)
def test_tcp_reaches_no_other_address(runtime: Runtime, tcp_port: int, pattern: str) -> None:
    net = runtime.load(guest_path("net"), tcp=[pattern.format(port=tcp_port)])
    assert net.run(f"tcp 127.0.0.1:{tcp_port} hi").output == "error: access-denied"


@pytest.mark.parametrize("pattern", COVERING)
def test_udp_reaches_a_granted_address(runtime: Runtime, udp_port: int, pattern: str) -> None:
    net = runtime.load(guest_path("net"), udp=[pattern.format(port=udp_port)])
    assert net.run(f"udp 127.0.0.1:{udp_port} hi").output == "heard hi"


@pytest.mark.parametrize("pattern", OTHER)
def test_udp_reaches_no_other_address(runtime: Runtime, udp_port: int, pattern: str) -> None:
    net = runtime.load(guest_path("net"), udp=[pattern.format(port=udp_port)])
    assert net.run(f"udp 127.0.0.1:{udp_port} hi").output == "error: access-denied"


def test_a_grant_of_one_protocol_is_none_of_the_other(runtime: Runtime, tcp_port: int, udp_port: int) -> None:
    only_udp = runtime.load(guest_path("net"), udp=["*:*"], dns=True)
    assert only_udp.run(f"tcp 127.0.0.1:{tcp_port} hi").output == "error: access-denied"
    only_tcp = runtime.load(guest_path("net"), tcp=["*:*"], dns=True)
    assert only_tcp.run(f"udp 127.0.0.1:{udp_port} hi").output == "error: access-denied"
    only_http = runtime.load(guest_path("net"), http=["*:*"])
    assert only_http.run(f"tcp 127.0.0.1:{tcp_port} hi").output == "error: access-denied"


def test_no_grant_lets_a_guest_listen(runtime: Runtime) -> None:
    for grants in ({}, {"tcp": ["*:*"]}):
        net = runtime.load(guest_path("net"), **grants)  # type: ignore[arg-type]
        assert net.run("listen 127.0.0.1:0").output == "error: access-denied"


def test_names_are_looked_up_only_when_granted(runtime: Runtime) -> None:
    assert runtime.load(guest_path("net"), dns=True).run("dns localhost").output == "127.0.0.1\n"
    for grants in ({}, {"tcp": ["*:*"], "udp": ["*:*"], "http": ["*:*"]}):
        net = runtime.load(guest_path("net"), **grants)  # type: ignore[arg-type]
        assert net.run("dns localhost").output.startswith("error: ")


def test_what_came_over_http_is_given_back_when_the_guest_lets_go_of_it(
    runtime: Runtime, tcp_port: int
) -> None:
    fetches = runtime.load(guest_path("http_fetches"), http=[f"127.0.0.1:{tcp_port}"], handles=20)
    response = fetches.http("GET", f"/?host=127.0.0.1:{tcp_port}&times=50")
    assert (response.status, response.body) == (200, b"100")


HTTP_CLIENTS = pytest.mark.parametrize("client", ["http_client", "http3_client"])


@HTTP_CLIENTS
@pytest.mark.parametrize("pattern", ["127.0.0.1:{port}", "127.0.0.1:*", "*:{port}", "*:*"])
def test_http_reaches_a_granted_host(runtime: Runtime, tcp_port: int, client: str, pattern: str) -> None:
    function = runtime.load(guest_path(client), http=["a.example", pattern.format(port=tcp_port)])
    response = function.http("GET", f"/?url=http://127.0.0.1:{tcp_port}/x")
    assert (response.status, response.body) == (200, b"ok")


@HTTP_CLIENTS
@pytest.mark.parametrize("pattern", ["127.0.0.1", "127.0.0.1:1", "*", "*.example:*", "localhost:{port}"])
def test_http_reaches_no_other_host(runtime: Runtime, tcp_port: int, client: str, pattern: str) -> None:
    function = runtime.load(guest_path(client), http=[pattern.format(port=tcp_port)])
    response = function.http("GET", f"/?url=http://127.0.0.1:{tcp_port}/x")
    assert response.status == 502
    assert response.body in (b"error: HTTP-request-denied", b"error: 15")


@HTTP_CLIENTS
def test_http_reaches_nothing_by_default(runtime: Runtime, tcp_port: int, client: str) -> None:
    for grants in ({}, {"tcp": ["*:*"], "dns": True}):
        function = runtime.load(guest_path(client), **grants)  # type: ignore[arg-type]
        assert function.http("GET", f"/?url=http://127.0.0.1:{tcp_port}/x").status == 502


def test_a_wildcard_covers_the_names_below_a_domain_only(runtime: Runtime, tcp_port: int) -> None:
    function = runtime.load(guest_path("http_client"), http=[f"*.localhost:{tcp_port}"])

    def body(host: str) -> bytes:
        return function.http("GET", f"/?url=http://{host}:{tcp_port}/x").body

    # Whether the name below resolves is the machine's business; that it was tried is the grant's.
    assert body("a.localhost") != b"error: HTTP-request-denied"
    for host in ("localhost", "notlocalhost", "localhost.example"):
        assert body(host) == b"error: HTTP-request-denied"


def test_a_guest_that_fails_after_a_denial_misses_a_grant(runtime: Runtime) -> None:
    with pytest.raises(MissingGrant) as failed:
        runtime.load(HERE / "denied_tcp.wat", tcp=["127.0.0.1:1"]).run()
    assert failed.value.context["grant"] == "tcp"
    assert failed.value.context["wanted"] == "127.0.0.1:9"
    assert "grants.tcp" in str(failed.value)


def test_a_guest_that_fails_without_any_grant_misses_one(runtime: Runtime) -> None:
    with pytest.raises(MissingGrant) as failed:
        runtime.load(HERE / "denied_tcp.wat").run()
    assert failed.value.context["grant"] == "tcp"


def test_a_guest_that_fails_after_a_denied_look_up_misses_a_grant(runtime: Runtime) -> None:
    with pytest.raises(MissingGrant) as failed:
        runtime.load(HERE / "denied_dns.wat").run()
    assert failed.value.context["grant"] == "dns"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("tcp", ["10.0.0.0/8"]),
        ("tcp", ["example.com:80"]),
        ("udp", ["10.0.0.0/33:53"]),
        ("http", ["http://example.com"]),
        ("http", ["a.*.example:80"]),
        ("env", {"A=B": "x"}),
        ("dirs", [{"host": "/nowhere/at/all", "guest": "/data"}]),
        ("dirs", [{"host": "/", "guest": "data"}]),
        ("dirs", [{"host": "/", "guest": "/a/../b"}]),
    ],
)
def test_a_grant_without_meaning_is_refused_by_its_name(runtime: Runtime, option: str, value: object) -> None:
    with pytest.raises(ValueError, match=option):
        runtime.load(guest_path("hello"), **{option: value})
