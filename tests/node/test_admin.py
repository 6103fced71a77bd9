"""The admin API: who may use it, what it changes, what it tells."""

import json
import socket
import stat
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.conftest import DEADLINE, Node, StartNode, eventually, guest_path
from tests.node.conftest import Admin, OpenAdmin, error_of, stamped


def outcomes(admin: Admin, name: str) -> dict[str, float]:
    """How many requests of a function came to what, by the metrics."""
    text = admin.get("/metrics").raise_for_status().text
    return {
        sample.labels["outcome"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "limes_requests_total" and sample.labels["function"] == name
    }


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic {token}"},
        {"Authorization": "{token}"},
        {"Authorization": "Bearer {token}x"},
    ],
)
@pytest.mark.parametrize("path", ["/v1/functions", "/v1/node", "/metrics", "/openapi.json", "/nowhere"])
def test_nothing_is_told_without_the_token(
    anyone: httpx.Client, node: Node, path: str, headers: dict[str, str]
) -> None:
    filled = {name: value.format(token=node.token) for name, value in headers.items()}
    answer = anyone.get(node.admin + path, headers=filled)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert error_of(answer)["kind"] == "unauthorized"


def test_a_change_without_the_token_changes_nothing(anyone: httpx.Client, node: Node, admin: Admin) -> None:
    admin.deploy("guarded", "run_echo")
    url = f"{node.admin}/v1/functions/guarded"
    assert anyone.delete(url).status_code == 401
    content = guest_path("hello").read_bytes()
    assert anyone.put(url, content=content).status_code == 401
    assert admin.function("guarded")["revision"] == 1


def test_the_token_is_for_its_owner_only(node: Node) -> None:
    assert stat.S_IMODE((node.home / "token").stat().st_mode) == 0o600
    assert stat.S_IMODE(node.home.stat().st_mode) == 0o700
    assert len(node.token) >= 32


@pytest.mark.parametrize(("path", "status"), [("/healthz", "ok"), ("/readyz", "ready")])
def test_probes_need_no_token(anyone: httpx.Client, node: Node, path: str, status: str) -> None:
    answer = anyone.get(node.admin + path)
    assert (answer.status_code, answer.json()) == (200, {"status": status})


def test_a_deploy_is_served_and_described(anyone: httpx.Client, node: Node, admin: Admin) -> None:
    answer = admin.put("greeter", "hello", limits={"memory": "64MiB"}, grants={"env": {"A": "b"}})
    deployed = answer.json()
    assert answer.status_code == 201
    assert (deployed["name"], deployed["revision"], deployed["contract"]) == ("greeter", 1, "run")
    assert deployed["url"] == node.function_url("greeter")
    assert anyone.post(deployed["url"], content="world").text == "Hello, world!"
    assert "greeter" in admin.names()
    described = admin.function("greeter")
    assert described["limits"]["memory"] == 64 << 20
    assert described["grants"]["env"] == {"A": "b"}
    assert described["digest"] == deployed["digest"]
    assert described["state"] == "loaded"
    assert [row["current"] for row in described["revisions"]] == [True]


def test_a_deploy_again_is_a_new_revision(admin: Admin) -> None:
    assert admin.put("twice", "run_echo").status_code == 201
    answer = admin.put("twice", "hello")
    assert answer.status_code == 200
    assert (answer.json()["revision"], answer.json()["created"]) == (2, False)


def test_an_update_patches_the_settings_and_keeps_the_bytes(admin: Admin) -> None:
    first = admin.deploy("patched", "env", limits={"cpu": "2s"}, grants={"env": {"A": "1", "B": "2"}})
    patch = {"limits": {"cpu": None, "timeout": "3s"}, "grants": {"env": {"A": None, "C": "3"}}}
    second = admin.patch("/v1/functions/patched", json=patch).raise_for_status().json()
    assert (second["revision"], second["digest"]) == (2, first["digest"])
    described = admin.function("patched")
    assert described["limits"]["timeout"] == 3_000
    assert described["limits"]["cpu"] == 10_000
    answered = admin.invoke("patched").raise_for_status().json()
    assert json.loads(answered["output"])["env"] == {"B": "2", "C": "3"}


