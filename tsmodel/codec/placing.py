"""Lays fields out, one after another.

Rules kept here:

* Fields follow one another in the order of their declaration. `packed`: without gaps. `c`: where a C compiler for x86-64
  puts them, with padding between and behind them; what it would put elsewhere is refused.
* Neighbouring bit-fields of one storage share an integer as long as they fit, the first in its lowest bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from tsmodel.codec.layout import PRESENT, Align, Layout, LayoutError, LayoutField, Slot
from tsmodel.types import scalar_codec
from tsmodel.types.base import FieldCodec, FixedCodec
from tsmodel.types.padding import PaddingBytes
from tsmodel.types.scalars import SCALARS, ByteOrder, Scalar

__all__ = ["laid_out", "packed"]


def laid_out(
    fields: Sequence[tuple[str, FieldCodec | PaddingBytes]],
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
    return laid_out([(name, scalar_codec(scalar, byte_order)) for name, scalar in fields], byte_order)


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
        self.bits: tuple[str, FixedCodec, int] | None = None
        """Name, codec and used bits of the integer that the next bit-field may share."""

    def place(self, fields: Sequence[tuple[str, FieldCodec | PaddingBytes]]) -> Layout:
        """The layout of these fields."""
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
        """What follows bit-fields lies behind their integer; in C it may lie in it."""
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
    """The integer that bit-fields share."""
    return next(name for name, scalar in SCALARS.items() if scalar.kind == "int" and scalar.code == codec.code)
