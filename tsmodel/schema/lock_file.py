"""The lock file: JSON with models by name and one line per field, so reviews see what changed.

Rules kept here:

* Files are replaced atomically.
* A model includes the models that it replaces, because their records are read as well.
* A file that is not a lock file, or has a newer format, raises an error that says so.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from tsmodel.errors import SchemaError
from tsmodel.layout import Constraints
from tsmodel.model import TSModel
from tsmodel.model.evolution import chain_of
from tsmodel.model.meta import schema_of
from tsmodel.model.model_schema import Schema, description_of, fingerprint_of
from tsmodel.schema.changes import Changes, Entry, compared
from tsmodel.timestamps import to_iso
from tsmodel.types.codec import FieldCodec
from tsmodel.types.packed import LIMITS, plain_limit
from tsmodel.types.text_facet import Spelling

__all__ = ["check", "freeze"]

_FORM: Final = 1
_DEEPEST: Final = 100


def freeze(models: Iterable[type[TSModel]], path: str | os.PathLike[str]) -> None:
    """Writes the record layouts of models to a lock file, which is replaced if it exists.

    Args:
        models: classes with records; the classes that they replace are included.
        path: path of the file; commit it with the code.

    Raises:
        SchemaError: if two models have the same name, or a class has no records.
        OSError: if the file cannot be written; an existing file is then unchanged.
    """
    import tempfile

    text = _text({name: _entry(schema) for name, schema in _by_name(models).items()})
    target = Path(path)
    handle, scratch = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(scratch).chmod(0o666 & ~umask)
        Path(scratch).replace(target)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise


def check(models: Iterable[type[TSModel]], path: str | os.PathLike[str]) -> Changes:
    """Compares models with a lock file.

    Returns:
        The changes, the most severe first; empty, and so false, if the models match the file. Compatible changes are
        included: if they were intended, freeze again.

    Raises:
        SchemaError: if the file does not exist or is not a lock file, or two models have the same name.

    Example::

        changes = schema.check([Reading, Event], "schema.lock")
        assert not changes, changes
    """
    schemas = _by_name(models)
    return Changes(compared(_read(Path(path)), {name: _entry(schema) for name, schema in schemas.items()}))


def _by_name(models: Iterable[type[TSModel]]) -> dict[str, Schema]:
    by_name: dict[str, Schema] = {}
    for model in models:
        for schema in chain_of(schema_of(model)):
            if schema.codec is None:
                raise SchemaError(f"{schema.model} is abstract: give the classes derived from it", model=schema.model)
            if by_name.setdefault(schema.model, schema) is not schema:
                raise SchemaError(
                    f"two models are named {schema.model}: a lock file identifies models by name", model=schema.model
                )
    return dict(sorted(by_name.items()))


def _entry(schema: Schema) -> Entry:
    """The description of a model in the file."""
    evolution = schema.evolution
    entry: dict[str, Any] = {"fingerprint": fingerprint_of(schema)}
    if evolution.replaces is not None:
        entry["replaces"] = evolution.replaces.model
    if evolution.since is not None:
        entry["since"] = to_iso(evolution.since)
    if getattr(schema.codec, "upgrade", None) is not None:
        entry["upgrade"] = True
    entry |= description_of(schema)
    annotate(entry["fields"], schema, in_message=schema.encoding != "struct")
    if schema.strict_read:
        entry["strict_read"] = True
        for field in entry["fields"]:
            if constraints := schema.constraints.get(field["name"]):
                field["constraints"] = limits_of(constraints)
    return entry


def _text(entries: dict[str, Entry]) -> str:
    """The text of the file, with one line per field."""
    models = []
    for name, entry in entries.items():
        lines = [f"      {json.dumps(key)}: {json.dumps(value)}" for key, value in entry.items() if key != "fields"]
        fields = ",\n".join(f"        {json.dumps(field)}" for field in entry["fields"])
        lines.append(f'      "fields": [\n{fields}\n      ]' if fields else '      "fields": []')
        models.append(f"    {json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n    }")
    return f'{{\n  "tsmodel_schema": {_FORM},\n  "models": {{\n' + ",\n".join(models) + "\n  }\n}\n"


def _read(path: Path) -> dict[str, Entry]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SchemaError(
            f"there is no lock file {path}; tsmodel.schema.freeze(models, {str(path)!r}) writes it"
        ) from error
    except (ValueError, OSError, RecursionError) as error:
        raise SchemaError(f"{path} cannot be read as a lock file: {error}") from error
    form = content.get("tsmodel_schema") if isinstance(content, dict) else None
    if form is None:
        raise SchemaError(f"{path} is not a lock file: it has no tsmodel_schema")
    if form != _FORM:
        raise SchemaError(f"{path} is a lock file of form {form!r}, and this tsmodel knows form {_FORM}: upgrade tsmodel")
    models = content.get("models")
    if not isinstance(models, dict) or not all(map(_is_entry, models.values())):
        raise SchemaError(f"{path} is damaged: freeze the models as they were, or take the file from version control")
    return models


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, dict) or not _is_layout(entry, _DEEPEST):
        return False
    key, others = entry.get("key"), [entry.get(name) for name in ("replaces", "since")]
    return (
        isinstance(entry.get("fingerprint"), str)
        and isinstance(key, dict)
        and all(type(value) is int for value in key.values())
        and all(each is None or isinstance(each, str) for each in others)
    )


def _is_layout(layout: object, depth: int) -> bool:
    """Whether data has the form of a layout; `depth` bounds how deep structures may be within each other."""
    if not isinstance(layout, dict) or not isinstance(layout.get("fields"), list):
        return False
    return (
        isinstance(layout.get("encoding"), str)
        and all(layout.get(name) is None or type(layout[name]) is int for name in ("version", "size"))
        and all(isinstance(field, dict) and isinstance(field.get("name"), str) for field in layout["fields"])
        and all(_is_type(field, depth) for field in layout["fields"])
        and len({field["name"] for field in layout["fields"]}) == len(layout["fields"])
    )


def _is_type(kind: object, depth: int) -> bool:
    if not isinstance(kind, dict) or not isinstance(kind.get("type"), str) or depth == 0:
        return False
    members = kind.get("members", {})
    limits = [kind.get("constraints", {}), *(kind["limits"].values() if isinstance(kind.get("limits"), dict) else [])]
    return (
        all(kind.get(name) is None or type(kind[name]) is int for name in ("offset", "size", "bit"))
        and (kind.get("unit") is None or isinstance(kind["unit"], str))
        and isinstance(members, dict)
        and all(type(value) is int for value in members.values())
        and ("members" in kind or kind["type"] not in ("Enumerated", "Flags"))
        and isinstance(kind.get("limits", {}), dict)
        and all(map(_are_limits, limits))
        and ("layout" in kind) == (kind["type"] == "Nested")
        and ("layout" not in kind or _is_layout(kind["layout"], depth - 1))
        and ("item" in kind or kind["type"] not in ("Array", "Nullable"))
        and ("item" not in kind or _is_type(kind["item"], depth - 1))
    )


def _are_limits(limits: object) -> bool:
    if not isinstance(limits, dict) or any(isinstance(value, (dict, list)) for value in limits.values()):
        return False
    bounds = [limits[name] for name in ("ge", "gt", "le", "lt") if name in limits]
    lengths = [limits[name] for name in ("min_length", "max_length") if name in limits]
    return all(isinstance(each, (int, float, str)) for each in bounds) and all(type(each) is int for each in lengths)


def annotate(fields: list[dict[str, Any]], schema: Schema, *, in_message: bool) -> None:
    """Adds to the descriptions of fields what fingerprints leave out: units, defaults, options for reading."""
    for field in fields:
        member = schema.members[field["name"]]
        options = member.options
        if options.unit is not None:
            field["unit"] = options.unit
        if in_message and options.factory is not None:
            field["default"] = True
            if options.default_factory is None:  # what a function gives cannot be told
                field["default_value"] = member.codec.conversion(Spelling()).dump(options.default)
        _annotate_type(field, member.codec, in_message=in_message)


def _annotate_type(kind: dict[str, Any], codec: FieldCodec, *, in_message: bool) -> None:
    kind |= codec.reading()
    if "layout" in kind:
        annotate(kind["layout"]["fields"], schema_of(codec.python), in_message=in_message)
    elif "item" in kind:
        _annotate_type(kind["item"], codec.item, in_message=in_message)  # type: ignore[attr-defined]


def limits_of(constraints: Constraints) -> dict[str, Any]:
    """The constraints of a field, as plain data."""
    limits = {name: plain_limit(limit) for name in LIMITS if (limit := getattr(constraints, name)) is not None}
    if constraints.validate is not None:
        limits["validate"] = getattr(constraints.validate, "__qualname__", type(constraints.validate).__qualname__)
    return limits