def test_a_rollback_brings_the_earlier_answer_back(anyone: httpx.Client, node: Node, admin: Admin) -> None:
    admin.deploy("returning", "hello")
    admin.deploy("returning", "run_echo")
    url = node.function_url("returning")
    assert anyone.post(url, content="you").text == "you"
    back = admin.post("/v1/functions/returning/rollback").raise_for_status().json()
    assert back["revision"] == 1
    assert anyone.post(url, content="you").text == "Hello, you!"
    forward = admin.post("/v1/functions/returning/rollback", json={"to": 2}).raise_for_status().json()
    assert forward["revision"] == 2
    assert anyone.post(url, content="you").text == "you"


def test_a_rollback_to_what_is_not_kept_changes_nothing(admin: Admin) -> None:
    admin.deploy("single", "hello")
    for order in ({}, {"to": 7}):
        answer = admin.post("/v1/functions/single/rollback", json=order)
        assert answer.status_code == 404
        assert error_of(answer)["context"]["kept"] == "1"
    assert admin.function("single")["revision"] == 1


def test_a_removed_function_is_gone_and_its_bytes_with_it(
    anyone: httpx.Client, node: Node, admin: Admin
) -> None:
    deployed = admin.deploy("leaving", stamped(guest_path("run_echo").read_bytes(), "leaving"))
    blob = node.home / "blobs" / deployed["digest"][:2] / deployed["digest"]
    assert blob.is_file()
    assert admin.delete("/v1/functions/leaving").json() == {"removed": "leaving"}
    assert anyone.get(deployed["url"]).status_code == 404
    assert admin.get("/v1/functions/leaving").status_code == 404
    assert admin.delete("/v1/functions/leaving").status_code == 404
    assert not blob.exists()


@pytest.mark.parametrize(
    ("order", "guest", "expected"),
    [
        ({"args": ["a", "b"]}, "run_echo", {"kind": "run", "output": "a b"}),
        ({"body": "text"}, "run_echo", {"kind": "run", "output": "text"}),
        ({"body": "AP8=", "body_encoding": "base64"}, "cli_cat", {"kind": "command", "output": "AP8="}),
        ({"args": ["--exit", "7"], "body": ""}, "cli_cat", {"kind": "command", "exit_code": 7}),
        ({"args": ["--stderr", "oh"]}, "cli_cat", {"kind": "command", "stderr": "oh\n"}),
        ({"method": "PUT", "path": "/p?q=1", "body": "b"}, "http_echo", {"status": 200, "output": "b"}),
    ],
)
def test_invoke_speaks_each_contract(
    admin: Admin, order: dict[str, Any], guest: str, expected: dict[str, Any]
) -> None:
    name = guest.replace("_", "-")
    admin.deploy(name, guest)
    answer = admin.invoke(name, **order).raise_for_status().json()
    assert {key: answer[key] for key in expected} == expected
    assert answer["timing"]["execute"] > 0


def test_invoke_hands_on_the_guests_error(admin: Admin) -> None:
    admin.deploy("trapping", "trap")
    answer = admin.invoke("trapping")
    assert answer.status_code == 500
    error = error_of(answer)
    assert error["kind"] == "guest_trap"
    assert "inner_call" in error["context"]["backtrace"]


def test_a_timeout_of_the_call_stands_over_the_limit(admin: Admin) -> None:
    admin.deploy("spinning", "spin", limits={"cpu": "60s", "timeout": "60s"})
    answer = admin.invoke("spinning", timeout="50ms")
    assert answer.status_code == 504
    assert error_of(answer)["kind"] == "timeout"


NOT_WASM = b"this is no component"
TRUNCATED = b"\0asm\x0d\0\x01\0\x07\xff"


