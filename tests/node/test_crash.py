"""Kill -9 in the midst of changes: what was acknowledged is there afterwards, and nothing is half-there."""

import json
import random
import threading
from pathlib import Path

import httpx
import pytest
from tests.conftest import DEADLINE, Node, StartNode, guest_path
from tests.node.conftest import Admin, stamped

SEED = 20_260
KILLS = 50
LONGEST_LIFE = 0.12
"""Seconds a node is let change things before it is killed, at most: about a dozen changes."""
NAMES = ("one", "two", "three", "four")


class Changes(threading.Thread):
    """Deploys and removes functions, one after the other, until the node is gone.

    The state of a function is the number of its last deploy, which it answers with, or None.
    """

    def __init__(self, node: Node, rng: random.Random, states: dict[str, int | None], count: int) -> None:
        super().__init__()
        self._node = node
        self._rng = rng
        self.states = states
        """What was acknowledged."""
        self.attempt: tuple[str, int | None] | None = None
        """What was asked for last, and not answered."""
        self.count = count
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
        if self.states[name] is not None and self._rng.random() < 0.15:
            self.attempt = (name, None)
            answer = admin.delete(f"/v1/functions/{name}")
        else:
            self.count += 1
            self.attempt = (name, self.count)
            # Some deploys bring new bytes, some the same with other settings.
            component = guest_path("env").read_bytes()
            if self._rng.random() < 0.3:
                component = stamped(component, str(self.count))
            answer = admin.put(name, component, grants={"env": {"STATE": str(self.count)}})
        if not answer.is_success:
            self.refused.append(answer.text)
            return
        self.states[name] = self.attempt[1]
        self.attempt = None


def found(node: Node, client: httpx.Client) -> dict[str, int | None]:
    """The states that a node serves; whatever is served must be whole."""
    states: dict[str, int | None] = dict.fromkeys(NAMES)
    with Admin(node) as admin:
        for details in admin.get("/v1/functions").raise_for_status().json()["functions"]:
            name = details["name"]
            assert details["state"] != "broken", details["error"]
            blob = node.home / "blobs" / details["digest"][:2] / details["digest"]
            assert blob.stat().st_size == details["size"]
            answer = client.post(node.function_url(name))
            assert answer.status_code == 200, answer.text
            states[name] = int(json.loads(answer.text)["env"]["STATE"])
    for name, state in states.items():
        if state is None:
            assert client.post(node.function_url(name)).status_code == 404
    return states


def stored_blobs(home: Path) -> set[str]:
    return {path.name for path in (home / "blobs").glob("??/*")}


@pytest.mark.timeout(180)
def test_what_was_acknowledged_survives_a_kill(start_node: StartNode, anyone: httpx.Client) -> None:
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    states: dict[str, int | None] = dict.fromkeys(NAMES)
    count = interrupted = 0
    node = start_node()
    for kill in range(KILLS):
        changes = Changes(node, rng, states, count)
        changes.start()
        changes.join(rng.uniform(0, LONGEST_LIFE))
        node.kill()
        changes.join(DEADLINE)
        count = changes.count
        assert changes.refused == [], f"kill {kill}, seed {SEED}"

        node = start_node(home=node.home)
        assert node.started["broken"] == []
        after = found(node, anyone)
        allowed = [states]
        if changes.attempt:
            interrupted += 1
            name, state = changes.attempt
            allowed.append({**states, name: state})
        assert after in allowed, f"kill {kill}, seed {SEED}: {after} is none of {allowed}"
        states = after
    assert count > KILLS, "the nodes were killed before they did anything"
    assert interrupted > KILLS // 2, "too few kills hit a change"

    assert list((node.home / "blobs" / "incoming").iterdir()) == []
    with Admin(node) as admin:
        kept = {row["digest"] for name in admin.names() for row in admin.function(name)["revisions"]}
    assert stored_blobs(node.home) == kept, "a blob leaked, or is missing"
