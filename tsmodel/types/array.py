"""`Array`: a sequence of items of fixed width."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from tsmodel.types.blob import LengthCodec
from tsmodel.types.codec import MARKS, Description, FieldCodec, FixedCodec, Scope, Structures
from tsmodel.types.column_facet import compute, decoded, is_list
from tsmodel.types.declaring import FieldType, Options, check_int
from tsmodel.types.field_faults import UNSUITABLE, FieldFault, Mask, RowFault
from tsmodel.types.integers import UInt16
from tsmodel.types.nested import item_of
from tsmodel.types.scalars import ByteOrder, shown
from tsmodel.types.text_facet import Conversion, ConversionFaults, Spelling, faults_of, of_json, to_json, with_floats

if TYPE_CHECKING:
    from tsmodel.types.kinds import Kind


class _ArrayCodec(FieldCodec):
    """Base class for arrays of fixed and of variable length."""

    item: FixedCodec
    as_numpy: bool

    @property
    def length(self) -> int | None:
        """Number of items; None if it varies."""
        return None

    @cached_property
    def _format(self) -> str:
        return f"{MARKS[self.item.byte_order]}%d{self.item.code}"

    @property
    def python(self) -> Any:
        return np.ndarray if self.as_numpy else list[self.item.python]  # type: ignore[name-defined]

    @property
    def items(self) -> FieldCodec:
        return self.item

    @property
    def acyclic(self) -> bool:
        return self.item.acyclic

    @property
    def comparisons(self) -> Literal["all", "equality", "none"]:
        return "none" if self.as_numpy else "equality"

    def content(self, raw: bytes) -> Any:
        """Decodes a value; raises `FieldFault` at the first invalid item."""
        if not self.as_numpy:
            return self.listed(raw)
        array = np.frombuffer(raw, self.item.dtype)
        self._check(array)
        return array

    def listed(self, raw: bytes) -> list[Any]:
        """Decodes items as a list; raises as `content`."""
        size = self.item.size
        if not self.item.is_plain:
            return _each(lambda at: self.item.read(raw, at, len(raw))[0], range(0, len(raw), size))
        if self.item.may_be_faulty:
            self._check(np.frombuffer(raw, self.item.dtype))
        return list(struct.unpack(self._format % (len(raw) // size), raw))

    def to_bytes(self, value: Any) -> bytes:
        """Encodes a value; raises `FieldFault` if the number of items is wrong, or one cannot be stored."""
        if isinstance(value, np.ndarray) and value.dtype == self.item.dtype and value.ndim == 1:
            self._count(value)
            self._check(value)
            return value.tobytes()
        items = value if type(value) is list else _list_of(value)
        if items is None:
            raise FieldFault(f"{shown(value)} ({type(value).__name__}) is not a list of items")
        self._count(items)
        if self.item.is_plain:
            try:
                if self.item.holds(items):
                    return struct.pack(self._format % len(items), *items)
            except UNSUITABLE:
                pass  # `_each` finds the item
        return b"".join(_each(self.item.write, items))

    def constant(self, value: Any) -> Any:
        items = _list_of(value)
        if items is None:
            raise FieldFault(
                f"cannot be compared with {shown(value)} ({type(value).__name__}), which is not a list of items"
            )
        try:
            self._count(items)
            return _each(self.item.constant, items)
        except FieldFault as fault:
            item = f"item {fault.field} " if fault.field else ""
            raise FieldFault(f"cannot be compared with {shown(value)}: {item}{fault.why}") from fault

    def comparable(self, value: Any) -> Any:
        return list(map(self.item.comparable, value))

    def _count(self, items: Any) -> None:
        if self.length is not None and len(items) != self.length:
            raise FieldFault(f"{len(items)} items are given; the array has {self.length}")

    def _check(self, array: npt.NDArray[Any]) -> None:
        mask = self.item.faulty(array)
        if mask is not None and mask.any():
            at = int(mask.argmax())
            raise FieldFault("the item is not a value of its type", at * self.item.size, str(at))

    @property
    def show(self) -> Callable[[Any], str] | None:
        return None if self.item.show is None else partial(_shown, self.item.show)

    def unencodable(self, module: Any) -> str | None:
        return self.item.unencodable(module) or super().unencodable(module)

    def conversion(self, spelling: Spelling) -> Conversion:
        return ArrayConversion(self, spelling, self.item.conversion(spelling))

    def arrow_value(self, value: Any) -> Any:
        return [self.item.arrow_value(each) for each in value]

    def with_nans(self, pa: Any, array: Any) -> Any:
        if not is_list(pa, array.type, fixed=False) or not pa.types.is_floating(array.type.value_type):
            return array
        if not array.values.null_count:
            return array
        items = pa.array(array.values.to_numpy(zero_copy_only=False), from_pandas=False)  # gives NaN for nulls
        return pa.Array.from_buffers(array.type, len(array), array.buffers()[:2], offset=array.offset, children=[items])


def _each(convert: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Converts items; a fault says which one it is in."""
    converted: list[Any] = []
    try:
        for item in items:
            converted.append(convert(item))  # noqa: PERF401 - its length is the number of the item at fault
    except FieldFault as fault:
        raise fault.within(str(len(converted))) from None
    return converted


