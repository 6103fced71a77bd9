"""`limes compile`: machine code from a component."""

import json
from pathlib import Path
from typing import Annotated

import typer

from limes.cli import options
from limes.cli.output import guarded, new_app, progress, write_json
from limes.errors import from_os
from limes.invocation import Timing
from limes.runtime import Runtime
from limes.units import format_nanoseconds, format_size

app = new_app()


@app.command("compile")
@guarded
def compile_component(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A component, a wasip1 module, or wat text.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="OUT", help="Where to write it. Default: FILE with .cwasm."),
    ] = None,
    jit: Annotated[bool, typer.Option("--jit", help="Compile anew; use no cache.")] = False,
    cache_dir: options.CacheDir = None,
    as_json: options.Json = False,
) -> None:
    """Compile a component ahead of time, for this machine and this version of Limes."""
    target = output or file.with_suffix(".cwasm")
    try:
        component = file.read_bytes()
    except OSError as error:
        raise from_os(error, "compile", f"cannot read '{file}'") from error
    with progress(f"compiling {file.name}"):
        code, timing_json = Runtime(cache_dir, jit=jit).engine.compile(component)
    temporary = target.with_name(f".{target.name}.part")
    try:
        # A process may have the old file mapped: it keeps it, and others see the new one whole.
        temporary.write_bytes(code)
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise from_os(error, "compile", f"cannot write '{target}'") from error
    timing = Timing.from_json(json.loads(timing_json))
    if as_json:
        write_json({"output": str(target), "size": len(code), "timing": timing.to_json()})
    else:
        how = "from the cache" if timing.cache == "hit" else f"in {format_nanoseconds(timing.compile)}"
        print(f"{target}  {format_size(len(code))}, {how}")
