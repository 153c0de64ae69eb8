"""Models and structures as types of pydantic, and so as bodies and responses of FastAPI.

pydantic reads them as `from_dict` does and writes what `to_json` writes; each fault is an error at its own place.
pydantic itself is imported only when it asks.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from tsmodel.interop.structures import structure_of
from tsmodel.types.field_faults import FieldFault
from tsmodel.types.text_facet import Misfits, Spelling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import GetJsonSchemaHandler
    from pydantic_core import CoreSchema

    from tsmodel.errors import ConversionFault

__all__ = ["core_schema_of"]

_JSON: Final = Spelling(shortest=True)
_STEP: Final = re.compile(r"[^.\[\]]+")


def core_schema_of(model: type[Any]) -> CoreSchema:
    """How pydantic validates and writes a model or a structure. Takes its objects, and mappings as `from_dict` does."""
    from pydantic_core import PydanticSerializationError, ValidationError, core_schema

    structure = structure_of(model, _JSON)

    def validated(data: Any) -> Any:
        if isinstance(data, model):
            return data
        try:
            return structure.load(data)
        except Misfits as misfits:
            raise ValidationError.from_exception_data(model.__name__, _line_errors(misfits.faults, data)) from None

    def written(value: Any) -> dict[str, Any]:
        try:
            return structure.dump(value)
        except FieldFault as fault:
            raise PydanticSerializationError(f"{model.__name__}.{fault.field}: {fault.why}") from None

    def json_schema(_: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        definitions: dict[str, Any] = {}
        schema = structure.schema(definitions)
        if handler.mode == "serialization":  # every field is written
            schema["required"] = list(schema["properties"])
        inlined: dict[str, Any] = _inlined(schema, definitions)
        return inlined

    return core_schema.no_info_plain_validator_function(
        validated,
        ref=f"{model.__module__}.{model.__qualname__}:{id(model)}",
        serialization=core_schema.plain_serializer_function_ser_schema(written, when_used="json"),
        metadata={"pydantic_js_functions": [json_schema]},
    )


def _line_errors(faults: Sequence[ConversionFault], data: Any) -> list[Any]:
    from pydantic_core import InitErrorDetails, PydanticCustomError

    return [
        InitErrorDetails(
            # The text goes through a template, in which braces would be places to fill in.
            type=PydanticCustomError("conversion", "{why}", {"why": fault.why}),
            loc=tuple(int(step) if step.isdecimal() else step for step in _STEP.findall(fault.path)),
            input=data if not fault.path else fault.value,
        )
        for fault in faults
    ]


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """A schema with definitions in the places that refer to them: pydantic keeps a list of its own."""
    if isinstance(schema, dict):
        reference = schema.get("$ref")
        if isinstance(reference, str):
            return _inlined(definitions[reference.removeprefix("#/$defs/")], definitions)
        return {name: _inlined(each, definitions) for name, each in schema.items()}
    if isinstance(schema, list):
        return [_inlined(each, definitions) for each in schema]
    return schema
