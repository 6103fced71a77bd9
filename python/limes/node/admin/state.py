"""What the routes of the admin API share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Annotated, TypeVar
from weakref import WeakValueDictionary

from fastapi import Depends, Request

from limes import _native
from limes.errors import Unavailable
from limes.node.blobs import BlobStore
from limes.node.deployments import Deployments
from limes.node.home import Running
from limes.node.registry import Registry

T = TypeVar("T")

CHANGES_AT_ONCE = 4
"""Deploys that run at the same time; each may compile for seconds, on all cores."""


@dataclass
class AdminState:
    """The node that the admin API speaks for."""

    engine: _native.Engine
    node: _native.Node
    registry: Registry
    blobs: BlobStore
    deployments: Deployments
    running: Running
    ready: bool = False
    """Whether everything that was deployed is served."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the node begins to drain."""
    _locks: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)
    _changes: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(CHANGES_AT_ONCE, thread_name_prefix="limes-change")
    )

    def check_accepting(self) -> None:
        """Refuse what a node that shuts down cannot finish, and what one that starts would undo.

        Raises:
            Unavailable: the node starts or drains.
        """
        if self.stopping.is_set():
            raise Unavailable("the node is shutting down; try again when it is back", operation="admin")
        if not self.ready:
            raise Unavailable("the node is starting and does not serve yet; try again", operation="admin")

    async def change(self, name: str, step: Callable[[], T]) -> T:
        """Run a blocking change of one function on a thread, after those of the same name that came before.

        A change that has begun is finished, even when its client goes away.
        """
        lock = self._locks.setdefault(name, asyncio.Lock())

        async def in_turn() -> T:
            async with lock:
                return await asyncio.get_running_loop().run_in_executor(self._changes, step)

        return await asyncio.shield(asyncio.create_task(in_turn()))

    def close(self) -> None:
        """Wait for the changes that have begun."""
        self._changes.shutdown(wait=True)


def _state(request: Request) -> AdminState:
    state: AdminState = request.app.state.admin
    return state


State = Annotated[AdminState, Depends(_state)]
