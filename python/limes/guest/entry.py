"""The exports of each contract, in terms of the function's own names: what the main module is made of."""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from limes.guest import bindings
from limes.guest.client import read_all
from limes.guest.messages import Headers, Request, Response


def http(module: Any) -> Any:
    """``wasi:http/incoming-handler`` for a module with ``handle`` or ``app``."""
    handle = _handler(module)

    class IncomingHandler:
        def handle(self, request: Any, response_out: Any) -> None:
            _refresh()
            _answer(handle, _request(request), response_out)

    return IncomingHandler


def run(module: Any) -> Any:
    """``component:run/run`` for a module with ``run``."""

    class Run:
        def run(self, args: str) -> str:
            _refresh()
            answer = module.run(args)
            if not isinstance(answer, str):
                raise TypeError(f"run() must return a string, it returned {type(answer).__name__}")
            return answer

    return Run


def cli(module: Any) -> Any:
    """``wasi:cli/run`` for a module with ``main``."""
    takes_arguments = bool(inspect.signature(module.main).parameters)

    class Run:
        def run(self) -> None:
            _refresh()
            try:
                code = module.main(sys.argv[1:]) if takes_arguments else module.main()
            except SystemExit as stop:
                code = stop.code
                if isinstance(code, str):
                    print(code, file=sys.stderr)
                    code = 1
            except BaseException:
                traceback.print_exc()
                code = 1
            _exit(int(code or 0))

    return Run


def _refresh() -> None:
    """Give the instance its own environment and arguments, instead of those of the build."""
    sys.argv = bindings.environment.get_arguments() or [""]
    os.environ.clear()
    os.environ.update(bindings.environment.get_environment())


def _exit(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    if code:
        bindings.process.exit_with_code(code & 0xFF)


def _handler(module: Any) -> Callable[[Request], Any]:
    if hasattr(module, "handle"):
        handle: Callable[[Request], Any] = module.handle
        return handle
    from limes.guest import gateways

    return gateways.asgi(module.app) if gateways.is_asgi(module.app) else gateways.wsgi(module.app)


def _request(request: Any) -> Request:
    method = request.method()
    name = getattr(method, "value", None) or type(method).__name__.removeprefix("Method_").upper()
    fields = [(name, value.decode("latin-1")) for name, value in request.headers().entries()]
    if "host" not in dict(fields) and (authority := request.authority()):
        fields.append(("host", authority))

    def parts() -> Iterator[bytes]:
        with request.consume() as body, body.stream() as stream:
            yield from read_all(stream)

    return Request(name, request.path_with_query() or "/", Headers(fields), parts)


def _answer(handle: Callable[[Request], Any], request: Request, response_out: Any) -> None:
    try:
        response = handle(request)
        if not isinstance(response, Response):
            response = Response(response)
        parts = response.parts()
        whole = list(parts) if isinstance(response.body, bytes | str) else None
    except Exception:
        # The caller learns that it failed; why is for the log.
        traceback.print_exc()
        response = Response("the function failed; its log says why\n", 500)
        parts = response.parts()
        whole = list(parts)
    fields = [(name.lower(), value.encode("latin-1")) for name, value in response.headers]
    if whole is not None and "content-length" not in response.headers:
        fields.append(("content-length", str(sum(map(len, whole))).encode()))
    outgoing = bindings.http.OutgoingResponse(bindings.http.Fields.from_list(fields))
    outgoing.set_status_code(response.status)
    body = outgoing.body()
    bindings.http.ResponseOutparam.set(response_out, bindings.results.Ok(outgoing))
    with body.write() as stream:
        for part in whole if whole is not None else parts:
            for start in range(0, len(part), 4096):
                stream.blocking_write_and_flush(part[start : start + 4096])
    bindings.http.OutgoingBody.finish(body, None)
