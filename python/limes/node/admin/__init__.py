"""The admin API: HTTP and JSON under ``/v1``, for the command line and for scripts."""

from limes.node.admin.app import create_app
from limes.node.admin.state import AdminState

__all__ = ["AdminState", "create_app"]
