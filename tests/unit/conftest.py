"""A data plane that remembers what it was told, for tests of the control plane alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from limes.errors import BadComponent
from limes.node.blobs import Blob, BlobStore
from limes.node.deployments import Deployments
from limes.node.registry import Registry


class RecordingNode:
    """Serves nothing; refuses bytes that begin with `bad`, as a compiler would."""

    def __init__(self) -> None:
        self.served: dict[str, dict[str, Any]] = {}

    def restore(self, specs: str) -> None:
        self.served = {spec["name"]: spec for spec in json.loads(specs)}

    def publish(self, spec_json: str) -> str:
        spec = json.loads(spec_json)
        if Path(spec["component"]).read_bytes().startswith(b"bad"):
            raise BadComponent("refused", operation="load")
        self.served[spec["name"]] = spec
        return json.dumps({"contract": "run", "timing": {"compile": 1, "load": 1, "cache": "miss"}})

    def remove(self, name: str) -> bool:
        return self.served.pop(name, None) is not None

    def revision(self, name: str) -> int | None:
        spec = self.served.get(name)
        return spec["revision"] if spec else None


class ControlPlane:
    """Registry, blobs and deployments of one home, which can be opened again as after a crash."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.open()

    def open(self) -> None:
        self.node = RecordingNode()
        self.registry = Registry(self.home / "registry.db", now_ms=lambda: 1_000)
        self.blobs = BlobStore(self.home / "blobs")
        self.deployments = Deployments(
            self.node,  # type: ignore[arg-type]
            self.registry,
            self.blobs,
            keep=3,
            now_ms=lambda: 1_000,
        )
        self.deployments.restore()

    def crash(self) -> None:
        """Begin anew from what is on disk."""
        self.registry.close()
        self.open()

    def deploy(self, name: str, component: bytes, **settings: Any) -> Blob:
        with self.blobs.receive() as upload:
            upload.write(component)
            blob = self.blobs.keep(upload)
            self.deployments.deploy(name, blob, settings)
        return blob

    def stored(self) -> set[str]:
        return {path.name for path in self.blobs.path.glob("??/*")}


@pytest.fixture
def plane(tmp_path: Path) -> Any:
    plane = ControlPlane(tmp_path)
    yield plane
    plane.registry.close()
