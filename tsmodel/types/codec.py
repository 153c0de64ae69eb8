"""The interface that every field type implements.

A *codec* is a field type with its options: `Text = field(size=8)`. It holds everything that other rooms need to know about
the field's values; none of them checks which codec it is. Its facets, in the order in which they stand here:

* traits: names, the Python type, how values are compared;
* storage: bytes, and the `struct` code and dtype of fields of fixed width;
* description: what determines which bytes stand for which values, for fingerprints and lock files;
* text: dict, JSON and CSV;
* columns: NumPy and Arrow, out and in;
* other languages: the declaration in C, C++, Java, C# and plain Python.

Rules kept here:

* A field of fixed width is one value to `struct`: a number, or bytes that the field decodes itself. So one call unpacks the
  rows of a layout, and only fields whose stored value differs from the value that users see cost more.
* Reading checks: bytes that no value is written as (a Bool of 7, a missing member of an enum) are a `FieldFault`, never a
  value that would be written back differently. There are two exceptions: the bit pattern of a NaN, and padding.
* Loading many records is split in two: `faulty` finds bad values with NumPy, so that `load_code` needs no check.
* pyarrow is passed in where it is needed, and never imported here.
"""

from __future__ import annotations

import struct
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from msgspec import inspect

from tsmodel.types.column_facet import decoded, given_type, integers, native, object_column, of_objects, refuse, times_given
from tsmodel.types.field_faults import UNSUITABLE, FieldFault, Mask, RowFault
from tsmodel.types.scalars import ByteOrder, Scalar, shown

if TYPE_CHECKING:
    from tsmodel.types.blob import LengthCodec
    from tsmodel.types.kinds import Kind, Structure
    from tsmodel.types.text_facet import Conversion, Spelling

Array: TypeAlias = npt.NDArray[Any]
Description: TypeAlias = dict[str, Any]
Structures: TypeAlias = "Callable[[type], Structure]"
"""Returns the declaration of a `TSStruct` in other languages."""

MARKS: Final[dict[ByteOrder, str]] = {"little": "<", "big": ">"}
"""Byte orders as `struct` and NumPy write them."""


