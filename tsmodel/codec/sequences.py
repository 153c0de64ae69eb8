"""Items of fixed width one after another: what arrays of fixed and of variable length hold."""

from __future__ import annotations

import struct
from typing import Any, Literal

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.codec.field import MARKS, FieldFault, FixedCodec, Mask, Scope
from tsmodel.codec.numbers import ScalarCodec
from tsmodel.codec.scalars import ByteOrder, are_bools, shown

__all__ = ["FixedArrayCodec", "Sequence"]


@attrs.frozen
class Sequence:
    """So many items, as a list or an array.

    Attributes:
        item: an item.
        length: how many; None for any number.
        as_numpy: whether values are NumPy arrays (of the item's dtype, read-only); otherwise lists.
    """

    item: FixedCodec
    length: int | None
    as_numpy: bool
    _format: str = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_format", f"{MARKS[self.item.byte_order]}%d{self.item.code}")

    def load(self, octets: bytes) -> Any:
        """The items of some bytes; raises `FieldFault` at the first that is none."""
        if self.as_numpy:
            array = np.frombuffer(octets, self.item.dtype)
            self._check(array)
            return array
        if isinstance(self.item, ScalarCodec):
            if self.item.scalar.kind == "bool":
                self._check(np.frombuffer(octets, self.item.dtype))
            count = len(octets) // self.item.size
            return list(struct.unpack(self._format % count, octets))
        read, size, end = self.item.read, self.item.size, len(octets)
        values = []
        for at in range(0, end, size):
            try:
                values.append(read(octets, at, end)[0])
            except FieldFault as fault:
                raise fault.within(str(at // size)) from None
        return values

    def dump(self, value: Any) -> bytes:
        """The bytes of some items; raises `FieldFault` when there are too many or few, or one cannot be stored."""
        if isinstance(value, np.ndarray) and value.dtype == self.item.dtype and value.ndim == 1:
            self._count(len(value))
            self._check(value)
            return value.tobytes()
        items = value.tolist() if isinstance(value, np.ndarray) and value.ndim == 1 else value
        if not isinstance(items, (list, tuple)):
            raise FieldFault(f"{shown(value)} ({type(value).__name__}) is no list of items")
        self._count(len(items))
        if isinstance(self.item, ScalarCodec) and (self.item.scalar.kind != "bool" or are_bools(items)):
            try:
                return struct.pack(self._format % len(items), *items)
            except (struct.error, OverflowError, TypeError, ValueError):
                pass  # the loop below finds which item it was
        octets = []
        for at, item in enumerate(items):
            try:
                octets.append(self.item.write(item))
            except FieldFault as fault:
                raise fault.within(str(at)) from None
        return b"".join(octets)

    def constant(self, value: Any) -> list[Any]:
        """See `FieldCodec.constant`: item by item."""
        items = value.tolist() if isinstance(value, np.ndarray) and value.ndim == 1 else value
        if not isinstance(items, (list, tuple)):
            raise FieldFault(f"cannot be compared with {shown(value)} ({type(value).__name__}), which is no list of items")
        try:
            self._count(len(items))
        except FieldFault as fault:
            raise FieldFault(f"cannot be compared with {shown(value)}: {fault.why}") from None
        constants = []
        for at, item in enumerate(items):
            try:
                constants.append(self.item.constant(item))
            except FieldFault as fault:
                raise FieldFault(f"cannot be compared with {shown(value)}: item {at} {fault.why}") from fault
        return constants

    def comparable(self, value: Any) -> list[Any]:
        """See `FieldCodec.comparable`: item by item."""
        return list(map(self.item.comparable, value))

    def _count(self, count: int) -> None:
        if self.length is not None and count != self.length:
            raise FieldFault(f"{count} items are given; the array has {self.length}")

    def _check(self, array: npt.NDArray[Any]) -> None:
        mask = self.item.faulty(array)
        if mask is not None and mask.any():
            at = int(mask.argmax())
            raise FieldFault("this item is none of its type", at * self.item.size, str(at))


@attrs.frozen
class FixedArrayCodec(FixedCodec):
    """So many items.

    Attributes:
        item: an item.
        length: how many.
        as_numpy: whether values are NumPy arrays; otherwise lists.
    """

    item: FixedCodec
    length: int
    as_numpy: bool = False
    byte_order: ByteOrder = "little"
    _sequence: Sequence = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_sequence", Sequence(self.item, self.length, self.as_numpy))

    @property
    def label(self) -> str:
        return f"Array of {self.length} {self.item.label}"

    @property
    def python(self) -> Any:
        return np.ndarray if self.as_numpy else list[self.item.python]  # type: ignore[name-defined]

    @property
    def comparisons(self) -> Literal["all", "equality", "none"]:
        return "none" if self.as_numpy else "equality"

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
    def code(self) -> str:
        return f"{self.size}s"

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype((self.item.dtype, (self.length,)))

    @property
    def stored(self) -> np.dtype[Any]:
        return np.dtype(f"V{self.size}")

    def faulty(self, column: npt.NDArray[Any]) -> Mask | None:
        items = self.item.faulty(np.ascontiguousarray(column).reshape(-1))
        if items is None:
            return None
        mask: Mask = np.logical_or.reduce(items.reshape(len(column), self.length), axis=1)
        return mask

    def load(self, stored: Any) -> Any:
        return self._sequence.load(bytes(stored))

    def load_code(self, stored: str, scope: Scope) -> str:
        if isinstance(self.item, ScalarCodec) and not self.as_numpy:
            unpack = struct.Struct(f"{MARKS[self.item.byte_order]}{self.length}{self.item.code}").unpack
            return f"[*{scope.add(unpack)}({stored})]"
        return f"{scope.add(self._sequence.load)}({stored})"

    def dump(self, value: Any) -> Any:
        return self._sequence.dump(value)

    def constant(self, value: Any) -> Any:
        return self._sequence.constant(value)

    def comparable(self, value: Any) -> Any:
        return self._sequence.comparable(value)
