"""Sizes and durations as people write them: ``64MiB``, ``10MB``, ``500ms``, ``5s``."""

from __future__ import annotations

import re
from decimal import Decimal

_SIZES = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 1 << 10,
    "MIB": 1 << 20,
    "GIB": 1 << 30,
    "TIB": 1 << 40,
}
_DURATIONS = {"": 1, "MS": 1, "S": 1_000, "M": 60_000, "MIN": 60_000, "H": 3_600_000}
_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", re.ASCII)

SIZE_FORMS = "a number of bytes, or a string such as '64MiB', '10MB', '512KiB', '2GiB'"
DURATION_FORMS = "a number of milliseconds, or a string such as '500ms', '5s', '2m', '1h'"


def parse_size(value: object) -> int:
    """Bytes from ``67108864``, ``"64MiB"`` or ``"10MB"``.

    Raises:
        ValueError: it is neither; the message says what is accepted.
    """
    return _parse(value, _SIZES, SIZE_FORMS, "a size")


def parse_duration(value: object) -> int:
    """Milliseconds from ``500``, ``"500ms"``, ``"5s"``, ``"2m"`` or ``"1h"``.

    Raises:
        ValueError: it is neither; the message says what is accepted.
    """
    return _parse(value, _DURATIONS, DURATION_FORMS, "a duration")


def _parse(value: object, units: dict[str, int], forms: str, what: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (match := _QUANTITY.fullmatch(value)):
        factor = units.get(match[2].upper())
        if factor is not None:
            amount = Decimal(match[1]) * factor
            if amount == amount.to_integral_value():
                return int(amount)
    raise ValueError(f"{value!r} is not {what}; write {forms}")


def format_size(size: int) -> str:
    """``67108864`` as ``64 MiB``; one decimal where it is not even."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if amount == int(amount) else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def format_nanoseconds(nanoseconds: int) -> str:
    """``1234567`` as ``1.23 ms``."""
    amount = float(nanoseconds)
    for unit in ("ns", "us", "ms"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "ns" else f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} s"
