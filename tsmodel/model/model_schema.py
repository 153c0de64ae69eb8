"""What the metaclass reads from a class body: payload fields, fixed key components, byte order; and the fingerprint.

Every fault in a class body is a `SchemaError` that names the class, the field and the remedy.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum, Flag
from functools import cached_property, partial
from types import FrameType, UnionType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Union, get_args, get_origin

import msgspec

from tsmodel.errors import SchemaError, TimestampError
from tsmodel.keys import KEY_FIELDS, LIMITS
from tsmodel.layout import KEY_CODECS, Align, Constraints, Layout, LayoutError, LayoutField, RowCodec, laid_out
from tsmodel.layout.compiling import compiled, writer
from tsmodel.layout.message_layout import Encoding, MessageLayout
from tsmodel.model.annotations import resolved, take_annotations
from tsmodel.model.column import Column
from tsmodel.model.expressions import ColumnInfo
from tsmodel.model.field import FieldOptions
from tsmodel.timestamps import DurationLike, duration_ns
from tsmodel.types import FIELD_TYPES, SCHEMA, Declaration, KeyComponent, Options, declaration_of, did_you_mean
from tsmodel.types import Padding as PaddingType
from tsmodel.types.codec import FieldCodec
from tsmodel.types.declaring import PaddingBytes
from tsmodel.types.field_faults import FieldFault
from tsmodel.types.nested import NestedCodec, VariableNestedCodec
from tsmodel.types.scalars import ByteOrder

if TYPE_CHECKING:
    from tsmodel.interop.structures import Structure
    from tsmodel.types.text_facet import Spelling

__all__ = [
    "SCHEMA",
    "Evolution",
    "FieldSpec",
    "Schema",
    "SchemaMember",
    "description_of",
    "fingerprint_of",
    "read_body",
    "read_fixed",
    "read_retention",
]


_PLAIN_HINTS: Final = {
    float: "Float64 (8 bytes) or Float32 (4 bytes)",
    int: "Int32, Int64 or another integer type",
    bool: "Bool",
    str: "Text",
    bytes: "Blob",
    list: "Array[float] = field(item=Float32)",
    dict: "Packed[dict[str, str]]",
    tuple: "Array[float] = field(item=Float32), or Packed[...] for values of several types",
    dt.datetime: "DateTime, or Timestamp for nanoseconds",
    dt.date: "Date",
    dt.timedelta: "Duration",
    Decimal: "Scaled = field(digits=2)",
    uuid.UUID: "Uuid",
}

_ITEMS: Final = {float: "Float64", int: "Int64", bool: "Bool", str: "Text", bytes: "Blob", dt.datetime: "DateTime"}
"""Field types to suggest for plain types in messages."""


class FieldSpec(msgspec.Struct, frozen=True):
    """A declared payload field, or padding.

    Attributes:
        name: name of the field.
        declaration: its type.
        options: the arguments of `field()`.
    """

    name: str
    declaration: Declaration
    options: FieldOptions

    def codec(self, model: str, byte_order: ByteOrder) -> FieldCodec | PaddingBytes:
        """Returns the codec that stores the field.

        Raises:
            SchemaError: if an option is missing or invalid, or does not apply to the type.
        """
        options = Options(self.options.options, byte_order)
        codec: Any
        try:
            codec = self.declaration.codec(options)
            options.done(self.declaration.field_type.__name__, self.declaration.field_type.takes)
        except ValueError as error:
            raise SchemaError(f"{model}.{self.name}: {error}", model=model, field=self.name) from error
        if not isinstance(codec, (FieldCodec, PaddingBytes)):
            kind = self.declaration.field_type.__name__
            raise SchemaError(
                f"{model}.{self.name}: {kind}.codec() gave {codec!r}: derive {kind} from Converted or Encoded instead",
                model=model,
                field=self.name,
            )
        return codec


class SchemaMember(msgspec.Struct, frozen=True, dict=True):
    """A key component or a payload field, as objects of the model have it.

    Attributes:
        name: its name in the model.
        codec: how values are stored.
        options: the arguments of `field()`, with the default that applies.
        component: name of the key component; None for a payload field.
        fixed: the only value that the class allows; None for any.
        field: its place in the payload; None for a key component.
    """

    name: str
    codec: FieldCodec
    options: FieldOptions
    component: str | None = None
    fixed: int | None = None
    field: LayoutField | None = None

    @cached_property
    def constraints(self) -> Constraints:
        """The constraints on values."""
        return self.options.constraints.of(self.codec)


class Evolution(msgspec.Struct, frozen=True):
    """The position of a model among its versions.

    Attributes:
        replaces: schema of the previous version; None for the first.
        versioned: whether payloads start with a version byte.
        number: the version: that of the class keyword, or else 1 for the first version and 1 more for each newer one.
        since: capture time at which this version starts, in ns since 2001-01-01T00:00:00Z; None if not given.
    """

    replaces: Schema | None = None
    versioned: bool = False
    number: int = 1
    since: int | None = None


class Schema(msgspec.Struct, frozen=True, eq=False, dict=True):
    """The declaration of a model.

    Attributes:
        model: name of the class.
        specs: payload fields and padding in wire order.
        fixed: key components that the class fixes, by name.
        byte_order: byte order of the payload.
        abstract: whether the class only shares its fields with subclasses.
        has_key: whether it has records; False for a `TSStruct`.
        align: `packed`, or `c` for the offsets of a C struct.
        encoding: `struct` for a byte layout, or the message format of the payload.
        aliases: the model's own names of key components, by component.
        strict_read: whether reading checks constraints as well.
        frozen: whether objects are immutable and hashable.
        has_weakref: whether objects support weak references.
        has_dict: whether objects have a `__dict__` for extra attributes.
        key_defaults: defaults of key components, by component.
        evolution: its position among its versions.
        codec: converts records to rows and back; None for an abstract class.
        retention: ns of capture time after which `session.prune` removes records; None for never.
    """

    model: str
    specs: tuple[FieldSpec, ...]
    fixed: Mapping[str, int]
    byte_order: ByteOrder
    abstract: bool
    has_key: bool = True
    align: Align = "packed"
    encoding: Encoding = "struct"
    aliases: Mapping[str, str] = msgspec.field(default_factory=dict)
    strict_read: bool = False
    frozen: bool = False
    key_defaults: Mapping[str, FieldOptions] = msgspec.field(default_factory=dict)
    evolution: Evolution = Evolution()
    codec: RowCodec[Any] | None = None
    has_weakref: bool = False
    has_dict: bool = False
    retention: int | None = None

    def __post_init__(self) -> None:
        _ = self.columns  # what is wrong with the declaration is raised when the class is created

    @cached_property
    def members(self) -> Mapping[str, SchemaMember]:
        """The members of objects by name, in wire order."""
        members = []
        for component, codec in KEY_CODECS.items() if self.has_key else ():
            name, fixed = self.aliases.get(component, component), self.fixed.get(component)
            options = self.key_defaults.get(component, FieldOptions(msgspec.NODEFAULT))
            if fixed is not None:
                options = msgspec.structs.replace(options, default=fixed, default_factory=None)
            elif component == "acq" and options.factory is None:
                options = msgspec.structs.replace(options, default=-1)
            members.append(SchemaMember(name, codec, options, component, fixed))
        given = {spec.name: spec.options for spec in self.specs}
        members += [SchemaMember(each.name, each.codec, given[each.name], field=each) for each in self.layout.fields]
        return {member.name: member for member in members}

    @cached_property
    def columns(self) -> Mapping[str, Column[Any]]:
        """Class-level columns by name, key components first; a key component with a name of its own has both."""
        columns: dict[str, Column[Any]] = {}
        for name, member in self.members.items():
            own = member.component or name
            info = ColumnInfo(self.model, own, member.codec, member.component is not None, name, member.field)
            columns[own] = columns[name] = Column[Any](info)
        return columns

    def nested(self, kind: type) -> NestedCodec | VariableNestedCodec:
        """Returns the codec of a field that holds a structure of this schema, whose class is `kind`."""
        stored = VariableNestedCodec if self.layout.size is None else NestedCodec

        def structure(spelling: Spelling) -> Structure:
            from tsmodel.interop.structures import structure_of

            return structure_of(kind, spelling)

        return stored(kind, self.layout, writer(self.layout), partial(compiled, self.layout, kind), structure)

    @property
    def constraints(self) -> dict[str, Constraints]:
        """The constraints on values, by field."""
        fields = [member for member in self.members.values() if member.field is not None]
        return {member.name: member.constraints for member in fields if member.options.constraints}

    @property
    def version(self) -> int | None:
        """Value of the version byte; None if there is none."""
        return self.evolution.number if self.evolution.versioned and self.has_key and not self.abstract else None

    @cached_property
    def layout(self) -> Layout:
        """Layout of the payload."""
        codecs = [(spec.name, spec.codec(self.model, self.byte_order)) for spec in self.specs]
        try:
            if self.encoding != "struct":
                return self._message(codecs)
            return laid_out(codecs, self.byte_order, self.align, self.version)
        except LayoutError as error:
            raise SchemaError(f"class {self.model}: {error}", model=self.model) from error

    def _message(self, codecs: list[tuple[str, FieldCodec | PaddingBytes]]) -> Layout:
        options = {spec.name: spec.options for spec in self.specs}
        factories = {name: factory for name, each in options.items() if (factory := each.factory) is not None}
        layout = MessageLayout.of_message(codecs, self.encoding, self.model, factories, self.version)
        for field in layout.fields:
            default = options[field.name].default
            if default is not msgspec.NODEFAULT and (fault := layout.fault(field, default)):
                raise SchemaError(f"{self.model}.{field.name}: the default {fault}", model=self.model, field=field.name)
        return layout


class Body(msgspec.Struct, frozen=True):
    """What a class body declares.

    Attributes:
        specs: payload fields and padding, in order.
        aliases: the model's own names of key components, by component.
        defaults: defaults of key components, by component.
        without_effect: whether there are annotations, but all of them are under conditions that are false.
    """

    specs: list[FieldSpec]
    aliases: dict[str, str]
    defaults: dict[str, FieldOptions]
    without_effect: bool


def read_body(model: str, namespace: dict[str, Any], frame: FrameType | None, reserved: frozenset[str]) -> Body:
    """Reads the declarations of a class body, and removes annotations and defaults of fields from `namespace`.

    Names in string annotations are looked up in `frame`; `reserved` are names that a field cannot have.
    """
    annotations = take_annotations(model, namespace)
    body = Body([], {}, {}, without_effect=annotations == {} and "__qualname__" in namespace)
    annotations = annotations if annotations is not None else {}
    for name, annotation in list(annotations.items()):
        annotation = resolved(model, name, annotation, namespace, frame)
        if annotation is ClassVar or get_origin(annotation) is ClassVar:
            annotations[name] = annotation  # msgspec does not recognize every string that means ClassVar
            continue
        declaration = _declaration(model, name, annotation)
        default = namespace.pop(name, msgspec.NODEFAULT)
        options = default if isinstance(default, FieldOptions) else FieldOptions(default)
        del annotations[name]
        if issubclass(declaration.field_type, KeyComponent):
            component = declaration.field_type.component
            _check_alias(model, name, component, reserved, body.aliases)
            body.aliases[component] = name
            body.defaults[component] = options
            continue
        _check_name(model, name, reserved, is_padding=declaration.field_type is PaddingType)
        spec = FieldSpec(name, declaration, options)
        _check_default(model, spec)
        body.specs.append(spec)
    for name, value in namespace.items():
        if isinstance(value, FieldOptions):
            raise SchemaError(
                f"{model}.{name} = field(...) has no type: write {name}: Int32 = field(...)", model=model, field=name
            )
    return body


def read_fixed(model: str, options: Mapping[str, object]) -> dict[str, int]:
    """Returns the key components that class keywords fix, such as `moid=7`."""
    fixed: dict[str, int] = {}
    for name, value in options.items():
        if name not in KEY_FIELDS[:3]:
            known = (
                "abstract, byte_order, align, encoding, frozen, strict_read, weakref, dict, post_init_on_read, replaces, "
                "versioned, version, since, retention, cid, mid, moid"
            )
            raise SchemaError(
                f"class {model}: unknown option {name}={value!r}{did_you_mean(name, known.split(', '))}; known are {known}",
                model=model,
            )
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


def read_retention(model: str, retention: DurationLike) -> int:
    """Converts the class keyword to nanoseconds."""
    try:
        ns = duration_ns(retention)
    except TimestampError as error:
        raise SchemaError(
            f'class {model}: retention={retention!r}: {error}; write retention="400d"', model=model
        ) from error
    if ns <= 0:
        raise SchemaError(f'class {model}: retention={retention!r} keeps nothing; write retention="400d"', model=model)
    return ns


def _declaration(model: str, name: str, annotation: object) -> Declaration:
    found = declaration_of(annotation)
    if found is not None:
        return found
    hint = _hint(annotation)
    mend = f"write {hint}" if hint else f"known are {', '.join(FIELD_TYPES)}; write ClassVar[...] if it is not a field"
    shown = annotation.__name__ if isinstance(annotation, type) else repr(annotation)
    raise SchemaError(f"{model}.{name}: {shown} is not a field type; {mend}", model=model, field=name)


def _hint(annotation: Any) -> str | None:
    """Suggests what to write instead of a type that is not a field type; None without a suggestion."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType) and len(arguments) == 2 and type(None) in arguments:
        (kind,) = (each for each in arguments if each is not type(None))
        plain, item = _plain_and_item(kind)
        return f"Nullable[{plain}] = field(item={item})"
    if origin is list and arguments:
        plain, item = _plain_and_item(arguments[0])
        return f"Array[{plain}] = field(item={item})"
    if origin is dict:
        return f"Packed[{annotation!r}]"
    if isinstance(annotation, type) and not getattr(getattr(annotation, SCHEMA, None), "has_key", True):
        return f"Nested[{annotation.__name__}]"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return f"{'Flags' if issubclass(annotation, Flag) else 'Enumerated'}[{annotation.__name__}]"
    return next((text for plain, text in _PLAIN_HINTS.items() if (origin or annotation) is plain), None)


