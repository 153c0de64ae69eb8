"""`Enumerated` and `Flags`: members of an enumeration, and sets of flags, stored as integers."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from enum import Enum, Flag
from functools import cached_property, reduce
from operator import itemgetter, or_
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from tsmodel.types.codec import Description, FieldCodec, NumberCodec, Scope, Structures, described_number
from tsmodel.types.column_facet import is_text, native, stored_texts
from tsmodel.types.declaring import FieldType, Options
from tsmodel.types.field_faults import FieldFault, Mask, RowFault
from tsmodel.types.integers import Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64, int_of
from tsmodel.types.scalars import ByteOrder, Scalar, shown
from tsmodel.types.text_facet import Conversion, Spelling

_MOST_KEPT: Final = 65_536
if TYPE_CHECKING:
    from tsmodel.types.kinds import Kind


class _MemberCodec(NumberCodec, msgspec.Struct, frozen=True):
    """Base class of both codecs: an integer stands for a member or a set.

    Attributes:
        kind: the enumeration.
        storage: the integer.
        keep: whether an unknown integer is read as an int instead of being a fault.
    """

    name: ClassVar[str]
    what: ClassVar[str]
    """What a value is, in words."""

    kind: type[Enum]
    storage: Scalar
    keep: bool = False
    byte_order: ByteOrder = "little"

    @property
    def python(self) -> Any:
        return self.kind | int if self.keep else self.kind

    @property
    def label(self) -> str:
        return f"{self.name}[{self.kind.__name__}] in {self.storage.name}"

    @property
    def accepts(self) -> str:
        return f"{self.what} of {self.kind.__name__}" + (f" or {self.storage.accepts}" if self.keep else "")

    def description(self) -> Description:
        pairs = sorted(((name, member.value) for name, member in self.kind.__members__.items()), key=itemgetter(1, 0))
        return described_number(self.name, self.storage, self.byte_order, members=dict(pairs))

    def declared(self, structures: Structures) -> Kind:
        from tsmodel.types.kinds import Choice

        return Choice(self.kind, self.storage, self.byte_order, self.keep, is_set=issubclass(self.kind, Flag))

    def operand(self, value: object) -> Any:
        """See `FieldCodec.operand`: a member, or an int."""
        if isinstance(value, self.kind):
            return value.value
        if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
            return int(value)
        raise FieldFault(f"cannot be compared with {shown(value)}; give a member of {self.kind.__name__}")

    def dump(self, value: Any) -> Any:
        if isinstance(value, self.kind):
            number = value.value
        elif (number := _int_of(value)) is None or not self.limits[0] <= number <= self.limits[1]:
            raise self.refused(value)
        if not (self.keep or self._is_known(number)):
            raise self.refused(value)
        return number

    @abstractmethod
    def _is_known(self, number: int) -> bool:
        """Whether the integer stands for a member or set."""

    def reading(self) -> Description:
        return {"keep": True, **({} if issubclass(self.kind, int) else {"plain": True})} if self.keep else {}

    def written(self, value: Any) -> bytes:
        return super().written(self._member(value) if isinstance(value, str) else value)

    def _member(self, name: str) -> Enum:
        member = self.kind.__members__.get(name)
        if member is None:
            raise FieldFault(f"{name!r} is not a name in {self.kind.__name__}: {', '.join(self.kind.__members__)}")
        return member

    def converted(self, values: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
        if values.ndim > 1 or values.dtype.kind != "U":
            return super().converted(values)
        names, places = np.unique(values, return_inverse=True)
        stored = np.zeros(len(names), self.dtype)
        for at, name in enumerate(names.tolist()):
            try:
                stored[at] = self._member(name).value
            except FieldFault as fault:
                raise RowFault(int((values == name).argmax()), fault.why, name) from None
        column: npt.NDArray[Any] = stored[places.reshape(-1)]
        return column

    def from_arrow(self, pa: Any, array: Any) -> npt.NDArray[Any]:
        """See `FixedCodec.from_arrow`: also accepts names."""
        if is_text(pa, array.type) or pa.types.is_dictionary(array.type):
            return stored_texts(pa, array, self)
        return super().from_arrow(pa, array)


class EnumCodec(_MemberCodec, frozen=True):
    """A member of an `Enum` whose values are ints."""

    name = "Enumerated"
    what = "a member"

    @cached_property
    def _members(self) -> dict[int, Enum]:
        return {member.value: member for member in self.kind}

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
        raise FieldFault(
            f'{stored} is not a value of {self.kind.__name__}; field(unknown="keep") keeps such values as ints'
        )

    def load_code(self, stored: str, scope: Scope) -> str:
        if self.keep:
            return f"{scope.add(self._members.get)}({stored}, {stored})"
        return f"{scope.add(self._members)}[{stored}]"

    def _is_known(self, number: int) -> bool:
        return number in self._members

    def conversion(self, spelling: Spelling) -> Conversion:
        return EnumConversion(self, spelling)

    def dump(self, value: Any) -> Any:
        return value._value_ if type(value) is self.kind else super().dump(value)

    def arrow_type(self, pa: Any) -> Any:
        return super().arrow_type(pa) if self.keep else pa.dictionary(pa.int32(), pa.string())

    def arrow_value(self, value: Any) -> Any:
        return getattr(value, "value", value) if self.keep else value.name

    def to_arrow(self, pa: Any, name: str, column: npt.NDArray[Any]) -> Any:
        if self.keep:
            return super().to_arrow(pa, name, column)
        values = native(column)
        members = sorted(self.kind, key=lambda member: member.value)
        stored = np.array([member.value for member in members], values.dtype)
        places = np.searchsorted(stored, values).astype(np.int32)
        # The stored number of an absent value may match no member; it is masked later.
        places = np.minimum(places, len(stored) - 1)
        return pa.DictionaryArray.from_arrays(pa.array(places), pa.array([member.name for member in members]))


class FlagsCodec(_MemberCodec, frozen=True):
    """A set of members of a `Flag`."""

    name = "Flags"
    what = "a set of members"

    @cached_property
    def known(self) -> int:
        """All bits that members name."""
        return reduce(or_, (member.value for member in self.kind.__members__.values()), 0)

    @cached_property
    def _sets(self) -> dict[int, Any]:
        return _Sets(self)

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

    def _is_known(self, number: int) -> bool:
        return number >= 0 and not number & ~self.known

    def conversion(self, spelling: Spelling) -> Conversion:
        return FlagsConversion(self, spelling)

    def arrow_value(self, value: Any) -> Any:
        return self.dump(value)


class _Sets(dict[int, Any]):
    """Caches sets of flags by their integer: creating one takes as long as reading a record."""

    def __init__(self, codec: FlagsCodec) -> None:
        self._codec = codec

    def __missing__(self, stored: int) -> Any:
        made = self._codec.load(stored)
        if len(self) < _MOST_KEPT:
            self[stored] = made
        return made


def _int_of(value: Any) -> int | None:
    """Returns the value if it is a plain int; None otherwise."""
    return int(value) if isinstance(value, (int, np.integer)) and not isinstance(value, (bool, Enum)) else None


class _MemberConversion(Conversion):
    """Base class of both conversions."""

    codec: _MemberCodec

    def load(self, data: Any) -> Any:
        if isinstance(data, self.codec.kind):
            return self.held(data)
        number = self._number_of(data)
        if number is None and isinstance(data, str):
            number = int_of(data)
        least, greatest = self.codec.limits
        if number is None or not least <= number <= greatest:
            raise self.refused(data)
        try:
            return self.codec.load(number)
        except FieldFault:
            raise self.refused(data) from None

    @abstractmethod
    def _number_of(self, data: Any) -> int | None:
        """Returns the stored number of a name, or an int; None of anything else."""


class EnumConversion(_MemberConversion):
    """A member of an enumeration, written as its name. Reading also accepts its value."""

    codec: EnumCodec

    def __init__(self, codec: EnumCodec, spelling: Spelling) -> None:
        super().__init__(codec, spelling)
        self._names: dict[str, Any] = dict(codec.kind.__members__)
        self._usual = {**{str(member.value): member for member in codec.kind}, **self._names}

    @property
    def accepts(self) -> str:
        names = list(self._names)
        listed = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
        kept = f", or {self.codec.storage.accepts}" if self.codec.keep else ", or its value"
        return f"a name of {self.codec.kind.__name__} ({listed}){kept}"

    def _number_of(self, data: Any) -> int | None:
        member = self._names.get(data.strip()) if isinstance(data, str) else None
        return _int_of(data) if member is None else member.value

    def load_column(self, data: Sequence[Any]) -> list[Any]:
        return list(map(self._names.__getitem__, data))

    def parse_column(self, texts: Sequence[str]) -> list[Any]:
        return list(map(self._usual.__getitem__, texts))

    def dump(self, value: Any) -> Any:
        member = self.codec.load(self.codec.dump(self.held(value)))
        return member.name if isinstance(member, self.codec.kind) else member

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        names = {"enum": [member.name for member in self.codec.kind]}
        return {"anyOf": [names, {"type": "integer"}]} if self.codec.keep else names


class FlagsConversion(_MemberConversion):
    """A set of flags, written as names joined by `|`, such as "HOT|COLD", or "0". Reading also accepts the bits."""

    codec: FlagsCodec

    def __init__(self, codec: FlagsCodec, spelling: Spelling) -> None:
        super().__init__(codec, spelling)
        self._names: dict[str, Flag] = dict(codec.kind.__members__)  # type: ignore[arg-type]
        # Names of single bits come first: bits that they cover need no other name.
        members = sorted(self._names.items(), key=lambda item: item[1].value & (item[1].value - 1))
        self._bits = [(name, member.value) for name, member in members if member.value]

    @property
    def accepts(self) -> str:
        return f'names of {self.codec.kind.__name__} ({", ".join(self._names)}) with "|" between, or their bits as an int'

    def _number_of(self, data: Any) -> int | None:
        names = re.split(r"[|,]", data) if isinstance(data, str) else data
        if not isinstance(names, (list, tuple)):
            return _int_of(data)
        bits = 0
        for name in names:
            member = self._names.get(name.strip()) if isinstance(name, str) else None
            if member is None:
                return None
            bits |= member.value
        return bits

    def dump(self, value: Any) -> Any:
        bits = self.codec.dump(self.held(value))
        if not bits:
            return "0"
        names, covered = [], 0
        for name, member in self._bits:
            if not member & ~bits and member & ~covered:
                names.append(name)
                covered |= member
        return "|".join(names) if covered == bits else bits

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        name = f"({'|'.join(self._names)})"
        text = {"type": "string", "pattern": f"^(0|{name}(\\|{name})*)$"}
        return {"anyOf": [text, {"type": "integer"}]}


E = TypeVar("E", bound=Enum)

F = TypeVar("F", bound=Flag)


class Enumerated(FieldType[E]):
    """A member of an `Enum` with int values, stored as that int.

    `storage` is the integer type. The default is the smallest type that holds all values, which may change with the
    members, so state it explicitly for stored data. On reading, an int that matches no member is an error, or is returned
    as an int with `unknown="keep"`.
    """

    takes = ("storage", "unknown", "byte_order")
    examples = ("Enumerated[State] = field(storage=UInt8)",)

    @classmethod
    def codec(cls, argument: Any, options: Options) -> EnumCodec:
        if not (isinstance(argument, type) and issubclass(argument, Enum)):
            raise ValueError("write Enumerated[State] with an Enum")
        if issubclass(argument, Flag):
            raise ValueError(f"{argument.__name__} is a Flag: write Flags[{argument.__name__}]")
        storage = options.storage(_smallest(argument))
        _check_members(argument, storage.limits or (0, 0), storage.name)
        return EnumCodec(argument, storage, _keep(options), options.byte_order)


class Flags(FieldType[F]):
    """A set of members of a `Flag`, stored as their bits.

    `storage` is the integer type. The default is the smallest unsigned type that holds all bits, which may change with the
    members, so state it explicitly for stored data. On reading, bits without a name are an error, or the value is returned
    as an int with `unknown="keep"`.
    """

    takes = ("storage", "unknown", "byte_order")
    examples = ("Flags[Alarm] = field(storage=UInt16)",)

    @classmethod
    def codec(cls, argument: Any, options: Options) -> FieldCodec:
        if not (isinstance(argument, type) and issubclass(argument, Flag)):
            raise ValueError("write Flags[Alarm] with a Flag or IntFlag")
        storage = options.storage(_smallest(argument))
        _check_members(argument, storage.limits or (0, 0), storage.name)
        return FlagsCodec(argument, storage, _keep(options), options.byte_order)


def _members(kind: type[Enum]) -> list[Any]:
    return [member.value for member in kind.__members__.values()]


def _smallest(kind: type[Enum]) -> type[FieldType[int]]:
    values = [value for value in _members(kind) if type(value) is int]
    for integer in (UInt8, Int8, UInt16, Int16, UInt32, Int32, UInt64, Int64):
        least, greatest = integer.scalar.limits or (0, 0)
        if all(least <= value <= greatest for value in values):
            return integer
    raise ValueError(f"the values of {kind.__name__} do not fit 64 bits")


def _check_members(kind: type[Enum], limits: tuple[int, int], storage: str) -> None:
    values = _members(kind)
    if not values:
        raise ValueError(f"{kind.__name__} has no members")
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{kind.__name__} has the value {value!r}; only ints can be stored: use an IntEnum")
        if not limits[0] <= value <= limits[1]:
            raise ValueError(f"{kind.__name__} has the value {value}, which {storage} cannot hold")


def _keep(options: Options) -> bool:
    unknown = options.take("unknown", "error")
    if unknown not in ("error", "keep"):
        raise ValueError(f'unknown={unknown!r} is not "error" or "keep"')
    return bool(unknown == "keep")
