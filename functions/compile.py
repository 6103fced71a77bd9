"""Build the functions that Limes ships: ``python functions/compile.py``, into ``functions/build/``.

``NAME.wasm`` is a function's component, ``scalar/NAME.wasm`` the same without vectors (for the benchmark), ``native/NAME`` the
same code as a Linux program, ``unikernel/NAME`` as a native function, a unikernel of its own for microVMs.

Rust's target for components is found as `limes build` finds it; the package has to be installed (``make build``).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import picture

from limes import LimesError, _native
from limes.build import rust

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BUILD = HERE / "build"
SIMD = "-C target-feature=+simd128"
# Those whose gain by vectors is measured.
VECTORS = ["mandelbrot", "image"]
UNIKERNELS = ROOT / "guests" / "unikernel" / "functions"

sys.path.insert(0, str(ROOT / "guests"))
from build import BuildError, tool  # noqa: E402 (guests/build.py, which the line above lets be found)


def functions() -> list[str]:
    """The names of all functions: those of the folders with a manifest."""
    return sorted(manifest.parent.name for manifest in HERE.glob("*/limes.toml"))


def cargo(names: list[str], *arguments: str, env: Mapping[str, str | None] | None = None) -> None:
    """Build functions' packages; Cargo's own progress goes to the terminal. Of `env`, None takes a variable away."""
    packages = [word for name in names for word in ("--package", f"limes-function-{name}")]
    run_cargo(HERE, [*packages, *arguments], env)


def run_cargo(folder: Path, arguments: list[str], env: Mapping[str, str | None] | None = None) -> None:
    """Build what is in a folder."""
    command = ["cargo", "build", "--release", "--locked", *arguments]
    if not sys.stderr.isatty():
        command.append("--quiet")
    environment = {**os.environ, **(env or {})}
    done = subprocess.run(  # noqa: S603
        command, cwd=folder, env={name: value for name, value in environment.items() if value is not None}
    )
    if done.returncode != 0:
        raise BuildError(f"{' '.join(command)} failed")


def build_components(names: list[str], folder: Path, flags: str = "", kind: str = "components") -> None:
    """Build components into a folder; Cargo's own files of this kind are kept together."""
    target_dir = HERE / "target" / kind
    target = rust.find_target(flags)
    options = ["--lib", "--target", target.name, "--target-dir", str(target_dir), *target.options]
    cargo(names, *options, env=target.env)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        module = target_dir / target.name / "release" / f"{name.replace('-', '_')}.wasm"
        componentize(module, folder / f"{name}.wasm")


def componentize(module: Path, output: Path) -> None:
    """Make a component of what cargo built; it appears whole or not at all."""
    made = module.with_suffix(".component.wasm")
    made.write_bytes(_native.componentize(module.read_bytes()))
    command = [tool("wasm-tools"), "strip", str(made), "-o", str(made)]
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
    if done.returncode != 0:
        raise BuildError(f"{' '.join(command)}\n{done.stderr.strip()}")
    made.replace(output)


def build_unikernels() -> None:
    """Build the functions that need no files as unikernels; where these are built decides how (``.cargo``)."""
    target_dir = HERE / "target" / "unikernel"
    run_cargo(UNIKERNELS, ["--target-dir", str(target_dir)])
    names = [program.stem for program in (UNIKERNELS / "src" / "bin").glob("*.rs")]
    place(target_dir / "x86_64-unknown-linux-gnu" / "release", BUILD / "unikernel", names)


def place(made: Path, folder: Path, names: list[str]) -> None:
    """Copy programs to where they are looked for; each appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copy2(made / name, folder / f".{name}")
        (folder / f".{name}").replace(folder / name)


def fill_folders(photograph: Path) -> None:
    """Make the folders that the manifests grant, with what the functions look for there."""
    for manifest in HERE.glob("*-io/limes.toml"):
        (manifest.parent / "data").mkdir(exist_ok=True)
    shutil.copy2(photograph, HERE / "image-io" / "data" / "input.jpg")


def main() -> None:
    """Build every function, as a component, as a Linux program, and as a unikernel."""
    BUILD.mkdir(parents=True, exist_ok=True)
    photograph = BUILD / "picture.jpg"
    picture.main(photograph)
    fill_folders(photograph)
    names = functions()
    build_components(names, BUILD, SIMD)
    build_components(VECTORS, BUILD / "scalar", kind="scalar")
    cargo(names, "--bins")
    place(HERE / "target" / "release", BUILD / "native", names)
    build_unikernels()
    print(f"functions: {', '.join(names)}, in {BUILD}")


if __name__ == "__main__":
    try:
        main()
    except (BuildError, LimesError) as error:
        sys.exit(f"functions: {error}")