def _plain_and_item(kind: Any) -> tuple[str, str]:
    """Returns the names of the value type and of the field type of an item; `kind` may be either."""
    found = declaration_of(kind)
    if found is None:
        return getattr(kind, "__name__", repr(kind)), _ITEMS.get(kind, "Float32")
    values = next((get_args(base)[0] for each in found.field_type.__mro__ for base in _generic_bases(each)), None)
    plain = getattr(found.argument or values, "__name__", "...")
    return plain, found.field_type.__name__ + (f"[{plain}]" if found.argument else "")


def _generic_bases(kind: type) -> list[Any]:
    """Bases such as `FieldType[float]`, without those whose type argument is still open."""
    bases = vars(kind).get("__orig_bases__", ())
    return [base for base in bases if isinstance(next(iter(get_args(base)), None), type)]


def _check_alias(model: str, name: str, component: str, reserved: frozenset[str], known: Mapping[str, str]) -> None:
    if component in known:
        raise SchemaError(f"{model}.{name}: {component} already has the name {known[component]}", model=model, field=name)
    if name in KEY_FIELDS and name != component:
        raise SchemaError(f"{model}.{name}: this is the name of another key component", model=model, field=name)
    if name != component:
        _check_name(model, name, reserved)


def _check_name(model: str, name: str, reserved: frozenset[str], *, is_padding: bool = False) -> None:
    if name in KEY_FIELDS:
        raise SchemaError(
            f"{model}.{name}: every model has this key component; to fix its value write class {model}(TSModel, "
            f"{name}=…), otherwise drop the line",
            model=model,
            field=name,
        )
    if is_padding and name.startswith("_") and name not in reserved:
        return
    if name in reserved or name.startswith("_"):
        why = "models use this name themselves" if name in reserved else "names with a leading underscore are not fields"
        raise SchemaError(f"{model}.{name}: {why}; choose another name for the field", model=model, field=name)


