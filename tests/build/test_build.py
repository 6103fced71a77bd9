"""Building: what is found, what is kept, what is said."""

from pathlib import Path

import pytest
from tests.build.conftest import EXAMPLES, BuildFunction

from limes import BadComponent, InvalidArgument, LimesIOError, NotFound, Runtime
from limes.build import Project, build, c, go, javascript, python, rust, scaffold, toolchain
from limes.build.language import CONTRACTS, LANGUAGES, Contract

CALLS = {
    "run": lambda function: function.run("world").output,
    "http": lambda function: function.http("GET", "/").body.decode().strip(),
    "cli": lambda function: function.command(["world"]).output.decode().strip(),
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A command in C: what builds in a moment."""
    folder = tmp_path / "hello"
    scaffold.create(folder, "c", "cli")
    return folder


@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.timeout(1200)
def test_a_new_project_builds_and_answers(
    tmp_path: Path, runtime: Runtime, built: BuildFunction, language: str, contract: Contract
) -> None:
    folder = tmp_path / "hello"
    scaffold.create(folder, language, contract)
    made = built(folder)
    assert (made.name, made.language, made.fresh) == ("hello", language, False)
    answer = CALLS[contract](runtime.load(made.component, timeout="30s"))
    assert answer == "Hello, world!"


@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_template_is_a_whole_project(tmp_path: Path, language: str, contract: Contract) -> None:
    made = scaffold.create(tmp_path / "some-name", language, contract)
    names = {str(file.relative_to(tmp_path / "some-name")) for file in made}
    assert {"limes.toml", "README.md", ".gitignore", "tests/test_function.py", LANGUAGES[language]} <= names
    assert not any("@" in file.read_text().replace("@bytecodealliance", "") for file in made)
    found = Project.find(tmp_path / "some-name")
    assert found is not None
    assert (found.language, found.name) == (language, "some-name")
    compile((tmp_path / "some-name" / "tests" / "test_function.py").read_text(), "test", "exec")


def test_new_overwrites_nothing(project: Path) -> None:
    before = (project / "function.c").read_text()
    with pytest.raises(LimesIOError, match="holds something already"):
        scaffold.create(project, "python", "http")
    assert (project / "function.c").read_text() == before


@pytest.mark.parametrize(
    ("name", "language", "contract"), [("Bad Name", "c", "run"), ("a", "cobol", "run"), ("a", "c", "soap")]
)
def test_new_refuses_what_it_does_not_know(
    tmp_path: Path, name: str, language: str, contract: Contract
) -> None:
    with pytest.raises(InvalidArgument):
        scaffold.create(tmp_path / name, language, contract)
    assert not (tmp_path / name).exists()


def test_nothing_is_built_twice(project: Path) -> None:
    first = build(project)
    assert not first.fresh
    again = build(project)
    assert again.fresh
    assert again.digest == first.digest
    (project / "function.c").write_text((project / "function.c").read_text() + "\n// changed\n")
    assert not build(project).fresh
    assert build(project, force=True).fresh is False


def test_a_component_that_was_changed_is_built_again(project: Path) -> None:
    made = build(project)
    made.component.write_bytes(b"something else")
    assert not build(project).fresh
    assert made.component.read_bytes() != b"something else"


def test_a_test_or_an_environment_is_no_source(project: Path) -> None:
    build(project)
    (project / "tests" / "more.py").write_text("x = 1\n")
    (project / ".hidden").write_text("x")
    (project / "env").mkdir()
    (project / "env" / "pyvenv.cfg").write_text("home = x\n")
    assert build(project).fresh


def test_a_failed_build_shows_the_compilers_message_and_keeps_the_component(project: Path) -> None:
    good = build(project).component.read_bytes()
    (project / "function.c").write_text("int main(void) { return nonsense; }\n")
    with pytest.raises(
        BadComponent, match=r"function\.c:1:\d+: error: use of undeclared identifier 'nonsense'"
    ):
        build(project)
    assert (project / "build" / "hello.wasm").read_bytes() == good
    assert not list(project.rglob("*.part"))


def test_a_missing_tool_is_named_with_the_command_that_installs_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "function.c").write_text('#include "function.h"\nchar *run(const char *args) { return 0; }\n')
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(NotFound, match=r"wit-bindgen is not installed.*cargo install wit-bindgen-cli"):
        build(project)


def test_a_tool_in_node_modules_above_is_found_first(tmp_path: Path) -> None:
    program = tmp_path / "node_modules" / ".bin" / "some-tool"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert toolchain.find("some-tool", install="", near=below).command == (str(program),)


def test_two_languages_in_one_folder_are_refused(project: Path) -> None:
    (project / "function.py").write_text("def run(args): return args\n")
    with pytest.raises(InvalidArgument, match="python and c"):
        build(project)


def test_a_folder_without_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="holds no source"):
        build(tmp_path)


def test_a_folder_without_a_manifest_is_built_into_build(project: Path) -> None:
    (project / "limes.toml").unlink()
    assert build(project).component == project / "build" / "hello.wasm"


@pytest.mark.parametrize(
    ("text", "contract"),
    [
        ("def run(args: str) -> str: ...", "run"),
        ("async def app(scope, receive, send): ...", "http"),
        ("from elsewhere import application as app", "http"),
        ("handle = make()", "http"),
        ("def main(): ...\nif True:\n    run = 1", "cli"),
    ],
)
def test_a_python_modules_names_say_its_contract(tmp_path: Path, text: str, contract: str) -> None:
    (tmp_path / "function.py").write_text(text)
    assert python.contract_of(tmp_path / "function.py") == contract


@pytest.mark.parametrize("text", ["x = 1", "def run(a): ...\ndef handle(r): ..."])
def test_a_module_of_no_or_two_contracts_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "function.py").write_text(text)
    with pytest.raises(InvalidArgument, match="must define one of"):
        python.contract_of(tmp_path / "function.py")


def test_invalid_python_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "function.py").write_text("x = 1\ndef run(:\n")
    with pytest.raises(BadComponent, match=r"function\.py:2: "):
        python.contract_of(tmp_path / "function.py")


@pytest.mark.parametrize(
    ("text", "contract"),
    [
        ("export async function run(args) {}", "run"),
        ("export default { fetch() {} };", "http"),
        ("addEventListener('fetch', f);", "http"),
        ("export const main = () => 0;", "cli"),
    ],
)
def test_a_javascript_modules_exports_say_its_contract(tmp_path: Path, text: str, contract: str) -> None:
    (tmp_path / "function.js").write_text(text)
    assert javascript.contract_of(tmp_path / "function.js") == contract


def test_go_and_c_say_what_they_miss(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module x\n")
    found = Project.find(tmp_path)
    assert found is not None
    with pytest.raises(InvalidArgument, match="package function"):
        go.contract_of(found)
    (tmp_path / "go.mod").rename(tmp_path / "function.c")
    found = Project.find(tmp_path)
    assert found is not None
    with pytest.raises(InvalidArgument, match="must define one of"):
        c.contract_of(found)


def test_rust_says_which_command_installs_its_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUSTC", "/nonexistent")
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(NotFound, match="rustup target add wasm32-wasip2"):
        rust.find_target()


def test_examples_have_a_row_in_their_readme() -> None:
    rows = (EXAMPLES / "README.md").read_text()
    for manifest in EXAMPLES.glob("*/limes.toml"):
        assert f"`{manifest.parent.name}`" in rows