@pytest.mark.parametrize(
    ("component", "headers", "status", "kind"),
    [
        (b"", {}, 400, "invalid_argument"),
        (NOT_WASM, {}, 422, "bad_component"),
        (TRUNCATED, {}, 422, "bad_component"),
        ("no_contract", {}, 422, "unsupported_contract"),
        ("unknown_import", {}, 422, "bad_component"),
        ("wrong_signature", {}, 422, "unsupported_contract"),
        ("hello", {"Limes-Config": "{not json"}, 400, "invalid_argument"),
        ("hello", {"Limes-Config": "[]"}, 400, "invalid_argument"),
        ("hello", {"Limes-Config": '{"limits": {"memry": 1}}'}, 400, "invalid_argument"),
        ("hello", {"Limes-Config": '{"limits": {"memory": "much"}}'}, 400, "invalid_argument"),
        ("hello", {"Limes-Config": '{"grants": {"stdio": true}}'}, 400, "invalid_argument"),
        ("hello", {"Limes-Config": '{"hosts": ["taken.example"]}'}, 400, "invalid_argument"),
    ],
)
def test_a_bad_upload_changes_nothing(
    anyone: httpx.Client,
    node: Node,
    admin: Admin,
    component: str | bytes,
    headers: dict[str, str],
    status: int,
    kind: str,
) -> None:
    admin.deploy("owner", "hello", hosts=["taken.example"])
    if "steady" not in admin.names():
        admin.deploy("steady", "run_echo")
    before = admin.function("steady")
    names = admin.names()
    content = component if isinstance(component, bytes) else guest_path(component).read_bytes()
    for name in ("steady", "newcomer"):
        answer = httpx.Client.put(admin, f"/v1/functions/{name}", content=content, headers=headers)
        assert (answer.status_code, error_of(answer)["kind"]) == (status, kind), answer.text
    after = admin.function("steady")
    assert (after["revision"], after["revisions"]) == (before["revision"], before["revisions"])
    assert admin.names() == names
    assert anyone.post(node.function_url("steady"), content="still").text == "still"
    assert list((node.home / "blobs" / "incoming").iterdir()) == []


@pytest.mark.parametrize("name", ["Upper", "-dash", "a" * 64, "sp%20ace"])
def test_a_bad_name_is_refused(admin: Admin, name: str) -> None:
    answer = admin.put(name, "hello")
    assert answer.status_code == 400
    assert error_of(answer)["kind"] == "invalid_argument"


def test_an_upload_that_breaks_off_leaves_nothing(anyone: httpx.Client, node: Node, admin: Admin) -> None:
    names = admin.names()

    def body() -> Any:
        yield guest_path("hello").read_bytes()[:1000]
        raise InterruptedError

    with pytest.raises(InterruptedError):
        anyone.put(f"{node.admin}/v1/functions/partial", content=body(), headers=node.authorization)
    incoming = node.home / "blobs" / "incoming"
    eventually(lambda: not list(incoming.iterdir()), "the partial upload to be dropped")
    assert admin.names() == names


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/v1/nowhere", 404, "not_found"),
        ("POST", "/v1/functions", 405, "invalid_argument"),
        ("GET", "/v1/functions/absent", 404, "not_found"),
        ("POST", "/v1/functions/absent/rollback", 404, "not_found"),
        ("GET", "/v1/functions/absent/logs", 404, "not_found"),
        ("DELETE", "/v1/invocations/999999", 404, "not_found"),
        ("DELETE", "/v1/invocations/abc", 400, "invalid_argument"),
    ],
)
def test_what_is_not_there_is_an_error_like_any_other(
    admin: Admin, method: str, path: str, status: int, kind: str
) -> None:
    answer = admin.request(method, path)
    assert (answer.status_code, error_of(answer)["kind"]) == (status, kind)


