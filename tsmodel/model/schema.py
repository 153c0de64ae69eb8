"""What the metaclass reads off a class body: payload fields, fixed key components, byte order.

Every fault in a class body is a `SchemaError` that names the class, the field, and the mend.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any, ClassVar, Final, get_origin

import attrs

from tsmodel.codec import KEY_SCALARS, SCALARS, ByteOrder, Layout, RowCodec, Scalar
from tsmodel.errors import SchemaError
from tsmodel.keys import KEY_FIELDS, LIMITS
from tsmodel.model.columns import Column
from tsmodel.model.fields import FieldOptions, FieldType
from tsmodel.model.operands import ColumnInfo

__all__ = ["FieldSpec", "Schema", "own_fields", "read_fixed"]

_PLAIN_HINTS: Final = {
    float: "Float64 (8 bytes) or Float32 (4 bytes)",
    int: "Int32, Int64 or another integer type",
    bool: "Bool",
}


@attrs.frozen
class FieldSpec:
    """A payload field as declared.

    Attributes:
        name: the field's name.
        scalar: how it is stored.
        python: type of its values.
        options: its default.
    """

    name: str
    scalar: Scalar
    python: type
    options: FieldOptions


@attrs.frozen
class Schema:
    """A model's declaration, read.

    Attributes:
        model: the class' name.
        fields: payload fields in wire order.
        fixed: key components that the class fixes, by name.
        byte_order: byte order of the payload.
        abstract: whether the class only hands its fields down.
        columns: class-level columns by name, key components first.
        codec: rows from records and back; absent in an abstract class.
    """

    model: str
    fields: tuple[FieldSpec, ...]
    fixed: Mapping[str, int]
    byte_order: ByteOrder
    abstract: bool
    columns: Mapping[str, Column[Any]] = attrs.field(init=False, repr=False)
    codec: RowCodec[Any] | None = None

    def __attrs_post_init__(self) -> None:
        scalars = {**KEY_SCALARS, **{field.name: field.scalar for field in self.fields}}
        columns = {
            name: Column[Any](ColumnInfo(self.model, name, scalar, name in KEY_SCALARS)) for name, scalar in scalars.items()
        }
        object.__setattr__(self, "columns", columns)

    @property
    def layout(self) -> Layout:
        """Where the payload's fields lie."""
        return Layout.packed(((field.name, field.scalar) for field in self.fields), self.byte_order)


def own_fields(model: str, namespace: dict[str, Any], frame: FrameType | None, reserved: frozenset[str]) -> list[FieldSpec]:
    """The payload fields that a class body declares; takes their annotations and defaults out of `namespace`.

    Args:
        model: the class' name.
        namespace: the class body's, changed in place.
        frame: where the class statement runs: names of string annotations are looked up there.
        reserved: names that a field cannot have.
    """
    annotations = namespace.get("__annotations__", {})
    specs = []
    for name, annotation in list(annotations.items()):
        annotation = _resolve(model, name, annotation, namespace, frame)
        if annotation is ClassVar or get_origin(annotation) is ClassVar:
            annotations[name] = annotation  # msgspec does not see through all texts that mean it
            continue
        field_type = _field_type(model, name, annotation)
        _check_name(model, name, reserved)
        default = namespace.pop(name, attrs.NOTHING)
        options = default if isinstance(default, FieldOptions) else FieldOptions(default)
        _check_default(model, name, field_type.scalar, options)
        del annotations[name]
        specs.append(FieldSpec(name, field_type.scalar, field_type.python, options))
    for name, value in namespace.items():
        if isinstance(value, FieldOptions):
            raise SchemaError(
                f"{model}.{name} = field(...) has no type: write {name}: Int32 = field(...)", model=model, field=name
            )
    return specs


def read_fixed(model: str, options: Mapping[str, object]) -> dict[str, int]:
    """The key components that class keywords fix, such as `moid=7`."""
    fixed: dict[str, int] = {}
    for name, value in options.items():
        if name not in KEY_FIELDS[:3]:
            known = "abstract, byte_order, cid, mid, moid"
            raise SchemaError(f"class {model}: unknown option {name}={value!r}; known are {known}", model=model)
        limits = LIMITS[name]
        if type(value) is not int or not limits.least <= value < limits.bound:
            raise SchemaError(
                f"class {model}: {name}={value!r} fixes a key component, which takes an int from {limits.least} to "
                f"{limits.bound - 1}",
                model=model,
                field=name,
            )
        fixed[name] = value
    return fixed


def _resolve(model: str, name: str, annotation: object, namespace: dict[str, Any], frame: FrameType | None) -> object:
    if not isinstance(annotation, str):
        return annotation
    module = sys.modules.get(namespace.get("__module__", ""))
    scope = {**vars(module)} if module else {}
    if frame is not None:
        scope = {**scope, **frame.f_globals, **frame.f_locals}
    try:
        while isinstance(annotation, str):  # a quoted one is text within text under `from __future__ import annotations`
            annotation = eval(annotation, scope, dict(namespace))  # noqa: S307 - the class body's own annotation
        return annotation
    except Exception as error:
        raise SchemaError(
            f"{model}.{name}: the annotation {annotation!r} cannot be resolved ({error}); import its names in the "
            "module or in the function that declares the class, not only under TYPE_CHECKING",
            model=model,
            field=name,
        ) from error


def _field_type(model: str, name: str, annotation: object) -> type[FieldType[Any]]:
    if isinstance(annotation, type) and issubclass(annotation, FieldType) and hasattr(annotation, "scalar"):
        return annotation
    hint = next((text for plain, text in _PLAIN_HINTS.items() if annotation is plain), None)
    mend = f"write {hint}" if hint else f"known are {', '.join(SCALARS)}; write ClassVar[...] if it is not a field"
    shown = annotation.__name__ if isinstance(annotation, type) else repr(annotation)
    raise SchemaError(f"{model}.{name}: {shown} is not a field type; {mend}", model=model, field=name)


def _check_name(model: str, name: str, reserved: frozenset[str]) -> None:
    if name in KEY_FIELDS:
        raise SchemaError(
            f"{model}.{name}: every model has this key component; to fix its value write class {model}(TSModel, "
            f"{name}=…), otherwise drop the line",
            model=model,
            field=name,
        )
    if name in reserved or name.startswith("_"):
        why = "models use this name themselves" if name in reserved else "names with a leading underscore are not fields"
        raise SchemaError(f"{model}.{name}: {why}; choose another name for the field", model=model, field=name)


def _check_default(model: str, name: str, scalar: Scalar, options: FieldOptions) -> None:
    if options.default_factory is not None and not callable(options.default_factory):
        raise SchemaError(
            f"{model}.{name}: default_factory={options.default_factory!r} cannot be called; give a function, or a value as "
            "default=",
            model=model,
            field=name,
        )
    if options.default is not attrs.NOTHING and (fault := scalar.fault(options.default)):
        raise SchemaError(f"{model}.{name}: the default {fault}", model=model, field=name)
