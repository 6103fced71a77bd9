"""Asks another server, which the manifest grants: the path and the answer are passed on."""

import os

from limes.guest import FetchError, Request, Response, fetch


def handle(request: Request) -> Response:
    """Forward a GET; a host that is not granted, or does not answer, is a 502."""
    upstream = os.environ.get("UPSTREAM", "http://127.0.0.1:8000")
    try:
        answer = fetch(upstream + request.url)
    except FetchError as error:
        return Response.json({"error": str(error)}, 502)
    return Response(
        answer.body, answer.status, {"content-type": answer.headers.get("content-type", "text/plain")}
    )
