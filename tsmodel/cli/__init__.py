"""The `tsmodel` command, also `python -m tsmodel`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tsmodel.cli.codegen import add_to as add_codegen
from tsmodel.cli.schema import add_to as add_schema
from tsmodel.cli.serve import add_to as add_serve
from tsmodel.errors import TSModelError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="tsmodel", description="Typed models for TStorage.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_serve(commands)
    add_schema(commands)
    add_codegen(commands)
    options = parser.parse_args(arguments)
    try:
        status: int = options.run(options)
    except TSModelError as error:
        print(f"tsmodel: {error}", file=sys.stderr)
        return 1
    return status
