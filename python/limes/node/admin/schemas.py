"""The JSON of the admin API."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from limes.invocation import decode_output
from limes.node.registry import Entry, Revision
from limes.node.stats import FunctionStats


class ErrorBody(BaseModel):
    """What failed."""

    kind: str = Field(description="A row of the error table, such as `not_found`.")
    message: str = Field(description="What was asked, what was found, what to do.")
    operation: str
    retryable: bool
    context: dict[str, str]


class ErrorAnswer(BaseModel):
    """The answer to whatever fails, here and on the data plane."""

    error: ErrorBody


class RevisionView(BaseModel):
    """One kept revision."""

    revision: int
    current: bool
    contract: str
    digest: str = Field(description="SHA-256 of the component.")
    size: int = Field(description="Bytes of the component.")
    created: datetime


class FunctionView(BaseModel):
    """One function, by its current revision."""

    name: str
    revision: int
    contract: str = Field(description="run, http02, http03, cli02 or cli03.")
    state: Literal["loaded", "idle", "broken"] = Field(
        description="idle: loaded at its next request. broken: its bytes are not what was deployed."
    )
    error: str | None = Field(None, description="Why it is broken.")
    digest: str
    size: int
    path: str = Field(description="Where the data plane serves it.")
    created: datetime
    updated: datetime
    running: int = 0
    queued: int = 0
    requests: dict[str, int] = Field(default_factory=dict, description="Since the start, by outcome.")


class FunctionList(BaseModel):
    """All functions, by name."""

    functions: list[FunctionView]


class FunctionDetails(FunctionView):
    """One function with its settings and kept revisions."""

    sandbox: str
    compile: str = Field("optimized", description="optimized, or tiered.")
    tier: str | None = Field(
        None, description="Whose code the next request runs: baseline or optimized; null: idle."
    )
    hosts: list[str]
    limits: dict[str, int]
    grants: dict[str, Any]
    revisions: list[RevisionView]
    stats: dict[str, Any] = Field(description="The data plane's counters.")


class DeployAnswer(BaseModel):
    """The function after a change, and what loading it cost."""

    name: str
    revision: int
    contract: str
    digest: str
    size: int
    path: str
    url: str
    created: bool = Field(description="Whether the function is new.")
    timing: dict[str, Any] = Field(
        description="compile and load in nanoseconds; cache: hit, miss, unused; tier: baseline, optimized."
    )


class RollbackOrder(BaseModel):
    """Which revision to return to."""

    model_config = ConfigDict(extra="forbid")
    to: int | None = Field(None, description="By default the newest one older than the current.")


class RemoveAnswer(BaseModel):
    """What was removed."""

    removed: str


class InvokeOrder(BaseModel):
    """What to call a function with; which fields matter follows its contract."""

    model_config = ConfigDict(extra="forbid")
    args: list[str] = Field(default_factory=list, description="For run (joined by blanks) and commands.")
    method: str = "GET"
    path: str = "/"
    headers: list[tuple[str, str]] = Field(default_factory=list)
    body: str = Field("", description="The request body, or stdin of a command.")
    body_encoding: Literal["utf-8", "base64"] = "utf-8"
    timeout: int | str | None = Field(
        None, description="Milliseconds, or such as '5s'; by default the limit."
    )

    def body_bytes(self) -> bytes:
        """The body as bytes."""
        return decode_output(self.body, self.body_encoding)


class InvokeAnswer(BaseModel):
    """What a function answered."""

    kind: Literal["run", "http", "command"]
    output: str = Field(description="The string of run, the body of a response, or stdout of a command.")
    output_encoding: Literal["utf-8", "base64"]
    status: int | None = None
    headers: list[tuple[str, str]] | None = None
    exit_code: int | None = None
    stdout: str
    stderr: str
    timing: dict[str, Any]


class InvocationView(BaseModel):
    """An invocation that runs."""

    id: int
    function: str
    revision: int
    age_ms: int
    client: str | None


class InvocationList(BaseModel):
    """What runs now."""

    invocations: list[InvocationView]


class StopAnswer(BaseModel):
    """What was stopped."""

    stopped: int


class LogLine(BaseModel):
    """A line a function wrote, or one about it."""

    seq: int = Field(description="Counts up; ask for what comes after it.")
    time_ms: int = Field(description="Milliseconds since 1970.")
    invocation: int
    stream: str = Field(description="stdout, stderr or system.")
    text: str


class LogLines(BaseModel):
    """The last lines of a function."""

    lines: list[LogLine]


class CacheView(BaseModel):
    """The node's compile cache."""

    dir: str | None
    entries: int
    bytes: int
    max_bytes: int


class NodeView(BaseModel):
    """The node itself."""

    version: str
    wasmtime: str
    pid: int
    listen: str
    admin: str
    home: str
    functions: int
    draining: bool


def moment(milliseconds: int) -> datetime:
    """Milliseconds since 1970 as a UTC time."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def path_of(name: str) -> str:
    """Where the data plane serves a function."""
    return f"/function/{name}"


def function_view(entry: Entry, counters: FunctionStats | None, error: str | None) -> FunctionView:
    """A function for the list; `counters` are None when the data plane does not have it yet."""
    current = entry.current
    state: Literal["loaded", "idle"] = "loaded" if counters and counters["loaded"] else "idle"
    return FunctionView(
        name=current.name,
        revision=current.revision,
        contract=current.contract,
        state="broken" if error else state,
        error=error,
        digest=current.digest,
        size=current.size,
        path=path_of(current.name),
        created=moment(entry.created_ms),
        updated=moment(entry.updated_ms),
        running=counters["running"] if counters else 0,
        queued=counters["queued"] if counters else 0,
        requests=counters["requests"] if counters else {},
    )


def function_details(
    entry: Entry, revisions: list[Revision], counters: FunctionStats | None, error: str | None
) -> FunctionDetails:
    """A function with everything known of it."""
    current = entry.current
    return FunctionDetails(
        **function_view(entry, counters, error).model_dump(),
        **current.settings,
        tier=counters["tier"] if counters else None,
        revisions=[
            RevisionView(
                revision=revision.revision,
                current=revision.revision == current.revision,
                contract=revision.contract,
                digest=revision.digest,
                size=revision.size,
                created=moment(revision.created_ms),
            )
            for revision in revisions
        ],
        stats=dict(counters or {}),
    )
