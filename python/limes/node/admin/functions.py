"""Routes that say which functions there are, and change that."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Request, Response
from starlette.requests import ClientDisconnect

from limes.errors import InvalidArgument
from limes.node.admin.schemas import (
    DeployAnswer,
    FunctionDetails,
    FunctionList,
    RemoveAnswer,
    RollbackOrder,
    function_details,
    function_view,
    path_of,
)
from limes.node.admin.state import AdminState, State
from limes.node.blobs import MAX_COMPONENT, Upload
from limes.node.deployments import Deployed
from limes.node.registry import Entry
from limes.node.stats import read

router = APIRouter(prefix="/functions", tags=["functions"])

_WRITE_SIZE = 1 << 20
_COMPONENT_BODY = {
    "requestBody": {
        "required": True,
        "description": f"The component, a wasip1 module, or wat text; at most {MAX_COMPONENT} bytes.",
        "content": {"application/wasm": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.put("/{name}", openapi_extra=_COMPONENT_BODY, responses={201: {"model": DeployAnswer}})
async def deploy(
    name: str,
    request: Request,
    response: Response,
    state: State,
    limes_config: Annotated[
        str | None,
        Header(description="JSON: `sandbox`, `compile`, `hosts`, `limits`, `grants`; each has a default."),
    ] = None,
) -> DeployAnswer:
    """Deploy a component as the new current revision of a function.

    No request fails in between: each sees the old revision or the new one. 201 when the function is new.
    """
    state.check_accepting()
    settings = _read_settings(limes_config)
    with state.blobs.receive() as upload:
        await _receive(request, upload)
        if upload.size == 0:
            raise InvalidArgument(
                "the request has no body; send the component's bytes as the body", operation="deploy"
            )
        blob = await asyncio.to_thread(state.blobs.keep, upload)
        deployed = await state.change(name, lambda: state.deployments.deploy(name, blob, settings))
    response.status_code = 201 if deployed.created else 200
    return _deploy_answer(state, deployed)


def _read_settings(config: str | None) -> Any:
    if not config:
        return {}
    try:
        return json.loads(config)
    except ValueError as error:
        raise InvalidArgument(
            f"the header Limes-Config is not JSON: {error}; write it as one JSON object in ASCII",
            operation="deploy",
        ) from None


async def _receive(request: Request, upload: Upload) -> None:
    # Chunks are small: one hand-over to a thread for a megabyte of them, so that no disk holds up the event
    # loop.
    waiting = bytearray()
    try:
        async for chunk in request.stream():
            waiting += chunk
            if len(waiting) >= _WRITE_SIZE:
                await asyncio.to_thread(upload.write, bytes(waiting))
                waiting.clear()
    except ClientDisconnect:
        raise InvalidArgument(
            "the client went away before the whole component came", operation="deploy"
        ) from None
    await asyncio.to_thread(upload.write, bytes(waiting))


@router.get("")
def list_functions(state: State) -> FunctionList:
    """List the functions."""
    counters = read(state.node)["functions"]
    return FunctionList(
        functions=[
            function_view(entry, counters.get(entry.current.name), _error(state, entry))
            for entry in state.registry.entries()
        ]
    )


@router.get("/{name}")
def describe(name: str, state: State) -> FunctionDetails:
    """Describe a function: its settings, its kept revisions, its counters."""
    entry = state.registry.entry(name)
    counters = read(state.node)["functions"].get(name)
    return function_details(entry, state.registry.revisions(name), counters, _error(state, entry))


def _error(state: AdminState, entry: Entry) -> str | None:
    error = state.deployments.broken(entry.current)
    return str(error) if error else None


@router.patch("/{name}")
async def update(
    name: str,
    state: State,
    patch: Annotated[
        dict[str, Any],
        Body(
            description="A JSON merge patch (RFC 7396) of `hosts`, `limits`, `grants`; null is the default.",
            examples=[{"limits": {"memory": "64MiB"}, "grants": {"env": {"LEVEL": "debug"}}}],
        ),
    ],
) -> DeployAnswer:
    """Change a function's settings: a new revision with the same bytes."""
    state.check_accepting()
    return _deploy_answer(state, await state.change(name, lambda: state.deployments.update(name, patch)))


@router.post("/{name}/rollback")
async def rollback(name: str, state: State, order: RollbackOrder | None = None) -> DeployAnswer:
    """Make an earlier revision current again."""
    state.check_accepting()
    to = order.to if order else None
    return _deploy_answer(state, await state.change(name, lambda: state.deployments.rollback(name, to)))


@router.delete("/{name}")
async def remove(name: str, state: State) -> RemoveAnswer:
    """Remove a function and its revisions. What runs goes on to its end."""
    state.check_accepting()
    await state.change(name, lambda: state.deployments.remove(name))
    return RemoveAnswer(removed=name)


def _deploy_answer(state: AdminState, deployed: Deployed) -> DeployAnswer:
    revision = deployed.revision
    path = path_of(revision.name)
    return DeployAnswer(
        name=revision.name,
        revision=revision.revision,
        contract=revision.contract,
        digest=revision.digest,
        size=revision.size,
        path=path,
        url=f"http://{state.running.listen}{path}",
        created=deployed.created,
        timing=deployed.timing,
    )
