"""Makes models usable in other libraries: hooks for cattrs converters, and schemas for pydantic and thus FastAPI.

Both accept what `from_dict` accepts. cattrs unstructures like `to_dict`, pydantic writes JSON like `to_json`. Each fault is
a separate error with its path. The libraries are imported on first use.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from tsmodel.errors import ConversionError
from tsmodel.interop.files import conversion_error
from tsmodel.interop.structures import structure_of
from tsmodel.types import SCHEMA
from tsmodel.types.field_faults import FieldFault
from tsmodel.types.text_facet import Binary, ConversionFaults, Spelling, Times, Unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cattrs import BaseConverter
    from pydantic import GetJsonSchemaHandler
    from pydantic_core import CoreSchema

    from tsmodel.errors import ConversionFault

__all__ = ["core_schema_of", "format_exception", "register"]


def register(converter: BaseConverter, *, times: Times = "iso", binary: Binary = "hex", unknown: Unknown = "error") -> None:
    """Registers hooks for all models and structures with a cattrs converter; they convert like `from_dict` and `to_dict`.

    With `detailed_validation`, the default of cattrs, faults raise a `ClassValidationError` that contains a
    `ConversionError` with a path for each fault. `cattrs.transform_error(error, format_exception=format_exception)` lists
    them.

    Args:
        converter: any converter of cattrs.
        times, binary, unknown: as for `TSModel.from_dict` and `TSModel.to_dict`.

    Raises:
        ValueError: if an argument is invalid.

    Example::

        converter = cattrs.Converter()
        register(converter)
        report = converter.structure(data, Report)  # an attrs class with a field `readings: list[Reading]`
    """
    spelling = Spelling(times=times, binary=binary, unknown=unknown)

    def structure(data: Any, model: type) -> Any:
        if isinstance(data, model):
            return data
        try:
            return structure_of(model, spelling).load(data)
        except ConversionFaults as error:
            if not converter.detailed_validation:
                raise conversion_error(model.__name__, error.faults, record=data) from None
            raise _validation_error(model, error, data) from None

    def unstructure(value: Any) -> Any:
        kind: Any = type(value)
        return structure_of(kind, spelling).to_plain(value)

    converter.register_structure_hook_func(_is_model, structure)
    converter.register_unstructure_hook_func(_is_model, unstructure)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and hasattr(kind, SCHEMA)


def _validation_error(model: type, found: ConversionFaults, data: object) -> Exception:
    from cattrs.errors import AttributeValidationNote, ClassValidationError

    errors = []
    for fault in found.faults:
        error = conversion_error(model.__name__, (fault,), record=data)
        if fault.path:
            note = AttributeValidationNote(f"Structuring class {model.__name__} @ attribute {fault.path}", fault.path, None)
            vars(error)["__notes__"] = [note]  # add_note is not in Python 3.10
        errors.append(error)
    return ClassValidationError(f"While structuring {model.__name__}", errors, model)


def format_exception(error: BaseException, kind: type | None) -> str:
    """Formats an error for `cattrs.transform_error`: a `ConversionError` as its reason, others as cattrs does."""
    if isinstance(error, ConversionError):
        return "; ".join(fault.why for fault in error.faults)
    from cattrs.v import format_exception as of_cattrs

    return of_cattrs(error, kind)


_JSON: Final = Spelling(shortest=True)
_STEP: Final = re.compile(r"[^.\[\]]+")


def core_schema_of(model: Any) -> CoreSchema:
    """Returns the pydantic schema of a model or structure. It accepts objects, and mappings like `from_dict`."""
    from pydantic_core import PydanticSerializationError, ValidationError, core_schema

    structure = structure_of(model, _JSON)

    def validated(data: Any) -> Any:
        if isinstance(data, model):
            return data
        try:
            return structure.load(data)
        except ConversionFaults as error:
            raise ValidationError.from_exception_data(model.__name__, _line_errors(error.faults, data)) from None

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
            # The text is a template, in which braces would be placeholders.
            type=PydanticCustomError("conversion", "{why}", {"why": fault.why}),
            loc=tuple(int(step) if step.isdecimal() else step for step in _STEP.findall(fault.path)),
            input=data if not fault.path else fault.value,
        )
        for fault in faults
    ]


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """Replaces references by definitions, because pydantic keeps its own list of definitions."""
    if isinstance(schema, dict):
        reference = schema.get("$ref")
        if isinstance(reference, str):
            return _inlined(definitions[reference.removeprefix("#/$defs/")], definitions)
        return {name: _inlined(each, definitions) for name, each in schema.items()}
    if isinstance(schema, list):
        return [_inlined(each, definitions) for each in schema]
    return schema
