import hashlib
import os
from pathlib import Path

import pytest

from limes.errors import CorruptedState, LimesIOError, RequestTooLarge
from limes.node.blobs import Blob, BlobStore


def put(store: BlobStore, data: bytes) -> Blob:
    with store.receive() as upload:
        for start in range(0, len(data), 7):
            upload.write(data[start : start + 7])
        return store.keep(upload)


def nothing_used(_digest: str) -> bool:
    return False


def test_bytes_are_stored_under_their_digest(tmp_path: Path):
    store = BlobStore(tmp_path / "blobs")
    data = b"component" * 1000
    blob = put(store, data)
    assert blob == Blob(hashlib.sha256(data).hexdigest(), len(data))
    assert store.path_of(blob.digest).read_bytes() == data
    store.verify(blob.digest, blob.size)


def test_only_the_owner_can_read_them(tmp_path: Path):
    store = BlobStore(tmp_path / "blobs")
    blob = put(store, b"secret")
    assert store.path_of(blob.digest).stat().st_mode & 0o777 == 0o600
    assert store.path.stat().st_mode & 0o777 == 0o700


def test_bytes_are_synced_before_they_get_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = BlobStore(tmp_path / "blobs")
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def recorded_fsync(descriptor: int) -> None:
        order.append("sync directory" if Path(f"/proc/self/fd/{descriptor}").is_dir() else "sync file")
        fsync(descriptor)

    def recorded_replace(self: Path, target: Path) -> Path:
        order.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(Path, "replace", recorded_replace)
    put(store, b"x")
    assert order.index("sync file") < order.index("rename")
    assert order[-1] == "sync directory"


def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path):
    store = BlobStore(tmp_path / "blobs")
    with pytest.raises(RuntimeError, match="client gone"), store.receive() as upload:
        upload.write(b"half")
        raise RuntimeError("client gone")
    assert [path for path in store.path.rglob("*") if path.is_file()] == []


def test_what_a_crash_left_half_written_is_dropped_at_the_next_start(tmp_path: Path):
    store = BlobStore(tmp_path / "blobs")
    (store.path / "incoming" / "half").write_bytes(b"half")
    BlobStore(tmp_path / "blobs")
    assert [path for path in store.path.rglob("*") if path.is_file()] == []


def test_more_than_the_largest_component_is_refused(tmp_path: Path):
    store = BlobStore(tmp_path / "blobs", limit=10)
    put(store, b"x" * 10)
    with pytest.raises(RequestTooLarge, match="10 bytes"):
        put(store, b"y" * 11)


@pytest.mark.parametrize("damage", [b"", b"componen", b"componenu", b"components"])
def test_a_blob_that_is_not_what_was_stored_is_told(damage: bytes, tmp_path: Path):
    store = BlobStore(tmp_path / "blobs")
    blob = put(store, b"component")
    store.path_of(blob.digest).write_bytes(damage)
    with pytest.raises(CorruptedState, match="deploy it again"):
        store.verify(blob.digest, blob.size)


def test_a_blob_that_is_missing_is_told(tmp_path: Path):
    store = BlobStore(tmp_path / "blobs")
    with pytest.raises(CorruptedState):
        store.verify("ab" * 32, 1)


def test_storing_the_bytes_again_mends_a_damaged_blob(tmp_path: Path):
    store = BlobStore(tmp_path / "blobs")
    blob = put(store, b"component")
    store.path_of(blob.digest).write_bytes(b"damage")
    put(store, b"component")
    store.verify(blob.digest, blob.size)


def test_bytes_that_a_deploy_is_about_to_use_are_not_collected(tmp_path: Path):
    store = BlobStore(tmp_path / "blobs")
    with store.receive() as upload:
        upload.write(b"x")
        blob = store.keep(upload)
        assert store.discard([blob.digest], nothing_used) == 0
    assert store.discard([blob.digest], nothing_used) == 1
    assert not store.path_of(blob.digest).exists()


def test_collecting_leaves_what_is_used(tmp_path: Path):
    store = BlobStore(tmp_path / "blobs")
    used, unused = put(store, b"used"), put(store, b"unused")
    assert store.collect({used.digest}) == 1
    assert store.path_of(used.digest).exists()
    assert not store.path_of(unused.digest).exists()


def test_a_disk_that_refuses_is_an_error_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = BlobStore(tmp_path / "blobs")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LimesIOError, match="No space left"):
        put(store, b"x")
    assert [path for path in store.path.rglob("*") if path.is_file()] == []
