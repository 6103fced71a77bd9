"""Build the functions that Limes ships: ``python functions/compile.py``, into ``functions/build/``.

``NAME.wasm`` is a function's component, ``native/NAME`` the same code as a Linux program, ``unikernel/NAME`` as a
native function, a unikernel of its own for microVMs.

Components need Rust's target wasm32-wasip1. Where the tool chain lacks it, Debian's rustc-web does, with the
standard library's source: ``apt-get install rustc-web rust-web-src lld-19 wasi-libc``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import picture

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BUILD = HERE / "build"
TARGET = "wasm32-wasip1"
SIMD = "-C target-feature=+simd128"
UNIKERNELS = ROOT / "guests" / "unikernel" / "functions"

DEBIAN_RUSTC = Path("/usr/bin/rustc")
DEBIAN_LIBC = Path("/usr/lib/wasm32-wasi")
DEBIAN_PACKAGES = "rustc-web rust-web-src lld-19 wasi-libc"

sys.path.insert(0, str(ROOT / "guests"))
from build import BuildError, adapter, tool  # noqa: E402 (guests/build.py, which the line above lets be found)


def functions() -> list[str]:
    """The names of all functions: those of the folders with a manifest."""
    return sorted(manifest.parent.name for manifest in HERE.glob("*/limes.toml"))


def cargo(names: list[str], *arguments: str, **environment: str) -> None:
    """Build functions' packages; Cargo's own progress goes to the terminal."""
    packages = [word for name in names for word in ("--package", f"limes-function-{name}")]
    run_cargo(HERE, [*packages, *arguments], environment)


def run_cargo(folder: Path, arguments: list[str], environment: dict[str, str]) -> None:
    """Build what is in a folder."""
    command = ["cargo", "build", "--release", "--locked", *arguments]
    if not sys.stderr.isatty():
        command.append("--quiet")
    done = subprocess.run(command, cwd=folder, env={**os.environ, **environment})  # noqa: S603
    if done.returncode != 0:
        raise BuildError(f"{' '.join(command)} failed")


def has_target() -> bool:
    """Whether the Rust in use carries a standard library for components."""
    command = ["rustc", "--print", "target-libdir", "--target", TARGET]
    found = subprocess.run(command, capture_output=True, text=True, cwd=HERE)  # noqa: S603
    return found.returncode == 0 and Path(found.stdout.strip()).is_dir()


def build_modules(names: list[str]) -> Path:
    """Build core modules; returns the folder they are in."""
    target_dir = HERE / "target" / "components"
    options = ["--lib", "--target", TARGET, "--target-dir", str(target_dir)]
    if has_target():
        cargo(names, *options, RUSTFLAGS=SIMD)
    elif DEBIAN_RUSTC.exists() and DEBIAN_LIBC.exists() and shutil.which("wasm-ld-19"):
        # Debian's compiler comes without a standard library for components, but with its source.
        cargo(
            names,
            *options,
            "-Zbuild-std=std,panic_abort",
            RUSTC=str(DEBIAN_RUSTC),
            RUSTC_BOOTSTRAP="1",
            CARGO_TARGET_WASM32_WASIP1_LINKER="wasm-ld-19",
            RUSTFLAGS=f"-C link-self-contained=no -L native={DEBIAN_LIBC} {SIMD}",
        )
    else:
        raise BuildError(
            f"Rust has no target {TARGET}: run `rustup target add {TARGET}`, "
            f"or on Debian `apt-get install {DEBIAN_PACKAGES}`"
        )
    return target_dir / TARGET / "release"


def componentize(module: Path, output: Path) -> None:
    """Make a component of a core module; it appears whole or not at all."""
    made = module.with_suffix(".component.wasm")
    wasm_tools, reactor = tool("wasm-tools"), adapter("reactor")
    for words in (
        ["component", "new", module, "--adapt", reactor, "-o", made],
        ["strip", made, "-o", made],
        ["validate", "--features", "all", made],
    ):
        command = [wasm_tools, *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
        if done.returncode != 0:
            raise BuildError(f"{' '.join(command)}\n{done.stderr.strip()}")
    made.replace(output)


def build_unikernels() -> None:
    """Build the functions that need no files as unikernels; where these are built decides how (``.cargo``)."""
    target_dir = HERE / "target" / "unikernel"
    run_cargo(UNIKERNELS, ["--target-dir", str(target_dir)], {})
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
    modules = build_modules(names)
    for name in names:
        componentize(modules / f"{name.replace('-', '_')}.wasm", BUILD / f"{name}.wasm")
    cargo(names, "--bins")
    place(HERE / "target" / "release", BUILD / "native", names)
    build_unikernels()
    print(f"functions: {', '.join(names)}, in {BUILD}")


if __name__ == "__main__":
    try:
        main()
    except BuildError as error:
        sys.exit(f"functions: {error}")
