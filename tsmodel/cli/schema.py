"""`tsmodel schema`: maintains the lock file of models."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from tsmodel.cli.plain import Parser

__all__ = ["parser", "run"]

_DEFAULT_LOCK = "schema.lock"


def parser() -> argparse.ArgumentParser:
    """The parser for the command's arguments."""
    parser = Parser(
        prog="tsmodel schema",
        description="Keeps a lock file with the binary layout of models, and reports what a changed model means for stored "
        "records.",
        epilog="Example: tsmodel schema freeze meters:Reading --lock schema.lock",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    for name, run, text in (
        ("freeze", _freeze, "write the lock file"),
        ("check", _check, "report changes; the exit status is 1 if one is not allowed"),
    ):
        action = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        action.add_argument(
            "models", nargs="+", metavar="MODULE[:MODEL]", help="a model, or all models that a module defines"
        )
        action.add_argument("--lock", metavar="PATH", default=_DEFAULT_LOCK, help="the lock file (default: %(default)s)")
        action.set_defaults(run=run)
        if name == "check":
            action.add_argument(
                "--allow",
                choices=["nothing", "compatible", "readable-with-upgrade"],
                default="nothing",
                help="allow changes up to this level (default: %(default)s)",
            )
    return parser


def run(arguments: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    options = parser().parse_args(arguments)
    status: int = options.run(options)
    return status


def _freeze(options: argparse.Namespace) -> int:
    from tsmodel.cli.models import models_of
    from tsmodel.schema import freeze

    models = models_of(options.models)
    freeze(models, options.lock)
    print(f"froze {', '.join(model.__name__ for model in models)} to {options.lock}")
    return 0


def _check(options: argparse.Namespace) -> int:
    from tsmodel.cli.models import models_of
    from tsmodel.schema import check

    changes = check(models_of(options.models), options.lock)
    print(changes)
    return int(bool(changes if options.allow == "nothing" else changes.above(options.allow)))
