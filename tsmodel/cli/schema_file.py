"""A model in a TOML file, for those who do not write Python; and how CSV files of its records are read.

    [model]
    name = "Reading"
    cid = 1

    [fields]
    volts = "Float32"
    amps = { type = "Nullable", item = "Float32" }

    [csv]
    delimiter = ";"

`[model]` has the class keywords, `[fields]` a type or what `field()` takes, `[csv]` what `load_csv` takes. A column whose
field is "" is left out.
"""

from __future__ import annotations

import datetime as dt
import importlib
import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any, Final

from tsmodel.errors import MissingLibraryError, SchemaError
from tsmodel.model import TSModel
from tsmodel.model.field import field
from tsmodel.types import FIELD_TYPES, did_you_mean

__all__ = ["read", "toml"]

_KEYWORDS: Final = ("byte_order", "align", "encoding", "cid", "mid", "moid")
_TYPED: Final = ("item", "storage", "prefix")
"""Options of fields that are types."""
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


def read(path: Path) -> tuple[type[TSModel], dict[str, Any]]:
    """The model of a file, and the arguments of its `load_csv`.

    Raises:
        SchemaError: when the file is not valid; says where.
        OSError: when it cannot be read.
    """
    data = _parsed(path)
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


def toml(name: str, keywords: dict[str, Any], fields: dict[str, dict[str, Any]], csv: dict[str, Any], title: str) -> str:
    """The text of a file that `read` reads.

    Args:
        name: of the model.
        keywords: of its class.
        fields: `type` and options of each field, types by their names.
        csv: arguments of `load_csv`.
        title: a line that says what it is.
    """
    lines = [f"# {title}", "", "[model]", f"name = {_value(name)}"]
    lines += [f"{key} = {_value(value)}" for key, value in keywords.items()]
    lines += ["", "[fields]"]
    for field_name, options in fields.items():
        given = _value(options["type"]) if len(options) == 1 else _value(options)
        lines.append(f"{field_name} = {given}")
    lines += ["", "# How CSV files of these records are read: the arguments of load_csv.", "[csv]"]
    for key, value in csv.items():
        columns = {column: target or "" for column, target in value.items()} if key == "columns" else value
        lines.append(f"{_key(key)} = {_value(columns)}")
    return "\n".join(lines) + "\n"


def _parsed(path: Path) -> dict[str, Any]:
    try:
        tomllib: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    except ImportError as error:
        raise MissingLibraryError(
            "TOML schemas need tomli before Python 3.11: pip install 'tstorage-model[cli]'", library="tomli"
        ) from error
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return data
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
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
    """A value as TOML writes it."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, (bool, dt.date)):
        return str(value).lower()
    if value is None:
        return '"none"'
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for DEL, which TOML does not take as it is.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)
