"""Where each key of a TOML document stands, so that errors can point at it.

``tomllib`` gives values without positions. This scanner gives positions without values: it walks a document
that ``tomllib`` has already accepted, and so needs to know only where strings, brackets and keys begin and
end.
"""

from __future__ import annotations

import re
from typing import NamedTuple

Path = tuple[str | int, ...]
"""From the document to a value: table keys and array indexes."""


class Position(NamedTuple):
    """A place in a text; both count from 1, columns in characters."""

    line: int
    column: int


_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_INLINE_BLANK = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]+")


def key_positions(text: str) -> dict[Path, Position]:
    """The position of every key, table header and array element of a valid TOML document.

    A table that is opened several times (``[a.b]`` then ``[a.c]``) keeps its first position.
    """
    return _Scanner(text).document()


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: dict[Path, Position] = {}
        self.array_lengths: dict[Path, int] = {}

    def document(self) -> dict[Path, Position]:
        table: Path = ()
        while self._skip(_BLANK) < len(self.text):
            if self.text.startswith("[[", self.at):
                table = self._header(2)
            elif self.text.startswith("[", self.at):
                table = self._header(1)
            else:
                self._pair(table)
        return self.found

    def _skip(self, pattern: re.Pattern[str]) -> int:
        if match := pattern.match(self.text, self.at):
            self.at = match.end()
        return self.at

    def _position(self, offset: int) -> Position:
        line_start = self.text.rfind("\n", 0, offset) + 1
        return Position(self.text.count("\n", 0, offset) + 1, offset - line_start + 1)

    def _header(self, brackets: int) -> Path:
        self.at += brackets
        path: Path = ()
        keys = self._dotted_key()
        for index, (key, offset) in enumerate(keys):
            path = (*path, key)
            self.found.setdefault(path, self._position(offset))
            last = index == len(keys) - 1
            if last and brackets == 2:
                element = self.array_lengths.get(path, 0)
                self.array_lengths[path] = element + 1
                path = (*path, element)
                self.found[path] = self._position(offset)
            elif path in self.array_lengths:
                path = (*path, self.array_lengths[path] - 1)
        self.at += brackets
        return path

    def _dotted_key(self) -> list[tuple[str, int]]:
        keys = []
        while True:
            start = self._skip(_INLINE_BLANK)
            match = _STRING.match(self.text, start) or _BARE_KEY.match(self.text, start)
            if match is None:
                raise ValueError(f"no key at {self._position(start)}: the document is not valid TOML")
            self.at = match.end()
            keys.append((_unquote(match[0]), start))
            if not self.text.startswith(".", self._skip(_INLINE_BLANK)):
                return keys
            self.at += 1

    def _pair(self, table: Path) -> None:
        path = table
        for key, offset in self._dotted_key():
            path = (*path, key)
            self.found.setdefault(path, self._position(offset))
        self.at += 1  # the equals sign
        self._skip(_INLINE_BLANK)
        self._value(path)

    def _value(self, path: Path) -> None:
        opening = self.text[self.at]
        if opening == "[":
            self._enclosed("]", path)
        elif opening == "{":
            self._enclosed("}", path)
        elif match := _STRING.match(self.text, self.at):
            self.at = match.end()
        else:
            self._skip(_SCALAR)

    def _enclosed(self, closing: str, path: Path) -> None:
        self.at += 1
        element = 0
        while not self.text.startswith(closing, self._skip(_BLANK)):
            if self.text[self.at] == ",":
                self.at += 1
            elif closing == "}":
                self._pair(path)
            else:
                self.found[(*path, element)] = self._position(self.at)
                self._value((*path, element))
                element += 1
        self.at += 1


def _unquote(key: str) -> str:
    if key.startswith("'"):
        return key[1:-1]
    if key.startswith('"'):
        import tomllib

        return next(iter(tomllib.loads(f"{key} = 0")))
    return key
