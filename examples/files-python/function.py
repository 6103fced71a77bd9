"""Reads and writes the one directory it was granted: GET and PUT /NAME."""

from pathlib import Path

from limes.guest import Request, Response

DATA = Path("/data")


def handle(request: Request) -> Response:
    """Give a note, or keep one."""
    file = DATA / (request.path.strip("/").replace("/", "-") or "first.txt")
    try:
        if request.method == "PUT":
            file.write_bytes(request.body)
            return Response(status=204)
        return Response(file.read_text())
    except FileNotFoundError:
        return Response(f"there is no {file.name}\n", 404)
    except OSError as error:
        return Response(f"{error}\n", 403)
