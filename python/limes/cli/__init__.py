"""The command line: one module per command, loaded when it is the one."""

import sys


def main() -> None:
    """Run the command line with the arguments of this process, and exit."""
    try:
        from limes.cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
