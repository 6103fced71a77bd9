"""The node's home: one directory with everything it must not lose, and what others need to find it.

::

    registry.db     which functions there are (SQLite)
    blobs/          their bytes, by digest
    cache/          machine code; can be made again
    token           the admin API's bearer token, mode 0600
    node.json       pid and addresses of the node that runs here
    lock            held by the node that runs here
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from limes.errors import Unavailable, from_os
from limes.node.files import make_private_directory, write_private_file


def default_home() -> Path:
    """``LIMES_HOME``, or else ``$XDG_DATA_HOME/limes``, or else ``~/.local/share/limes``."""
    if chosen := os.environ.get("LIMES_HOME"):
        return Path(chosen)
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "limes"


@dataclass(frozen=True)
class Running:
    """What ``node.json`` says of the node that runs."""

    pid: int
    listen: str
    """Address of the data plane, ``HOST:PORT``."""
    admin: str
    """Address of the admin API, ``HOST:PORT``."""
    version: str


class Home:
    """The paths of one home, and the files that are read and written whole."""

    def __init__(self, path: Path | str | None = None) -> None:
        """Name a home; nothing is touched.

        Args:
            path: the directory; None is :func:`default_home`.
        """
        self.path = (Path(path) if path is not None else default_home()).expanduser().absolute()
        self.database = self.path / "registry.db"
        self.blobs = self.path / "blobs"
        self.cache = self.path / "cache"
        self.token_file = self.path / "token"
        self.node_file = self.path / "node.json"
        self.lock_file = self.path / "lock"

    def create(self) -> None:
        """Make the directory, mode 0700, unless it is there; one that others could enter is closed to them.

        Raises:
            LimesIOError: it cannot be made.
        """
        try:
            make_private_directory(self.path)
            if self.path.stat().st_mode & 0o077:
                self.path.chmod(0o700)
        except OSError as error:
            raise from_os(error, "open home", f"cannot use '{self.path}' as the node's home") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the home, so that no second node uses it. The system lets go of it when the process ends.

        Raises:
            Unavailable: another node holds it.
        """
        descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _take(descriptor):
                holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
                raise Unavailable(
                    f"the home '{self.path}' is in use by another node (process {holder}); "
                    "stop that one, or give this one its own home with --home",
                    operation="lock home",
                    context={"home": str(self.path), "pid": holder},
                )
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(descriptor)

    def held(self) -> bool:
        """Whether a node runs here, whatever ``node.json`` says: after a crash it stays, and another may listen there."""
        try:
            descriptor = os.open(self.lock_file, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return not _flock(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)

    def token(self) -> str:
        """The bearer token, made now if there is none.

        Raises:
            LimesIOError: it cannot be read or written.
        """
        try:
            if token := self._read_token():
                if self.token_file.stat().st_mode & 0o077:
                    self.token_file.chmod(0o600)
                return token
            token = secrets.token_urlsafe(32)
            write_private_file(self.token_file, token + "\n")
        except OSError as error:
            raise from_os(error, "read token", f"cannot use '{self.token_file}'") from error
        return token

    def known_token(self) -> str | None:
        """The bearer token, for clients: None when no node has ever started here.

        Raises:
            LimesIOError: it is there and cannot be read.
        """
        try:
            return self._read_token()
        except OSError as error:
            raise from_os(error, "read token", f"cannot read '{self.token_file}'") from error

    def _read_token(self) -> str | None:
        try:
            return self.token_file.read_text(encoding="ascii", errors="replace").strip() or None
        except FileNotFoundError:
            return None

    def announce(self, running: Running) -> None:
        """Say who runs here and where it listens."""
        write_private_file(self.node_file, json.dumps(asdict(running)) + "\n")

    def retract(self) -> None:
        """Take back what :meth:`announce` said."""
        self.node_file.unlink(missing_ok=True)

    def running(self) -> Running | None:
        """Who runs here by its own word (it may have been killed since); None when nobody says so."""
        try:
            values = json.loads(self.node_file.read_text(encoding="utf-8"))
            return Running(**{name: values[name] for name in ("pid", "listen", "admin", "version")})
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _take(descriptor: int) -> bool:
    """Lock a file for this process alone, unless another has done so."""
    while not _flock(descriptor, fcntl.LOCK_EX):
        # Clients that look whether a node holds it share it for a moment.
        if not _flock(descriptor, fcntl.LOCK_SH):
            return False
        time.sleep(0.001)
    return True


def _flock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
