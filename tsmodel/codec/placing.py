"""Lays fields out, one after another.

Rules kept here:

* Fields follow one another in the order of their declaration. `packed`: without gaps. `c`: where a C compiler for x86-64
  puts them, with padding between and behind them; what it would put elsewhere is refused.
* Neighbouring bit-fields of one storage share an integer as long as they fit, the first in its lowest bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs
import numpy as np

from tsmodel.codec.field import FieldCodec, FixedCodec
from tsmodel.codec.layout import PRESENT, Align, Layout, LayoutError, LayoutField, Padding, Slot
from tsmodel.codec.nullable import NullableCodec
from tsmodel.codec.numbers import BitsCodec, ScalarCodec
from tsmodel.codec.scalars import ByteOrder, Scalar

__all__ = ["laid_out", "packed"]


def laid_out(
    fields: Sequence[tuple[str, FieldCodec | Padding]],
    byte_order: ByteOrder = "little",
    align: Align = "packed",
    version: int | None = None,
) -> Layout:
    """The layout of named fields, behind a version byte when there is a `version`.

    Raises:
        LayoutError: when something follows a field that goes up to the payload's end, or an alignment as in C is asked
            for fields that have no place in a C struct.
    """
    return _Placing(byte_order, align, version).place(fields)


def packed(fields: Iterable[tuple[str, Scalar]], byte_order: ByteOrder = "little") -> Layout:
    """The layout of named scalars one after another without gaps."""
    return laid_out([(name, ScalarCodec(scalar, byte_order)) for name, scalar in fields], byte_order)


class _Placing:
    """Lays fields out, one after another."""

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
        self.bits: tuple[str, BitsCodec, int] | None = None
        """Name, codec and used bits of the integer that the next bit-field may share."""

    def place(self, fields: Sequence[tuple[str, FieldCodec | Padding]]) -> Layout:
        """The layout of these fields."""
        absent = [name for name, codec in fields if isinstance(codec, NullableCodec)]
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
            if isinstance(codec, Padding):
                self._skip(codec.size)
                continue
            bit = absent.index(name) if isinstance(codec, NullableCodec) else None
            item = codec.item if isinstance(codec, NullableCodec) else codec
            if isinstance(item, BitsCodec):
                self._bits(name, item)
            elif isinstance(item, FixedCodec):
                self._fixed(name, codec, item, bit)
            else:
                self._variable(name, codec, item, bit)
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

    def _bits(self, name: str, item: BitsCodec) -> None:
        width = item.storage.size * 8
        if self.bits is not None and self.bits[1].storage != item.storage:
            _, other, used = self.bits
            full = used == other.storage.size * 8
            self._close_bits(item.align if full else 1)
            if self.align == "c" and self.at is not None and not full:
                bit = (self.at - other.storage.size) * 8 + used
                if bit % width + item.bits <= width:
                    raise LayoutError(
                        f"a C compiler puts {name} into the bits that the bit-fields before it leave free: fill their "
                        f"{other.storage.name} with a field of {other.storage.size * 8 - used} more bits"
                    )
        elif self.bits is not None and self.bits[2] + item.bits > width:
            self.bits = None
        if self.bits is None:
            slot = f"_{name}_" if name in ("present", "size", "version") else f"_{name}"  # columns of whole records
            before = self.at
            self._slot(slot, item)
            if self.align == "c" and before is not None and before % item.align:
                raise LayoutError(
                    f"a C compiler puts {name} into the bytes before it, which is not supported: put bit-fields where "
                    f"{item.storage.name} is aligned"
                )
            self.bits = (slot, item, 0)
        slot, first, used = self.bits
        placed = attrs.evolve(item, shift=used)
        offset = self.parts[-1].offset
        self.fields.append(LayoutField(name, placed, offset, slot))
        self.bits = (slot, first, used + item.bits)

    def _close_bits(self, align: int = 1) -> None:
        """What follows bit-fields lies behind their integer; in C it may lie in it."""
        if self.bits is None:
            return
        _, codec, used = self.bits
        self.bits = None
        taken = -(-used // 8)
        if self.align == "c" and -(-taken // align) * align < codec.storage.size:
            raise LayoutError(
                f"a C compiler puts the next field into bytes that the bit-fields before it leave free: fill their "
                f"{codec.storage.name} with a field of {codec.storage.size * 8 - used} more bits"
            )