class Scope:
    """Names of the objects that generated code uses."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}

    def add(self, value: object) -> str:
        """A name for `value`; the same object keeps its name."""
        for name, known in self.names.items():
            if known is value:
                return name
        name = f"_{len(self.names)}"
        self.names[name] = value
        return name


class FieldCodec:
    """How the values of one field are stored and converted."""

    # Traits

    is_nullable: ClassVar[bool] = False
    """Whether values may be None."""

    has_bit: ClassVar[bool] = False
    """Whether a bit in the bitmap of present fields says if the value is present."""

    is_plain: ClassVar[bool] = False
    """Whether `struct` packs and unpacks the values unchanged."""

    @property
    @abstractmethod
    def label(self) -> str:
        """The name of the type in layout tables, such as `Enumerated[State] in UInt8`."""

    @property
    @abstractmethod
    def python(self) -> Any:
        """The type of its values, for msgspec."""

    @property
    @abstractmethod
    def accepts(self) -> str:
        """What a value may be, in words."""

    @property
    def present(self) -> FieldCodec:
        """How a value that is not None is stored."""
        return self

    @property
    def items(self) -> FieldCodec | None:
        """How each item of a value is stored; None if values are not sequences of items."""
        return None

    @property
    def source(self) -> tuple[FieldCodec, Callable[[Any], Any]] | None:
        """Another codec and a function from its values to ours, which may raise `FieldFault`; None for most types."""
        return None

    @property
    def number(self) -> Scalar | None:
        """The type of the numbers that represent values in columns and comparisons; None if only the values themselves can
        be compared."""
        return None

    @property
    def digits(self) -> int | None:
        """Decimal places if numbers in columns count units of `10 ** -digits`; otherwise None."""
        return None

    @property
    def is_amount(self) -> bool:
        """Whether means and sums of the numbers in columns are meaningful."""
        return False

    @property
    def ordered(self) -> bool:
        """Whether values sort in the same order as their stored numbers, one to one."""
        return False

    @property
    def comparisons(self) -> Literal["all", "equality", "none"]:
        """How values can be compared with one another."""
        return "all"

    @property
    def acyclic(self) -> bool:
        """Whether the garbage collector may skip values, because only contrived ones can be part of a reference cycle."""
        return True

    # Storage

    @property
    @abstractmethod
    def byte_order(self) -> ByteOrder:
        """Byte order of its numbers."""

    @property
    @abstractmethod
    def size(self) -> int | None:
        """Bytes in the payload; None if that depends on the value."""

    @property
    def least_size(self) -> int:
        """Minimum number of bytes in the payload."""
        return self.size or 0

    @property
    def takes_rest(self) -> bool:
        """Whether it consumes the rest of the payload; it must then be the last field."""
        return False

    @property
    def as_fixed(self) -> FixedCodec | None:
        """This codec if it has a fixed width; otherwise None."""
        return None

    @property
    def as_length(self) -> LengthCodec | None:
        """This codec if its bytes follow a length or take the rest of the payload; otherwise None."""
        return None

    @abstractmethod
    def read(self, payload: bytes, at: int, end: int) -> tuple[Any, int]:
        """The value at offset `at`, and the offset of the next field.

        Raises:
            FieldFault: if the bytes are not a value of the field; with the offset.
        """

    @abstractmethod
    def write(self, value: Any) -> bytes:
        """The stored bytes of a value.

        Raises:
            FieldFault: if the field cannot hold the value.
        """

    def fault(self, value: object) -> FieldFault | None:
        """The fault of `value`; None if it can be stored."""
        try:
            self.write(value)
        except FieldFault as fault:
            return fault
        return None

    def refused(self, value: object) -> FieldFault:
        """The fault of a value that the field cannot hold."""
        return FieldFault(f"{shown(value)} ({type(value).__name__}) is not {self.accepts}")

    # Comparing

    def comparable(self, value: Any) -> Any:
        """Converts a value to the form in which values without a `number` are compared."""
        return value

    def constant(self, value: Any) -> Any:
        """Converts a constant for comparison with `comparable` values, for fields without a `number`.

        Raises:
            FieldFault: if the field cannot be compared with it.
        """
        if fault := self.fault(value):
            raise FieldFault(f"cannot be compared with {shown(value)}: {fault.why}")
        return self.comparable(value)

    def operand(self, value: object) -> Any:
        """Converts a constant to the number or fraction that numbers in columns are compared with.

        Raises:
            FieldFault: if the field cannot be compared with it.
        """
        raise FieldFault(f"cannot be compared with {shown(value)}")

    # Description

    @abstractmethod
    def description(self) -> Description:
        """What determines which bytes stand for which values, as JSON data.

        Fingerprints are computed from it, so it must never change. It is the same in every process and version of Python:
        nothing in it depends on a class' module, on `repr`, or on the order of a set. It leaves out what may change while
        the bytes keep their meaning: the Python type of a value (`as_numpy`, float or Decimal), `unknown="keep"`.
        """

    def reading(self) -> Description:
        """Options outside `description` that affect which stored bytes are valid and how they are read, unless at
        defaults."""
        return {}

    # Text

    @abstractmethod
    def conversion(self, spelling: Spelling) -> Conversion:
        """The text forms of its values: dict, JSON and CSV."""

    @property
    def show(self) -> Callable[[Any], str] | None:
        """How the `repr` of an object shows a value; None for the `repr` of the value."""
        return None

    @property
    def message_type(self) -> Any:
        """The type of its values for msgspec, in models that are stored as messages."""
        return self.python

    def unencodable(self, module: Any) -> str | None:
        """Why a message cannot hold its values, in words; None if it can.

        Args:
            module: `msgspec.msgpack` or `msgspec.json`.
        """
        return unencodable(self.message_type, module)

    # Columns

    @abstractmethod
    def arrow_type(self, pa: Any) -> Any:
        """The Arrow type of its values."""

    def arrow_value(self, value: Any) -> Any:
        """A value in the form that `pyarrow.array` accepts."""
        return value

    def with_nans(self, pa: Any, array: Any) -> Any:
        """An Arrow array with NaN for items of lists that are missing floats."""
        return array

    @abstractmethod
    def objects_from_arrow(self, pa: Any, array: Any) -> list[Any]:
        """Converts an Arrow array to values as in objects of a model; None for null.

        Raises:
            RowFault: if an array of this type, or one of its values, cannot be stored.
        """

    # Other languages

    @abstractmethod
    def declared(self, structures: Structures) -> Kind:
        """The declaration in other languages.

        Args:
            structures: returns the declaration of a `TSStruct`.
        """


class FixedCodec(FieldCodec):
    """A field of fixed width: one value to `struct`."""

    bits: int | None = None
    """Width in bits of a field that shares an integer with its neighbours; None for a field with bytes of its own."""

    shift: int = 0
    """Bits of that integer below its own."""

    defers: bool = False
    """Whether `dump_code` leaves checks to `holds`."""

    has_arrays: bool = True
    """Whether a NumPy array of stored values can replace a list of values."""

    @property
    def as_fixed(self) -> FixedCodec | None:
        return self

    @property
    def align(self) -> int:
        """Its alignment in a C struct."""
        return 1

    @property
    def zero(self) -> object:
        """The stored value of an absent field."""
        return b""

    @property
    @abstractmethod
    def size(self) -> int:
        """Bytes in the payload."""

    @property
    def code(self) -> str:
        """`struct` code of the stored value: opaque bytes, unless it is a number."""
        return f"{self.size}s"

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]:
        """The field in structured arrays, in its byte order."""

    @property
    def stored(self) -> np.dtype[Any]:
        """The stored value in structured arrays: the number, or opaque bytes."""
        return self.dtype if self.code[-1] not in "sx" else np.dtype(f"V{self.size}")

    def shifted(self, shift: int) -> FixedCodec:
        """The same codec, shifted up by some bits in the integer that it shares."""
        raise AssertionError("it has bytes of its own")

    def stored_of(self, column: Array) -> list[Any]:
        """The stored values of a column (shape (n,), of `dtype`), as `struct` unpacks them."""
        if self.code[-1] != "s":
            return column.tolist()  # type: ignore[no-any-return]
        raw = np.ascontiguousarray(column).view(np.uint8).reshape(len(column), self.size)
        return [each.tobytes() for each in raw]

    @property
    def may_be_faulty(self) -> bool:
        """Whether stored bytes may be invalid; columns of other fields need not be decoded to be checked."""
        return type(self).faulty is not FixedCodec.faulty

    def faulty(self, column: Array) -> Mask | None:
        """Which values of a column (shape (n,), of `dtype`) are invalid; None if all are valid."""
        return None

    def absent(self, column: Array) -> Mask | None:
        """Which values of a column (shape (n,), of `dtype`) stand for None; None if none of them does."""
        return None

    def load(self, stored: Any) -> Any:
        """Converts a stored value to a value.

        Raises:
            FieldFault: if it is invalid.
        """
        return stored

    def dump(self, value: Any) -> Any:
        """Converts a value to its stored value. Need not reject what `struct` rejects anyway.

        Raises:
            FieldFault, or any of `UNSUITABLE`: if the field cannot hold the value.
        """
        return value

    def load_code(self, stored: str, scope: Scope) -> str:
        """Returns the source of an expression for the value; `stored` is an expression for a valid stored value."""
        return f"{scope.add(self.load)}({stored})"

    def checked_code(self, stored: str, scope: Scope) -> str:
        """As `load_code`, but the expression raises a ValueError for an invalid stored value. A bool is passed as its
        byte."""
        return f"{scope.add(self.load)}({stored})"

    def dump_code(self, value: str, scope: Scope) -> str:
        """Returns the source of an expression for the stored value; `value` is an expression for the value.

        The expression may reject more values than `dump`, and may leave checks to `holds`, which checks many values at
        once.
        """
        return f"{scope.add(self.dump)}({value})"

    def holds(self, stored: Sequence[Any]) -> bool:
        """Whether `dump` would have returned the same stored values (at least one) as `dump_code`."""
        return True

    def read(self, payload: bytes, at: int, end: int) -> tuple[Any, int]:
        after = at + self.size
        if after > end:
            raise FieldFault(f"{self.label} takes {self.size} bytes, but only {max(0, end - at)} are left", at)
        (stored,) = struct.unpack_from(MARKS[self.byte_order] + self.code, payload, at)
        try:
            return self.load(stored), after
        except FieldFault as fault:
            raise FieldFault(fault.why, fault.offset + at, fault.field) from None

    def write(self, value: Any) -> bytes:
        try:
            return struct.pack(MARKS[self.byte_order] + self.code, self.dump(value))
        except FieldFault:
            raise
        except UNSUITABLE as error:
            raise self.refused(value) from error

    # Columns out

    def stored_numbers(self, column: Array) -> Array:
        """A column of `dtype` as the field's own stored numbers or bytes; shape (n,)."""
        return column

    def numbers(self, column: Array) -> Array:
        """The numbers that represent the values of a column of `dtype`, for fields with a `number`; shape (n,). Arbitrary
        where a value is absent."""
        return self.stored_numbers(column)

    def numbers_of(self, values: Sequence[Any]) -> Array:
        """The same for a sequence of values; None is an absent value."""
        return np.array([self.zero if value is None else self.dump(value) for value in values], self.dtype)

    def objects(self, column: Array) -> Array:
        """A column of `dtype` as `columns()` returns it, for fields without a `number`; shape (n, ...)."""
        return object_column([self.load(stored) for stored in self.stored_of(column)])

    def to_arrow(self, pa: Any, name: str, column: Array) -> Any:
        """An Arrow array of a column of `dtype`, shape (n,).

        Raises:
            DecodeError: if a value is out of range for Arrow; names the column `name`.
        """
        raw = np.ascontiguousarray(column).view(np.uint8).reshape(len(column), self.size)
        return pa.Array.from_buffers(pa.binary(self.size), len(column), [None, pa.py_buffer(raw.tobytes())])

    def arrow_shift(self, pa: Any, kind: Any) -> int | None:
        """What to add to stored numbers to get values of an Arrow type; None if addition is not enough."""
        return None

    # Columns in

    def stored_column(self, values: Array) -> Array:
        """The stored values of a column without nulls; shape (n,), of `stored`.

        Args:
            values: shape (n,); for arrays and for fields of bytes (as uint8) also (n, m).

        Raises:
            RowFault: for the first value that cannot be stored.
        """
        if not len(values):  # whatever its dtype
            return np.empty(0, self.stored)
        if values.ndim == 1 and values.strides == (0,) and len(values) > 1:  # one value for all rows
            return np.broadcast_to(self.stored_column(values[:1]), values.shape)
        if values.dtype.kind == "O":
            return of_objects(self, values)
        stored = self.converted(values)
        if stored is None:
            raise RowFault(None, f"a column of {given_type(values)} cannot be stored as {self.label}: give {self.accepts}")
        refuse(self.faulty(self.as_dtype(stored)), values, lambda at: self._why(stored, at))
        return stored

    def as_dtype(self, stored: Array) -> Array:
        """Views a column of `stored` as one of `dtype`."""
        return self.of_bytes(stored) if stored.dtype.kind == "V" else stored

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one value in columns of `dtype`."""
        shape: tuple[int, ...] = ()
        kind = self.dtype
        while kind.subdtype is not None:
            kind, inner = kind.subdtype
            shape += inner
        return shape

    def of_bytes(self, raw: Array) -> Array:
        """Views contiguous bytes as a column of `dtype`."""
        kind = self.dtype
        while kind.subdtype is not None:
            kind = kind.subdtype[0]
        return raw.view(kind).reshape(-1, *self.shape)

    def _why(self, stored: Array, at: int) -> str:
        raw = stored[at : at + 1].tobytes()
        try:
            self.read(raw, 0, len(raw))
        except FieldFault as fault:
            return fault.why
        return f"{raw!r} is not {self.accepts}"

    def converted(self, values: Array) -> Array | None:
        """Converts a column that does not hold objects, without checking the content of bytes; None if it cannot be stored.
        See `stored_column`."""
        return None

    def written(self, value: Any) -> bytes:
        """The bytes of one value in a column of objects, which accepts more spellings than an object of a model.

        Raises:
            FieldFault: if the field cannot hold the value.
        """
        if getattr(value, "nanosecond", 0):
            raise FieldFault(f"{value} has nanoseconds: pass the column as datetime64[ns], or the frame to add_frame()")
        return self.write(value.item() if isinstance(value, (np.number, np.bool_)) else value)

    def from_arrow(self, pa: Any, array: Any) -> Array:
        """Converts an Arrow array to the form that `stored_column` takes; arbitrary values in place of nulls.

        Raises:
            RowFault: if an array of this type cannot be stored.
        """
        types, kind = pa.types, array.type
        if types.is_null(kind):
            return np.zeros((len(array),), np.int64) if self.number is not None else np.empty(len(array), object)
        array = decoded(pa, array)
        kind = array.type
        if types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind):
            if types.is_float16(kind):  # pyarrow before 21 cannot fill nulls of this type; they become NaN
                halves: Array = array.to_numpy(zero_copy_only=False)
                return halves
            values: Array = array.fill_null(False if types.is_boolean(kind) else 0).to_numpy(zero_copy_only=False)
            return values
        if types.is_temporal(kind):
            return self.times_from_arrow(pa, array)
        raise RowFault(None, f"a column of {kind} cannot be stored as {self.label}: give {self.accepts}")

    def times_from_arrow(self, pa: Any, array: Any) -> Array:
        """See `from_arrow`; for times, dates and durations."""
        return times_given(pa, array, self.label)

    def objects_from_arrow(self, pa: Any, array: Any) -> list[Any]:
        present = array.is_valid().to_pylist()
        if array.null_count == len(array):
            return [None] * len(array)
        try:
            stored = self.stored_column(self.from_arrow(pa, array.drop_null()))
        except RowFault as fault:
            row = None if fault.row is None else [at for at, there in enumerate(present) if there][fault.row]
            raise RowFault(row, fault.why, fault.value) from fault
        loaded = iter([self.load(each) for each in self.stored_of(self.as_dtype(stored))])
        return [next(loaded) if there else None for there in present]


class WrappingCodec(FixedCodec):
    """A field of fixed width that is stored as another type."""

    item: FixedCodec

    @property
    def byte_order(self) -> ByteOrder:
        return self.item.byte_order

    @property
    def size(self) -> int:
        return self.item.size

    @property
    def code(self) -> str:
        return self.item.code

    @property
    def align(self) -> int:
        return self.item.align

    @property
    def zero(self) -> object:
        return self.item.zero

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.item.dtype

    @property
    def stored(self) -> np.dtype[Any]:
        return self.item.stored

    @property
    def bits(self) -> int | None:  # type: ignore[override]
        return self.item.bits

    @property
    def shift(self) -> int:  # type: ignore[override]
        return self.item.shift

    def stored_numbers(self, column: Array) -> Array:
        return self.item.stored_numbers(column)


class NumberCodec(FixedCodec):
    """A field that is stored as one number."""

    @property
    @abstractmethod
    def storage(self) -> Scalar:
        """The number."""

    @property
    def number(self) -> Scalar:
        return self.storage

    @property
    def size(self) -> int:
        return self.storage.size

    @property
    def code(self) -> str:
        return self.storage.code

    @property
    def align(self) -> int:
        return self.storage.size

    @property
    def zero(self) -> object:
        return 0

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.storage.dtype(self.byte_order)

    @property
    def counts(self) -> str:
        """What the number counts, for programs that see only the number."""
        return ""

    @property
    def limits(self) -> tuple[int, int]:
        """Least and greatest integer that a column may contain."""
        return self.storage.limits or (0, 1)

    def converted(self, values: Array) -> Array | None:
        return integers(self, values) if values.ndim == 1 and values.dtype.kind in "iuf" else None

    def arrow_type(self, pa: Any) -> Any:
        return pa.from_numpy_dtype(np.dtype(self.storage.numpy))

    def to_arrow(self, pa: Any, name: str, column: Array) -> Any:
        return pa.array(native(column))

    def arrow_shift(self, pa: Any, kind: Any) -> int | None:
        return 0 if pa.types.is_integer(kind) or pa.types.is_floating(kind) else None

    def declared(self, structures: Structures) -> Kind:
        from tsmodel.types.kinds import Number

        return Number(self.storage, self.byte_order, self.counts)


class VariableCodec(FieldCodec):
    """A field whose width depends on its value."""

    has_spans: ClassVar[bool] = False
    """Whether columns can be made from the positions of values in many payloads."""

    @property
    def size(self) -> None:
        return None


def described_number(name: str, storage: Scalar, byte_order: ByteOrder, **more: Any) -> Description:
    """The description of a field that is stored as one number."""
    kind = {"type": name, **more} if name == storage.name else {"type": name, "storage": storage.name, **more}
    return {**kind, "byte_order": byte_order} if storage.size > 1 else kind


def unencodable(kind: Any, module: Any) -> str | None:
    """Returns why a message cannot hold values of a type, in words; None if it can.

    Args:
        kind: the type.
        module: `msgspec.msgpack` or `msgspec.json`.
    """
    try:
        module.Decoder(kind)
        parts = parts_of(kind)
    except (TypeError, ValueError) as error:
        return str(error)
    own = [each.cls for each in parts if isinstance(each, inspect.CustomType)]
    return f"msgspec does not encode {getattr(own[0], '__name__', own[0])}" if own else None


def parts_of(kind: Any) -> list[inspect.Type]:
    """Returns a type and all types that its values may contain, as msgspec sees them."""
    known: list[Any] = []
    waiting: list[Any] = [inspect.type_info(kind)]
    while waiting:
        each = waiting.pop()
        if isinstance(each, (list, tuple)):
            waiting += each
        elif isinstance(each, (inspect.Type, inspect.Field)) and not any(each is one for one in known):
            known.append(each)
            waiting += [getattr(each, name) for name in each.__struct_fields__]
    return known
