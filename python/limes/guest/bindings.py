"""The interfaces of WASI, as componentize-py generates them: there inside the sandbox alone.

They are imported with the module, since the interpreter is kept as it is when the component is built: what has not
been imported by then can not be imported later.
"""

from typing import Any

Ok: Any = None
environment: Any = None
process: Any = None
http: Any = None
outgoing: Any = None

try:
    from componentize_py_types import Ok  # type: ignore[import-not-found, no-redef]
    from wit_world.imports import (  # type: ignore[import-not-found, no-redef]
        environment,
        outgoing_handler as outgoing,
        wasi_http_types as http,
    )
    from wit_world.imports import exit as process  # type: ignore[import-not-found, no-redef]
except ImportError:
    inside = False
else:
    inside = True
"""Whether this is inside the sandbox."""
