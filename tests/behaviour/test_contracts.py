"""How a component is called follows from what it exports."""

from pathlib import Path
from typing import Any

import pytest
from tests.conftest import guest_path

from limes import BadComponent, GuestFailure, Request, Runtime, UnsupportedContract

HTTP_ECHOES = [("http_echo", "http02"), ("http3_echo", "http03")]


@pytest.mark.parametrize(
    ("name", "contract"),
    [
        ("hello", "run"),
        ("wat_echo", "run"),
        ("p1_reactor", "run"),
        ("http_hello", "http02"),
        ("http3_hello", "http03"),
        ("cli_cat", "cli02"),
        ("p1_command", "cli02"),
        ("cli3_hello", "cli03"),
    ],
)
def test_the_contract_is_found_in_the_exports(runtime: Runtime, name: str, contract: str) -> None:
    assert runtime.load(guest_path(name)).contract == contract


def test_run_gets_a_string_and_answers_with_one(runtime: Runtime) -> None:
    assert runtime.load(guest_path("hello")).run("world").output == "Hello, world!"


@pytest.mark.parametrize("args", ["", "x", "é - 漢字 🦀", "line\nline", "x" * 100_000])
@pytest.mark.parametrize("name", ["run_echo", "wat_echo"])
def test_run_passes_any_text_unchanged(runtime: Runtime, name: str, args: str) -> None:
    assert runtime.load(guest_path(name)).run(args).output == args


def test_run_passes_a_nul_inside_the_text(runtime: Runtime) -> None:
    assert runtime.load(guest_path("wat_echo")).run("a\0b").output == "a\0b"


def test_the_text_form_is_taken_as_a_file_and_as_bytes(runtime: Runtime) -> None:
    source = Path(guest_path("wat_echo")).parents[1] / "contracts" / "wat_echo.wat"
    assert runtime.load(source).run("from a file").output == "from a file"
    assert runtime.load(source.read_bytes()).run("from bytes").output == "from bytes"


@pytest.mark.parametrize(
    "name",
    [
        "http_hello",
        "http3_hello",
    ],
)
def test_http_answers_with_status_headers_and_body(runtime: Runtime, name: str) -> None:
    response = runtime.load(guest_path(name)).http()
    assert (response.status, response.ok) == (200, True)
    assert response.header("Content-Type") == "text/plain"
    assert response.body == b"Hello, World!\n"


@pytest.mark.parametrize(("name", "contract"), HTTP_ECHOES)
def test_http_sees_the_whole_request(runtime: Runtime, name: str, contract: str) -> None:
    body = bytes(range(256)) * 1000
    request = Request("POST", "http://shop.example:81/items?id=1&x=%20", {"x-token": "abc"}, body)
    response = runtime.load(guest_path(name)).http(request)
    assert response.status == 200
    assert response.header("x-path") == "/items?id=1&x=%20"
    assert response.header("x-header-x-token") == "abc"
    assert response.body == body


@pytest.mark.parametrize(
    ("method", "url"), [("GET", "/"), ("PUT", "/a/b"), ("DELETE", "/?q"), ("PATCH", "/%2F"), ("PURGE", "/x")]
)
def test_http_sees_the_method_and_the_path(runtime: Runtime, method: str, url: str) -> None:
    response = runtime.load(guest_path("http_echo")).http(method, url)
    assert response.header("x-method") == method
    assert response.header("x-path") == url


def test_http_sees_the_authority_of_a_whole_url(runtime: Runtime) -> None:
    response = runtime.load(guest_path("http_echo")).http("GET", "http://shop.example:81/")
    assert response.header("x-authority") == "shop.example:81"


@pytest.mark.parametrize(("name", "contract"), HTTP_ECHOES)
def test_http_takes_an_empty_body(runtime: Runtime, name: str, contract: str) -> None:
    assert runtime.load(guest_path(name)).http("POST", "/", (), b"").body == b""


@pytest.mark.parametrize("chunks", [1, 100, 5000])
def test_http_gives_a_body_sent_in_chunks_whole(runtime: Runtime, chunks: int) -> None:
    response = runtime.load(guest_path("http_stream")).http("GET", f"/?chunks={chunks}&size=16")
    assert len(response.body) == chunks * 16
    assert [line[:6] for line in response.body.splitlines()] == [b"%06d" % number for number in range(chunks)]


def test_http_gives_what_is_written_to_stderr_after_the_response(runtime: Runtime) -> None:
    response = runtime.load(guest_path("http_after")).http("GET", "/?lines=4")
    assert response.body == b"sent\n"
    assert response.stderr.splitlines() == [b"after 1", b"after 2", b"after 3", b"after 4"]


def test_http_without_a_response_is_a_failure_of_the_guest(runtime: Runtime) -> None:
    with pytest.raises(GuestFailure, match="without setting a response"):
        runtime.load(guest_path("http_no_response")).http()