def _check_default(model: str, spec: FieldSpec) -> None:
    options = spec.options
    if options.default_factory is not None and not callable(options.default_factory):
        raise SchemaError(
            f"{model}.{spec.name}: default_factory={options.default_factory!r} cannot be called; give a function, or a "
            "value as default=",
            model=model,
            field=spec.name,
        )
    codec = spec.codec(model, "little")
    if isinstance(codec, PaddingBytes):
        if options.default is not msgspec.NODEFAULT:
            raise SchemaError(f"{model}.{spec.name}: padding has no default", model=model, field=spec.name)
        return
    try:
        constraints = options.constraints.of(codec)
    except FieldFault as wrong:
        raise SchemaError(f"{model}.{spec.name}: a bound is invalid: {wrong}", model=model, field=spec.name) from wrong
    if options.constraints.multiple_of == 0:
        raise SchemaError(f"{model}.{spec.name}: only 0 is a multiple of 0", model=model, field=spec.name)
    if options.default is msgspec.NODEFAULT:
        return
    if fault := codec.fault(options.default) or constraints.violation(options.default):
        raise SchemaError(f"{model}.{spec.name}: the default {fault}", model=model, field=spec.name)


_DIGITS: Final = 16
_FORM: Final = "tsmodel 1"
"""Prefix of the hashed text. It changes with the form of descriptions."""


def description_of(schema: Schema) -> dict[str, Any]:
    """Returns the input of the fingerprint: the layout, and the key components that the class fixes."""
    return {"key": dict(sorted(schema.fixed.items())), **schema.layout.description()}


def fingerprint_of(schema: Schema) -> str:
    """Returns the first 16 hexadecimal digits of a SHA-256 over the schema's description as canonical JSON."""
    import hashlib
    import json

    text = json.dumps([_FORM, description_of(schema)], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
