"""The `tsmodel` command, also `python -m tsmodel`.

Rules kept here:

* `tsmodel --help` imports no libraries and no other part of tsmodel. Each command imports what it needs when it runs.
* Standard output is for results, standard error for everything else. An error is one line that says what to do; `--debug`
  adds the traceback. `commands.EXIT` lists the exit statuses.
* An argument that is not valid is a `UsageError`, wherever that turns out.
* `serve`, `schema` and `codegen` need only tsmodel. The other commands need the extra `cli`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from typing import Final

from tsmodel.cli.commands import COMMANDS, COMPLETE

__all__ = ["main"]

_INSTALL: Final = "pip install 'tstorage-model[cli]'"
_COMPLETION: Final = ("--install-completion", "--show-completion")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit status.

    Args:
        arguments: the command line without the program's name; None for that of the process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    is_debug = _taken(given, "--debug")
    try:
        status = _run(given)
        sys.stdout.flush()
    except SystemExit as end:  # how argparse ends
        if end.code:
            raise
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if is_debug:
            raise
        return _failed(error)
    return status


def _run(given: list[str]) -> int:
    name = given[0] if given else "--help"
    if COMPLETE in os.environ or name in _COMPLETION:
        return _typer(given)
    if name in ("--help", "-h", "help"):
        if len(given) > 1 and name == "help":
            return _run([given[1], "--help"])
        print(_help())
        return 0 if given else 2
    if name == "--version":
        print(f"tsmodel {sys.modules['tsmodel'].__version__}")
        return 0
    command = COMMANDS.get(name)
    if command is None:
        print(f"tsmodel: there is no command {name!r}{_nearest(name)} (tsmodel --help lists them)", file=sys.stderr)
        return 2
    if command.is_plain:
        status: int = getattr(importlib.import_module(f"tsmodel.cli.{command.module}"), f"{name}_")(given[1:])
        return status
    return _typer(given)


def _typer(given: list[str]) -> int:
    """Runs a command that needs the extra `cli`."""
    try:
        import typer  # noqa: F401
    except ImportError:
        print(f"tsmodel: {' '.join(given[:1])} needs the extra cli: {_INSTALL}", file=sys.stderr)
        return 1
    from tsmodel.cli.typer_app import run

    return run(given)


def _taken(given: list[str], flag: str) -> bool:
    """Whether a flag is among the options; removes it."""
    end = given.index("--") if "--" in given else len(given)
    if flag not in given[:end]:
        return False
    given.remove(flag)
    return True


def _help() -> str:
    lines = ["Usage: tsmodel COMMAND ...", "", "Typed models for TStorage, the distributed time-series database."]
    group = ""
    for name, command in COMMANDS.items():
        if command.group != group:
            group = command.group
            lines += ["", f"{group}:"]
        lines.append(f"  {name:<9} {command.summary}")
    lines += [
        "",
        "Options:",
        "  --help     Show this help, or with a command its arguments and an example.",
        "  --version  Show the version.",
        "  --debug    With any command: show the traceback of an error.",
        "  --install-completion, --show-completion",
        "             Complete commands and options in this shell.",
    ]
    if importlib.util.find_spec("typer") is None:
        plain = ", ".join(name for name, command in COMMANDS.items() if command.is_plain)
        lines += ["", f"Only {plain} work yet. The others need the extra cli:", f"  {_INSTALL}"]
    return "\n".join(lines)


def _nearest(name: str) -> str:
    from difflib import get_close_matches

    found = get_close_matches(name, COMMANDS, 1)
    return f"; did you mean {found[0]}?" if found else ""


def _failed(error: Exception) -> int:
    """Prints the error; returns the exit status."""
    from tsmodel.cli.failures import closed_pipe, told

    if closed_pipe(error):
        return 141
    text, status = told(error)
    print(f"tsmodel: {text}", file=sys.stderr)
    return status
