"""The node's log on stderr: structlog for the control plane, the core's own lines beside it."""

from __future__ import annotations

import logging
import os
import sys

import structlog

from limes import _native

LEVELS = ("debug", "info", "warning", "error")


def configure(*, as_json: bool, level: str | None = None) -> None:
    """Set up logging for this process.

    Args:
        as_json: one JSON object a line, rather than text for people.
        level: the lowest level that is written; None is ``LIMES_LOG``, or else ``warning``.
    """
    chosen = (level or os.environ.get("LIMES_LOG") or "warning").lower()
    if chosen not in LEVELS:
        chosen = "warning"
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[chosen.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    _native.start_log(chosen, as_json=as_json)
