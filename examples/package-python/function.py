"""Uses a package of PyPI: Markdown in the request's body becomes HTML."""

import mistune

from limes.guest import Request, Response

MARKDOWN = mistune.create_markdown()


def handle(request: Request) -> Response:
    """Render the body."""
    return Response(str(MARKDOWN(request.text)), headers={"content-type": "text/html; charset=utf-8"})
