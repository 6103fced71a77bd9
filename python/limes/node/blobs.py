"""Components' bytes, each stored once under its SHA-256.

A blob is written to ``incoming/``, synced, renamed to ``ab/abcdef...`` and its directory synced: a name that
looks like a digest holds the whole blob, or the disk broke it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from limes.errors import CorruptedState, RequestTooLarge, from_os
from limes.node.files import make_private_directory, sync_directory

MAX_COMPONENT = 256 << 20
"""The largest component that is accepted, in bytes."""

_DIGEST_LENGTH = 64


@dataclass(frozen=True)
class Blob:
    """Stored bytes."""

    digest: str
    """SHA-256 in lower-case hex."""
    size: int


class Upload:
    """Bytes on their way in. Not safe to share between threads."""

    def __init__(self, path: Path, file: BinaryIO, limit: int) -> None:
        self.path = path
        self.size = 0
        self.blob: Blob | None = None
        self._file = file
        self._limit = limit
        self._hash = hashlib.sha256()

    def write(self, chunk: bytes) -> None:
        """Take some more.

        Raises:
            RequestTooLarge: that is more than a component may have.
            LimesIOError: the disk refuses.
        """
        self.size += len(chunk)
        if self.size > self._limit:
            raise RequestTooLarge(
                f"the component is larger than {self._limit} bytes, the most a node accepts",
                operation="receive component",
                context={"allowed": str(self._limit)},
            )
        try:
            self._file.write(chunk)
        except OSError as error:
            raise from_os(error, "receive component", "cannot store the component") from error
        self._hash.update(chunk)

    def finish(self) -> Blob:
        """Everything is here: make the bytes durable, still without a name."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return Blob(self._hash.hexdigest(), self.size)


class BlobStore:
    """The blobs of one home. Safe to share between threads of one process; one process at a time."""

    def __init__(self, path: Path, limit: int = MAX_COMPONENT) -> None:
        """Open a store, and drop what a crash left half-written.

        Raises:
            LimesIOError: the directory cannot be used.
        """
        self.path = path
        self._incoming = path / "incoming"
        self._limit = limit
        self._lock = threading.Lock()
        self._pins: Counter[str] = Counter()
        try:
            shutil.rmtree(self._incoming, ignore_errors=True)
            make_private_directory(path)
            make_private_directory(self._incoming)
        except OSError as error:
            raise from_os(error, "open blobs", f"cannot use '{path}'") from error

    def path_of(self, digest: str) -> Path:
        """Where the bytes of that digest are, or would be."""
        return self.path / digest[:2] / digest

    @contextmanager
    def receive(self) -> Iterator[Upload]:
        """Room for bytes on their way in.

        Until the end of the block the blob that :meth:`keep` makes of them is safe from :meth:`discard`: by
        then a revision must use it. What was not kept is dropped.
        """
        temporary = self._incoming / secrets.token_hex(16)
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise from_os(error, "receive component", "cannot store the component") from error
        upload = None
        try:
            with os.fdopen(descriptor, "wb") as file:
                upload = Upload(temporary, file, self._limit)
                yield upload
        finally:
            temporary.unlink(missing_ok=True)
            if upload is not None and upload.blob is not None:
                with self._lock:
                    self._pins[upload.blob.digest] -= 1
                    self._pins += Counter()  # drops those that came to nothing

    def keep(self, upload: Upload) -> Blob:
        """Give a whole upload its name, durably.

        Bytes that are stored already are replaced: by the same, unless the disk broke them.

        Raises:
            LimesIOError: the disk refuses; nothing is kept.
        """
        try:
            blob = upload.finish()
            target = self.path_of(blob.digest)
            with self._lock:
                make_private_directory(target.parent)
                upload.path.replace(target)
                self._pins[blob.digest] += 1
                upload.blob = blob
            sync_directory(target.parent)
        except OSError as error:
            raise from_os(error, "store component", "cannot store the component") from error
        return blob

    def check_present(self, digest: str, size: int) -> None:
        """Make sure a blob is there in its full length, without reading it.

        Raises:
            CorruptedState: it is not.
        """
        path = self.path_of(digest)
        try:
            found = path.stat().st_size
        except OSError as error:
            raise self._corrupted(digest, f"cannot be read: {error.strerror}") from None
        if found != size:
            raise self._corrupted(digest, f"has {found} bytes, not {size}")

    def verify(self, digest: str, size: int) -> None:
        """Read a whole blob and compare its digest. The GIL is free meanwhile.

        Raises:
            CorruptedState: it is missing, or not what was stored.
        """
        self.check_present(digest, size)
        try:
            with self.path_of(digest).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise self._corrupted(digest, f"cannot be read: {error.strerror}") from None
        if found != digest:
            raise self._corrupted(digest, f"has the digest {found}")

    def discard(self, digests: Iterable[str], used: Callable[[str], bool]) -> int:
        """Remove those of `digests` that no revision uses and no deploy is about to.

        Args:
            digests: candidates.
            used: asks the registry; called with the store locked, so that no deploy slips in between.

        Returns:
            How many were removed.
        """
        removed = 0
        with self._lock:
            for digest in digests:
                if digest in self._pins or used(digest):
                    continue
                with suppress(OSError):  # it can be collected at the next start
                    self.path_of(digest).unlink()
                    removed += 1
        return removed

    def collect(self, used: set[str]) -> int:
        """Remove every blob that is not in `used`. For the start, before there are deploys."""
        stored = [
            path.name for path in self.path.glob("[0-9a-f][0-9a-f]/*") if len(path.name) == _DIGEST_LENGTH
        ]
        return self.discard(stored, used.__contains__)

    def _corrupted(self, digest: str, what: str) -> CorruptedState:
        return CorruptedState(
            f"the component {digest} in '{self.path}' {what}; "
            "deploy it again, or roll back to another revision",
            operation="read component",
            context={"digest": digest, "path": str(self.path_of(digest))},
        )
