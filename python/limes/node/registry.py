"""Which functions there are, and which revision of each is current.

One SQLite file, one transaction a change.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limes.errors import CorruptedState, InvalidArgument, LimesIOError, NotFound

KEEP_REVISIONS = 10
"""Revisions of a function that are kept by default, the current one among them."""

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE functions (
    name       TEXT PRIMARY KEY,
    current    INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    FOREIGN KEY (name, current) REFERENCES revisions (name, revision) DEFERRABLE INITIALLY DEFERRED
) STRICT, WITHOUT ROWID;
CREATE TABLE revisions (
    name       TEXT NOT NULL,
    revision   INTEGER NOT NULL,
    digest     TEXT NOT NULL,
    size       INTEGER NOT NULL,
    contract   TEXT NOT NULL,
    settings   TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (name, revision)
) STRICT, WITHOUT ROWID;
CREATE INDEX revisions_by_digest ON revisions (digest);
CREATE TABLE hosts (
    host TEXT PRIMARY KEY,
    name TEXT NOT NULL REFERENCES functions (name) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX hosts_by_name ON hosts (name);
"""

_COLUMNS = "r.name, r.revision, r.digest, r.size, r.contract, r.settings, r.created_ms"


@dataclass(frozen=True)
class Revision:
    """One deployed revision of one function."""

    name: str
    revision: int
    """Counts up from 1 with each deploy of the name."""
    digest: str
    """SHA-256 of the component's bytes."""
    size: int
    """Length of the component in bytes."""
    contract: str
    """``run``, ``http02``, ``http03``, ``cli02`` or ``cli03``."""
    settings: dict[str, Any]
    """``sandbox``, ``compile``, ``hosts``, ``limits`` and ``grants``, as JSON values."""
    created_ms: int
    """When it was deployed, in milliseconds since 1970."""

    @property
    def hosts(self) -> list[str]:
        """Host names whose requests go to the function."""
        return list(self.settings.get("hosts", []))


@dataclass(frozen=True)
class Entry:
    """One function: its current revision, and when it came and changed (milliseconds since 1970)."""

    current: Revision
    created_ms: int
    updated_ms: int


