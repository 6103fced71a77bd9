"""Answers HTTP requests."""

from limes.guest import Request, Response


def handle(request: Request) -> Response:
    """Greet whoever the query names: /?name=world."""
    return Response(f"Hello, {request.query.get('name', 'world')}!\n")
