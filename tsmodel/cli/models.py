"""Finds the models that commands name: `module:Model`, a module, a Python file, or a TOML schema.

A TOML schema declares a model without Python, and how CSV files of its records are read:

    [model]
    name = "Reading"
    cid = 1

    [fields]
    volts = "Float32"
    amps = { type = "Nullable", item = "Float32" }

    [csv]
    delimiter = ";"

`[model]` has the class keywords, `[fields]` a type or the arguments of `field()`, `[csv]` the arguments of `load_csv`. A
column whose field is "" is left out.
"""

from __future__ import annotations

import datetime as dt
import importlib
import importlib.util
import inspect
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from tsmodel.cli.failures import UsageError
from tsmodel.errors import MissingLibraryError, SchemaError
from tsmodel.model import TSModel, field
from tsmodel.model.meta import SCHEMA
from tsmodel.types import FIELD_TYPES, Blob, did_you_mean

__all__ = ["CSV", "Record", "csv_options", "model_of", "models_of", "read_toml", "toml_model", "toml_of"]

CSV: Final = "CSV"
"""The name of the dict in a Python file with the `load_csv` arguments for its model."""

_KEYWORDS: Final = ("byte_order", "align", "encoding", "cid", "mid", "moid")
_TYPED: Final = ("item", "storage", "prefix")
"""Field options whose values are types."""
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


class Record(TSModel):
    """A record of any model: its payload as bytes."""

    payload: Blob = field(rest=True)


def model_of(name: str | None) -> type[TSModel]:
    """The model with this name; `Record` for None."""
    if name is None:
        return Record
    found = models_of([name])
    if len(found) > 1:
        names = ", ".join(f"{name}:{model.__name__}" for model in found)
        raise UsageError(f"{name} defines several models; choose one of {names}")
    return found[0]


def models_of(names: list[str]) -> list[type[TSModel]]:
    """The model classes for names such as `module:Model`, modules, and files."""
    with _importing():
        return [model for name in names for model in _found(name)]


def csv_options(name: str | None) -> dict[str, Any]:
    """The `load_csv` arguments in a model's file; empty if it has none."""
    if name is None:
        return {}
    with _importing():
        path = _file(name)
        if path is not None and path.suffix == ".toml":
            return read_toml(path)[1]
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
        return [read_toml(path)[0]]
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


def read_toml(path: Path) -> tuple[type[TSModel], dict[str, Any]]:
    """The model of a TOML schema, and the arguments of its `load_csv`.

    Raises:
        SchemaError: when the file is not valid; the message names the place.
        OSError: when it cannot be read.
    """
    try:
        return toml_model(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise SchemaError(f"{path} is not TOML: {error}") from error


def toml_model(text: str, path: str) -> tuple[type[TSModel], dict[str, Any]]:
    """Like `read_toml`, for the text of a file; messages name its path."""
    data = _parsed(text, path)
    for name in data:
        if name not in ("model", "fields", "csv"):
            raise SchemaError(f"{path}: there is no section [{name}]; there are [model], [fields] and [csv]")
    for name in ("model", "fields", "csv"):
        if not isinstance(data.setdefault(name, {}), dict):
            raise SchemaError(f"{path}: {name} is not a section, which begins with [{name}]")
    keywords = dict(data["model"])
    name = keywords.pop("name", "Record")
    if not isinstance(name, str) or not name.isidentifier():
        raise SchemaError(f"{path}: [model] name = {name!r} is not a name such as Reading")
    for keyword in keywords:
        if keyword not in _KEYWORDS:
            raise SchemaError(f"{path}: [model] takes name, {', '.join(_KEYWORDS)}, not {keyword}")
    annotations: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for field_name, given in data["fields"].items():
        if not field_name.isidentifier():
            raise SchemaError(f"{path}: [fields] {field_name!r} is not a name; give the file's name in [csv.columns]")
        options = dict(given) if isinstance(given, dict) else {"type": given}
        where = f"{path}: [fields] {field_name}"
        annotations[field_name] = _type(options.pop("type", None), where)
        for option in _TYPED:
            if option in options:
                options[option] = _type(options[option], where)
        if options.get("default") == "none":
            options["default"] = None
        if options:
            try:
                values[field_name] = field(**options)
            except TypeError as error:
                raise SchemaError(f"{where}: {error}") from error
    namespace = {"__annotations__": annotations, "__module__": __name__, **values}
    metaclass: Any = type(TSModel)
    try:
        made = metaclass(name, (TSModel,), namespace, **keywords)
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}", model=name) from error
    csv = dict(data["csv"])
    known = set(inspect.signature(TSModel.load_csv).parameters) - {"source", "errors", "max_errors"}
    for option in csv:
        if option not in known:
            raise SchemaError(f"{path}: [csv] takes {', '.join(sorted(known))}, not {option}")
    if isinstance(csv.get("columns"), dict):
        csv["columns"] = {column: target or None for column, target in csv["columns"].items()}
    return made, csv


def toml_of(name: str, keywords: dict[str, Any], fields: dict[str, dict[str, Any]], csv: dict[str, Any], title: str) -> str:
    """The text of a TOML schema.

    Args:
        name: name of the model.
        keywords: its class keywords.
        fields: `type` and options of each field, with types by name.
        csv: arguments of `load_csv`.
        title: a comment for the first line.
    """
    lines = [f"# {title}", "", "[model]", f"name = {_value(name)}"]
    lines += [f"{key} = {_value(value)}" for key, value in keywords.items()]
    lines += ["", "[fields]"]
    for field_name, options in fields.items():
        given = _value(options["type"]) if len(options) == 1 else _value(options)
        lines.append(f"{field_name} = {given}")
    lines += ["", "# How to read CSV files of these records: the arguments of load_csv.", "[csv]"]
    for key, value in csv.items():
        columns = {column: target or "" for column, target in value.items()} if key == "columns" else value
        lines.append(f"{_key(key)} = {_value(columns)}")
    return "\n".join(lines) + "\n"


def _parsed(text: str, path: str) -> dict[str, Any]:
    try:
        tomllib: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    except ImportError as error:
        raise MissingLibraryError(
            "TOML schemas need tomli before Python 3.11: pip install 'tstorage-model[cli]'", library="tomli"
        ) from error
    try:
        data: dict[str, Any] = tomllib.loads(text)
        return data
    except tomllib.TOMLDecodeError as error:
        raise SchemaError(f"{path} is not TOML: {error}") from error


def _type(name: object, where: str) -> Any:
    known = FIELD_TYPES.get(name) if isinstance(name, str) else None
    if known is None:
        hint = did_you_mean(name, FIELD_TYPES) if isinstance(name, str) else ""
        raise SchemaError(f"{where}: there is no type {name!r}{hint}")
    return known


def _key(text: str) -> str:
    return text if _BARE.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _value(value: object) -> str:
    """A value in TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, (bool, dt.date)):
        return str(value).lower()
    if value is None:
        return '"none"'
    if isinstance(value, str):
        # TOML has the escapes of JSON. It also requires DEL to be escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)
