"""Where each field of a payload lies.

Rules kept here:

* The byte order is the layout's own, stated, and never the machine's. A field may have another.
* A version byte is the payload's first. What is read must have the layout's own.
* Fields that may be absent share a bitmap of as few bytes as it takes, in front of all fields: bit 0 of the first byte is
  the first such field's, and is 1 when the value is there.
* Behind a field of variable length, nothing has a fixed offset.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final, Literal

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.codec.field import MARKS, FieldCodec, FieldFault, FixedCodec, Mask
from tsmodel.codec.nullable import NullableCodec
from tsmodel.codec.numbers import BitsCodec, ScalarCodec
from tsmodel.codec.scalars import ByteOrder, Scalar
from tsmodel.codec.tables import table_of

__all__ = ["PRESENT", "VERSION", "Align", "Layout", "LayoutError", "LayoutField", "Padding", "Slot", "placed_dtype"]

Align = Literal["packed", "c"]

PRESENT: Final = "_present"
"""Name of the bitmap of present fields in structured arrays."""

VERSION: Final = "_version"
"""Name of the version byte in structured arrays."""


def placed_dtype(names: list[str], kinds: list[np.dtype[Any]], offsets: list[int], size: int) -> np.dtype[Any]:
    """A structured dtype of `size` bytes with fields at these offsets."""
    return np.dtype({"names": names, "formats": kinds, "offsets": offsets, "itemsize": size})


class LayoutError(ValueError):
    """Fields cannot be laid out; the message says which and why."""


@attrs.frozen
class Padding:
    """Bytes that mean nothing: written as zeros, not looked at when read."""

    size: int


@attrs.frozen
class LayoutField:
    """One field's place in the payload.

    Attributes:
        name: the field's name.
        codec: how its values are stored.
        offset: its first byte, counted from the payload's first; None behind a field of variable length.
        slot: what holds it in structured arrays: its own name, or that of an integer that several bit-fields share.
        bit: its bit in the bitmap of present fields; None for a field that is never absent.
    """

    name: str
    codec: FieldCodec
    offset: int | None
    slot: str
    bit: int | None = None

    @property
    def size(self) -> int | None:
        """Bytes; None when that depends on the value."""
        return self.codec.size

    @property
    def item(self) -> FieldCodec:
        """How a value that is present is stored."""
        return self.codec.item if isinstance(self.codec, NullableCodec) else self.codec

    def present(self, records: npt.NDArray[Any]) -> Mask:
        """In which records (structured, shape (n,)) a field with a bit is there; shape (n,)."""
        assert self.bit is not None
        mask: Mask = _bitmap(records)[:, self.bit // 8] & (1 << self.bit % 8) != 0
        return mask

    @property
    def scalar(self) -> Scalar:
        """The scalar of a field that is one."""
        assert isinstance(self.codec, ScalarCodec)
        return self.codec.scalar


@attrs.frozen
class Slot:
    """What `struct` reads as one value.

    Attributes:
        name: its name in structured arrays.
        offset: its first byte; None behind a field of variable length.
        codec: of one of the fields it holds; None for the bitmap.
        code: its `struct` code.
        dtype: in structured arrays.
        gap: bytes of padding in front of it.
    """

    name: str
    offset: int | None
    codec: FixedCodec | None
    code: str
    dtype: np.dtype[Any]
    gap: int = 0

    @property
    def byte_order(self) -> ByteOrder:
        """Byte order; of no meaning for single bytes."""
        return self.codec.byte_order if self.codec else "little"


@attrs.frozen
class Layout:
    """The byte layout of a payload; printing it gives a table.

    Attributes:
        fields: the fields in order.
        byte_order: `little` or `big`; a field may have its own.
        size: bytes of the whole payload; None when that depends on its values.
        align: `packed` or `c`.
        parts: in order of the payload: values that `struct` reads, and fields of variable length.
        alignment: what its first byte's address is to be a multiple of, inside of a C struct.
        tail: bytes of padding behind the last field.
        version: value of the version byte; None when there is none.
    """

    fields: tuple[LayoutField, ...]
    byte_order: ByteOrder
    size: int | None
    align: Align = "packed"
    parts: tuple[Slot | LayoutField, ...] = attrs.field(default=(), repr=False, eq=False)
    alignment: int = 1
    tail: int = 0
    version: int | None = None
    _checked: tuple[LayoutField, ...] = attrs.field(init=False, repr=False, eq=False)
    """Fields of fixed width that may hold a value that is none."""

    def __attrs_post_init__(self) -> None:
        fixed = ((field, field.item) for field in self.fields)
        checked = (
            field
            for field, item in fixed
            if isinstance(item, FixedCodec) and (field.bit is not None or item.may_be_faulty)
        )
        object.__setattr__(self, "_checked", tuple(checked))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the fields."""
        return tuple(field.name for field in self.fields)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """What `struct` reads, in order."""
        return tuple(part for part in self.parts if isinstance(part, Slot))

    @property
    def struct_format(self) -> str:
        """The payload as a `struct` format, byte order first; fields that are no numbers appear as bytes (`s`).

        Raises:
            LayoutError: when the size depends on the values, or there are fields of both byte orders.
        """
        if self.size is None:
            raise LayoutError("a payload of variable size has no struct format")
        if any(slot.byte_order != self.byte_order and slot.dtype.byteorder != "|" for slot in self.slots):
            raise LayoutError("fields of both byte orders have no struct format")
        return MARKS[self.byte_order] + (self.codes if self.version is None else "B" + self.codes[1:])

    @property
    def codes(self) -> str:
        """The `struct` codes of all slots, with padding among them and in the place of the version byte."""
        tail = f"{self.tail}x" if self.tail else ""
        version = "x" * self.leading
        return version + "".join(f"{slot.gap}x{slot.code}" if slot.gap else slot.code for slot in self.slots) + tail

    @property
    def dtype(self) -> np.dtype[Any]:
        """The payload as a NumPy structured dtype: the fields, and before them what holds bits of them.

        Raises:
            LayoutError: when the size depends on the values.
        """
        return self._dtype([slot.dtype for slot in self.slots])

    @property
    def stored(self) -> np.dtype[Any]:
        """As `dtype`, but all that is not a number as opaque bytes."""
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
        """Bytes of the version byte: 1 or 0."""
        return int(self.version is not None)

    @property
    def bitmap(self) -> int:
        """Bytes of the bitmap of present fields."""
        return -(-sum(field.bit is not None for field in self.fields) // 8)

    def faulty(self, records: npt.NDArray[Any]) -> Mask | None:
        """Which payloads (structured array of `dtype`, or with its fields; shape (n,)) hold a value that is none, in fields
        of fixed width."""
        masks = [mask for field in self._checked if (mask := self._faulty(field, records)) is not None]
        if spare := self._spare(records):
            masks.append(spare[0])
        if self.version is not None and self.size is not None:
            masks.append(records[VERSION] != self.version)
        return np.logical_or.reduce(masks) if len(masks) > 1 else masks[0] if masks else None

    def _faulty(self, field: LayoutField, records: npt.NDArray[Any]) -> Mask | None:
        item = field.item
        assert isinstance(item, FixedCodec)
        column = records[field.slot]
        mask = item.faulty(column)
        if field.bit is None:
            return mask
        present = field.present(records)
        octets = np.ascontiguousarray(column).view(np.uint8).reshape(len(column), item.size)
        return np.where(present, False if mask is None else mask, octets.any(axis=1))

    def _spare(self, records: npt.NDArray[Any]) -> list[Mask]:
        """Bits of the bitmap that stand for nothing are 0."""
        used = sum(field.bit is not None for field in self.fields)
        if used % 8 == 0:
            return []
        return [_bitmap(records)[:, -1] >> (used % 8) != 0]

    def read(self, payload: bytes) -> tuple[Any, ...]:
        """The values of a whole payload, field by field: slow, but it tells where a fault is.

        Raises:
            FieldFault: with the field and the byte offset.
        """
        values, at = self.read_from(payload, 0, len(payload))
        if at != len(payload):
            raise FieldFault(f"the payload goes on for {len(payload) - at} bytes behind its last field", at)
        return values

    def read_from(self, payload: bytes, start: int, end: int) -> tuple[tuple[Any, ...], int]:
        """The values of a payload that begins at `start`, and where it ends."""
        self.check_version(payload[start:end])
        at = start + self.leading + self.bitmap
        first = at - self.bitmap
        if at > end:
            raise FieldFault(f"the bitmap of present fields takes {self.bitmap} bytes, {end - first} are there", first)
        bits = int.from_bytes(payload[first:at], "little")
        if bits >> sum(field.bit is not None for field in self.fields):
            raise FieldFault("the bitmap of present fields has bits that stand for no field", first)
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
            raise FieldFault(f"the payload takes {at - start} bytes, of which {end - start} are there", end)
        return tuple(values), at

    def check_version(self, payload: bytes) -> None:
        """Raises a `FieldFault` when the version byte is not the layout's."""
        if self.version is not None and payload[:1] != bytes([self.version]):
            found = f"is {payload[0]}" if payload else "is missing"
            raise FieldFault(f"the version byte {found}; it is {self.version} here")

    def _read_field(self, field: LayoutField, bits: int, payload: bytes, at: int, end: int) -> tuple[Any, int]:
        if field.bit is None or bits >> field.bit & 1:
            return field.item.read(payload, at, end)
        size = field.size or 0
        if at + size > end:
            raise FieldFault(f"{field.codec.label} takes {size} bytes, of which {max(0, end - at)} are there", at)
        if any(payload[at : at + size]):
            raise FieldFault("the bitmap says that the value is absent, yet its bytes are not zero", at)
        return None, at + size

    def fault(self, field: LayoutField, value: object) -> FieldFault | None:
        """What is wrong with the value of a field, or None when it can be stored."""
        return field.codec.fault(value)

    def write(self, values: Sequence[Any]) -> bytes:
        """The payload of a value for each field, field by field.

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
        octets = {}
        for field, value in zip(self.fields, values, strict=True):
            try:
                if field.bit is not None and value is None:
                    octets[field.name] = bytes(field.size or 0)
                elif isinstance(field.codec, BitsCodec):
                    numbers[field.slot] = numbers.get(field.slot, 0) | field.codec.dump(value)
                else:
                    octets[field.name] = field.item.write(value)
            except FieldFault as fault:
                raise fault.within(field.name) from fault.__cause__
        for part in self.parts:
            if isinstance(part, LayoutField):
                pieces.append(octets[part.name])
                continue
            pieces.append(bytes(part.gap))
            if part.codec is None:
                pieces.append(bits.to_bytes(self.bitmap, "little"))
            elif isinstance(part.codec, BitsCodec):
                pieces.append(struct.pack(MARKS[part.byte_order] + part.code, numbers[part.name]))
            else:
                pieces.append(octets[part.name])
        return b"".join([*pieces, bytes(self.tail)])

    def __str__(self) -> str:
        return table_of(self)


def _bitmap(records: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    bitmap = np.ascontiguousarray(records[PRESENT])
    return bitmap.view(np.uint8).reshape(len(records), bitmap.dtype.itemsize)
