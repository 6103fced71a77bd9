"""Rust functions, by cargo: for ``wasm32-wasip2``, else ``wasm32-wasip1``, else with Debian's ``rustc-web``.

A library crate (``cdylib``) exports ``component:run`` or ``wasi:http``, by the bindings of `wit-bindgen` or
`wstd`; a binary crate is a command. Crates compiled once are kept for all functions, below the compile cache.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from limes.build import toolchain
from limes.build.project import OPERATION, Project
from limes.build.toolchain import Tool
from limes.errors import BadComponent

MANIFEST = "Cargo.toml"
INSTALL_CARGO = "install Rust from https://rustup.rs"
INSTALL_TARGET = (
    "rustup target add wasm32-wasip2 "
    "(Debian without rustup: apt-get install rustc-web rust-web-src lld-19 wasi-libc)"
)
TARGETS = ("wasm32-wasip2", "wasm32-wasip1")

_DEBIAN_RUSTC = Path("/usr/bin/rustc")
_DEBIAN_LIBRARY = Path("/usr/lib/rustlib/src/rust/library/std")
_DEBIAN_LIBC = Path("/usr/lib/wasm32-wasi")
_DEBIAN_LINKERS = ("wasm-ld-19", "wasm-ld-20", "wasm-ld")


@dataclass(frozen=True)
class Target:
    """How cargo is told to build for WebAssembly."""

    name: str
    options: tuple[str, ...] = ()
    env: dict[str, str | None] = field(default_factory=dict)


class Toolchain:
    """Builds Rust."""

    def tools(self, _project: Project) -> Sequence[Tool]:
        """cargo; which target there is shows when it runs."""
        return [toolchain.find("cargo", install=INSTALL_CARGO)]

    def build(self, project: Project, work: Path) -> Path:
        """Build the one library or binary of the crate, with the settings of its profile ``release``."""
        (cargo,) = self.tools(project)
        target = find_target()
        shared = _shared_target()
        shared.mkdir(parents=True, exist_ok=True)
        # Two functions may have one name: until the file is copied, the folder is this build's.
        with (shared / ".limes.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            written = toolchain.run(
                [
                    *cargo.command,
                    "build",
                    "--release",
                    "--message-format=json-render-diagnostics",
                    "--target",
                    target.name,
                    *target.options,
                ],
                cwd=project.folder,
                what=f"building '{project.name}'",
                env={**target.env, "CARGO_TARGET_DIR": str(shared)},
                speaks_on_stdout=False,
            )
            made = work / "made.wasm"
            shutil.copy(_artifact(written, project), made)
        return made


def find_target(flags: str = "") -> Target:
    """The best target that is installed.

    Args:
        flags: of rustc, after those of ``RUSTFLAGS``.

    Raises:
        NotFound: none is; the message has the command that installs one.
    """
    flags = " ".join(part for part in (os.environ.get("RUSTFLAGS"), flags) if part)
    for name in TARGETS:
        if _is_installed(name):
            return Target(name, env={"RUSTFLAGS": flags or None})
    linker = next((found for name in _DEBIAN_LINKERS if (found := shutil.which(name))), None)
    if linker and all(path.exists() for path in (_DEBIAN_RUSTC, _DEBIAN_LIBRARY, _DEBIAN_LIBC)):
        # Debian ships the library as source alone; building it asks for what nightly has.
        env = {
            "RUSTC": str(_DEBIAN_RUSTC),
            "RUSTC_BOOTSTRAP": "1",
            "RUSTUP_TOOLCHAIN": None,
            "CARGO_TARGET_WASM32_WASIP1_LINKER": linker,
            "CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS": f"-C link-self-contained=no -L native={_DEBIAN_LIBC} {flags}",
            "RUSTFLAGS": None,
        }
        return Target("wasm32-wasip1", ("-Zbuild-std=std,panic_abort",), env)
    raise toolchain.missing("a WebAssembly target of Rust", INSTALL_TARGET)


def _is_installed(target: str) -> bool:
    rustc = os.environ.get("RUSTC", "rustc")
    try:
        asked = subprocess.run(  # noqa: S603 (the user's own compiler)
            [rustc, "--print", "target-libdir", "--target", target], capture_output=True, text=True
        )
    except OSError:
        return False
    folder = Path(asked.stdout.strip())
    return asked.returncode == 0 and folder.is_dir() and any(folder.glob("libstd-*.rlib"))


def _shared_target() -> Path:
    """Where compiled crates are kept: where cargo was told, else below Limes' own cache."""
    if chosen := os.environ.get("CARGO_TARGET_DIR"):
        return Path(chosen).absolute()
    from limes.runtime import default_cache_dir

    return default_cache_dir() / "build" / "rust"


def _artifact(messages: str, project: Project) -> Path:
    """The one WebAssembly file that cargo says it made of the project's own crate."""
    manifest = str(project.folder.resolve() / MANIFEST)
    found = []
    for line in messages.splitlines():
        message = json.loads(line) if line.startswith("{") else {}
        if message.get("reason") != "compiler-artifact" or message["manifest_path"] != manifest:
            continue
        found += [Path(name) for name in message["filenames"] if name.endswith(".wasm")]
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise BadComponent(
            f"'{project.folder}' must have one library with `crate-type = [\"cdylib\"]`, or one binary; "
            f"cargo made {names}",
            operation=OPERATION,
        )
    return found[0]