class Registry:
    """The registry of one home. Safe to share between threads; one process at a time."""

    def __init__(
        self, path: Path, *, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        """Open the registry, or make an empty one.

        Args:
            path: the database file.
            now_ms: the clock.

        Raises:
            CorruptedState: the file is damaged, or was written by a later version of Limes.
            LimesIOError: it cannot be opened.
        """
        self._path = path
        self._now_ms = now_ms
        self._lock = threading.RLock()
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
        except sqlite3.Error as error:
            raise LimesIOError(f"cannot open '{path}': {error}", operation="open registry") from error
        try:
            self._open()
        except BaseException:
            self._db.close()
            raise

    def _open(self) -> None:
        with self._translated("open registry"):
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            found = [row[0] for row in self._db.execute("PRAGMA integrity_check(3)")]
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if found != ["ok"]:
            raise self._damaged("; ".join(found), "open registry")
        if version > SCHEMA_VERSION:
            raise CorruptedState(
                f"the registry '{self._path}' has schema {version}, this Limes knows {SCHEMA_VERSION}; "
                "use the version of Limes that wrote it, or a later one",
                operation="open registry",
            )
        if version == 0:
            with self._transaction("open registry"):
                for statement in _SCHEMA.split(";\n"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()

    def entries(self) -> list[Entry]:
        """Every function, by name."""
        return self._entries("", ())

    def entry(self, name: str) -> Entry:
        """One function.

        Raises:
            NotFound: there is none of that name.
        """
        found = self._entries("WHERE f.name = ?", (name,))
        if not found:
            raise NotFound(
                f"there is no function '{name}'; `limes list` shows which there are",
                operation="find function",
                context={"function": name},
            )
        return found[0]

    def find(self, name: str) -> Entry | None:
        """One function, or None."""
        found = self._entries("WHERE f.name = ?", (name,))
        return found[0] if found else None

    def revisions(self, name: str) -> list[Revision]:
        """The kept revisions of a function, the newest first; empty when there is no such function."""
        with self._lock, self._translated("read registry"):
            rows = self._db.execute(
                f"SELECT {_COLUMNS} FROM revisions r WHERE r.name = ? ORDER BY r.revision DESC",
                (name,),
            ).fetchall()
        return [self._revision(row) for row in rows]

    def next_revision(self, name: str) -> int:
        """The number the next deploy of that name gets."""
        return max((revision.revision for revision in self.revisions(name)), default=0) + 1

    def check_hosts(self, name: str, hosts: list[str]) -> None:
        """Make sure no other function has one of these hosts.

        Raises:
            InvalidArgument: one has.
        """
        with self._lock, self._translated("read registry"):
            for host in hosts:
                row = self._db.execute("SELECT name FROM hosts WHERE host = ?", (host,)).fetchone()
                if row is not None and row[0] != name:
                    raise InvalidArgument(
                        f"the host '{host}' belongs to the function '{row[0]}'; take it from that one first",
                        operation="deploy",
                        context={"host": host, "function": row[0]},
                    )

    def commit(self, revision: Revision, *, keep: int = KEEP_REVISIONS) -> set[str]:
        """Make a revision the current one of its function, durably; it may be new or an earlier one.

        Args:
            revision: what is to be current.
            keep: how many revisions of the function to keep, this one always among them.

        Returns:
            Digests that a dropped revision used; others may still use them.

        Raises:
            InvalidArgument: another function has one of its hosts.
            CorruptedState, LimesIOError: nothing was changed.
        """
        now = self._now_ms()
        name = revision.name
        with self._transaction("commit deploy"):
            self.check_hosts(name, revision.hosts)
            self._db.execute(
                "INSERT INTO revisions VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (
                    name,
                    revision.revision,
                    revision.digest,
                    revision.size,
                    revision.contract,
                    json.dumps(revision.settings),
                    revision.created_ms,
                ),
            )
            self._db.execute(
                "INSERT INTO functions VALUES (?, ?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE "
                "SET current = excluded.current, updated_ms = excluded.updated_ms",
                (name, revision.revision, now, now),
            )
            self._db.execute("DELETE FROM hosts WHERE name = ?", (name,))
            self._db.executemany(
                "INSERT INTO hosts VALUES (?, ?)", [(host, name) for host in dict.fromkeys(revision.hosts)]
            )
            dropped = self._db.execute(
                "DELETE FROM revisions WHERE name = ?1 AND revision <> ?2 AND revision NOT IN "
                "(SELECT revision FROM revisions WHERE name = ?1 AND revision <> ?2 "
                "ORDER BY revision DESC LIMIT ?3) RETURNING digest",
                (name, revision.revision, max(keep - 1, 0)),
            ).fetchall()
        return {row[0] for row in dropped}

    def remove(self, name: str) -> set[str]:
        """Forget a function and its revisions, durably.

        Returns:
            Digests its revisions used; others may still use them.

        Raises:
            NotFound: there is none of that name.
        """
        with self._transaction("remove function"):
            self.entry(name)
            self._db.execute("DELETE FROM functions WHERE name = ?", (name,))
            rows = self._db.execute(
                "DELETE FROM revisions WHERE name = ? RETURNING digest", (name,)
            ).fetchall()
        return {row[0] for row in rows}

    def uses(self, digest: str) -> bool:
        """Whether a kept revision has these bytes."""
        with self._lock, self._translated("read registry"):
            row = self._db.execute("SELECT 1 FROM revisions WHERE digest = ? LIMIT 1", (digest,)).fetchone()
        return row is not None

    def digests(self) -> dict[str, int]:
        """The digests of all kept revisions, and the sizes of their bytes."""
        with self._lock, self._translated("read registry"):
            return dict(self._db.execute("SELECT DISTINCT digest, size FROM revisions").fetchall())

    def _entries(self, where: str, values: tuple[str, ...]) -> list[Entry]:
        with self._lock, self._translated("read registry"):
            rows = self._db.execute(
                f"SELECT f.created_ms, f.updated_ms, {_COLUMNS} FROM functions f "
                f"JOIN revisions r ON r.name = f.name AND r.revision = f.current {where} ORDER BY f.name",
                values,
            ).fetchall()
        return [Entry(self._revision(row[2:]), row[0], row[1]) for row in rows]

    def _revision(self, row: tuple[Any, ...]) -> Revision:
        name, revision, digest, size, contract, settings, created_ms = row
        return Revision(name, revision, digest, size, contract, json.loads(settings), created_ms)

    @contextmanager
    def _transaction(self, operation: str) -> Iterator[None]:
        with self._lock, self._translated(operation):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _translated(self, operation: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise LimesIOError(f"the registry '{self._path}': {error}", operation=operation) from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error), operation) from error

    def _damaged(self, what: str, operation: str) -> CorruptedState:
        return CorruptedState(
            f"the registry '{self._path}' is damaged: {what}; put a backup in its place, or move it away "
            "and deploy the functions again (blobs/ holds their bytes by digest)",
            operation=operation,
            context={"path": str(self._path)},
        )
