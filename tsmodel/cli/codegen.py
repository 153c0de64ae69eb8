"""`tsmodel codegen`: writes the serializer of a model in another language."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tsmodel.cli.failures import UsageError
from tsmodel.cli.models import models_of
from tsmodel.cli.plain import Parser
from tsmodel.codegen import LANGUAGES, file_name, render

__all__ = ["parser", "run"]


def parser() -> argparse.ArgumentParser:
    """The parser for the command's arguments."""
    parser = Parser(
        prog="tsmodel codegen",
        description="Writes a model's payload type for the official client of another language.",
        epilog="Example: tsmodel codegen meters:Reading java -o src/",
    )
    parser.add_argument("model", metavar="MODULE:MODEL", help="the model")
    parser.add_argument("language", choices=LANGUAGES, help="the language")
    parser.add_argument(
        "-o", "--output", metavar="PATH", help="the file to write, or a directory for it (default: standard output)"
    )
    parser.add_argument("--namespace", metavar="NAME", help="the namespace of C++ code, such as acme::meters")
    return parser


def run(arguments: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    options = parser().parse_args(arguments)
    found = models_of([options.model])
    if len(found) > 1:
        names = ", ".join(f"{options.model}:{model.__name__}" for model in found)
        raise UsageError(f"{options.model} defines several models; choose one of {names}")
    source = render(found[0], options.language, namespace=options.namespace)
    if options.output is None:
        sys.stdout.write(source)
        return 0
    path = Path(options.output)
    if path.is_dir():
        path /= file_name(found[0], options.language)
    try:
        path.write_text(source, encoding="utf-8", newline="\n")
    except OSError as error:
        print(f"tsmodel: {path} cannot be written: {error}", file=sys.stderr)
        return 1
    return 0
