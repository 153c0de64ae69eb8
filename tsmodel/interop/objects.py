"""Single objects from and to dicts and JSON, and their JSON Schema: what the methods of models do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from tsmodel.errors import EncodeError
from tsmodel.interop.files import conversion_error
from tsmodel.interop.json_lines import of_json
from tsmodel.interop.structures import structure_of
from tsmodel.types.field_faults import FieldFault
from tsmodel.types.text_facet import Binary, ConversionFaults, Spelling, Times, Unknown

__all__ = ["from_dict", "from_json", "json_schema", "to_dict", "to_json"]

T = TypeVar("T")


def from_dict(model: type[T], data: Mapping[str, object], *, binary: Binary, unknown: Unknown) -> T:
    """See `TSModel.from_dict`."""
    try:
        made: T = structure_of(model, Spelling(binary=binary, unknown=unknown)).load(data)
    except ConversionFaults as error:
        raise conversion_error(model.__name__, error.faults, record=data) from None
    return made


def to_dict(value: object, *, times: Times, binary: Binary) -> dict[str, Any]:
    """See `TSModel.to_dict`."""
    return _dumped(value, Spelling(times, binary))


def from_json(model: type[T], text: str | bytes | bytearray | memoryview, *, binary: Binary, unknown: Unknown) -> T:
    """See `TSModel.from_json`."""
    made: T = of_json(structure_of(model, Spelling(binary=binary, unknown=unknown)), text)
    return made


def to_json(value: object, *, times: Times, binary: Binary) -> str:
    """See `TSModel.to_json`."""
    return msgspec.json.encode(_dumped(value, Spelling(times, binary, shortest=True))).decode()


def json_schema(model: type[Any], *, times: Times, binary: Binary, unknown: Unknown) -> dict[str, Any]:
    """See `TSModel.json_schema`."""
    definitions: dict[str, Any] = {}
    schema = structure_of(model, Spelling(times, binary, unknown=unknown)).schema(definitions)
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return {**schema, "$defs": definitions} if definitions else schema


def _dumped(value: object, spelling: Spelling) -> dict[str, Any]:
    try:
        return structure_of(type(value), spelling).dump(value)
    except FieldFault as fault:
        name = fault.field.partition(".")[0]
        raise EncodeError(
            f"{type(value).__name__}.{fault.field}: {fault.why}", field=name, value=getattr(value, name)
        ) from None
