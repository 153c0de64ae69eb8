"""Models as commands are given them: `module:Model`, or a module."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from tsmodel.errors import SchemaError
from tsmodel.model import TSModel
from tsmodel.model.meta import SCHEMA

__all__ = ["models_of"]


def models_of(names: list[str]) -> list[type[TSModel]]:
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
