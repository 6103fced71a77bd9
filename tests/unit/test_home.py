import multiprocessing
from pathlib import Path

import pytest

from limes.errors import Unavailable
from limes.node.home import Home, Running, default_home


def test_the_home_is_where_limes_home_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LIMES_HOME", str(tmp_path / "x"))
    assert default_home() == tmp_path / "x"
    monkeypatch.delenv("LIMES_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_home() == tmp_path / "limes"


def test_the_token_is_made_once_and_only_the_owner_can_read_it(tmp_path: Path):
    home = Home(tmp_path / "home")
    assert home.known_token() is None
    home.create()
    token = home.token()
    assert len(token) >= 32
    assert home.token() == home.known_token() == token
    assert home.token_file.stat().st_mode & 0o777 == 0o600
    assert home.path.stat().st_mode & 0o777 == 0o700


def test_a_home_and_token_that_others_can_read_are_closed_to_them(tmp_path: Path):
    home = Home(tmp_path / "home")
    home.path.mkdir(mode=0o755)
    home.token_file.write_text("known\n")
    home.token_file.chmod(0o644)
    home.create()
    assert home.token() == "known"
    assert home.token_file.stat().st_mode & 0o777 == 0o600
    assert home.path.stat().st_mode & 0o777 == 0o700


def _hold(path: str, ready: object, release: object) -> None:
    with Home(path).locked():
        ready.set()  # type: ignore[attr-defined]
        release.wait()  # type: ignore[attr-defined]


def test_two_nodes_cannot_use_one_home_and_a_killed_one_lets_go(tmp_path: Path):
    home = Home(tmp_path)
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(str(tmp_path), ready, release))
    other.start()
    try:
        assert ready.wait(60)
        with pytest.raises(Unavailable, match=f"process {other.pid}"), home.locked():
            pass
    finally:
        other.kill()
        other.join()
    with home.locked():
        pass


def test_a_node_says_where_it_is_until_it_ends(tmp_path: Path):
    home = Home(tmp_path)
    assert home.running() is None
    running = Running(pid=1, listen="127.0.0.1:1", admin="127.0.0.1:2", version="0")
    home.announce(running)
    assert home.running() == running
    home.retract()
    assert home.running() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', "null"])
def test_a_broken_note_counts_as_none(text: str, tmp_path: Path):
    home = Home(tmp_path)
    home.node_file.write_text(text)
    assert home.running() is None
