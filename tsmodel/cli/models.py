"""Finds the models that commands name: `module:Model`, a module, a Python file, or a TOML schema."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from tsmodel.cli.failures import UsageError
from tsmodel.errors import SchemaError
from tsmodel.model import Blob, TSModel, field
from tsmodel.model.meta import SCHEMA

__all__ = ["CSV", "Record", "csv_options", "model_of", "models_of"]

CSV: Final = "CSV"
"""The name of the dict in a Python file with the `load_csv` arguments for its model."""


class Record(TSModel):
    """A record of any model: its payload as bytes."""

    payload: Blob = field(rest=True)


def model_of(name: str | None) -> type[TSModel]:
    """The model with this name; `Record` for None.

    Raises:
        UsageError: when there is no such model, the name is ambiguous, or the model cannot be loaded.
    """
    if name is None:
        return Record
    found = models_of([name])
    if len(found) > 1:
        names = ", ".join(f"{name}:{model.__name__}" for model in found)
        raise UsageError(f"{name} defines several models; choose one of {names}")
    return found[0]


def models_of(names: list[str]) -> list[type[TSModel]]:
    """The model classes for names such as `module:Model`, modules, and files.

    Raises:
        UsageError: when there is no such model, or it cannot be loaded.
    """
    with _importing():
        return [model for name in names for model in _found(name)]


def csv_options(name: str | None) -> dict[str, Any]:
    """The `load_csv` arguments in a model's file; empty if it has none.

    Raises:
        UsageError: when the file cannot be loaded, or the arguments are not a dict.
    """
    if name is None:
        return {}
    with _importing():
        path = _file(name)
        if path is not None and path.suffix == ".toml":
            from tsmodel.cli.schema_file import read

            return read(path)[1]
        options = getattr(_module(name, path), CSV, {})
    if not isinstance(options, dict):
        raise UsageError(f"{name}: {CSV} is not a dict of arguments of load_csv")
    return dict(options)


@contextmanager
def _importing() -> Iterator[None]:
    """Finds modules in the working directory, as `python -m` does; a model that is not valid is a usage error."""
    sys.path.insert(0, "")
    try:
        yield
    except SchemaError as error:
        raise UsageError(str(error).partition("\n")[0]) from error
    finally:
        sys.path.remove("")


def _found(name: str) -> list[type[TSModel]]:
    path = _file(name)
    if path is not None and path.suffix == ".toml":
        from tsmodel.cli.schema_file import read

        return [read(path)[0]]
    module, model_name = _module(name, path), _model_name(name)
    if model_name:
        model: Any = getattr(module, model_name, None)
        if not _is_model(model):
            names = ", ".join(key for key, each in vars(module).items() if _is_model(each))
            raise UsageError(f"{name}: the module has no such model with records{f'; it has {names}' if names else ''}")
        return [model]
    found = [each for each in vars(module).values() if _is_model(each) and each.__module__ == module.__name__]
    if not found:
        raise UsageError(f"{name}: the module defines no model with records")
    return found


def _file(name: str) -> Path | None:
    """The file that the name refers to; None for a module."""
    text = name
    if not text.endswith((".py", ".toml")):
        text, colon, rest = name.rpartition(":")
        if not colon or not text.endswith(".py") or not rest.isidentifier():
            return None
    path = Path(text)
    if not path.is_file():
        raise UsageError(f"there is no file {text}; a model is module:Class, a Python file, or a TOML schema")
    return path


def _model_name(name: str) -> str:
    return "" if name.endswith(".py") else name.rpartition(":")[2] if ":" in name else ""


def _module(name: str, path: Path | None) -> ModuleType:
    if path is None:
        module_name = name.partition(":")[0]
        if not module_name or module_name.startswith("."):
            raise UsageError(f"{name!r} does not start with the name of a module; a model is module:Class")
        try:
            return importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            raise UsageError(f"{name}: {error}{_file_hint(error.name)}") from error
        except (Exception, SystemExit) as error:
            raise _import_error(module_name, error) from error
    known = f"tsmodel_cli_{path.stem}"
    if known in sys.modules and sys.modules[known].__file__ == str(path.resolve()):
        return sys.modules[known]
    spec = importlib.util.spec_from_file_location(known, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[known] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[known]
        if isinstance(error, (Exception, SystemExit)):
            raise _import_error(path, error) from error
        raise
    return module


def _import_error(module: str | Path, error: BaseException) -> UsageError:
    return UsageError(f"{module} cannot be imported: {type(error).__name__}: {error} (--debug shows where)")


def _file_hint(module: str | None) -> str:
    """Suggests a file with the name of a module that does not exist."""
    found = next((path for path in (Path(f"{module}.toml"), Path(f"{module}.py")) if path.is_file()), None)
    return f"; did you mean the file {found}?" if found else ""


def _is_model(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, TSModel) and not getattr(value, SCHEMA).abstract
