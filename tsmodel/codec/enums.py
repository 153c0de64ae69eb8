"""Members of an enumeration, and sets of flags, stored as integers."""

from __future__ import annotations

from enum import Enum, Flag
from functools import reduce
from operator import or_
from typing import Any, ClassVar, Final

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.codec.field import FieldFault, FixedCodec, Mask, Scope
from tsmodel.codec.scalars import ByteOrder, Scalar, shown

__all__ = ["EnumCodec", "FlagsCodec"]

_MOST_KEPT: Final = 65_536


@attrs.frozen
class _IntegerCodec(FixedCodec):
    """What both have in common: an integer stands for a member.

    Attributes:
        kind: the enumeration.
        storage: the integer.
        keep: whether an integer that stands for nothing is kept as an int, instead of being a fault.
    """

    kind: type[Enum]
    storage: Scalar
    keep: bool = False
    byte_order: ByteOrder = "little"
    zero: ClassVar[object] = 0

    @property
    def number(self) -> Scalar:
        return self.storage

    @property
    def python(self) -> Any:
        return self.kind | int if self.keep else self.kind

    @property
    def code(self) -> str:
        return self.storage.code

    @property
    def align(self) -> int:
        return self.storage.size

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.storage.dtype(self.byte_order)

    def operand(self, value: object) -> Any:
        """See `FieldCodec.operand`: a member, or an int."""
        if isinstance(value, self.kind):
            return value.value
        if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
            return int(value)
        raise FieldFault(f"cannot be compared with {shown(value)}; give a member of {self.kind.__name__}")

    def dump(self, value: Any) -> Any:
        if type(value) is self.kind:
            return value._value_
        return self._other(value)

    def _other(self, value: Any) -> Any:
        if isinstance(value, self.kind):
            return value.value
        if isinstance(value, (int, np.integer)) and not isinstance(value, (bool, Enum)):
            number = int(value)
            assert self.storage.limits is not None
            within = self.storage.limits[0] <= number <= self.storage.limits[1]
            if within and (self.keep or self._is_known(number)):
                return number
        raise self.refused(value)

    def _is_known(self, number: int) -> bool:
        raise NotImplementedError


@attrs.frozen
class EnumCodec(_IntegerCodec):
    """A member of an `Enum` whose values are ints."""

    _members: dict[int, Enum] = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_members", {member.value: member for member in self.kind})

    @property
    def label(self) -> str:
        return f"Enumerated[{self.kind.__name__}] in {self.storage.name}"

    @property
    def accepts(self) -> str:
        return f"a member of {self.kind.__name__}" + (f" or {self.storage.accepts}" if self.keep else "")

    def faulty(self, column: npt.NDArray[Any]) -> Mask | None:
        if self.keep:
            return None
        return np.isin(column, np.array(list(self._members), column.dtype), invert=True)

    def load(self, stored: Any) -> Any:
        member = self._members.get(stored)
        if member is not None:
            return member
        if self.keep:
            return stored
        raise FieldFault(f'{stored} is no value of {self.kind.__name__}; field(unknown="keep") keeps such values as ints')

    def load_code(self, stored: str, scope: Scope) -> str:
        if self.keep:
            return f"{scope.add(self._members.get)}({stored}, {stored})"
        return f"{scope.add(self._members)}[{stored}]"

    def _is_known(self, number: int) -> bool:
        return number in self._members


@attrs.frozen
class FlagsCodec(_IntegerCodec):
    """A set of members of a `Flag`."""

    known: int = attrs.field(init=False, eq=False)
    _sets: dict[int, Any] = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "known", reduce(or_, (member.value for member in self.kind.__members__.values()), 0))
        object.__setattr__(self, "_sets", _Sets(self))

    @property
    def label(self) -> str:
        return f"Flags[{self.kind.__name__}] in {self.storage.name}"

    @property
    def accepts(self) -> str:
        return f"a set of members of {self.kind.__name__}" + (f" or {self.storage.accepts}" if self.keep else "")

    def faulty(self, column: npt.NDArray[Any]) -> Mask | None:
        if self.keep:
            return None
        info = np.iinfo(column.dtype)
        unknown = column.dtype.type(info.max & ~self.known)
        mask: Mask = (column & unknown) != 0
        return mask | (column < 0) if info.min else mask

    def load(self, stored: Any) -> Any:
        if self._is_known(stored):
            return self.kind(stored)
        if self.keep:
            return stored
        raise FieldFault(
            f"{stored:#x} has bits that {self.kind.__name__} does not name ({stored & ~self.known:#x}); "
            'field(unknown="keep") keeps such values as ints'
        )

    def load_code(self, stored: str, scope: Scope) -> str:
        return f"{scope.add(self._sets)}[{stored}]"

    def dump(self, value: Any) -> Any:
        if isinstance(value, self.kind):
            number = value.value
            if self._is_known(number) or self.keep:
                return number
            raise self.refused(value)
        return self._other(value)

    def _is_known(self, number: int) -> bool:
        return number >= 0 and not number & ~self.known


class _Sets(dict[int, Any]):
    """Sets of flags by their integer, made once each: making one takes as long as reading a record."""

    def __init__(self, codec: FlagsCodec) -> None:
        self._codec = codec

    def __missing__(self, stored: int) -> Any:
        made = self._codec.load(stored)
        if len(self) < _MOST_KEPT:
            self[stored] = made
        return made


def is_flags(kind: type[Enum]) -> bool:
    """Whether members of the enumeration can be combined."""
    return issubclass(kind, Flag)
