"""`limes cache`: the machine code that is kept."""

import json

from limes.cli import options
from limes.cli.output import guarded, new_app, write_facts, write_json
from limes.runtime import Runtime
from limes.units import format_size

app = new_app(
    "Look at, clear or verify the compile cache of `limes run` and of the library.\n\n"
    "A node has one of its own: `--cache-dir HOME/cache`."
)


@app.command()
@guarded
def info(cache_dir: options.CacheDir = None, as_json: options.Json = False) -> None:
    """Show where the cache is and what it holds."""
    found = json.loads(Runtime(cache_dir).engine.cache_info())
    if as_json:
        write_json(found)
        return
    write_facts(
        [
            ("directory", found["dir"]),
            ("entries", found["entries"]),
            ("size", f"{format_size(found['bytes'])} of {format_size(found['max_bytes'])}"),
        ]
    )


@app.command()
@guarded
def clear(cache_dir: options.CacheDir = None, as_json: options.Json = False) -> None:
    """Remove every entry. What runs goes on running."""
    freed = Runtime(cache_dir).engine.cache_clear()
    if as_json:
        write_json({"freed": freed})
    else:
        print(f"freed {format_size(freed)}")


@app.command()
@guarded
def verify(cache_dir: options.CacheDir = None, as_json: options.Json = False) -> None:
    """Check every entry, and discard those that are not what was stored."""
    good, discarded = Runtime(cache_dir).engine.cache_verify()
    if as_json:
        write_json({"good": good, "discarded": discarded})
    else:
        print(f"{good} good, {discarded} discarded")
