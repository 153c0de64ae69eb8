"""`Nested`: a structure inside a payload."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, TypeVar, cast

import msgspec
import msgspec.inspect
import numpy as np
import numpy.typing as npt
from msgspec.structs import astuple

if TYPE_CHECKING:
    from tsmodel.interop.structures import Structure
    from tsmodel.layout.placing import Layout
    from tsmodel.types.kinds import Kind

from tsmodel.types.codec import Description, FieldCodec, FixedCodec, Scope, Structures, VariableCodec
from tsmodel.types.column_facet import masked, object_column
from tsmodel.types.declaring import SCHEMA, Declaration, FieldType, Options, declaration_of
from tsmodel.types.field_faults import UNSUITABLE, FieldFault, Mask, RowFault
from tsmodel.types.scalars import ByteOrder, shown
from tsmodel.types.text_facet import Conversion, Spelling, of_json, to_json

Write: TypeAlias = Callable[[Iterable[tuple[Any, ...]]], list[bytes]]


class _NestedCodec(FieldCodec, msgspec.Struct, frozen=True):
    """Base class for structures of fixed and of variable size.

    Attributes:
        kind: its class.
        layout: where its fields lie.
        write: gives the bytes of tuples of its fields' values, and may refuse more values than the fields do.
        make: gives what makes a structure of bytes known to be sound.
        structure: gives its fields as they look outside.
    """

    kind: type
    layout: Layout
    _write: Write
    _make: Callable[[], Callable[[bytes], Any]]
    _structure: Callable[[Spelling], Structure]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _NestedCodec) or type(self) is not type(other):
            return NotImplemented
        return self.kind is other.kind and self.layout == other.layout

    def __hash__(self) -> int:
        return hash((self.kind, self.layout))

    def __reduce__(self) -> tuple[Any, ...]:
        return _nested_codec, (self.kind,)

    @property
    def python(self) -> Any:
        return self.kind

    @property
    def acyclic(self) -> bool:
        return all(field.codec.acyclic for field in self.layout.fields)

    @property
    def byte_order(self) -> ByteOrder:
        return self.layout.byte_order

    @property
    def label(self) -> str:
        return f"Nested[{self.kind.__name__}]"

    comparisons: ClassVar[Literal["equality"]] = "equality"

    @property
    def accepts(self) -> str:
        return f"a {self.kind.__name__}"

    def comparable(self, value: Any) -> Any:
        """See `FieldCodec.comparable`: structures compare as stored, with floats rounded to their width."""
        return self.made(self.layout.read(self.to_bytes(value)))

    def made(self, values: Iterable[Any]) -> Any:
        """Creates a structure from the values of its fields."""
        return self.kind(*values)

    def to_bytes(self, value: Any) -> bytes:
        """Returns the bytes of a structure."""
        if not isinstance(value, self.kind):
            raise FieldFault(f"{shown(value)} ({type(value).__name__}) is not a {self.kind.__name__}")
        values = astuple(cast("msgspec.Struct", value))
        try:
            (raw,) = self._write((values,))
        except UNSUITABLE:
            return self.layout.write(values)  # raises an error that names the field
        return raw

    def description(self) -> Description:
        return {"type": "Nested", "layout": self.layout.description()}

    def conversion(self, spelling: Spelling) -> Conversion:
        return NestedConversion(self, spelling, self._structure(spelling))

    def unencodable(self, module: Any) -> str | None:
        reasons = (field.codec.unencodable(module) for field in self.layout.fields)
        return next(filter(None, reasons), None) or super().unencodable(module)

    def declared(self, structures: Structures) -> Kind:
        return structures(self.kind)

    def arrow_type(self, pa: Any) -> Any:
        return pa.struct([(field.name, field.codec.arrow_type(pa)) for field in self.layout.fields])

    def arrow_value(self, value: Any) -> Any:
        return {field.name: field.codec.arrow_value(getattr(value, field.name)) for field in self.layout.fields}

    def objects_from_arrow(self, pa: Any, array: Any) -> list[Any]:
        if not pa.types.is_struct(array.type):
            raise RowFault(None, f"a column of {array.type} cannot be stored as {self.label}: give structures")
        there = {array.type.field(at).name for at in range(array.type.num_fields)}
        if lacking := [field.name for field in self.layout.fields if field.name not in there]:
            raise RowFault(None, f"a structure of {self.kind.__name__} needs {', '.join(lacking)}")
        members = [field.codec.objects_from_arrow(pa, array.field(field.name)) for field in self.layout.fields]
        made, present = zip(*members, strict=True), array.is_valid().to_pylist()
        return [self.made(values) if is_there else None for values, is_there in zip(made, present, strict=True)]


class NestedCodec(_NestedCodec, FixedCodec, frozen=True):
    """A structure of fixed size."""

    @property
    def size(self) -> int:
        assert self.layout.size is not None
        return self.layout.size

    @property
    def align(self) -> int:
        return self.layout.alignment

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.layout.dtype

    def faulty(self, column: npt.NDArray[Any]) -> Mask | None:
        return self.layout.faulty(column)

    def load(self, stored: Any) -> Any:
        return self.made(self.layout.read(bytes(stored)))

    def load_code(self, stored: str, scope: Scope) -> str:
        return f"{scope.add(self._make())}({stored})"

    def dump(self, value: Any) -> Any:
        return self.to_bytes(value)

    def converted(self, values: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
        if values.dtype != self.dtype or values.ndim > 1:
            return None
        return np.ascontiguousarray(values).view(self.stored)

    def to_arrow(self, pa: Any, name: str, column: npt.NDArray[Any]) -> Any:
        parts = [_member(pa, name, field, column) for field in self.layout.fields]
        return pa.StructArray.from_arrays(parts, fields=list(self.arrow_type(pa)))

    def from_arrow(self, pa: Any, array: Any) -> npt.NDArray[Any]:
        """See `FixedCodec.from_arrow`: structures."""
        if not pa.types.is_struct(array.type):
            return super().from_arrow(pa, array)
        return object_column(self.objects_from_arrow(pa, array))


def _member(pa: Any, name: str, field: Any, column: npt.NDArray[Any]) -> Any:
    array = field.item.to_arrow(pa, f"{name}.{field.name}", column[field.slot])
    return array if field.bit is None else masked(pa, array, field.present(column))


class VariableNestedCodec(_NestedCodec, VariableCodec, frozen=True):
    """A structure whose size depends on its values."""

    @property
    def least_size(self) -> int:
        return self.layout.least_size

    @property
    def takes_rest(self) -> bool:
        return bool(self.layout.fields) and self.layout.fields[-1].codec.takes_rest

    def read(self, payload: bytes, at: int, end: int) -> tuple[Any, int]:
        values, after = self.layout.read_from(payload, at, end)
        return self.made(values), after

    def write(self, value: Any) -> bytes:
        return self.to_bytes(value)


class NestedConversion(Conversion):
    """An object with the fields of the structure."""

    shareable = False
    structure: Structure

    def __init__(self, codec: FieldCodec, spelling: Spelling, structure: Structure) -> None:
        super().__init__(codec, spelling)
        self.structure = structure
        self.has_decimals = structure.has_decimals

    def plain(self, data: Any) -> Any:
        return self.structure.plain(data)

    @property
    def accepts(self) -> str:
        return f"an object with the fields of {self.structure.name}"

    def load(self, data: Any) -> Any:
        return self.held(data) if isinstance(data, self.structure.model) else self.structure.load(data)

    def parse(self, text: str) -> Any:
        return self.load(of_json(self, text, "an object"))

    def dump(self, value: Any) -> Any:
        if not isinstance(value, self.structure.model):
            raise self.codec.fault(value) or self.refused(value)
        return self.structure.dump(value)

    def show(self, value: Any) -> Any:
        return to_json(self.dump(value))

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return self.structure.reference(definitions)


S = TypeVar("S")


class Nested(FieldType[S]):
    """A structure inside the payload: `phase: Nested[Phase]`, where `Phase` is a subclass of `TSStruct`."""

    takes = ()
    examples = ("Nested[Phase]",)

    @classmethod
    def codec(cls, argument: Any, options: Options) -> NestedCodec | VariableNestedCodec:
        schema = getattr(argument, SCHEMA, None)
        if schema is None or schema.has_key or schema.abstract:
            raise ValueError("write Nested[Phase] with class Phase(TSStruct)")
        return _nested_codec(argument)


def _nested_codec(kind: type) -> NestedCodec | VariableNestedCodec:
    made: NestedCodec | VariableNestedCodec = getattr(kind, SCHEMA).nested(kind)
    return made


def item_of(options: Options, example: str, item: str) -> Declaration:
    """Takes `item=` of an Array or a Nullable and returns the field type that it names.

    Raises:
        ValueError: if it is missing or is not a field type.
    """
    given = options.require("item", f"{item}): the type of its values, as in {example} = field(item={item}")
    found = stored_type(given)
    if found is None:
        raise ValueError(f"item={given!r} is not a field type, such as {item}")
    return found


def stored_type(given: object) -> Declaration | None:
    """The declaration of a field type, or of a `TSStruct` as a `Nested`; None of anything else."""
    if isinstance(given, type) and hasattr(given, SCHEMA):
        return Declaration(Nested, given)
    return declaration_of(given)