def _list_of(value: Any) -> Sequence[Any] | None:
    """The items of a list, a tuple or a one-dimensional array; None of any other value."""
    if isinstance(value, np.ndarray) and value.ndim == 1:
        value = value.tolist()
    return value if isinstance(value, (list, tuple)) else None


def _shown(show: Callable[[Any], str], values: Any) -> str:
    return f"[{', '.join(map(show, values))}]" if type(values) is list else repr(values)


class FixedArrayCodec(_ArrayCodec, FixedCodec, msgspec.Struct, frozen=True):
    """An array of fixed length."""

    item: FixedCodec
    length: int
    as_numpy: bool = False
    byte_order: ByteOrder = "little"

    @property
    def label(self) -> str:
        return f"Array of {self.length} {self.item.label}"

    @property
    def accepts(self) -> str:
        return f"a list of {self.length} items, each {self.item.accepts}"

    @property
    def size(self) -> int:
        return self.item.size * self.length

    @property
    def align(self) -> int:
        return self.item.align

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype((self.item.dtype, (self.length,)))

    def faulty(self, column: npt.NDArray[Any]) -> Mask | None:
        items = self.item.faulty(np.ascontiguousarray(column).reshape(-1, *self.item.shape))
        if items is None:
            return None
        mask: Mask = np.logical_or.reduce(items.reshape(len(column), self.length), axis=1)
        return mask

    def load(self, stored: Any) -> Any:
        return self.content(bytes(stored))

    def load_code(self, stored: str, scope: Scope) -> str:
        if self.item.is_plain and not self.as_numpy:
            unpack = struct.Struct(f"{MARKS[self.item.byte_order]}{self.length}{self.item.code}").unpack
            return f"[*{scope.add(unpack)}({stored})]"
        return f"{scope.add(self.content)}({stored})"

    def dump(self, value: Any) -> Any:
        return self.to_bytes(value)

    def description(self) -> Description:
        return {"type": "Array", "length": self.length, "item": self.item.description()}

    def declared(self, structures: Structures) -> Kind:
        from tsmodel.types.kinds import Items

        return Items(self.item.declared(structures), self.item.size, self.length)

    def objects(self, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """See `FixedCodec.objects`: numbers as a 2-D array, other items as lists."""
        leaf: FixedCodec = self
        while isinstance(leaf, FixedArrayCodec):
            leaf = leaf.item
        if leaf.number is None:
            return super().objects(column)
        numbers = leaf.numbers(np.ascontiguousarray(column).reshape(-1))
        return numbers.astype(numbers.dtype.newbyteorder("="), copy=True).reshape(column.shape)

    def converted(self, values: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
        if values.dtype == self.stored:
            return values.view(self.stored)
        if values.ndim != 2:
            return None
        if values.shape[1] != self.length:
            raise RowFault(0 if len(values) else None, f"{values.shape[1]} items are given; the array has {self.length}")
        try:
            items = self.item.stored_column(values.reshape(-1))
        except RowFault as fault:
            if fault.row is None:
                raise
            row, at = divmod(fault.row, self.length)
            raise RowFault(row, fault.why, fault.value, f"{at}.{fault.field}" if fault.field else str(at)) from fault
        return np.ascontiguousarray(items).view(f"V{self.item.size}").view(self.stored)

    def arrow_type(self, pa: Any) -> Any:
        return pa.list_(self.item.arrow_type(pa), self.length)

    def to_arrow(self, pa: Any, name: str, column: npt.NDArray[Any]) -> Any:
        items = np.ascontiguousarray(column).reshape(-1, *self.item.shape)
        return pa.FixedSizeListArray.from_arrays(self.item.to_arrow(pa, name, items), self.length)

    def from_arrow(self, pa: Any, array: Any) -> npt.NDArray[Any]:
        """See `FixedCodec.from_arrow`: lists."""
        array = decoded(pa, array)
        if not is_list(pa, array.type):
            return super().from_arrow(pa, array)
        if pa.types.is_fixed_size_list(array.type) and array.type.list_size == self.length and not array.null_count:
            flat = array.flatten()
        else:
            flat = self._flat(pa, array)
        if flat.null_count:
            row = int(flat.is_null().to_numpy(zero_copy_only=False).argmax()) // self.length
            raise RowFault(row, "an item is missing", array[row].as_py())
        try:
            stored = self.item.stored_column(self.item.from_arrow(pa, flat))
        except RowFault as fault:
            row_at = None if fault.row is None else fault.row // self.length
            raise RowFault(row_at, fault.why, fault.value) from fault
        whole = np.zeros(len(array) * self.length, stored.dtype)
        if array.null_count:
            whole[np.repeat(array.is_valid().to_numpy(zero_copy_only=False), self.length)] = stored
        else:
            whole = np.array(stored)
        return whole.view(f"V{self.item.size}").view(f"V{self.size}")

    def _flat(self, pa: Any, array: Any) -> Any:
        """Returns the items of the lists that are not null."""
        lengths = compute().list_value_length(array).fill_null(self.length)
        wrong = lengths.to_numpy(zero_copy_only=False) != self.length
        if wrong.any():
            row = int(wrong.argmax())
            raise RowFault(row, f"{lengths[row]} items are given; the array has {self.length}", array[row].as_py())
        filler = pa.scalar([None] * self.length, pa.list_(array.type.value_type))
        plain = array.cast(pa.list_(array.type.value_type))
        flat = compute().if_else(array.is_valid(), plain, filler).flatten()
        if not array.null_count:
            return flat
        return flat.filter(pa.array(np.repeat(array.is_valid().to_numpy(zero_copy_only=False), self.length)))


class ArrayCodec(_ArrayCodec, LengthCodec, frozen=True, kw_only=True):
    """An array of variable length."""

    item: FixedCodec
    as_numpy: bool = False

    @property
    def what(self) -> str:
        return f"Array of {self.item.label}"

    counted: ClassVar[str] = "items"

    @property
    def unit(self) -> int:
        return self.item.size

    @property
    def accepts(self) -> str:
        return f"a sequence of items, each {self.item.accepts}"

    has_spans = True

    def are_sound(self, offsets: npt.NDArray[np.int64], raw: npt.NDArray[np.uint8]) -> bool:
        faulty = self.item.faulty(self._items(raw))
        return faulty is None or not faulty.any()

    def _items(self, raw: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        return self.item.of_bytes(raw)

    def description(self) -> Description:
        return {"type": "Array", **self.described_length, "item": self.item.description()}

    def declared(self, structures: Structures) -> Kind:
        from tsmodel.types.kinds import Items

        return Items(self.item.declared(structures), self.item.size, None, self.prefix, self.byte_order)

    def arrow_type(self, pa: Any) -> Any:
        return pa.list_(self.item.arrow_type(pa))

    def spans_to_arrow(
        self, pa: Any, name: str, offsets: npt.NDArray[np.int64], raw: npt.NDArray[np.uint8], present: Any
    ) -> Any:
        items = self.item.to_arrow(pa, name, self._items(raw))
        places = pa.py_buffer((offsets // self.unit).astype(np.int32))
        return pa.ListArray.from_buffers(self.arrow_type(pa), len(offsets) - 1, [present, places], children=[items])

    def objects_from_arrow(self, pa: Any, array: Any) -> list[Any]:
        if not is_list(pa, array.type):
            return super().objects_from_arrow(pa, array)
        items = iter(self.item.objects_from_arrow(pa, array.flatten()))
        lengths = compute().list_value_length(array).to_pylist()
        lists = [None if length is None else [next(items) for _ in range(length)] for length in lengths]
        return [each if each is None or not self.as_numpy else np.array(each, self.item.dtype) for each in lists]


class ArrayConversion(Conversion):
    """A list of items."""

    codec: _ArrayCodec
    shareable = False

    def __init__(self, codec: _ArrayCodec, spelling: Spelling, item: Conversion) -> None:
        super().__init__(codec, spelling)
        self._item = item
        self._length = codec.length
        self.has_decimals = item.has_decimals

    def plain(self, data: Any) -> Any:
        return list(map(self._item.plain, data)) if isinstance(data, list) else with_floats(data)

    @property
    def accepts(self) -> str:
        return f"a list of items, each {self._item.accepts}"

    def load(self, data: Any) -> Any:
        given = _list_of(data)
        if given is None:
            raise self.refused(data)
        load = self._item.load
        try:
            items = self._item.load_column(given)
        except UNSUITABLE:
            faults = [fault for at, each in enumerate(given) for fault in faults_of(self._item, str(at), each, load)]
            if faults:
                raise ConversionFaults(faults) from None
            items = list(map(load, given))
        self.held(items)
        return self.codec.content(self.codec.to_bytes(items)) if self.codec.as_numpy else items

    def parse(self, text: str) -> Any:
        return self.load(of_json(self, text, "a list"))

    def dump(self, value: Any) -> Any:
        self.held(value)
        if self.codec.as_numpy:
            value = self.codec.listed(self.codec.to_bytes(value))
        elif self.codec.item.is_plain and isinstance(value, np.ndarray):
            value = value.tolist()
        try:
            return list(self._item.dump_column(value))
        except UNSUITABLE:
            return [self._item.dump(each) for each in value]

    def show(self, value: Any) -> Any:
        return to_json(self.dump(value))

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "array", "items": self._item.schema(definitions)}
        if self._length is not None:
            schema |= {"minItems": self._length, "maxItems": self._length}
        return schema


T = TypeVar("T")


class Array(FieldType[list[T]]):
    """A list of items of the field type `item`, which must have a fixed width: `field(item=Float32)`.

    By default a length prefix of type `prefix` (UInt16 by default) counts the items. `length=96` fixes their number.
    `rest=True` consumes the rest of the payload. With `as_numpy=True`, values are read as one-dimensional, read-only NumPy
    arrays.
    """

    takes = ("item", "length", "prefix", "rest", "as_numpy", "byte_order")
    examples = (
        "Array[float] = field(item=Float32, length=96)",
        "Array[float] = field(item=Float32)",
        "Array[float] = field(item=Float32, length=96, as_numpy=True)",
    )

    @classmethod
    def codec(cls, argument: Any, options: Options) -> FixedArrayCodec | ArrayCodec:
        length, as_numpy = options.take("length"), bool(options.take("as_numpy", False))
        item = item_of(options, "Array[float]", "Float32")
        prefix = None if length is not None else options.prefix(UInt16)
        codec = item.fixed(options, "an item of an Array")
        if codec.bits is not None:
            raise ValueError("an item of an Array cannot be Bits: they have no bytes of their own")
        if as_numpy and not codec.has_arrays:
            raise ValueError(
                f"as_numpy=True would return stored numbers, not values of {item.field_type.__name__}: leave it out"
            )
        if length is None:
            return ArrayCodec(prefix, options.byte_order, item=codec, as_numpy=as_numpy)
        check_int("length", length, 1, 2**25 // codec.size)
        return FixedArrayCodec(codec, length, as_numpy, options.byte_order)