def test_the_openapi_document_describes_every_route(admin: Admin) -> None:
    document = admin.get("/openapi.json").raise_for_status().json()
    assert document["openapi"].startswith("3.")
    routes = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert {
        ("get", "/v1/functions"),
        ("put", "/v1/functions/{name}"),
        ("get", "/v1/functions/{name}"),
        ("patch", "/v1/functions/{name}"),
        ("delete", "/v1/functions/{name}"),
        ("post", "/v1/functions/{name}/rollback"),
        ("post", "/v1/functions/{name}/invoke"),
        ("get", "/v1/functions/{name}/logs"),
        ("get", "/v1/invocations"),
        ("delete", "/v1/invocations/{invocation}"),
        ("get", "/v1/node"),
        ("get", "/v1/cache"),
        ("get", "/metrics"),
    } <= routes
    assert "application/wasm" in document["paths"]["/v1/functions/{name}"]["put"]["requestBody"]["content"]


def test_the_node_says_who_it_is(node: Node, admin: Admin) -> None:
    told = admin.get("/v1/node").raise_for_status().json()
    assert told["pid"] == node.pid
    assert f"http://{told['listen']}" == node.url
    assert told["home"] == str(node.home)
    assert told["functions"] == len(admin.names())
    assert told["draining"] is False


def test_metrics_count_requests_by_outcome(anyone: httpx.Client, node: Node, admin: Admin) -> None:
    admin.deploy("counted", "run_echo")
    admin.deploy("failing", "trap")
    for _ in range(3):
        anyone.post(node.function_url("counted"), content="x").raise_for_status()
    assert anyone.get(node.function_url("failing")).status_code == 500
    eventually(lambda: outcomes(admin, "counted") == {"ok": 3.0}, "three requests to be counted")
    eventually(lambda: outcomes(admin, "failing") == {"guest_trap": 1.0}, "the trap to be counted")
    admin.invoke("counted").raise_for_status()
    eventually(lambda: outcomes(admin, "counted") == {"ok": 4.0}, "the invoke to be counted")


def test_metrics_hold_the_histogram_and_the_build(anyone: httpx.Client, node: Node, admin: Admin) -> None:
    admin.deploy("timed", "run_echo")
    anyone.post(node.function_url("timed"), content="x").raise_for_status()
    eventually(lambda: outcomes(admin, "timed") == {"ok": 1.0}, "the request to be counted")
    families = {family.name: family for family in text_string_to_metric_families(admin.get("/metrics").text)}
    assert families["limes_request_duration_seconds"].type == "histogram"
    buckets = [
        sample.value
        for sample in families["limes_request_duration_seconds"].samples
        if sample.name.endswith("_bucket") and sample.labels["function"] == "timed"
    ]
    assert buckets == sorted(buckets)
    assert buckets[-1] == 1
    assert families["limes_build_info"].samples[0].labels["version"] == node.started["version"]
    assert families["process_resident_memory_bytes"].samples[0].value > 0


def test_a_running_invocation_is_listed_and_can_be_stopped(
    anyone: httpx.Client, node: Node, admin: Admin
) -> None:
    admin.deploy("endless", "spin", limits={"cpu": "60s", "timeout": "60s"})
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(anyone.get, node.function_url("endless"), timeout=DEADLINE)
        (row,) = eventually(lambda: admin.running("endless"), "the invocation to be listed")
        assert (row["function"], row["revision"]) == ("endless", 1)
        assert row["client"].startswith("127.0.0.1")
        assert admin.delete(f"/v1/invocations/{row['id']}").json() == {"stopped": row["id"]}
        answer = waiting.result(DEADLINE)
    assert answer.status_code == 503
    assert error_of(answer)["kind"] == "stopped"
    eventually(lambda: not admin.running("endless"), "the invocation to be gone")
    assert admin.delete(f"/v1/invocations/{row['id']}").status_code == 404


