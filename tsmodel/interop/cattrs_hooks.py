"""Models within the classes of cattrs users: hooks for a cattrs converter.

cattrs is imported when it is used, not before: `import tsmodel` is to be quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tsmodel.errors import ConversionError, EncodeError
from tsmodel.interop.files import conversion_error
from tsmodel.interop.structures import structure_of
from tsmodel.types import SCHEMA
from tsmodel.types.field_faults import FieldFault
from tsmodel.types.text_facet import Binary, Misfits, Spelling, Times, Unknown

if TYPE_CHECKING:
    from cattrs import BaseConverter

__all__ = ["format_exception", "register"]


def register(converter: BaseConverter, *, times: Times = "iso", binary: Binary = "hex", unknown: Unknown = "error") -> None:
    """Teaches a cattrs converter all models and structures, as `from_dict` and `to_dict` convert them.

    With `detailed_validation`, the default of cattrs, what is wrong comes as a `ClassValidationError` that holds a
    `ConversionError` for each fault, with its path: `cattrs.transform_error(error,
    format_exception=format_exception)` lists them.

    Args:
        converter: any converter of cattrs.
        times, binary, unknown: as for `TSModel.from_dict` and `TSModel.to_dict`.

    Raises:
        ValueError: when one of these is not valid.

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
        except Misfits as misfits:
            if not converter.detailed_validation:
                raise conversion_error(model.__name__, misfits.faults, record=data) from None
            raise _validation_error(model, misfits, data) from None

    def unstructure(value: Any) -> Any:
        try:
            return structure_of(type(value), spelling).dump(value)
        except FieldFault as fault:
            name = type(value).__name__
            raise EncodeError(f"{name}.{fault.field}: {fault.why}", field=fault.field.partition(".")[0]) from fault

    converter.register_structure_hook_func(_is_model, structure)
    converter.register_unstructure_hook_func(_is_model, unstructure)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and hasattr(kind, SCHEMA)


def _validation_error(model: type, misfits: Misfits, data: object) -> Exception:
    from cattrs.errors import AttributeValidationNote, ClassValidationError

    errors = []
    for fault in misfits.faults:
        error = conversion_error(model.__name__, (fault,), record=data)
        if fault.path:
            note = AttributeValidationNote(f"Structuring class {model.__name__} @ attribute {fault.path}", fault.path, None)
            vars(error)["__notes__"] = [note]  # add_note is not in Python 3.10
        errors.append(error)
    return ClassValidationError(f"While structuring {model.__name__}", errors, model)


def format_exception(error: BaseException, kind: type | None) -> str:
    """What `cattrs.transform_error` is to write of an error: the reason, where it is a `ConversionError`."""
    if isinstance(error, ConversionError):
        return "; ".join(fault.why for fault in error.faults)
    from cattrs.v import format_exception as of_cattrs

    return of_cattrs(error, kind)
