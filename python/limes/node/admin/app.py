"""The application: who may call it, what an error looks like, and the routes about the node itself."""

from __future__ import annotations

import json
import secrets
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from limes import _native
from limes.errors import InternalError, InvalidArgument, LimesError, NotFound, Overloaded, Unauthorized
from limes.node.admin import functions, invocations
from limes.node.admin.schemas import CacheView, ErrorAnswer, NodeView
from limes.node.admin.state import AdminState, State
from limes.node.metrics import CONTENT_TYPE_LATEST, Metrics

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""What needs no token: probes, which tell nothing."""

_log = structlog.get_logger("limes.admin")


def create_app(state: AdminState, token: str, home: str) -> FastAPI:
    """The admin API of one node.

    Args:
        state: the node.
        token: the bearer token that callers must know.
        home: the node's home, for `GET /v1/node`.
    """
    app = FastAPI(
        title="Limes admin API",
        description="Deploy, call and watch the functions of one node. Every path but /healthz and /readyz "
        "needs the header `Authorization: Bearer TOKEN`; the file `token` in the node's home has the token.",
        version=_native.__version__,
        redoc_url=None,
        responses={"default": {"model": ErrorAnswer, "description": "What failed."}},
    )
    app.state.admin = state
    app.add_middleware(_BearerToken, token=token)
    app.add_exception_handler(LimesError, _on_limes_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_fault)
    app.include_router(functions.router, prefix="/v1")
    app.include_router(invocations.router, prefix="/v1")
    _add_node_routes(app, Metrics(state.node, state.engine), home)
    return app


def _add_node_routes(app: FastAPI, metrics: Metrics, home: str) -> None:
    @app.get("/healthz", tags=["node"])
    async def healthz() -> dict[str, str]:
        """Whether the process answers."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["node"])
    async def readyz(state: State, response: Response) -> dict[str, str]:
        """Whether everything deployed is served, and the node does not shut down: 200, or else 503."""
        if state.ready and not state.stopping.is_set():
            return {"status": "ready"}
        response.status_code = 503
        return {"status": "draining" if state.stopping.is_set() else "starting"}

    @app.get("/metrics", tags=["node"], response_class=Response)
    def prometheus() -> Response:
        """Metrics in the Prometheus text format."""
        return Response(metrics.render(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/node", tags=["node"])
    def node(state: State) -> NodeView:
        """The node itself: versions, addresses, process."""
        return NodeView(
            version=_native.__version__,
            wasmtime=_native.WASMTIME_VERSION,
            pid=state.running.pid,
            listen=state.running.listen,
            admin=state.running.admin,
            home=home,
            functions=len(state.registry.entries()),
            draining=state.stopping.is_set(),
        )

    @app.get("/v1/cache", tags=["node"])
    def cache(state: State) -> CacheView:
        """What the node's compile cache holds."""
        return CacheView(**json.loads(state.engine.cache_info()))


class _BearerToken:
    """Lets nothing through without the token, unknown paths included."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS or self._allowed(scope):
            await self._app(scope, receive, send)
            return
        error = Unauthorized(
            "the bearer token is missing or wrong; send `Authorization: Bearer TOKEN` with the token from "
            "the file `token` in the node's home",
            operation="admin",
        )
        response = JSONResponse(error.to_json(), error.http_status, {"WWW-Authenticate": "Bearer"})
        await response(scope, receive, send)

    def _allowed(self, scope: Scope) -> bool:
        given = [value for key, value in scope["headers"] if key == b"authorization"]
        if len(given) != 1:
            return False
        scheme, _, token = given[0].partition(b" ")
        return secrets.compare_digest(scheme.lower() + b" " + token.strip(), self._expected)


def _answer(error: LimesError, status: int | None = None) -> JSONResponse:
    headers = {"Retry-After": "1"} if isinstance(error, Overloaded) else None
    return JSONResponse(error.to_json(), status or error.http_status, headers)


async def _on_limes_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, LimesError)  # registered for it
    return _answer(error)


async def _on_invalid_request(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # registered for it
    mistakes = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
    return _answer(InvalidArgument(f"the request is not as described: {mistakes}", operation="admin"))


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # registered for it
    path = request.url.path
    known: LimesError
    if error.status_code == 404:
        known = NotFound(f"there is nothing at '{path}'; /docs shows what there is", operation="admin")
    elif error.status_code < 500:
        known = InvalidArgument(f"{request.method} '{path}': {error.detail}", operation="admin")
    else:
        known = InternalError(str(error.detail), operation="admin")
    return _answer(known, error.status_code)


async def _on_fault(request: Request, error: Exception) -> JSONResponse:
    _log.error("fault", method=request.method, path=request.url.path, exc_info=error)
    context: dict[str, Any] = {"exception": type(error).__name__}
    return _answer(InternalError("a fault in the admin API; its log has the details", context=context))
