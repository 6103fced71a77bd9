"""`limes serve`: run a node."""

from dataclasses import asdict
from typing import Annotated

import typer

from limes.cli import options
from limes.cli.output import guarded, new_app, note, write_json
from limes.units import parse_duration, parse_size

app = new_app()


@app.command()
@guarded
def serve(
    home: options.HomeDir = None,
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Where functions are served.")
    ] = "127.0.0.1:8080",
    admin: Annotated[
        str, typer.Option("--admin", metavar="HOST:PORT", help="Where the admin API is.")
    ] = "127.0.0.1:8081",
    threads: Annotated[int, typer.Option("--threads", min=0, help="Server threads; 0 is one a core.")] = 0,
    busy_poll_us: Annotated[
        int,
        typer.Option(
            "--busy-poll-us",
            min=0,
            max=10_000,
            metavar="MICROSECONDS",
            help="How long a server thread polls for its next request before it sleeps, where the last one came as quickly.",
        ),
    ] = 100,
    grace: Annotated[
        str,
        typer.Option("--grace", metavar="DURATION", help="How long a shutdown waits for requests that run."),
    ] = "30s",
    cache_size: Annotated[
        str, typer.Option("--cache-size", metavar="SIZE", help="What the compile cache may hold.")
    ] = "10GiB",
    slots: Annotated[
        int | None, typer.Option("--slots", min=1, help="Instances alive at once in the node.")
    ] = None,
    keep: Annotated[int, typer.Option("--keep", min=1, help="Revisions to keep of each function.")] = 10,
    log: Annotated[
        str | None,
        typer.Option(
            "--log",
            envvar="LIMES_LOG",
            metavar="LEVEL",
            help="debug, info, warning or error. Default: warning.",
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Serve functions over HTTP, and the admin API that deploys them.

    One line on stdout says where it listens. SIGTERM or Ctrl-C lets requests that run finish; a second one
    does not.
    """
    from limes.node import lifecycle
    from limes.node import log as logging
    from limes.node.home import Home

    logging.configure(as_json=as_json, level=log)
    settings = lifecycle.Settings(
        home=Home(home),
        listen=listen,
        admin=admin,
        threads=threads,
        busy_poll_us=busy_poll_us,
        grace_ms=options.quantity(parse_duration, grace, "--grace"),
        cache_bytes=options.quantity(parse_size, cache_size, "--cache-size"),
        slots=slots,
        keep=keep,
    )

    def on_ready(ready: lifecycle.Ready) -> None:
        running = ready.running
        if as_json:
            write_json(
                {
                    **asdict(running),
                    "home": str(ready.home),
                    "functions": ready.functions,
                    "broken": ready.broken,
                }
            )
        else:
            print(
                f"serving {ready.functions} functions on http://{running.listen}, "
                f"admin API on http://{running.admin}, home {ready.home}",
                flush=True,
            )
        for name in ready.broken:
            note(f"warning: the function '{name}' is broken; `limes describe {name}` says why")

    drained = lifecycle.serve(settings, on_ready)
    if drained.stopped:
        note(f"stopped {drained.stopped} requests that had not finished within the grace period")
