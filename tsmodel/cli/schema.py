"""`tsmodel schema`: the lock file of models, from a shell."""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import TYPE_CHECKING, Any

from tsmodel.errors import SchemaError
from tsmodel.model import TSModel
from tsmodel.model.meta import SCHEMA
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
    models = _models(options.models)
    freeze(models, options.lock)
    print(f"froze {', '.join(model.__name__ for model in models)} to {options.lock}")
    return 0


def _check(options: argparse.Namespace) -> int:
    changes = check(_models(options.models), options.lock)
    print(changes)
    return int(bool(changes if options.allow == "nothing" else changes.above(options.allow)))


def _models(names: list[str]) -> list[type[TSModel]]:
    """The classes of some `module:Model`, or of whole modules.

    Raises:
        SchemaError: when there is no such module or model.
    """
    sys.path.insert(0, "")  # as `python -m` does: modules of the working directory are found
    try:
        return [model for name in names for model in _found(name)]
    finally:
        sys.path.remove("")


def _found(name: str) -> list[type[TSModel]]:
    module_name, _, model_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise SchemaError(f"{name}: {error}") from error
    if model_name:
        model: Any = getattr(module, model_name, None)
        if not _is_model(model):
            raise SchemaError(f"{name}: the module has no such model with records")
        return [model]
    found = [each for each in vars(module).values() if _is_model(each) and each.__module__ == module.__name__]
    if not found:
        raise SchemaError(f"{name}: the module defines no model with records")
    return found


def _is_model(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, TSModel) and not getattr(value, SCHEMA).abstract
