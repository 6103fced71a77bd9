from pathlib import Path
from typing import Any

import pytest

from limes.errors import BadComponent, CorruptedState, InvalidArgument, LimesIOError, NotFound
from limes.node.deployments import merge_patch


class Crash(BaseException):
    """The process dies here."""


def dies(*_: Any, **__: Any) -> Any:
    raise Crash


def fails(*_: Any, **__: Any) -> Any:
    raise LimesIOError("disk full", operation="commit deploy")


def test_a_deploy_is_served_and_survives_a_crash(plane: Any):
    plane.deploy("hello", b"one", limits={"memory": "1MiB"})
    plane.crash()
    assert plane.node.served["hello"]["limits"]["memory"] == 1 << 20
    assert Path(plane.node.served["hello"]["component"]).read_bytes() == b"one"


def test_a_refused_component_changes_nothing(plane: Any):
    plane.deploy("hello", b"one")
    with pytest.raises(BadComponent):
        plane.deploy("hello", b"bad")
    assert plane.node.revision("hello") == 1
    plane.crash()
    assert plane.node.revision("hello") == 1
    assert len(plane.stored()) == 1


@pytest.mark.parametrize("step", ["publish", "commit"])
def test_a_crash_before_the_commit_leaves_the_old_revision(
    step: str, plane: Any, monkeypatch: pytest.MonkeyPatch
):
    plane.deploy("hello", b"one")
    monkeypatch.setattr(plane.node if step == "publish" else plane.registry, step, dies)
    with pytest.raises(Crash):
        plane.deploy("hello", b"two")
    plane.crash()
    assert plane.node.revision("hello") == 1
    assert len(plane.stored()) == 1


def test_a_crash_after_the_commit_leaves_the_new_revision(plane: Any, monkeypatch: pytest.MonkeyPatch):
    plane.deploy("hello", b"one")
    monkeypatch.setattr(plane.blobs, "discard", dies)
    with pytest.raises(Crash):
        plane.deploy("hello", b"two")
    plane.crash()
    assert plane.node.revision("hello") == 2


def test_a_failed_commit_puts_the_old_revision_back(plane: Any, monkeypatch: pytest.MonkeyPatch):
    plane.deploy("hello", b"one")
    monkeypatch.setattr(plane.registry, "commit", fails)
    with pytest.raises(LimesIOError):
        plane.deploy("hello", b"two")
    assert plane.node.revision("hello") == 1


def test_a_failed_first_commit_leaves_no_function(plane: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(plane.registry, "commit", fails)
    with pytest.raises(LimesIOError):
        plane.deploy("hello", b"one")
    assert plane.node.served == {}


def test_a_commit_that_reached_the_disk_though_it_reported_failure_is_what_is_served(
    plane: Any, monkeypatch: pytest.MonkeyPatch
):
    plane.deploy("hello", b"one")
    commit = plane.registry.commit

    def commits_and_fails(*args: Any, **kwargs: Any) -> Any:
        commit(*args, **kwargs)
        fails()

    monkeypatch.setattr(plane.registry, "commit", commits_and_fails)
    with pytest.raises(LimesIOError):
        plane.deploy("hello", b"two")
    assert plane.node.revision("hello") == plane.registry.entry("hello").current.revision == 2


def test_a_rollback_returns_to_the_revision_before(plane: Any):
    plane.deploy("hello", b"one", limits={"memory": 1000})
    plane.deploy("hello", b"two", limits={"memory": 2000})
    assert plane.deployments.rollback("hello").revision.revision == 1
    assert plane.node.served["hello"]["limits"]["memory"] == 1000
    plane.crash()
    assert plane.node.revision("hello") == 1
    plane.deploy("hello", b"three")
    assert plane.node.revision("hello") == 3
    assert plane.deployments.rollback("hello", 2).revision.revision == 2


def test_a_rollback_to_what_is_not_kept_says_what_is(plane: Any):
    plane.deploy("hello", b"one")
    with pytest.raises(NotFound, match="no revision before 1; kept are 1"):
        plane.deployments.rollback("hello")
    with pytest.raises(NotFound, match="no revision 7"):
        plane.deployments.rollback("hello", 7)


def test_an_update_keeps_the_bytes_and_changes_the_settings(plane: Any):
    plane.deploy("hello", b"one", grants={"env": {"A": "1", "B": "2"}})
    plane.deployments.update("hello", {"grants": {"env": {"A": None, "C": "3"}}, "limits": {"cpu": "1s"}})
    served = plane.node.served["hello"]
    assert served["revision"] == 2
    assert served["grants"]["env"] == {"B": "2", "C": "3"}
    assert served["limits"]["cpu"] == 1000
    plane.deployments.update("hello", {"limits": None})
    assert plane.node.served["hello"]["limits"]["cpu"] != 1000


def test_bytes_no_revision_uses_are_removed(plane: Any):
    for component in (b"1", b"2", b"3", b"4"):
        plane.deploy("hello", component)
    assert len(plane.stored()) == 3
    plane.deploy("other", b"4")
    plane.deployments.remove("hello")
    assert len(plane.stored()) == 1
    assert set(plane.node.served) == {"other"}
    plane.crash()
    assert set(plane.node.served) == {"other"}


def test_a_broken_blob_is_reported_and_the_others_are_served(plane: Any):
    broken = plane.deploy("broken", b"one")
    plane.deploy("whole", b"two")
    plane.blobs.path_of(broken.digest).write_bytes(b"0ne")
    plane.crash()
    entries = {
        entry.current.name: plane.deployments.broken(entry.current) for entry in plane.registry.entries()
    }
    assert isinstance(entries["broken"], CorruptedState)
    assert entries["whole"] is None
    assert "whole" in plane.node.served
    with pytest.raises(CorruptedState):
        plane.deployments.update("broken", {})


def test_deploying_the_bytes_again_mends_a_broken_function(plane: Any):
    blob = plane.deploy("hello", b"one")
    plane.blobs.path_of(blob.digest).unlink()
    plane.crash()
    plane.deploy("hello", b"one")
    assert plane.deployments.broken(plane.registry.entry("hello").current) is None


def test_what_is_not_checked_at_the_start_is_checked_afterwards(plane: Any):
    blob = plane.deploy("hello", b"one")
    plane.blobs.path_of(blob.digest).write_bytes(b"0ne")
    current = plane.registry.entry("hello").current
    plane.deployments.restore(check_bytes=0)
    assert plane.deployments.broken(current) is None
    plane.deployments.check_rest(lambda: False)
    assert plane.deployments.broken(current) is not None


def test_a_node_gives_no_function_its_stdio(plane: Any):
    with pytest.raises(InvalidArgument, match="limes run"):
        plane.deploy("hello", b"one", grants={"stdio": True})
    assert plane.node.served == {}


def test_a_bad_name_is_refused(plane: Any):
    with pytest.raises(InvalidArgument, match="function name"):
        plane.deploy("../x", b"one")


@pytest.mark.parametrize(
    ("target", "patch", "merged"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": "foo"}, None, None),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_patches_are_merged_as_rfc_7396_has_it(target: Any, patch: Any, merged: Any):
    assert merge_patch(target, patch) == merged
