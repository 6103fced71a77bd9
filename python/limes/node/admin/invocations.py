"""Routes that call functions, watch them run, and stop them."""

from __future__ import annotations

import asyncio
import binascii
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from limes import _native
from limes.errors import InvalidArgument, LimesError, NotFound
from limes.invocation import read_any, settle
from limes.node.admin.schemas import (
    InvocationList,
    InvocationView,
    InvokeAnswer,
    InvokeOrder,
    LogLine,
    LogLines,
    StopAnswer,
)
from limes.node.admin.state import AdminState, State
from limes.units import parse_duration

router = APIRouter(tags=["invocations"])

MAX_LOG_LINES = 100_000
FOLLOW_INTERVAL = 0.2
"""Seconds between two looks at a log that is followed."""


@router.post("/functions/{name}/invoke")
async def invoke(name: str, order: InvokeOrder, request: Request, state: State) -> InvokeAnswer:
    """Call a function, through the same admission as the data plane.

    It is stopped when the client goes away.
    """
    state.check_accepting()
    broken = state.deployments.broken((await asyncio.to_thread(state.registry.entry, name)).current)
    if broken:
        raise broken
    try:
        timeout_ms = None if order.timeout is None else parse_duration(order.timeout)
        body = order.body_bytes()
        headers = [(key, value.encode("latin-1")) for key, value in order.headers]
    except binascii.Error as error:
        raise InvalidArgument(f"'body' is not base64: {error}", operation="invoke") from None
    except ValueError as error:
        raise InvalidArgument(str(error), operation="invoke") from None
    invocation = await asyncio.to_thread(
        state.node.invoke,
        name,
        args=order.args,
        method=order.method,
        path=order.path,
        headers=headers,
        body=body,
        timeout_ms=timeout_ms,
    )
    outcome = await _settle_while_connected(request, invocation)
    return InvokeAnswer(**read_any(outcome).to_json())


async def _settle_while_connected(request: Request, invocation: _native.Invocation) -> _native.Outcome:
    call = asyncio.ensure_future(settle(invocation))
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({call, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not call.done():
            invocation.stop()
        return await call
    finally:
        gone.cancel()
        if not call.done():
            call.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


@router.get("/invocations")
def list_invocations(state: State, function: str | None = None) -> InvocationList:
    """List what runs now, of one function or of all."""
    rows = [InvocationView(**row) for row in json.loads(state.node.running())]
    return InvocationList(invocations=[row for row in rows if function is None or row.function == function])


@router.delete("/invocations/{invocation}")
def stop(invocation: int, state: State) -> StopAnswer:
    """Stop a running invocation; whoever waits for it gets the error `stopped`."""
    if not state.node.stop(invocation):
        raise NotFound(
            f"no invocation {invocation} is running; `limes ps` shows which are",
            operation="stop",
            context={"invocation": str(invocation)},
        )
    return StopAnswer(stopped=invocation)


@router.get(
    "/functions/{name}/logs",
    response_model=LogLines,
    responses={200: {"content": {"application/x-ndjson": {}}}},
)
async def logs(
    name: str,
    state: State,
    after: Annotated[int, Query(ge=0, description="Only lines with a higher `seq`.")] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_LOG_LINES, description="At most the last so many.")] = 1000,
    follow: Annotated[bool, Query(description="Go on with what comes, one JSON line each.")] = False,
) -> Any:
    """What a function wrote to stdout and stderr, and what the node has to say of it.

    The oldest line comes first.
    """
    await asyncio.to_thread(state.registry.entry, name)
    lines = await asyncio.to_thread(_read_logs, state, name, after)
    if follow:
        return StreamingResponse(
            _follow(state, name, after, lines[-limit:]), media_type="application/x-ndjson"
        )
    return LogLines(lines=[LogLine(**line) for line in lines[-limit:]])


def _read_logs(state: AdminState, name: str, after: int) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = json.loads(state.node.logs(name, after=after, limit=MAX_LOG_LINES))
    return lines


async def _follow(
    state: AdminState, name: str, after: int, lines: list[dict[str, Any]]
) -> AsyncIterator[str]:
    while True:
        for line in lines:
            after = max(after, line["seq"])
            yield json.dumps(line) + "\n"
        with suppress(TimeoutError):
            await asyncio.wait_for(state.stopping.wait(), FOLLOW_INTERVAL)
            return
        try:
            lines = await asyncio.to_thread(_read_logs, state, name, after)
        except LimesError:
            return  # removed meanwhile: there will be no more
