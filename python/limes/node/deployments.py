"""Deploy, update, roll back, remove: the order of steps that a crash may interrupt anywhere.

A deploy is: bytes durable in the blob store -> the data plane loads them and switches over (may fail: nothing
changed) -> the registry's transaction committed -> acknowledged. The registry is the truth: a crash before
the commit leaves the old revision to the next start, and a commit that fails puts the old revision back at
once.

Calls for one name must not overlap; the admin API sees to that.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import structlog

from limes import _native
from limes.errors import CorruptedState, InvalidArgument, LimesError, NotFound
from limes.manifest import Configuration, check, check_name
from limes.node.blobs import Blob, BlobStore
from limes.node.registry import KEEP_REVISIONS, Entry, Registry, Revision

CHECKED_AT_START = 256 << 20
"""Bytes of components that are read and compared with their digests before a node is ready; the rest is
checked afterwards, so that a large home does not start slowly."""

_log = structlog.get_logger("limes.deployments")


@dataclass(frozen=True)
class Deployed:
    """What a change came to."""

    revision: Revision
    created: bool
    """Whether the function is new."""
    timing: dict[str, Any]
    """What loading cost: ``compile``, ``load`` (nanoseconds), ``cache`` and ``tier``."""


class Deployments:
    """The functions of one node.

    Safe to share between threads, as long as calls for one name do not overlap.
    """

    def __init__(
        self,
        node: _native.Node,
        registry: Registry,
        blobs: BlobStore,
        *,
        keep: int = KEEP_REVISIONS,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Join a data plane with the state on disk; :meth:`restore` makes them agree.

        Args:
            node: the data plane.
            registry: what is deployed.
            blobs: its bytes.
            keep: revisions to keep of each function.
            now_ms: the clock.
        """
        self._node = node
        self._registry = registry
        self._blobs = blobs
        self._keep = keep
        self._now_ms = now_ms
        self._broken: dict[str, CorruptedState] = {}
        self._unchecked: list[tuple[str, int]] = []

    def restore(self, check_bytes: int = CHECKED_AT_START) -> None:
        """Serve what the registry says, and only that.

        What is broken on disk is noted, and the others are served.

        Args:
            check_bytes: how many bytes of components to read and check now; the others are left to
                :meth:`check_rest`.
        """
        digests = self._registry.digests()
        self._blobs.collect(set(digests))
        budget = check_bytes
        for digest, size in sorted(digests.items(), key=lambda item: item[1]):
            budget -= size
            if budget >= 0:
                self._check(digest, size, self._blobs.verify)
            else:
                self._check(digest, size, self._blobs.check_present)
                self._unchecked.append((digest, size))
        entries = self._registry.entries()
        self._node.restore(json.dumps([self._spec(entry.current) for entry in entries]))
        _log.info("restored", functions=len(entries), broken=len(self._broken))

    def check_rest(self, stopping: Callable[[], bool]) -> None:
        """Check the components that :meth:`restore` left unread, until `stopping` says so."""
        while self._unchecked and not stopping():
            digest, size = self._unchecked.pop()
            if self._registry.uses(digest):
                self._check(digest, size, self._blobs.verify)

    def _check(self, digest: str, size: int, check: Callable[[str, int], None]) -> None:
        try:
            check(digest, size)
        except CorruptedState as error:
            self._broken[digest] = error
            _log.error("corrupted component", digest=digest, error=str(error))

    def broken(self, revision: Revision) -> CorruptedState | None:
        """Why a revision's bytes cannot be trusted, or None."""
        return self._broken.get(revision.digest)

    def deploy(self, name: str, blob: Blob, settings: Any) -> Deployed:
        """Make stored bytes the current revision of a function, new or not.

        Args:
            name: the function.
            blob: its bytes, safe from being collected until this returns.
            settings: ``sandbox``, ``compile``, ``hosts``, ``limits``, ``grants`` as JSON values; what is
                missing has its default.

        Raises:
            InvalidArgument: a name, setting or host cannot be.
            LimesError: the component was refused, or the registry could not be written; nothing changed.
        """
        try:
            check_name(name)
        except ValueError as error:
            raise InvalidArgument(str(error), operation="deploy", context={"function": name}) from None
        self._broken.pop(blob.digest, None)  # it was just written anew
        return self._switch(
            Revision(
                name=name,
                revision=self._registry.next_revision(name),
                digest=blob.digest,
                size=blob.size,
                contract="",
                settings=_checked(settings),
                created_ms=self._now_ms(),
            )
        )

    def update(self, name: str, patch: Any) -> Deployed:
        """A new revision with the same bytes and other settings.

        Args:
            name: the function.
            patch: a JSON merge patch (RFC 7396) of the settings: null puts a value back to its default.

        Raises:
            NotFound: there is no such function.
            InvalidArgument: the settings that come out cannot be.
        """
        current = self._registry.entry(name).current
        return self._switch(
            replace(
                self._sound(current),
                revision=self._registry.next_revision(name),
                settings=_checked(merge_patch(current.settings, patch)),
                created_ms=self._now_ms(),
            )
        )

    def rollback(self, name: str, to: int | None = None) -> Deployed:
        """Make an earlier revision current again.

        Args:
            name: the function.
            to: which revision; None is the newest one older than the current.

        Raises:
            NotFound: there is no such function or revision.
        """
        current = self._registry.entry(name).current
        kept = self._registry.revisions(name)
        numbers = ", ".join(str(revision.revision) for revision in kept)
        if to is None:
            chosen = next((r for r in kept if r.revision < current.revision), None)
            asked = f"no revision before {current.revision}"
        else:
            chosen = next((r for r in kept if r.revision == to), None)
            asked = f"no revision {to}"
        if chosen is None:
            raise NotFound(
                f"the function '{name}' has {asked}; kept are {numbers}",
                operation="rollback",
                context={"function": name, "kept": numbers},
            )
        return self._switch(self._sound(chosen))

    def remove(self, name: str) -> None:
        """Forget a function and its revisions. Requests that run go on to their end.

        Raises:
            NotFound: there is no such function.
        """
        freed = self._registry.remove(name)
        self._node.remove(name)
        self._blobs.discard(freed, self._registry.uses)
        _log.info("removed", function=name)

    def _switch(self, revision: Revision) -> Deployed:
        name = revision.name
        previous = self._registry.find(name)
        self._registry.check_hosts(name, revision.hosts)
        loaded = json.loads(self._node.publish(json.dumps(self._spec(revision))))
        revision = replace(revision, contract=loaded["contract"])
        try:
            freed = self._registry.commit(revision, keep=self._keep)
        except BaseException:
            self._agree_with_registry(name, previous)
            raise
        self._blobs.discard(freed, self._registry.uses)
        _log.info("deployed", function=name, revision=revision.revision, digest=revision.digest)
        return Deployed(revision, created=previous is None, timing=loaded["timing"])

    def _agree_with_registry(self, name: str, previous: Entry | None) -> None:
        # A commit that reported failure may have reached the disk: what can be read now is the truth.
        try:
            previous = self._registry.find(name)
        except LimesError as error:
            _log.error("registry unreadable after a failed commit", function=name, error=str(error))
        try:
            if previous is None:
                self._node.remove(name)
            else:
                self._node.publish(json.dumps(self._spec(previous.current)))
        except LimesError as error:
            _log.error("cannot put the earlier revision back", function=name, error=str(error))

    def _sound(self, revision: Revision) -> Revision:
        self._blobs.verify(revision.digest, revision.size)
        self._broken.pop(revision.digest, None)
        return revision

    def _spec(self, revision: Revision) -> dict[str, Any]:
        return {
            "name": revision.name,
            "revision": revision.revision,
            "component": str(self._blobs.path_of(revision.digest)),
            "digest": revision.digest,
            **revision.settings,
        }


def _checked(settings: Any) -> dict[str, Any]:
    configuration = check(Configuration, settings, operation="deploy")
    if configuration.grants.stdio:
        raise InvalidArgument(
            "'grants.stdio' is for `limes run`; a node gives no function its own stdin and stdout",
            operation="deploy",
            context={"key": "grants.stdio"},
        )
    values: dict[str, Any] = configuration.model_dump(mode="json")
    return values


def merge_patch(target: Any, patch: Any) -> Any:
    """`target` with a JSON merge patch (RFC 7396) applied; neither is changed."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged
