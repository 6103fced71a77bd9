"""`limes version`: which versions these are."""

import platform

from limes.cli import options
from limes.cli.output import guarded, new_app, write_json

app = new_app()


@app.command()
@guarded
def version(as_json: options.Json = False) -> None:
    """Show the versions of Limes, of the Wasmtime inside, and of Python."""
    from limes import _native

    if as_json:
        write_json(
            {
                "limes": _native.__version__,
                "wasmtime": _native.WASMTIME_VERSION,
                "python": platform.python_version(),
            }
        )
    else:
        inside = f"wasmtime {_native.WASMTIME_VERSION}, Python {platform.python_version()}"
        print(f"limes {_native.__version__} ({inside})")
