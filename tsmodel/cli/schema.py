"""`tsmodel schema`: the lock file of models, from a shell."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tsmodel.cli.models import models_of
from tsmodel.schema import check, freeze

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_to"]

_DEFAULT_LOCK = "schema.lock"


def add_to(commands: Commands) -> None:
    """Adds the command to a parser."""
    parser = commands.add_parser(
        "schema",
        help="keep a lock file of models, and tell what changed",
        description="Keeps a lock file that says what the bytes of records are, and tells what becomes of stored records "
        "when models change.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    for name, run, text in (
        ("freeze", _freeze, "writes the lock file anew"),
        ("check", _check, "tells what changed; the exit status is 1 when anything did that is not allowed"),
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
                help="changes up to this are no failure (default: %(default)s)",
            )


def _freeze(options: argparse.Namespace) -> int:
    models = models_of(options.models)
    freeze(models, options.lock)
    print(f"froze {', '.join(model.__name__ for model in models)} to {options.lock}")
    return 0


def _check(options: argparse.Namespace) -> int:
    changes = check(models_of(options.models), options.lock)
    print(changes)
    return int(bool(changes if options.allow == "nothing" else changes.above(options.allow)))
