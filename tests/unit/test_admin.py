import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from limes.errors import Unavailable
from limes.node.admin import AdminState, create_app
from limes.node.home import Running

TOKEN = "a-token"
NODE_COUNTERS = {
    "connections_open": 5,
    "connections_accepted": 9,
    "connections_refused": 0,
    "requests": 12,
    "unrouted": 1,
    "functions": 1,
    "loaded": 1,
    "invocations": 0,
    "draining": False,
    "uptime_seconds": 1.5,
}
RUNNING = Running(pid=1, listen="127.0.0.1:1", admin="127.0.0.1:2", version="0")


class _Engine:
    def cache_info(self) -> str:
        return json.dumps({"dir": "/c", "entries": 1, "bytes": 2, "max_bytes": 3})


@pytest.fixture
def state(plane: Any) -> Iterator[AdminState]:
    plane.node.stats = lambda: json.dumps({"node": NODE_COUNTERS, "functions": {}})
    plane.node.running = lambda: "[]"
    plane.node.stop = lambda _id: False
    plane.node.logs = lambda _name, after, limit: json.dumps(
        [
            {"seq": seq, "time_ms": 1, "invocation": 1, "stream": "stdout", "text": f"line {seq}"}
            for seq in range(after + 1, 6)
        ]
    )
    state = AdminState(
        engine=_Engine(),  # type: ignore[arg-type]
        node=plane.node,
        registry=plane.registry,
        blobs=plane.blobs,
        deployments=plane.deployments,
        running=RUNNING,
        ready=True,
    )
    yield state
    state.close()


