"""`limes run`: load a component and call it, here and now."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from limes.cli import options
from limes.cli.answer import read_data, read_headers, write_answer
from limes.cli.output import guarded, new_app, progress
from limes.errors import InvalidArgument, from_os
from limes.invocation import Request, Response, Result
from limes.runtime import Function, Runtime

app = new_app()

_COMMANDS = ("cli02", "cli03")


@app.command(context_settings={"allow_interspersed_args": False})
@guarded
@options.takes_settings
def run(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help=options.COMPONENT_HELP),
    ],
    args: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARGS", help="For the function; everything after FILE is."),
    ] = None,
    method: options.Method = None,
    path: options.UrlPath = "/",
    header: options.HeaderList = None,
    data: options.Data = None,
    include: options.Include = False,
    jit: Annotated[bool, typer.Option("--jit", help="Compile in memory; use no cache.")] = False,
    compile: options.Compile = None,
    timing: Annotated[bool, typer.Option("--timing", help="What each phase took, on stderr.")] = False,
    sandbox: options.Sandbox = None,
    vmm: options.Vmm = None,
    accelerator: options.Accelerator = None,
    vm_mode: options.VmMode = None,
    cache_dir: options.CacheDir = None,
    as_json: options.Json = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Run a component. Options come before FILE; what comes after it is the function's.

    A folder with source is built first.

    A component:run function gets ARGS joined by blanks. A wasi:cli command gets ARGS, stdin, stdout and
    stderr, and its exit code becomes that of this command. An HTTP function gets the request that --method,
    --path, --header and --data describe. Nothing but that is granted without an option.
    """
    arguments = args or []
    runtime = Runtime(cache_dir, jit=jit)
    machine = options.sandbox_settings(sandbox, vmm, vm_mode, accelerator)
    component, chosen = _component(file, settings, machine, as_json=as_json)
    if compile is not None:
        chosen["compile"] = compile
    with progress(f"compiling {component.name}"):
        function, loading = _load(runtime, component, chosen, inherit=not as_json and data is None, jit=jit)
    answer: Result[str] | Result[bytes] | Response
    if function.contract == "run":
        _refuse_misplaced(arguments)
        text = " ".join(arguments) if arguments or data is None else read_data(data).decode(errors="strict")
        answer = function.run(text)
    elif function.contract in _COMMANDS:
        stdin = read_data("-" if data is None and as_json and not sys.stdin.isatty() else data)
        answer = function.command(arguments, stdin)
    else:
        _refuse_misplaced(arguments)
        if arguments:
            raise InvalidArgument(
                f"an HTTP function takes no arguments, found {' '.join(arguments)}; "
                "describe the request with --method, --path, --header and --data, before FILE",
                operation="run",
            )
        verb = method or ("GET" if data is None else "POST")
        answer = function.http(Request(verb, path, read_headers(header), read_data(data)))
    cost = replace(answer.timing, compile=loading.compile, load=loading.load, cache=loading.cache)
    code = write_answer(
        replace(answer, timing=cost).to_json(), as_json=as_json, include=include, timing=timing
    )
    if code:
        raise typer.Exit(code)


def _component(
    file: str, settings: dict[str, Any], sandbox: dict[str, Any], *, as_json: bool
) -> tuple[Path, dict[str, Any]]:
    """The component's file, and what `Runtime.load` gets: options over what a manifest says."""
    path = Path(file)
    if not path.is_dir() and path.suffix != ".toml":
        return path, {**settings, **sandbox}
    from limes.cli.build import build_first
    from limes.manifest import MANIFEST_NAME, Manifest

    made = build_first(path, quiet=as_json)
    if made and path.is_dir() and not (path / MANIFEST_NAME).exists():
        return made[1].component, {**settings, **sandbox}
    manifest = Manifest.read(path)
    chosen = {**manifest.limits.model_dump(), **manifest.grants.model_dump(), "compile": manifest.compile}
    machine = {**manifest.microvm.model_dump(), **sandbox.get("microvm", {})}
    chosen |= {"sandbox": sandbox.get("sandbox", manifest.sandbox), "microvm": machine}
    return manifest.component, {**chosen, **settings}


def _load(
    runtime: Runtime, component: Path, settings: dict[str, Any], *, inherit: bool, jit: bool
) -> tuple[Function, Any]:
    """Load a component; a command gets this process's stdio if `inherit` says so.

    Only a command does: the stdout of this process is for the answer, and of the others it is not the answer.
    The contract is known once the component is loaded, and loading again from the cache costs next to
    nothing; without a cache the component is looked at first.
    """
    if jit and inherit:
        from limes import _native

        try:
            found = json.loads(_native.inspect(component.read_bytes()))
        except OSError as error:
            raise from_os(error, "load", f"cannot read '{component}'") from error
        function = runtime.load(component, **{**settings, "stdio": found["contract"] in _COMMANDS})
        return function, function.timing
    function = runtime.load(component, **settings)
    timing = function.timing
    if inherit and function.contract in _COMMANDS:
        function = runtime.load(component, **{**settings, "stdio": True})
    return function, timing


def _refuse_misplaced(arguments: list[str]) -> None:
    """An option of `limes run` after FILE is a slip where the function takes no options: say so."""
    known = {"--json", "--timing", "--jit", "--method", "--path", "--header", "--data", "--include"}
    known |= {"--memory", "--timeout", "--cpu", "--env", "--dir", "--http", "--tcp", "--udp", "--dns"}
    for argument in arguments:
        if argument == "--":
            return
        if argument.partition("=")[0] in known:
            raise InvalidArgument(
                f"'{argument}' after FILE is an argument of the function; put it before FILE, "
                f"or write `--` before it if the function is to get it",
                operation="run",
            )
