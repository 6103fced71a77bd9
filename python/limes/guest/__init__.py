r"""What a Python function imports inside the sandbox, and its tests outside.

A function that answers HTTP requests is a function from a request to a response::

    from limes.guest import Request, Response

    def handle(request: Request) -> Response:
        return Response(f"Hello, {request.query.get('name', 'world')}!\n")

or an ASGI or WSGI application under the name ``app``. `limes build` puts this package, which is pure Python
and imports nothing of Limes, beside the function's own code. :func:`fetch` works inside the sandbox alone; it
reaches the hosts that the grant ``http`` names.
"""

from limes.guest.client import FetchError, fetch
from limes.guest.messages import Body, Headers, Request, Response

__all__ = ["Body", "FetchError", "Headers", "Request", "Response", "fetch"]
