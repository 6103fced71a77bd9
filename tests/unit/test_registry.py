import sqlite3
from pathlib import Path
from typing import Any

import pytest

from limes.errors import CorruptedState, InvalidArgument, NotFound
from limes.node.registry import SCHEMA_VERSION, Registry, Revision


@pytest.fixture
def registry(tmp_path: Path) -> Any:
    registry = Registry(tmp_path / "registry.db", now_ms=lambda: 7)
    yield registry
    registry.close()


def revision(name: str, number: int, *, digest: str = "d", hosts: tuple[str, ...] = ()) -> Revision:
    return Revision(name, number, digest, 3, "run", {"hosts": list(hosts), "limits": {}}, 5)


def test_a_commit_is_there_when_the_file_is_opened_again(registry: Registry, tmp_path: Path):
    registry.commit(revision("a", 1))
    again = Registry(tmp_path / "registry.db")
    assert [entry.current for entry in again.entries()] == [revision("a", 1)]
    again.close()


def test_every_commit_is_synced_to_disk(registry: Registry):
    full = 2
    assert registry._db.execute("PRAGMA synchronous").fetchone()[0] == full
    assert registry._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_the_current_revision_is_the_one_committed_last(registry: Registry):
    registry.commit(revision("a", 1, digest="x"))
    registry.commit(revision("a", 2, digest="y"))
    registry.commit(revision("a", 1, digest="x"))
    assert registry.entry("a").current.revision == 1
    assert registry.next_revision("a") == 3
    assert [r.revision for r in registry.revisions("a")] == [2, 1]


def test_only_the_last_revisions_are_kept_and_the_current_one_always(registry: Registry):
    freed = [registry.commit(revision("a", n, digest=str(n)), keep=3) for n in range(1, 6)]
    assert freed == [set(), set(), set(), {"1"}, {"2"}]
    assert registry.commit(revision("a", 3, digest="3"), keep=2) == {"4"}
    assert [r.revision for r in registry.revisions("a")] == [5, 3]
    assert registry.commit(revision("a", 3, digest="3"), keep=1) == {"5"}


def test_a_host_belongs_to_one_function(registry: Registry):
    registry.commit(revision("a", 1, hosts=("x.example",)))
    with pytest.raises(InvalidArgument, match="belongs to the function 'a'"):
        registry.commit(revision("b", 1, hosts=("y.example", "x.example")))
    assert registry.find("b") is None
    registry.commit(revision("a", 2))
    registry.commit(revision("b", 1, hosts=("x.example",)))


def test_a_failed_transaction_changes_nothing(registry: Registry):
    registry.commit(revision("a", 1))
    registry._db.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON hosts BEGIN SELECT RAISE(ABORT, 'no space'); END"
    )
    with pytest.raises(CorruptedState, match="no space"):
        registry.commit(revision("a", 2, hosts=("x.example",)))
    assert registry.entry("a").current.revision == 1
    assert len(registry.revisions("a")) == 1


def test_removing_forgets_revisions_and_hosts(registry: Registry):
    registry.commit(revision("a", 1, digest="x", hosts=("h.example",)))
    registry.commit(revision("b", 1, digest="x"))
    assert registry.remove("a") == {"x"}
    assert registry.uses("x")
    registry.commit(revision("c", 1, hosts=("h.example",)))
    with pytest.raises(NotFound, match="no function 'a'"):
        registry.remove("a")


def test_a_damaged_file_is_reported_with_what_to_do(tmp_path: Path):
    path = tmp_path / "registry.db"
    registry = Registry(path)
    for number in range(1, 200):
        registry.commit(revision(f"f{number}", 1, digest="x" * 64))
    registry.close()
    data = bytearray(path.read_bytes())
    data[4096:16384] = b"\xa5" * 12288
    path.write_bytes(data)
    with pytest.raises(CorruptedState, match="backup"):
        Registry(path)


def test_a_file_that_is_no_registry_is_reported(tmp_path: Path):
    path = tmp_path / "registry.db"
    path.write_bytes(b"something else entirely" * 100)
    with pytest.raises(CorruptedState, match="not a database"):
        Registry(path)


def test_a_registry_of_a_later_version_is_left_alone(tmp_path: Path):
    path = tmp_path / "registry.db"
    Registry(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    with pytest.raises(CorruptedState, match="later one"):
        Registry(path)