def test_an_invoke_whose_client_goes_away_is_stopped(node: Node, admin: Admin) -> None:
    admin.deploy("abandoned", "spin", limits={"cpu": "60s", "timeout": "60s"})
    url = httpx.URL(node.admin)
    with socket.create_connection((url.host, url.port), DEADLINE) as client:
        client.sendall(
            f"POST /v1/functions/abandoned/invoke HTTP/1.1\r\nhost: {url.host}\r\n"
            f"authorization: {node.authorization['Authorization']}\r\n"
            "content-type: application/json\r\ncontent-length: 2\r\n\r\n{}".encode()
        )
        eventually(lambda: admin.running("abandoned"), "the invocation to run")
    eventually(lambda: not admin.running("abandoned"), "the invocation to be stopped")


def test_a_stop_ends_a_guest_that_sleeps_after_its_head(start_node: StartNode, open_admin: OpenAdmin) -> None:
    node = start_node("--slots", "1")
    admin, caller = open_admin(node), open_admin(node)
    admin.deploy("sleeper", "http_never", limits={"timeout": "5m"})
    admin.deploy("probe", "hello")

    def is_overloaded(answer: httpx.Response) -> bool:
        return answer.is_error and error_of(answer)["kind"] == "overloaded"

    def begin(pool: ThreadPoolExecutor) -> Future[httpx.Response]:
        while True:
            waiting = pool.submit(caller.invoke, "sleeper", path="/?head=1")
            while not waiting.done():
                if is_overloaded(admin.invoke("probe")):
                    return waiting
            assert is_overloaded(waiting.result()), "the probe was not faster"

    with ThreadPoolExecutor(1) as pool:
        waiting = begin(pool)
        (row,) = admin.running("sleeper")
        node.limes("stop", str(row["id"]))
        assert error_of(waiting.result(DEADLINE))["kind"] == "stopped"
    eventually(lambda: admin.invoke("probe").is_success, "the guest to be gone")


def test_logs_hold_stdout_and_stderr(admin: Admin, tmp_path: Any) -> None:
    (tmp_path / "note").write_text("content")
    directory = {"host": str(tmp_path), "guest": "/data", "writable": False}
    admin.deploy("speaking", "p1_reactor", grants={"dirs": [directory]})
    assert admin.invoke("speaking", "/data/note").raise_for_status().json()["output"] == "content"
    lines = eventually(lambda: admin.get("/v1/functions/speaking/logs").json()["lines"], "a line")
    assert {line["stream"] for line in lines} == {"stdout"}
    assert any("/data/note" in line["text"] for line in lines)
    admin.deploy("complaining", "cli_cat")
    admin.invoke("complaining", "--stderr", "first").raise_for_status()
    admin.invoke("complaining", "--stderr", "second").raise_for_status()

    def stderr_lines(**query: Any) -> list[dict[str, Any]]:
        told = admin.get("/v1/functions/complaining/logs", params=query).raise_for_status().json()["lines"]
        return [line for line in told if line["stream"] == "stderr"]

    eventually(lambda: [line["text"] for line in stderr_lines()] == ["first", "second"], "both lines")
    first, second = stderr_lines()
    assert first["seq"] < second["seq"]
    assert first["invocation"] != second["invocation"]
    assert [line["text"] for line in stderr_lines(after=first["seq"])] == ["second"]
    assert [line["text"] for line in stderr_lines(limit=1)] == ["second"]


def test_logs_that_are_followed_come_as_they_are_written(node: Node, admin: Admin) -> None:
    admin.deploy("followed", "cli_cat")
    admin.invoke("followed", "--stderr", "before").raise_for_status()
    with (
        Admin(node) as client,
        client.stream("GET", "/v1/functions/followed/logs", params={"follow": "true"}) as answer,
    ):
        assert answer.headers["content-type"].startswith("application/x-ndjson")
        lines = (json.loads(line) for line in answer.iter_lines())
        texts = (line["text"] for line in lines if line["stream"] == "stderr")
        assert next(texts) == "before"
        for number in range(3):
            admin.invoke("followed", "--stderr", f"after {number}").raise_for_status()
            assert next(texts) == f"after {number}"
        admin.delete("/v1/functions/followed").raise_for_status()
        assert list(texts) == [], "the stream ends with the function"
