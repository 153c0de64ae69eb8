"""Field types of enumerations, text, bytes, UUIDs and network addresses."""

from __future__ import annotations

import uuid
from enum import Enum, Flag
from ipaddress import IPv4Address, IPv6Address
from typing import Any, TypeVar

from tsmodel.codec import FieldCodec
from tsmodel.codec.enums import EnumCodec, FlagsCodec
from tsmodel.codec.lengths import BlobCodec, TextCodec
from tsmodel.codec.octets import CharCodec, FixedBlobCodec, FixedTextCodec, IpCodec, UuidCodec
from tsmodel.model.fields.base import FieldType, Options
from tsmodel.model.fields.numbers import Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64

__all__ = ["Blob", "Char", "Enumerated", "Flags", "IpAddress", "Text", "Uuid"]

E = TypeVar("E", bound=Enum)
F = TypeVar("F", bound=Flag)


class Enumerated(FieldType[E]):
    """A member of an `Enum` whose values are ints, stored as that int in `storage` (the smallest type that holds all when
    nothing is said: write it where data is to stay). An int that stands for no member is an error, or is kept as an int
    with `unknown="keep"`."""

    takes = ("storage", "unknown", "byte_order")

    @classmethod
    def codec(cls, argument: Any, options: Options) -> FieldCodec:
        """See `FieldType.codec`."""
        if not (isinstance(argument, type) and issubclass(argument, Enum)):
            raise ValueError("write Enumerated[State] with an Enum")
        if issubclass(argument, Flag):
            raise ValueError(f"{argument.__name__} is a Flag: write Flags[{argument.__name__}]")
        storage = options.storage(_smallest(argument))
        _check_members(argument, storage.limits or (0, 0), storage.name)
        return EnumCodec(argument, storage, _keep(options), options.byte_order)


class Flags(FieldType[F]):
    """A set of members of a `Flag`, stored as their bits in `storage` (the smallest unsigned type that holds all when
    nothing is said: write it where data is to stay). Bits without a name are an error, or are kept with
    `unknown="keep"`."""

    takes = ("storage", "unknown", "byte_order")

    @classmethod
    def codec(cls, argument: Any, options: Options) -> FieldCodec:
        """See `FieldType.codec`."""
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


class Char(FieldType[str]):
    """A text of one character from U+0000 to U+00FF; 1 byte, in Latin-1."""

    takes = ()

    @classmethod
    def codec(cls, argument: Any, options: Options) -> FieldCodec:
        """See `FieldType.codec`."""
        return CharCodec()


class Text(FieldType[str]):
    """A text in UTF-8: behind a length in bytes (`prefix`, UInt16 when nothing is said), up to the payload's end
    (`rest=True`), or of a fixed size filled up with NUL (`size=16`)."""

    takes = ("size", "prefix", "rest", "byte_order")

    @classmethod
    def codec(cls, argument: Any, options: Options) -> FieldCodec:
        """See `FieldType.codec`."""
        if (size := _size(options)) is not None:
            return FixedTextCodec(size)
        return TextCodec(options.prefix(UInt16), options.byte_order)


class Blob(FieldType[bytes]):
    """Bytes: behind a length (`prefix`, UInt16 when nothing is said), up to the payload's end (`rest=True`), or of a fixed
    size (`size=16`); shorter ones are filled up with NUL, and what is read has always the full size."""

    takes = ("size", "prefix", "rest", "byte_order")

    @classmethod
    def codec(cls, argument: Any, options: Options) -> FieldCodec:
        """See `FieldType.codec`."""
        if (size := _size(options)) is not None:
            return FixedBlobCodec(size)
        return BlobCodec(options.prefix(UInt16), options.byte_order)


def _size(options: Options) -> int | None:
    size = options.take("size")
    if size is not None and (type(size) is not int or not 1 <= size <= 2**25):
        raise ValueError(f"size={size!r} is not an int from 1 to {2**25}")
    return size


class Uuid(FieldType[uuid.UUID]):
    """A `uuid.UUID`; 16 bytes, in the order in which it is written."""

    takes = ()

    @classmethod
    def codec(cls, argument: Any, options: Options) -> FieldCodec:
        """See `FieldType.codec`."""
        return UuidCodec()


class IpAddress(FieldType[IPv4Address | IPv6Address]):
    """An address of the `ipaddress` module in network order: 16 bytes, an IPv4 address as `::ffff:a.b.c.d`; with
    `version=4` 4 bytes, with `version=6` an IPv6 address only."""

    takes = ("version",)

    @classmethod
    def codec(cls, argument: Any, options: Options) -> FieldCodec:
        """See `FieldType.codec`."""
        version = options.take("version")
        if version not in (None, 4, 6):
            raise ValueError(f"version={version!r} is not 4 or 6")
        return IpCodec(version)
