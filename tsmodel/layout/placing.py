"""Layouts: the position of each field in the payload.

Rules kept here:

* The byte order is stated in the layout; it never depends on the machine. A field may have another.
* A version byte comes first. On reading, it must have the value of the layout.
* Fields that may be absent share a bitmap before all fields. Bit 0 of its first byte belongs to the first such field; it is
  1 if the value is present.
* Fields have the order of their declaration. `packed` leaves no gaps. `c` puts them where a C compiler for x86-64 does,
  with padding between and after them; a field for which that is impossible is rejected.
* Adjacent bit-fields of one storage type share an integer as long as they fit; the first has the lowest bits.
* After a field of variable length, nothing has a fixed offset.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from tsmodel.html import html_table
from tsmodel.types import scalar_codec
from tsmodel.types.codec import MARKS, Description, FieldCodec, FixedCodec
from tsmodel.types.declaring import PaddingBytes
from tsmodel.types.field_faults import FieldFault, Mask
from tsmodel.types.scalars import SCALARS, ByteOrder, Scalar

__all__ = [
    "PRESENT",
    "VERSION",
    "Align",
    "Layout",
    "LayoutError",
    "LayoutField",
    "Slot",
    "laid_out",
    "packed",
    "placed_dtype",
]


Align = Literal["packed", "c"]

PRESENT: Final = "_present"
"""Name of the bitmap of present fields in structured arrays."""

VERSION: Final = "_version"
"""Name of the version byte in structured arrays."""


def placed_dtype(names: list[str], kinds: list[np.dtype[Any]], offsets: list[int], size: int) -> np.dtype[Any]:
    """A structured dtype of `size` bytes with fields at these offsets."""
    return np.dtype({"names": names, "formats": kinds, "offsets": offsets, "itemsize": size})


class LayoutError(ValueError):
    """The fields cannot be laid out; the message names the field and the reason."""


class LayoutField(msgspec.Struct, frozen=True):
    """A field and its position in the payload.

    Attributes:
        name: the field's name.
        codec: how its values are stored.
        offset: its offset in the payload, in bytes; None after a field of variable length.
        slot: name of the slot that holds it: its own, or that of an integer that several bit-fields share.
        bit: its bit in the bitmap of present fields; None if the field is always present.
    """

    name: str
    codec: FieldCodec
    offset: int | None
    slot: str
    bit: int | None = None

    @property
    def size(self) -> int | None:
        """Bytes; None if that depends on the value."""
        return self.codec.size

    @property
    def item(self) -> FieldCodec:
        """How a present value is stored."""
        return self.codec.present if self.codec.has_bit else self.codec

    @property
    def fixed(self) -> FixedCodec:
        """The same, for a field of fixed width."""
        fixed = self.item.as_fixed
        assert fixed is not None, f"{self.name} has no fixed width"
        return fixed

    @property
    def is_fixed(self) -> bool:
        """Whether it has a fixed width."""
        return self.item.as_fixed is not None

    @property
    def bits(self) -> int | None:
        """Width in bits of a field that shares an integer with its neighbours; None for a field with bytes of its own."""
        return None if self.item.as_fixed is None else self.item.as_fixed.bits

    def present(self, records: npt.NDArray[Any]) -> Mask:
        """Mask of the records (structured array, shape (n,)) in which a field with a bit is present; shape (n,)."""
        assert self.bit is not None
        mask: Mask = _bitmap(records)[:, self.bit // 8] & (1 << self.bit % 8) != 0
        return mask

    def description(self) -> Description:
        """Its name, type and position as JSON data; see `FieldCodec.description`."""
        placed: Description = {"name": self.name, **self.codec.description()}
        for name, value in (("offset", self.offset), ("size", self.size), ("bit", self.bit)):
            if value is not None:
                placed[name] = value
        return placed


class Slot(msgspec.Struct, frozen=True):
    """A part of the payload that `struct` reads as one value.

    Attributes:
        name: its name in structured arrays.
        offset: its offset in bytes; None after a field of variable length.
        codec: codec of one of its fields; None for the bitmap.
        code: its `struct` code.
        dtype: its dtype in structured arrays.
        gap: bytes of padding before it.
    """

    name: str
    offset: int | None
    codec: FixedCodec | None
    code: str
    dtype: np.dtype[Any]
    gap: int = 0

    @property
    def byte_order(self) -> ByteOrder:
        """Byte order; irrelevant for single bytes."""
        return self.codec.byte_order if self.codec else "little"


class Layout(msgspec.Struct, frozen=True, dict=True):
    """The byte layout of a payload; printing it gives a table.

    Attributes:
        fields: the fields in order.
        byte_order: `little` or `big`; a field may have its own.
        size: bytes of the payload; None if that depends on its values.
        align: `packed` or `c`.
        parts: slots and fields of variable length, in order.
        alignment: its alignment within a C struct.
        tail: bytes of padding after the last field.
        version: value of the version byte; None if there is none.
    """

    fields: tuple[LayoutField, ...]
    byte_order: ByteOrder
    size: int | None
    align: Align = "packed"
    parts: tuple[Slot | LayoutField, ...] = ()
    alignment: int = 1
    tail: int = 0
    version: int | None = None

    @cached_property
    def _checked(self) -> tuple[LayoutField, ...]:
        """Fields of fixed width whose stored bytes may be invalid."""
        return tuple(
            field for field in self.fields if field.is_fixed and (field.bit is not None or field.fixed.may_be_faulty)
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the fields."""
        return tuple(field.name for field in self.fields)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The slots in order."""
        return tuple(part for part in self.parts if isinstance(part, Slot))

    @property
    def struct_format(self) -> str:
        """The payload as a `struct` format, byte order first; fields that are not numbers appear as bytes (`s`).

        Raises:
            LayoutError: if the size depends on the values, or there are fields of both byte orders.
        """
        if self.size is None:
            raise LayoutError("a payload of variable size has no struct format")
        if any(slot.byte_order != self.byte_order and slot.dtype.byteorder != "|" for slot in self.slots):
            raise LayoutError("fields of both byte orders have no struct format")
        return MARKS[self.byte_order] + (self.codes if self.version is None else "B" + self.codes[1:])

    @property
    def codes(self) -> str:
        """The `struct` codes of all slots, with padding between them and in place of the version byte."""
        tail = f"{self.tail}x" if self.tail else ""
        version = "x" * self.leading
        return version + "".join(f"{slot.gap}x{slot.code}" if slot.gap else slot.code for slot in self.slots) + tail

    @property
    def dtype(self) -> np.dtype[Any]:
        """The payload as a NumPy structured dtype with a member for each slot.

        Raises:
            LayoutError: if the size depends on the values.
        """
        return self._dtype([slot.dtype for slot in self.slots])

    @property
    def stored(self) -> np.dtype[Any]:
        """As `dtype`, but with opaque bytes in place of everything that is not a number."""
        return self._dtype([slot.codec.stored if slot.codec else slot.dtype for slot in self.slots])

    def _dtype(self, kinds: list[np.dtype[Any]]) -> np.dtype[Any]:
        if self.size is None:
            raise LayoutError("a payload of variable size has no dtype")
        names, offsets = [slot.name for slot in self.slots], [slot.offset or 0 for slot in self.slots]
        if self.version is not None:
            names, kinds, offsets = [VERSION, *names], [np.dtype("u1"), *kinds], [0, *offsets]
        return placed_dtype(names, kinds, offsets, self.size)

    @property
    def leading(self) -> int:
        """Size of the version byte: 1 or 0."""
        return int(self.version is not None)

    @property
    def least_size(self) -> int:
        """Minimum size of a payload in bytes."""
        if self.size is not None:
            return self.size
        if not self.parts:
            return self.leading + 1  # a message
        gaps = sum(slot.gap for slot in self.slots) + self.tail
        fixed = sum(slot.codec.size if slot.codec else self.bitmap for slot in self.slots)
        variable = sum(0 if field.codec.has_bit else field.item.least_size for field in self.fields if field.size is None)
        return self.leading + gaps + fixed + variable

    def description(self) -> Description:
        """Everything that determines which bytes represent which values, and nothing else, as JSON data.

        Returns:
            `encoding` (struct, msgpack or json), `size` (absent if it varies), `version` (absent if there is no version
            byte), and `fields`; see `LayoutField.description`.
        """
        whole: Description = {"encoding": "struct"}
        if self.version is not None:
            whole["version"] = self.version
        if self.size is not None:
            whole["size"] = self.size
        whole["fields"] = [field.description() for field in self.fields]
        return whole

    @cached_property
    def bits(self) -> int:
        """Number of fields that have a bit in the bitmap of present fields."""
        return sum(field.bit is not None for field in self.fields)

    @property
    def bitmap(self) -> int:
        """Size of that bitmap in bytes."""
        return -(-self.bits // 8)

    def faulty(self, records: npt.NDArray[Any]) -> Mask | None:
        """Mask of the records with an invalid value in a field of fixed width; None if there is none.

        Args:
            records: structured array of `dtype`, or with its members; shape (n,)."""
        masks = [mask for field in self._checked if (mask := self._faulty(field, records)) is not None]
        if used := self.bits % 8:
            masks.append(_bitmap(records)[:, -1] >> used != 0)  # an unused bit is set
        if self.version is not None and self.size is not None:
            masks.append(records[VERSION] != self.version)
        return np.logical_or.reduce(masks) if len(masks) > 1 else masks[0] if masks else None

    def _faulty(self, field: LayoutField, records: npt.NDArray[Any]) -> Mask | None:
        item = field.fixed
        column = records[field.slot]
        mask = item.faulty(column)
        if field.bit is None:
            return mask
        present = field.present(records)
        raw = np.ascontiguousarray(column).view(np.uint8).reshape(len(column), item.size)
        return np.where(present, False if mask is None else mask, raw.any(axis=1))

    def read(self, payload: bytes) -> tuple[Any, ...]:
        """Decodes a payload field by field: slow, but an error says where the fault is.

        Raises:
            FieldFault: with the field and the byte offset.
        """
        values, at = self.read_from(payload, 0, len(payload))
        if at != len(payload):
            raise FieldFault(f"the payload has {len(payload) - at} bytes after its last field", at)
        return values

    def read_from(self, payload: bytes, start: int, end: int) -> tuple[tuple[Any, ...], int]:
        """Decodes a payload that begins at `start`; returns the values and where it ends."""
        self.check_version(payload[start:end])
        at = start + self.leading + self.bitmap
        first = at - self.bitmap
        if at > end:
            raise FieldFault(
                f"the bitmap of present fields takes {self.bitmap} bytes, but only {end - first} are left", first
            )
        bits = int.from_bytes(payload[first:at], "little")
        if bits >> self.bits:
            raise FieldFault("the bitmap of present fields has bits set that belong to no field", first)
        values = []
        slots = {slot.name: slot for slot in self.slots}
        begun, begins = "", at
        for field in self.fields:
            if field.offset is not None:
                at = start + field.offset
            elif field.slot and field.slot == begun:
                at = begins  # bit-fields share an integer
            else:
                at += slots[field.slot].gap if field.slot in slots else 0
            begun, begins = field.slot, at
            try:
                value, at = self._read_field(field, bits, payload, at, end)
            except FieldFault as fault:
                raise fault.within(field.name) from None
            values.append(value)
        at = start + self.size if self.size is not None else at + self.tail
        if at > end:
            raise FieldFault(f"the payload takes {at - start} bytes, but only {end - start} are left", end)
        return tuple(values), at

    def check_version(self, payload: bytes) -> None:
        """Raises a `FieldFault` if the version byte does not have the value of the layout."""
        if self.version is not None and payload[:1] != bytes([self.version]):
            found = f"is {payload[0]}" if payload else "is missing"
            raise FieldFault(f"the version byte {found}; expected {self.version}")

    def _read_field(self, field: LayoutField, bits: int, payload: bytes, at: int, end: int) -> tuple[Any, int]:
        if field.bit is None or bits >> field.bit & 1:
            return field.item.read(payload, at, end)
        size = field.size or 0
        if at + size > end:
            raise FieldFault(f"{field.codec.label} takes {size} bytes, but only {max(0, end - at)} are left", at)
        if any(payload[at : at + size]):
            raise FieldFault("the bitmap says that the value is absent, but its bytes are not zero", at)
        return None, at + size

    def fault(self, field: LayoutField, value: object) -> FieldFault | None:
        """The fault of a value of a field; None if it can be stored."""
        return field.codec.fault(value)

    def write(self, values: Sequence[Any]) -> bytes:
        """Encodes a payload field by field; takes one value per field.

        Raises:
            FieldFault: with the field.
        """
        pieces = [b"" if self.version is None else bytes([self.version])]
        numbers: dict[str, int] = {}
        bits = sum(
            1 << field.bit
            for field, value in zip(self.fields, values, strict=True)
            if field.bit is not None and value is not None
        )
        raw = {}
        for field, value in zip(self.fields, values, strict=True):
            try:
                if field.bit is not None and value is None:
                    raw[field.name] = bytes(field.size or 0)
                elif field.bits is not None:
                    numbers[field.slot] = numbers.get(field.slot, 0) | field.fixed.dump(value)
                else:
                    raw[field.name] = field.item.write(value)
            except FieldFault as fault:
                raise fault.within(field.name) from fault.__cause__
        for part in self.parts:
            if isinstance(part, LayoutField):
                pieces.append(raw[part.name])
                continue
            pieces.append(bytes(part.gap))
            if part.codec is None:
                pieces.append(bits.to_bytes(self.bitmap, "little"))
            elif part.codec.bits is not None:
                pieces.append(struct.pack(MARKS[part.byte_order] + part.code, numbers[part.name]))
            else:
                pieces.append(raw[part.name])
        return b"".join([*pieces, bytes(self.tail)])

    def __str__(self) -> str:
        rows = _rows(self)
        wide = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = [f"{a:>{wide[0]}}  {b:>{wide[1]}}  {c:<{wide[2]}}  {name}".rstrip() for a, b, c, name in rows]
        return "\n".join([*lines, _summary(self)])

    def _repr_html_(self) -> str:
        head, *rows = _rows(self)
        return html_table(_summary(self), head, rows)


def _bitmap(records: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    bitmap = np.ascontiguousarray(records[PRESENT])
    return bitmap.view(np.uint8).reshape(len(records), bitmap.dtype.itemsize)


def laid_out(
    fields: Sequence[tuple[str, FieldCodec | PaddingBytes]],
    byte_order: ByteOrder = "little",
    align: Align = "packed",
    version: int | None = None,
) -> Layout:
    """Lays out named fields, after a version byte if there is a `version`.

    Raises:
        LayoutError: if a field follows one that consumes the rest of the payload, or if a C struct cannot hold the fields
            and `align="c"` is given.
    """
    return _Placing(byte_order, align, version).place(fields)


def packed(fields: Iterable[tuple[str, Scalar]], byte_order: ByteOrder = "little") -> Layout:
    """Lays out named scalars without gaps."""
    return laid_out([(name, scalar_codec(scalar, byte_order)) for name, scalar in fields], byte_order)


class _Placing:
    """Lays out fields in order."""

    def __init__(self, byte_order: ByteOrder, align: Align, version: int | None) -> None:
        self.byte_order: ByteOrder = byte_order
        self.align: Align = align
        self.version = version
        self.leading = int(version is not None)
        self.at: int | None = self.leading
        self.gap = 0
        self.alignment = 1
        self.fields: list[LayoutField] = []
        self.parts: list[Slot | LayoutField] = []
        self.ended_by: str | None = None
        self.bits: tuple[str, FixedCodec, int] | None = None
        """Name, codec and number of used bits of the integer that the next bit-field may share."""

    def place(self, fields: Sequence[tuple[str, FieldCodec | PaddingBytes]]) -> Layout:
        """Lays out the fields."""
        absent = [name for name, codec in fields if isinstance(codec, FieldCodec) and codec.has_bit]
        if absent:
            size = -(-len(absent) // 8)
            dtype = np.dtype("u1") if size == 1 else np.dtype(f"V{size}")
            self.parts.append(Slot(PRESENT, self.leading, None, "B" if size == 1 else f"{size}s", dtype))
            self.at = self.leading + size
        for name, codec in fields:
            if self.ended_by is not None:
                raise LayoutError(
                    f"{name} follows {self.ended_by}, which takes the rest of the payload: make it the last field"
                )
            if isinstance(codec, PaddingBytes):
                self._skip(codec.size)
                continue
            bit = absent.index(name) if codec.has_bit else None
            item = codec.present if codec.has_bit else codec
            if (fixed := item.as_fixed) is None:
                self._variable(name, codec, item, bit)
            elif fixed.bits is not None:
                self._bits(name, fixed, fixed.bits)
            else:
                self._fixed(name, codec, fixed, bit)
        self.bits = None
        tail = self.gap
        if self.align == "c" and self.at is not None:
            tail += -self.at % self.alignment
            self.at += -self.at % self.alignment
        parts = tuple(self.parts)
        return Layout(tuple(self.fields), self.byte_order, self.at, self.align, parts, self.alignment, tail, self.version)

    def _skip(self, size: int) -> None:
        self._close_bits()
        self.gap += size
        if self.at is not None:
            self.at += size

    def _slot(self, name: str, item: FixedCodec) -> int | None:
        if self.align == "c":
            assert self.at is not None
            pad = -self.at % item.align
            self.gap += pad
            self.at += pad
            self.alignment = max(self.alignment, item.align)
        offset = self.at
        self.parts.append(Slot(name, offset, item, item.code, item.dtype, self.gap))
        self.gap = 0
        if self.at is not None:
            self.at += item.size
        return offset

    def _fixed(self, name: str, codec: FieldCodec, item: FixedCodec, bit: int | None) -> None:
        self._close_bits(item.align)
        offset = self._slot(name, item)
        self.fields.append(LayoutField(name, codec, offset, name, bit))

    def _variable(self, name: str, codec: FieldCodec, item: FieldCodec, bit: int | None) -> None:
        self._close_bits()
        if self.align == "c":
            raise LayoutError(f"{name} has a variable length, which no C struct can hold: use align='packed'")
        if self.gap:
            raise LayoutError(f"{name} has a variable length and follows padding: put the padding elsewhere")
        placed = LayoutField(name, codec, self.at, name, bit)
        self.fields.append(placed)
        self.parts.append(placed)
        self.at = None
        if item.takes_rest:
            self.ended_by = name

    def _bits(self, name: str, item: FixedCodec, bits: int) -> None:
        width = item.size * 8
        if self.bits is not None and self.bits[1].code != item.code:
            _, other, used = self.bits
            full = used == other.size * 8
            self._close_bits(item.align if full else 1)
            if self.align == "c" and self.at is not None and not full:
                bit = (self.at - other.size) * 8 + used
                if bit % width + bits <= width:
                    raise LayoutError(
                        f"a C compiler puts {name} into the bits that the bit-fields before it leave free: fill their "
                        f"{_name_of(other)} with a field of {other.size * 8 - used} more bits"
                    )
        elif self.bits is not None and self.bits[2] + bits > width:
            self.bits = None
        if self.bits is None:
            slot = f"_{name}_" if name in ("present", "size", "version") else f"_{name}"  # columns of whole records
            before = self.at
            self._slot(slot, item)
            if self.align == "c" and before is not None and before % item.align:
                raise LayoutError(
                    f"a C compiler puts {name} into the bytes before it, which is not supported: put bit-fields where "
                    f"{_name_of(item)} is aligned"
                )
            self.bits = (slot, item, 0)
        slot, first, used = self.bits
        placed = item.shifted(used)
        offset = self.parts[-1].offset
        self.fields.append(LayoutField(name, placed, offset, slot))
        self.bits = (slot, first, used + bits)

    def _close_bits(self, align: int = 1) -> None:
        """Ends a group of bit-fields: the next field follows their integer. In C, it could lie within it, which is
        rejected."""
        if self.bits is None:
            return
        _, codec, used = self.bits
        self.bits = None
        taken = -(-used // 8)
        if self.align == "c" and -(-taken // align) * align < codec.size:
            raise LayoutError(
                f"a C compiler puts the next field into bytes that the bit-fields before it leave free: fill their "
                f"{_name_of(codec)} with a field of {codec.size * 8 - used} more bits"
            )


def _name_of(codec: FixedCodec) -> str:
    """Name of the integer type that bit-fields share."""
    return next(name for name, scalar in SCALARS.items() if scalar.kind == "int" and scalar.code == codec.code)


def _rows(layout: Layout) -> list[tuple[str, str, str, str]]:
    rows = [("offset", "size", "type", "field")]
    if layout.version is not None:
        rows.append(("0", "1", f"version {layout.version}", ""))
    if layout.bitmap:
        rows.append((str(layout.leading), str(layout.bitmap), "bitmap of present fields", ""))
    gaps = {slot.name: slot for slot in layout.slots if slot.gap}
    for field in layout.fields:
        if slot := gaps.pop(field.slot, None):
            start = None if slot.offset is None else slot.offset - slot.gap
            rows.append((_shown(start), str(slot.gap), "padding", ""))
        rows.append((_shown(field.offset), _shown(field.size), field.codec.label, field.name))
    if layout.tail:
        rows.append((_shown(None if layout.size is None else layout.size - layout.tail), str(layout.tail), "padding", ""))
    return rows


def _summary(layout: Layout) -> str:
    size = "variable size" if layout.size is None else f"{layout.size} bytes"
    placed = "packed" if layout.align == "packed" else "aligned as in C"
    return f"{size}, {layout.byte_order}-endian, {placed}"


def _shown(number: int | None) -> str:
    return "…" if number is None else str(number)
