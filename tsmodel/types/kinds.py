"""Fields and layouts as generated code sees them: a field is a `Kind`, a layout is a sequence of steps to read and write.

Rules kept here:

* Times and decimals appear as their stored numbers, with a note that says what the number counts.
* What no language can express is rejected here; what one language cannot express is rejected there. Errors name the field
  and the reason.
"""

from __future__ import annotations

from enum import Enum
from functools import reduce
from operator import or_
from typing import TypeAlias

import attrs

from tsmodel.types.scalars import SCALARS, ByteOrder, Scalar


@attrs.frozen
class Number:
    """A number, or a bool."""

    scalar: Scalar
    byte_order: ByteOrder
    note: str = ""

    @property
    def size(self) -> int:
        """Bytes."""
        return self.scalar.size

    @property
    def bits(self) -> int:
        """Bits."""
        return 8 * self.scalar.size

    @property
    def is_float(self) -> bool:
        """Whether it is a floating-point number."""
        return self.scalar.kind == "float"

    @property
    def is_bool(self) -> bool:
        """Whether it is a bool."""
        return self.scalar.kind == "bool"

    @property
    def is_big(self) -> bool:
        """Whether it is big-endian."""
        return self.byte_order == "big"

    @property
    def stored(self) -> Number:
        """The number that is stored: UInt8 for a bool."""
        return Number(SCALARS["UInt8"], self.byte_order) if self.is_bool else self


@attrs.frozen
class Choice:
    """A member of an enumeration, or a set of flags; with `keep`, unknown numbers are valid, too."""

    kind: type[Enum]
    scalar: Scalar
    byte_order: ByteOrder
    keep: bool
    is_set: bool

    @property
    def name(self) -> str:
        """The name of the enumeration."""
        return self.kind.__name__

    @property
    def is_closed(self) -> bool:
        """Whether the stored number is always that of one member."""
        return not self.keep and not self.is_set

    @property
    def stored(self) -> Number:
        """The number that is stored."""
        return Number(self.scalar, self.byte_order)

    @property
    def members(self) -> list[tuple[str, int]]:
        """Names and values, in the order of the values."""
        pairs = [(name, member.value) for name, member in self.kind.__members__.items()]
        return sorted(pairs, key=lambda pair: pair[1])

    @property
    def values(self) -> list[int]:
        """All values, ascending, each once."""
        return sorted({value for _, value in self.members})

    @property
    def known(self) -> int:
        """All bits of flags that can be stored; a set is never negative."""
        assert self.scalar.limits is not None
        return reduce(or_, self.values, 0) & self.scalar.limits[1]


class _Counted:
    """Something of variable length, which may follow a count."""

    prefix: Scalar | None
    byte_order: ByteOrder

    @property
    def counted(self) -> Number:
        """The count."""
        assert self.prefix is not None
        return Number(self.prefix, self.byte_order)

    @property
    def most(self) -> int:
        """The greatest count."""
        return int(2 ** (8 * self.prefix.size) - 1) if self.prefix else 2**63


@attrs.frozen
class Text(_Counted):
    """Text in UTF-8: `size` bytes padded with NUL, after a length (`prefix`), or the rest of the payload."""

    size: int | None
    prefix: Scalar | None = None
    byte_order: ByteOrder = "little"


@attrs.frozen
class Bytes(_Counted):
    """Bytes: `size` of them (padded with NUL if `fills`), after a length (`prefix`), or the rest of the payload."""

    size: int | None
    prefix: Scalar | None = None
    byte_order: ByteOrder = "little"
    note: str = ""
    fills: bool = False


@attrs.frozen
class Items(_Counted):
    """Consecutive items: `length` of them, after a count (`prefix`), or the rest of the payload."""

    item: Kind
    item_size: int
    length: int | None
    prefix: Scalar | None = None
    byte_order: ByteOrder = "little"


@attrs.frozen
class Version:
    """A byte with this value."""

    value: int


@attrs.frozen
class Gap:
    """Unused bytes."""

    size: int


@attrs.frozen
class Bitmap:
    """The bitmap of present fields: its size in bytes, and the number of bits in use."""

    size: int
    used: int


