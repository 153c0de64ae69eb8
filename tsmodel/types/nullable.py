"""`Nullable`: values that may be None, marked in a bitmap or by a sentinel value."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from tsmodel.types.codec import MARKS, Description, FieldCodec, FixedCodec, Scope, Structures, WrappingCodec
from tsmodel.types.column_facet import masked, plain_value, refuse
from tsmodel.types.declaring import FieldType, Options, PaddingBytes
from tsmodel.types.field_faults import FieldFault, Mask
from tsmodel.types.nested import item_of
from tsmodel.types.scalars import ByteOrder, Scalar, shown
from tsmodel.types.text_facet import Conversion, Spelling

if TYPE_CHECKING:
    from tsmodel.types.kinds import Kind


class _OptionalCodec(FieldCodec):
    """Base class of both kinds of optional values."""

    is_nullable = True

    item: FieldCodec

    @property
    def present(self) -> FieldCodec:
        return self.item

    @property
    def byte_order(self) -> ByteOrder:
        return self.item.byte_order

    @property
    def python(self) -> Any:
        return _optional(self.item.python)

    @property
    def acyclic(self) -> bool:
        return self.item.acyclic

    @property
    def show(self) -> Callable[[Any], str] | None:
        return self.item.show

    @property
    def number(self) -> Scalar | None:
        return self.item.number

    @property
    def digits(self) -> int | None:
        return self.item.digits

    @property
    def is_amount(self) -> bool:
        return self.item.is_amount

    @property
    def comparisons(self) -> Literal["all", "equality", "none"]:
        return self.item.comparisons

    def comparable(self, value: Any) -> Any:
        return None if value is None else self.item.comparable(value)

    def constant(self, value: Any) -> Any:
        return None if value is None else self.item.constant(value)

    def operand(self, value: object) -> Any:
        return self.item.operand(value)

    def declared(self, structures: Structures) -> Kind:
        return self.item.declared(structures)

    def arrow_type(self, pa: Any) -> Any:
        return self.item.arrow_type(pa)

    def arrow_value(self, value: Any) -> Any:
        return None if value is None else self.item.arrow_value(value)

    def objects_from_arrow(self, pa: Any, array: Any) -> list[Any]:
        return self.item.objects_from_arrow(pa, array)


class NullableCodec(_OptionalCodec, msgspec.Struct, frozen=True):
    """A value or None, marked by a bit in the bitmap at the start of the payload.

    An absent value of fixed width is stored as zeros, so that the width stays the same. An absent value of variable length
    takes no bytes. The layout handles the bitmap: `read` and `write` are those of a value that is present.

    Attributes:
        item: the value.
    """

    has_bit = True

    item: FieldCodec

    @property
    def label(self) -> str:
        return f"Nullable {self.item.label}"

    @property
    def accepts(self) -> str:
        return f"None or {self.item.accepts}"

    @property
    def size(self) -> int | None:
        return self.item.size

    @property
    def takes_rest(self) -> bool:
        return self.item.takes_rest

    def read(self, payload: bytes, at: int, end: int) -> tuple[Any, int]:
        return self.item.read(payload, at, end)

    def write(self, value: Any) -> bytes:
        return self.item.write(value)

    def fault(self, value: object) -> FieldFault | None:
        return None if value is None else self.item.fault(value)

    def description(self) -> Description:
        return {"type": "Nullable", "item": self.item.description()}

    def conversion(self, spelling: Spelling) -> Conversion:
        return NullableConversion(self, spelling, self.item.conversion(spelling))

    @property
    def message_type(self) -> Any:
        return _optional(self.item.message_type)

    def unencodable(self, module: Any) -> str | None:
        return self.item.unencodable(module) or super().unencodable(module)


class SentinelCodec(_OptionalCodec, WrappingCodec, msgspec.Struct, frozen=True):
    """A value or None, which is stored as a sentinel: one particular value.

    Attributes:
        item: the value.
        sentinel: the value that stands for None.
    """

    item: FixedCodec
    sentinel: object

    def __post_init__(self) -> None:
        _ = self._stored  # refuses a sentinel that the field cannot hold

    @cached_property
    def _stored(self) -> Any:
        (stored,) = struct.unpack(MARKS[self.byte_order] + self.code, self.item.write(self.sentinel))
        return stored

    @property
    def label(self) -> str:
        return f"Nullable {self.item.label}, None is {shown(self.sentinel)}"

    @property
    def accepts(self) -> str:
        return f"None or {self.item.accepts}, other than {shown(self.sentinel)}"

    @property
    def zero(self) -> object:
        return self._stored

    def absent(self, column: npt.NDArray[Any]) -> Mask:
        """Which values of a column (shape (n,)) are None."""
        mask: Mask
        if self._is_nan:
            mask = column != column
        else:
            sentinel = self.item.write(self.sentinel)
            if column.dtype.kind in "VS" or column.ndim > 1:
                mask = (_raw(column) == np.frombuffer(sentinel, np.uint8)).all(axis=1)
            else:
                mask = column == np.frombuffer(sentinel, column.dtype)[0]
        return mask

    @property
    def _is_nan(self) -> bool:
        return bool(self._stored != self._stored)

    @property
    def may_be_faulty(self) -> bool:
        return self.item.may_be_faulty

    def faulty(self, column: npt.NDArray[Any]) -> Mask | None:
        mask = self.item.faulty(column)
        return None if mask is None else mask & ~self.absent(column)

    def load(self, stored: Any) -> Any:
        is_absent = stored != stored if self._is_nan else stored == self._stored
        return None if is_absent else self.item.load(stored)

    def load_code(self, stored: str, scope: Scope) -> str:
        absent = f"{stored} != {stored}" if self._is_nan else f"{stored} == {scope.add(self._stored)}"
        return f"None if {absent} else {self.item.load_code(stored, scope)}"

    def dump(self, value: Any) -> Any:
        if value is None:
            return self._stored
        stored = self.item.dump(value)
        (as_read,) = struct.unpack(
            MARKS[self.byte_order] + self.code, struct.pack(MARKS[self.byte_order] + self.code, stored)
        )
        if as_read == self._stored or (self._is_nan and as_read != as_read):
            raise FieldFault(f"{shown(value)} is what stands for None; give None, or choose another null=")
        return stored

    def refused(self, value: object) -> FieldFault:
        return self.item.fault(value) or super().refused(value)

    def description(self) -> Description:
        return {"type": "Nullable", "item": self.item.description(), "null": self.item.write(self.sentinel).hex()}

    def conversion(self, spelling: Spelling) -> Conversion:
        return SentinelConversion(self, spelling, self.item.conversion(spelling))

    def unencodable(self, module: Any) -> str | None:
        return ""  # messages store None as null

    def numbers(self, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return self.item.numbers(column)

    def stored_column(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """See `FixedCodec.stored_column`: rejects the sentinel as a value."""
        stored = self.item.stored_column(values)
        refuse(
            self.absent(self.as_dtype(stored)),
            values,
            lambda at: f"{shown(plain_value(values, at))} is what stands for None; give None, or choose another null=",
        )
        return stored

    def from_arrow(self, pa: Any, array: Any) -> npt.NDArray[Any]:
        return self.item.from_arrow(pa, array)

    def to_arrow(self, pa: Any, name: str, column: npt.NDArray[Any]) -> Any:
        return masked(pa, self.item.to_arrow(pa, name, column), ~self.absent(column))

    def arrow_shift(self, pa: Any, kind: Any) -> int | None:
        return self.item.arrow_shift(pa, kind)


def _raw(column: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(column).view(np.uint8).reshape(len(column), -1)


def _optional(python: Any) -> Any:
    return Any if python is Any else python | None


class NullableConversion(Conversion):
    """A value, or null: in CSV an empty cell, or the text that means None in a file."""

    nullable = True

    def __init__(self, codec: FieldCodec, spelling: Spelling, item: Conversion) -> None:
        super().__init__(codec, spelling)
        self.item = item
        self.shareable = item.shareable
        self.has_decimals = item.has_decimals
        self.structure = item.structure

    def plain(self, data: Any) -> Any:
        return self.item.plain(data)

    @property
    def accepts(self) -> str:
        return f"null or {self.item.accepts}"

    def load(self, data: Any) -> Any:
        return None if data is None else self.held(self.item.load(data))

    def parse(self, text: str) -> Any:
        return self.held(self.item.parse(text))

    def load_column(self, data: Sequence[Any]) -> list[Any]:
        return self._present(data, self.item.load_column)

    def parse_column(self, texts: Sequence[str]) -> list[Any]:
        return self._present(texts, self.item.parse_column)

    def dump(self, value: Any) -> Any:
        return None if value is None else self.item.dump(self.held(value))

    def show(self, value: Any) -> Any:
        return None if value is None else self.item.show(self.held(value))

    def dump_column(self, values: Sequence[Any]) -> Sequence[Any]:
        return self._present(values, self.item.dump_column)

    def show_column(self, values: Sequence[Any]) -> Sequence[Any]:
        return self._present(values, self.item.show_column)

    def _present(self, data: Sequence[Any], convert: Callable[[Sequence[Any]], Sequence[Any]]) -> list[Any]:
        """Converts the values that are not None."""
        if None in data:
            values = iter(convert([each for each in data if each is not None]))
            return [None if each is None else next(values) for each in data]
        return list(convert(data))

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return {"anyOf": [self.item.schema(definitions), {"type": "null"}]}


class SentinelConversion(NullableConversion):
    """A value, or null. The sentinel itself is not a value."""

    def _present(self, data: Sequence[Any], convert: Callable[[Sequence[Any]], Sequence[Any]]) -> list[Any]:
        values = super()._present(data, convert)
        for value in data if convert in (self.item.dump_column, self.item.show_column) else values:
            self.held(value)
        return values


_ABSENT = object()

T = TypeVar("T")


class Nullable(FieldType[T | None]):
    """A value of the field type `item`, or None.

    By default a bit in a bitmap at the start of the payload marks None. `null=-999.0` stores that value for None instead
    and needs no bit; the field then cannot hold -999.0 itself.
    """

    takes = ("item", "null", "byte_order")
    examples = (
        "Nullable[float] = field(item=Float32)",
        "Nullable[float] = field(item=Float32, null=-999.0)",
        "Nullable[str] = field(item=Text)",
    )

    @classmethod
    def codec(cls, argument: Any, options: Options) -> NullableCodec | SentinelCodec:
        sentinel = options.take("null", _ABSENT)
        item = item_of(options, "Nullable[float]", "Float32")
        if sentinel is not _ABSENT:
            codec = item.fixed(options, "a Nullable with null=")
            if codec.bits is not None:
                raise ValueError("a Nullable cannot be Bits: they have no bytes of their own")
            if fault := codec.fault(sentinel):
                raise ValueError(f"null={sentinel!r}: {fault}")
            return SentinelCodec(codec, sentinel)
        inner = item.codec(options)
        if isinstance(inner, PaddingBytes) or inner.has_bit or (inner.as_fixed and inner.as_fixed.bits is not None):
            raise ValueError(f"a Nullable cannot be {item.field_type.__name__}")
        return NullableCodec(inner)