def test_http_with_less_body_than_announced_is_a_failure_of_the_guest(runtime: Runtime) -> None:
    with pytest.raises(GuestFailure, match="body"):
        runtime.load(guest_path("http_bad_length")).http()


def test_a_command_gets_its_name_args_and_environment(runtime: Runtime) -> None:
    cat = runtime.load(guest_path("cli_cat"), args=["granted"], env={"A": "b=c"})
    lines = cat.command(["--args", "--env"]).output.decode().splitlines()
    assert lines == ["cli_cat", "granted", "--args", "--env", "A=b=c"]


@pytest.mark.parametrize("name", ["cli_cat", "cli3_cat"])
def test_a_command_copies_stdin_to_stdout(runtime: Runtime, name: str) -> None:
    data = bytes(range(256)) * 500
    result = runtime.load(guest_path(name)).command(stdin=data)
    assert (result.output, result.stdout, result.exit_code) == (data, data, 0)


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_a_command_ends_with_its_exit_code(runtime: Runtime, code: int) -> None:
    result = runtime.load(guest_path("cli_cat")).command(["--exit", str(code), "--stderr", "why"])
    assert result.exit_code == code
    assert result.stderr == b"why\n"


def test_a_command_of_wasi_03_gets_arguments_and_ends_with_a_code(runtime: Runtime) -> None:
    hello = runtime.load(guest_path("cli3_hello"))
    assert hello.command(["Ada", "Bob"]).output == b"Hello, Ada!\nHello, Bob!\n"
    assert hello.command().exit_code == 1


def test_a_preview_1_command_gets_args_environment_and_stdin(runtime: Runtime) -> None:
    result = runtime.load(guest_path("p1_command"), env={"KEY": "value"}).command(["one"], "in")
    assert b"arg one\n" in result.output
    assert b"KEY=value" in result.output
    assert result.output.endswith(b"in")
    assert result.exit_code == 0


def test_a_preview_1_command_that_fails_has_an_exit_code_other_than_0(runtime: Runtime) -> None:
    assert runtime.load(guest_path("p1_command")).command(["--exit", "2"]).exit_code != 0


def test_a_preview_1_reactor_reads_a_granted_file(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("kept")
    reactor = runtime.load(guest_path("p1_reactor"), dirs=[{"host": tmp_path, "guest": "/data"}])
    result = reactor.run("/data/note")
    assert (result.output, result.stdout) == ("kept", b"reading /data/note\n")


def test_a_component_without_a_contract_is_refused_with_what_was_found(runtime: Runtime) -> None:
    with pytest.raises(UnsupportedContract) as refused:
        runtime.load(guest_path("no_contract"))
    for part in ("`foo:bar/baz`", "component:run/run", "wasi:http/incoming-handler", "wasi:cli/run"):
        assert part in str(refused.value)


def test_a_contract_with_another_signature_is_refused_with_both(runtime: Runtime) -> None:
    with pytest.raises(UnsupportedContract) as refused:
        runtime.load(guest_path("wrong_signature"))
    assert "func(args: string) -> string" in str(refused.value)
    assert "func(args: u32) -> u32" in str(refused.value)


def test_an_import_that_nobody_offers_is_named(runtime: Runtime) -> None:
    with pytest.raises(BadComponent) as refused:
        runtime.load(guest_path("unknown_import"))
    assert refused.value.context["imports"] == "foo:bar/baz"
    assert "`foo:bar/baz`" in str(refused.value)


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        (b"", BadComponent, "empty"),
        (b"\0asm", BadComponent, "unexpected end"),
        (b"\x7fELF\x02\x01\x01", BadComponent, "ELF"),
        (b"hello", BadComponent, "line 1, column 1"),
        (b"(component", BadComponent, "line 1, column 11"),
        (b"(module)", BadComponent, "_start"),
        (b"\0asm\1\0\0\0", BadComponent, "_start"),
        (b"(component)", UnsupportedContract, "found nothing"),
    ],
)
def test_what_is_no_component_is_refused_with_a_reason(
    runtime: Runtime, data: bytes, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        runtime.load(data)


@pytest.mark.parametrize(
    ("name", "method", "use"),
    [
        ("hello", "http", r"run\(\)"),
        ("hello", "command", r"run\(\)"),
        ("http_hello", "run", r"http\(\)"),
        ("http3_hello", "command", r"http\(\)"),
        ("cli_cat", "run", r"command\(\)"),
        ("cli3_cat", "http", r"command\(\)"),
    ],
)
def test_a_call_of_another_contract_names_the_right_one(
    runtime: Runtime, name: str, method: str, use: str
) -> None:
    function: Any = runtime.load(guest_path(name))
    with pytest.raises(ValueError, match=use) as refused:
        getattr(function, method)()
    assert refused.value.context == {"contract": function.contract}  # type: ignore[attr-defined]


def test_an_answer_is_taken_before_the_guest_frees_it(runtime: Runtime) -> None:
    assert runtime.load(Path(__file__).with_name("frees_answer.wat")).run().output == "well"
