"""A JSON API: routes, path and query parameters, bodies, statuses."""

import re
from collections.abc import Callable

from limes.guest import Request, Response

BOOKS = {1: {"title": "Watt", "year": 1953}, 2: {"title": "Molloy", "year": 1951}}


def list_books(request: Request) -> Response:
    """GET /books?after=1952: those published after a year."""
    after = request.query.get("after", "0")
    if not after.isdecimal():
        return problem(400, f"after must be a year, found {after!r}")
    return Response.json([{"id": key, **book} for key, book in BOOKS.items() if book["year"] > int(after)])


def get_book(_request: Request, number: str) -> Response:
    """GET /books/1."""
    book = BOOKS.get(int(number))
    return Response.json({"id": int(number), **book}) if book else problem(404, f"there is no book {number}")


def add_book(request: Request) -> Response:
    """POST /books: checked and given back; an instance lives for one request, so nothing is kept."""
    try:
        book = request.json()
        title, year = str(book["title"]), int(book["year"])
    except (ValueError, KeyError, TypeError):
        return problem(422, "a book is an object with a title and a year")
    made = max(BOOKS) + 1
    return Response.json({"id": made, "title": title, "year": year}, 201, {"location": f"/books/{made}"})


ROUTES: list[tuple[str, str, Callable[..., Response]]] = [
    ("GET", r"/books", list_books),
    ("POST", r"/books", add_book),
    ("GET", r"/books/(\d+)", get_book),
]


def handle(request: Request) -> Response:
    """Find the route."""
    allowed = []
    for method, pattern, answer in ROUTES:
        if match := re.fullmatch(pattern, request.path):
            if method == request.method:
                return answer(request, *match.groups())
            allowed.append(method)
    if allowed:
        return Response.json({"error": "method not allowed"}, 405, {"allow": ", ".join(allowed)})
    return problem(404, f"there is nothing at {request.path}")


def problem(status: int, message: str) -> Response:
    """An error as JSON."""
    return Response.json({"error": message}, status)
