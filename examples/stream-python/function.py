"""Streams: each line leaves when it is made, long before the last."""

import time
from collections.abc import Iterator

from limes.guest import Request, Response


def handle(request: Request) -> Response:
    """GET /?lines=5&pause=0.2."""
    lines, pause = int(request.query.get("lines", "3")), float(request.query.get("pause", "0"))
    return Response(count(lines, pause), headers={"content-type": "text/plain; charset=utf-8"})


def count(lines: int, pause: float) -> Iterator[str]:
    """Each line in its time."""
    for number in range(1, lines + 1):
        yield f"line {number} of {lines}\n"
        time.sleep(pause)
