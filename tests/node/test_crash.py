"""Kill -9 in the midst of changes: what was acknowledged is there afterwards, and nothing is half-there."""

import json
import random
import threading
from collections import Counter
from pathlib import Path

import httpx
import pytest
from tests.conftest import DEADLINE, Node, StartNode, guest_path
from tests.node.conftest import Admin, stamped

SEED = 20_260
KILLS = 50
MOST_CHANGES = 6
"""A node acknowledges fewer changes than this before it is killed."""
LONGEST_CHANGE = 0.03
"""Seconds, about: when the next change is killed is drawn from these."""
NAMES = ("one", "two", "three", "four")


class History:
    """What the functions are known to be; one's state is what its revision answers with, or None where there is no function."""

    def __init__(self) -> None:
        self.states: dict[str, int | None] = dict.fromkeys(NAMES)
        self._made: dict[str, dict[int, int]] = {name: {} for name in NAMES}

    def revisions(self, name: str) -> dict[int, int]:
        """The state of each revision that was acknowledged or seen."""
        return self._made[name]

    def saw(self, name: str, revision: int | None, state: int | None) -> None:
        """A function is in this state now."""
        self.states[name] = state
        if revision is None or state is None:
            self._made[name] = {}
        else:
            self._made[name][revision] = state


class Changes(threading.Thread):
    """Deploys, updates, rolls back and removes functions, one after the other, until the node is gone."""

    def __init__(self, node: Node, rng: random.Random, history: History, count: int) -> None:
        super().__init__()
        self._node = node
        self._rng = rng
        self._history = history
        self.attempt: tuple[str, int | None] | None = None
        """The function and state asked for last, and not answered."""
        self.count = count
        self.kinds: Counter[str] = Counter()
        """What was acknowledged."""
        self.acknowledged = threading.Semaphore(0)
        self.refused: list[str] = []

    def run(self) -> None:
        try:
            with Admin(self._node) as admin:
                while not self.refused:
                    self._change(admin)
        except httpx.TransportError:
            pass  # the node was killed

    def _change(self, admin: Admin) -> None:
        name = self._rng.choice(NAMES)
        kinds = ["deploy"]
        if self._history.states[name] is not None:
            kinds = ["deploy", "deploy", "update", "update", "rollback", "rollback", "remove"]
        kind = self._rng.choice(kinds)
        if kind == "rollback":
            kept = {row["revision"] for row in admin.function(name)["revisions"]}
            known = sorted(kept & self._history.revisions(name).keys())
            revision = self._rng.choice(known)
            self.attempt = (name, self._history.revisions(name)[revision])
            answer = admin.post(f"/v1/functions/{name}/rollback", json={"to": revision})
        elif kind == "remove":
            self.attempt = (name, None)
            answer = admin.delete(f"/v1/functions/{name}")
        else:
            self.count += 1
            self.attempt = (name, self.count)
            grants = {"env": {"STATE": str(self.count)}}
            if kind == "update":
                answer = admin.patch(f"/v1/functions/{name}", json={"grants": grants})
            else:
                # Some deploys bring new bytes, some the same with other settings.
                component = guest_path("env").read_bytes()
                if self._rng.random() < 0.3:
                    component = stamped(component, str(self.count))
                answer = admin.put(name, component, grants=grants)
        if not answer.is_success:
            self.refused.append(answer.text)
            return
        _, state = self.attempt
        self._history.saw(name, None if kind == "remove" else answer.json()["revision"], state)
        self.kinds[kind] += 1
        self.attempt = None
        self.acknowledged.release()


def found(node: Node, client: httpx.Client) -> dict[str, tuple[int | None, int | None]]:
    """The revision and state of each function that a node serves; whatever is served must be whole."""
    served: dict[str, tuple[int | None, int | None]] = dict.fromkeys(NAMES, (None, None))
    with Admin(node) as admin:
        for details in admin.get("/v1/functions").raise_for_status().json()["functions"]:
            name = details["name"]
            assert details["state"] != "broken", details["error"]
            blob = node.home / "blobs" / details["digest"][:2] / details["digest"]
            assert blob.stat().st_size == details["size"]
            answer = client.post(node.function_url(name))
            assert answer.status_code == 200, answer.text
            served[name] = (details["revision"], int(json.loads(answer.text)["env"]["STATE"]))
    for name, (revision, _) in served.items():
        if revision is None:
            assert client.post(node.function_url(name)).status_code == 404
    return served


def stored_blobs(home: Path) -> set[str]:
    return {path.name for path in (home / "blobs").glob("??/*")}


@pytest.mark.timeout(400)
def test_what_was_acknowledged_survives_a_kill(start_node: StartNode, anyone: httpx.Client) -> None:
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    history = History()
    kinds: Counter[str] = Counter()
    count = interrupted = 0
    node = start_node()
    for kill in range(KILLS):
        changes = Changes(node, rng, history, count)
        changes.start()
        for _ in range(rng.randrange(MOST_CHANGES)):
            changes.acknowledged.acquire(timeout=DEADLINE)
        changes.join(rng.uniform(0, LONGEST_CHANGE))
        node.kill()
        changes.join(DEADLINE)
        count = changes.count
        kinds += changes.kinds
        assert changes.refused == [], f"kill {kill}, seed {SEED}"

        node = start_node(home=node.home)
        assert node.started["broken"] == []
        served = found(node, anyone)
        after = {name: state for name, (_, state) in served.items()}
        allowed = [history.states]
        if changes.attempt:
            interrupted += 1
            name, state = changes.attempt
            allowed.append({**history.states, name: state})
        assert after in allowed, f"kill {kill}, seed {SEED}: {after} is none of {allowed}"
        for name, (revision, state) in served.items():
            history.saw(name, revision, state)
    print(f"acknowledged: {dict(kinds)}; interrupted: {interrupted}")
    assert set(kinds) == {"deploy", "update", "rollback", "remove"}
    assert kinds.total() > KILLS, "the nodes were killed before they did anything"
    assert interrupted > KILLS // 2, "too few kills hit a change"

    assert list((node.home / "blobs" / "incoming").iterdir()) == []
    with Admin(node) as admin:
        kept = {row["digest"] for name in admin.names() for row in admin.function(name)["revisions"]}
    assert stored_blobs(node.home) == kept, "a blob leaked, or is missing"