class Client:
    """Calls the application without a socket, one request at a time."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.headers: dict[str, str] = {}

    def request(self, method: str, path: str, headers: Any = None, **options: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self._app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
                return await client.request(
                    method, path, headers={**self.headers, **(headers or {})}, **options
                )

        return asyncio.run(send())

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)

    def put(self, path: str, **options: Any) -> httpx.Response:
        return self.request("PUT", path, **options)

    def delete(self, path: str, **options: Any) -> httpx.Response:
        return self.request("DELETE", path, **options)


@pytest.fixture
def stranger(state: AdminState) -> Client:
    return Client(create_app(state, TOKEN, "/home"))


@pytest.fixture
def client(stranger: Client) -> Client:
    stranger.headers["Authorization"] = f"Bearer {TOKEN}"
    return stranger


def deploy(client: Client, name: str, component: bytes = b"x", **settings: Any) -> Any:
    headers = {"Limes-Config": json.dumps(settings)} if settings else {}
    return client.put(f"/v1/functions/{name}", content=component, headers=headers)


def test_nothing_but_the_probes_answers_without_the_token(stranger: Client, state: AdminState):
    routes = create_app(state, TOKEN, "/home").openapi()["paths"]
    paths = [(method, path) for path, methods in routes.items() for method in methods]
    assert len(paths) > 10
    for method, path in [*paths, ("get", "/docs"), ("get", "/openapi.json"), ("get", "/nowhere")]:
        response = stranger.request(method, path.replace("{name}", "x").replace("{invocation}", "1"))
        if path in ("/healthz", "/readyz"):
            assert response.status_code == 200
        else:
            assert response.status_code == 401, path
            assert response.json()["error"]["kind"] == "unauthorized"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        TOKEN,
        "Bearer \u00e9",
    ],
)
def test_a_wrong_token_is_refused(header: str, stranger: Client):
    response = stranger.get("/v1/functions", headers={"Authorization": header.encode("latin-1")})
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_a_deploy_is_described_as_it_was_asked_for(client: Client, plane: Any):
    created = deploy(client, "hello", b"bytes", limits={"memory": "1MiB"}, hosts=["h.example"])
    assert created.status_code == 201
    assert created.json()["url"] == "http://127.0.0.1:1/function/hello"
    assert deploy(client, "hello", b"other").status_code == 200
    described = client.get("/v1/functions/hello").json()
    assert described["revision"] == 2
    assert [revision["current"] for revision in described["revisions"]] == [True, False]
    assert described["hosts"] == []
    assert client.post("/v1/functions/hello/rollback").json()["revision"] == 1
    described = client.get("/v1/functions/hello").json()
    assert (described["limits"]["memory"], described["hosts"]) == (1 << 20, ["h.example"])
    assert [row["name"] for row in client.get("/v1/functions").json()["functions"]] == ["hello"]
    assert client.delete("/v1/functions/hello").json() == {"removed": "hello"}
    assert client.get("/v1/functions/hello").status_code == 404
    assert plane.node.served == {}


@pytest.mark.parametrize(
    ("config", "says"),
    [("{", "not JSON"), ("[]", "valid dictionary"), ('{"limits": {"memroy": 1}}', "did you mean 'memory'?")],
)
def test_a_deploy_with_settings_that_cannot_be_is_refused(config: str, says: str, client: Client):
    response = client.put("/v1/functions/hello", content=b"x", headers={"Limes-Config": config})
    assert response.status_code == 400
    assert says in response.json()["error"]["message"]


def test_a_deploy_without_bytes_is_refused(client: Client):
    assert "no body" in deploy(client, "hello", b"").json()["error"]["message"]


def test_a_component_past_the_largest_is_refused(client: Client, plane: Any):
    plane.blobs._limit = 3 << 20
    response = deploy(client, "hello", b"x" * (4 << 20))
    assert response.status_code == 413
    assert plane.stored() == set()


def test_every_failure_has_the_same_form(client: Client):
    deploy(client, "hello")
    failures = {
        "not_found": client.get("/v1/nowhere"),
        "invalid_argument": client.post("/v1/functions/hello/invoke", json={"agrs": []}),
        "bad_component": deploy(client, "hello", b"bad"),
    }
    for kind, response in failures.items():
        error = response.json()["error"]
        assert set(error) == {"kind", "message", "operation", "retryable", "context"}
        assert error["kind"] == kind
    assert client.post("/v1/functions").status_code == 405
    assert client.delete("/v1/invocations/7").status_code == 404


def test_a_fault_says_so_and_tells_no_secrets(client: Client, plane: Any):
    def breaks() -> str:
        raise RuntimeError("the secret")

    plane.node.running = breaks
    response = client.get("/v1/invocations")
    assert response.status_code == 500
    assert response.json()["error"]["kind"] == "internal"
    assert "secret" not in response.text


def test_a_node_that_drains_takes_no_deploys_and_is_not_ready(client: Client, state: AdminState):
    assert client.get("/readyz").status_code == 200
    state.stopping.set()
    assert deploy(client, "hello").status_code == 503
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200
    with pytest.raises(Unavailable):
        state.check_accepting()


def test_a_node_that_has_not_restored_is_not_ready(client: Client, state: AdminState):
    state.ready = False
    assert client.get("/readyz").status_code == 503


def test_logs_are_the_last_lines_and_follow_ends_when_the_node_drains(client: Client, state: AdminState):
    deploy(client, "hello")
    lines = client.get("/v1/functions/hello/logs", params={"limit": 2}).json()["lines"]
    assert [line["seq"] for line in lines] == [4, 5]
    state.stopping.set()
    followed = client.get("/v1/functions/hello/logs", params={"follow": True, "after": 3})
    assert [json.loads(line)["seq"] for line in followed.text.splitlines()] == [4, 5]


def test_changes_of_one_name_wait_for_each_other_and_those_of_others_do_not(state: AdminState):
    order: list[str] = []

    async def both() -> None:
        loop = asyncio.get_running_loop()
        first_runs, let_go = asyncio.Event(), asyncio.Event()

        def first() -> None:
            loop.call_soon_threadsafe(first_runs.set)
            asyncio.run_coroutine_threadsafe(let_go.wait(), loop).result()
            order.append("first")

        one = asyncio.create_task(state.change("a", first))
        await first_runs.wait()
        two = asyncio.create_task(state.change("a", lambda: order.append("second")))
        await state.change("b", lambda: order.append("other"))
        let_go.set()
        await asyncio.gather(one, two)

    asyncio.run(both())
    assert order == ["other", "first", "second"]


def test_a_change_that_began_is_finished_when_its_client_goes_away(state: AdminState, tmp_path: Path):
    async def cancelled() -> None:
        loop = asyncio.get_running_loop()
        runs, let_go, over = asyncio.Event(), asyncio.Event(), asyncio.Event()

        def change() -> None:
            loop.call_soon_threadsafe(runs.set)
            asyncio.run_coroutine_threadsafe(let_go.wait(), loop).result()
            loop.call_soon_threadsafe(over.set)

        task = asyncio.create_task(state.change("a", change))
        await runs.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        let_go.set()
        await over.wait()

    asyncio.run(cancelled())


def test_metrics_are_what_prometheus_reads(client: Client, plane: Any):
    from prometheus_client.parser import text_string_to_metric_families

    function = {
        "revision": 2,
        "loaded": True,
        "running": 1,
        "queued": 0,
        "cold_loads": 1,
        "requests": {"ok": 3, "timeout": 1},
        "duration": {"buckets": [[0.001, 2], [0.1, 3]], "sum": 0.5, "count": 4},
        "phases_ns": {"execute": 2_000_000_000},
        "bytes_in": 10,
        "bytes_out": 20,
    }
    plane.node.stats = lambda: json.dumps({"node": NODE_COUNTERS, "functions": {"hello": function}})
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = {
        (sample.name, *(sample.labels.get(key, "") for key in ("outcome", "phase", "le"))): sample.value
        for family in families
        for sample in family.samples
    }
    assert samples["limes_node_connections_open", "", "", ""] == 5
    assert samples["limes_node_connections_total", "", "", ""] == 9
    assert samples["limes_requests_total", "timeout", "", ""] == 1
    assert samples["limes_phase_seconds_total", "", "execute", ""] == 2
    assert samples["limes_request_duration_seconds_bucket", "", "", "0.1"] == 3
    assert samples["limes_request_duration_seconds_bucket", "", "", "+Inf"] == 4
    assert samples["limes_running", "", "", ""] == 1