@attrs.frozen
class FieldStep:
    """A field.

    Attributes:
        name: its name.
        kind: how a value is stored.
        size: bytes; None if that depends on the value.
        bit: its bit in the bitmap.
        null: the stored number that represents an absent value; None if there is none.
        unit: its unit of measure.
        doc: its description.
    """

    name: str
    kind: Kind
    size: int | None
    bit: int | None = None
    null: int | float | None = None
    unit: str | None = None
    doc: str | None = None

    @property
    def is_optional(self) -> bool:
        """Whether the value may be absent."""
        return self.bit is not None or self.null is not None


@attrs.frozen
class BitField:
    """Some bits of a unit."""

    name: str
    bits: int
    shift: int
    unit: str | None = None
    doc: str | None = None

    @property
    def mask(self) -> int:
        """The greatest value."""
        return int(2**self.bits - 1)


@attrs.frozen
class BitUnit:
    """An integer that several fields share."""

    scalar: Scalar
    byte_order: ByteOrder
    fields: tuple[BitField, ...]

    @property
    def stored(self) -> Number:
        """The number that is stored."""
        return Number(self.scalar, self.byte_order)


Step: TypeAlias = Version | Gap | Bitmap | FieldStep | BitUnit


@attrs.frozen
class Structure:
    """A structure, or a whole payload.

    Attributes:
        name: its class' name.
        steps: what to read and write, in order.
        size: bytes; None if that depends on the value.
    """

    name: str
    steps: tuple[Step, ...]
    size: int | None

    @property
    def fields(self) -> list[FieldStep | BitField]:
        """All fields in order."""
        fields: list[FieldStep | BitField] = []
        for step in self.steps:
            if isinstance(step, FieldStep):
                fields.append(step)
            elif isinstance(step, BitUnit):
                fields += step.fields
        return fields

    def unit_of(self, field: BitField) -> Number:
        """The integer that holds a bit-field."""
        return next(step.stored for step in self.steps if isinstance(step, BitUnit) and field in step.fields)

    def bits_of(self, at: int) -> list[FieldStep]:
        """The fields whose bits are in this byte of the bitmap."""
        steps = (step for step in self.steps if isinstance(step, FieldStep))
        return [step for step in steps if step.bit is not None and step.bit // 8 == at]

    def within(self) -> list[Structure]:
        """The structures that it contains, innermost first, each once."""
        found: list[Structure] = []
        for step in self.steps:
            kind = step.kind if isinstance(step, FieldStep) else None
            kind = kind.item if isinstance(kind, Items) else kind
            if isinstance(kind, Structure):
                found += [*kind.within(), kind]
        return list(dict.fromkeys(found))

    def choices(self) -> list[Choice]:
        """The enumerations that it contains, each once, with an integer type that covers all fields of that enumeration."""
        uses: dict[type[Enum], list[Choice]] = {}
        for structure in (*self.within(), self):
            for step in structure.steps:
                kind = step.kind if isinstance(step, FieldStep) else None
                kind = kind.item if isinstance(kind, Items) else kind
                if isinstance(kind, Choice):
                    uses.setdefault(kind.kind, []).append(kind)
        return [
            attrs.evolve(found[0], scalar=_covering([each.scalar for each in found]), keep=all(each.keep for each in found))
            for found in uses.values()
        ]


Kind: TypeAlias = Number | Choice | Text | Bytes | Items | Structure


def noted(kind: Kind, note: str) -> Kind:
    """Adds a note, for kinds that have one."""
    if isinstance(kind, (Number, Bytes)):
        return attrs.evolve(kind, note=f"{note}, {kind.note}" if kind.note else note)
    return kind


def _covering(scalars: list[Scalar]) -> Scalar:
    """The smallest integer type that covers all of these; Int64 if there is none."""
    limits = [scalar.limits for scalar in scalars if scalar.limits is not None]
    least, most = min(low for low, _ in limits), max(high for _, high in limits)
    integers = [SCALARS[f"{sign}Int{8 * size}"] for size in (1, 2, 4, 8) for sign in ("U", "")]
    fitting = [each for each in integers if each.limits and each.limits[0] <= least and most <= each.limits[1]]
    return min(fitting, key=lambda each: each.size, default=SCALARS["Int64"])
