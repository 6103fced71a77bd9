"""The interfaces of WASI, as componentize-py generates them: there inside the sandbox alone.

They are imported with this module, since the interpreter is kept as it is when the component is built: what
has not been imported by then can not be imported later.
"""

from importlib import import_module
from typing import Any


def _import(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        return None


environment = _import("wit_world.imports.environment")
process = _import("wit_world.imports.exit")
http = _import("wit_world.imports.wasi_http_types")
outgoing = _import("wit_world.imports.outgoing_handler")
results = _import("componentize_py_types")

inside = environment is not None
"""Whether this is inside the sandbox."""
