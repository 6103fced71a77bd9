import json
from pathlib import Path

import pytest

from limes import _native
from limes.errors import InvalidArgument, LimesIOError
from limes.manifest import Configuration, Grants, Limits, Manifest, check, from_keywords, name_of


def parse(text: str, folder: Path) -> Manifest:
    return Manifest.parse(text, folder / "limes.toml")


def refused(text: str, folder: Path) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as caught:
        parse(text, folder)
    return caught.value


def test_the_defaults_are_those_of_the_core():
    assert Limits().model_dump() == json.loads(_native.default_limits())


def test_nothing_is_granted_by_default():
    assert not any(Grants().model_dump().values())


def test_a_full_manifest_is_read(tmp_path: Path):
    (tmp_path / "data").mkdir()
    manifest = parse(
        """
        name = "hello"
        component = "out/hello.wasm"
        hosts = ["Hello.Example.com"]
        [limits]
        memory = "64MiB"
        timeout = "2s"
        cpu = 500
        [grants]
        env = { GREETING = "Hello" }
        args = ["--quiet"]
        dirs = [{ host = "data", guest = "/data", writable = true }]
        http = ["api.example.com:443"]
        tcp = ["10.0.0.0/8:5432"]
        dns = true
        """,
        tmp_path,
    )
    assert manifest.name == "hello"
    assert manifest.component == tmp_path / "out/hello.wasm"
    assert manifest.hosts == ["hello.example.com"]
    assert (manifest.limits.memory, manifest.limits.timeout, manifest.limits.cpu) == (64 << 20, 2000, 500)
    assert manifest.grants.dirs[0].host == tmp_path / "data"
    assert manifest.grants.dirs[0].writable
    assert "name" not in manifest.configuration()


def test_the_name_is_by_default_that_of_the_component(tmp_path: Path):
    assert parse('component = "out/Hello World.component.wasm"', tmp_path).name == "hello-world"
    assert name_of(Path("x/hello.wasm")) == "hello"


def test_a_folder_stands_for_the_manifest_in_it(tmp_path: Path):
    (tmp_path / "limes.toml").write_text('component = "a.wasm"')
    assert Manifest.read(tmp_path) == Manifest.read(tmp_path / "limes.toml")


def test_a_manifest_that_is_not_there_is_an_error_of_the_system(tmp_path: Path):
    with pytest.raises(LimesIOError, match=r"limes\.toml"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize(
    ("line", "place", "says"),
    [
        ("memroy = 1", "4:3", "did you mean 'memory'?"),
        ("memory = 'lots'", "4:3", "64MiB"),
        ("memory = 0", "4:3", "limits.memory"),
        ("timeout = 'soon'", "4:3", "500ms"),
        ("stack = '9MiB'", "4:3", "8388608"),
        ("concurrency = '5'", "4:3", "integer"),
        ("concurrency = true", "4:3", "integer"),
        ("handles = 1.5", "4:3", "integer"),
    ],
)
def test_a_wrong_limit_is_pointed_at(line: str, place: str, says: str, tmp_path: Path):
    error = refused(f'component = "a.wasm"\n\n[limits]\n  {line}\n', tmp_path)
    assert str(error).startswith(f"{tmp_path}/limes.toml:{place}: ")
    assert says in str(error)
    assert (error.context["line"], error.context["column"]) == tuple(place.split(":"))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("env = { A = 1 }", "grants.env.A"),
        ("env = { 'A=B' = '1' }", "environment variable"),
        ("http = ['ok.example.com', 'not a host']", "grants.http[1]"),
        ("tcp = ['10.0.0.1']", "grants.tcp[0]"),
        ("dirs = [{ host = 'absent', guest = '/x' }]", "is no directory"),
        ("dirs = [{ host = '.', guest = 'x' }]", "absolute"),
        ("dirs = [{ host = '.', guest = '/a/../b' }]", "absolute"),
        ("dirs = [{ host = '.' }]", "'grants.dirs[0].guest' is missing"),
        ("dirs = [{ host = '.', gest = '/x', guest = '/x' }]", "did you mean 'guest'?"),
        ("dns = 'yes'", "grants.dns"),
    ],
)
def test_a_wrong_grant_is_pointed_at(line: str, says: str, tmp_path: Path):
    error = refused(f'component = "a.wasm"\n[grants]\n{line}\n', tmp_path)
    assert str(error).startswith(f"{tmp_path}/limes.toml:3:")
    assert says in str(error)


def test_every_mistake_is_told_in_the_order_of_the_file(tmp_path: Path):
    error = refused('nmae = "x"\ncomponent = "a.wasm"\n[limits]\nmemory = "x"\n[grants]\ndns = 3\n', tmp_path)
    assert [line.split(":")[1] for line in str(error).splitlines()] == ["1", "4", "6"]


def test_bad_syntax_is_pointed_at(tmp_path: Path):
    error = refused('component = "a.wasm"\nlimits = {\n', tmp_path)
    assert "limes.toml:2:" in str(error)
    assert "not valid TOML" in str(error)


def test_a_missing_component_is_said(tmp_path: Path):
    assert "'component' is missing" in str(refused("name = 'x'", tmp_path))


@pytest.mark.parametrize("name", ["", "-a", "A", "a b", "a/b", "..", "é", "a" * 64])
def test_a_name_that_would_not_do_in_a_path_is_refused(name: str, tmp_path: Path):
    assert "function name" in str(refused(f'name = "{name}"\ncomponent = "a.wasm"', tmp_path))


def test_keywords_are_sorted_into_limits_and_grants():
    assert from_keywords({"memory": 1, "env": {}}, operation="load") == ({"memory": 1}, {"env": {}})
    with pytest.raises(InvalidArgument, match="did you mean 'timeout'"):
        from_keywords({"time_out": 1}, operation="load")


def test_what_the_admin_api_gets_names_its_directories_in_full():
    grants = {"dirs": [{"host": "data", "guest": "/data"}]}
    with pytest.raises(InvalidArgument, match="absolute path"):
        check(Configuration, {"grants": grants}, operation="deploy")


def test_a_configuration_survives_json(tmp_path: Path):
    values = {"limits": {"memory": "1MiB"}, "grants": {"dirs": [{"host": str(tmp_path), "guest": "/d"}]}}
    once = check(Configuration, values, operation="deploy")
    assert check(Configuration, once.model_dump(mode="json"), operation="deploy") == once
