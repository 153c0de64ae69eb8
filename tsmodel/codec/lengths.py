"""Fields of variable length: text, bytes, arrays and messages behind their length, or up to the payload's end.

Rules kept here:

* A length counts the bytes of what follows, or the items of an array. It is never trusted beyond the payload's end, and
  nothing is allocated from it.
* Only the last field of a payload may go up to its end.
"""

from __future__ import annotations

import struct
from abc import abstractmethod
from typing import Any, ClassVar, Literal

import attrs
import msgspec
import numpy as np

from tsmodel.codec.field import MARKS, FieldFault, FixedCodec, Scope, VariableCodec
from tsmodel.codec.octets import text_of
from tsmodel.codec.plain import may_not_be_finite, not_finite, unencodable
from tsmodel.codec.scalars import ByteOrder, Scalar, shown
from tsmodel.codec.sequences import Sequence

__all__ = ["ArrayCodec", "BlobCodec", "LengthCodec", "PackedCodec", "TextCodec"]


@attrs.frozen
class LengthCodec(VariableCodec):
    """What all have in common.

    Attributes:
        prefix: the integer before the content that counts it; None when the content ends with the payload.
    """

    prefix: Scalar | None
    byte_order: ByteOrder = "little"

    @property
    @abstractmethod
    def what(self) -> str:
        """The type, without its length."""

    @property
    def label(self) -> str:
        return f"{self.what}, rest of the payload" if self.prefix is None else f"{self.what} behind {self.prefix.name}"

    @property
    def takes_rest(self) -> bool:
        return self.prefix is None

    @property
    def counted(self) -> str:
        """What the length counts, in words."""
        return "bytes"

    @property
    def unit(self) -> int:
        """Bytes that the length counts as one."""
        return 1

    def content_code(self, octets: str, scope: Scope) -> str:
        """An expression for the value of bytes, given as an expression; as `content`."""
        return f"{scope.add(self.content)}({octets})"

    def octets_code(self, value: str, scope: Scope) -> str:
        """An expression for the bytes of a value, given as an expression; may refuse more values than `octets`."""
        return f"{scope.add(self.octets)}({value})"

    @abstractmethod
    def content(self, octets: bytes) -> Any:
        """The value whose bytes these are; raises `FieldFault`, with an offset in them, when there is none."""

    @abstractmethod
    def octets(self, value: Any) -> bytes:
        """The bytes of a value; raises `FieldFault` when the field cannot hold it."""

    def read(self, payload: bytes, at: int, end: int) -> tuple[Any, int]:
        start, stop = at, end
        if self.prefix is not None:
            start = at + self.prefix.size
            if start > end:
                raise FieldFault(
                    f"{self.label}: the length takes {self.prefix.size} bytes, {max(0, end - at)} are there", at
                )
            order: Literal["little", "big"] = self.byte_order
            count = int.from_bytes(payload[at:start], order)
            stop = start + count * self.unit
            if stop > end:
                raise FieldFault(f"{self.label}: it says {count * self.unit} bytes, of which {end - start} are there", at)
        elif (stop - start) % self.unit:
            raise FieldFault(f"{self.label}: {stop - start} bytes are no whole number of items of {self.unit}", at)
        try:
            return self.content(payload[start:stop]), stop
        except FieldFault as fault:
            raise FieldFault(fault.why, fault.offset + start, fault.field) from None

    def write(self, value: Any) -> bytes:
        octets = self.octets(value)
        if self.prefix is None:
            return octets
        count = len(octets) // self.unit
        assert self.prefix.limits is not None
        if count > self.prefix.limits[1]:
            raise FieldFault(
                f"{count} {self.counted} are too many for a length in {self.prefix.name}: give "
                "field(prefix=...) a wider type"
            )
        return struct.pack(MARKS[self.byte_order] + self.prefix.code, count) + octets


@attrs.frozen
class TextCodec(LengthCodec):
    """Text in UTF-8."""

    python: ClassVar[Any] = str
    what: ClassVar[str] = "Text"
    accepts: ClassVar[str] = "a text"

    def content_code(self, octets: str, scope: Scope) -> str:
        return f"{octets}.decode()"

    def octets_code(self, value: str, scope: Scope) -> str:
        return f"{value}.encode()"

    def content(self, octets: bytes) -> Any:
        return text_of(octets)

    def octets(self, value: Any) -> bytes:
        if not isinstance(value, str):
            raise self.refused(value)
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise FieldFault(f"{shown(value)} has half of a surrogate pair, which UTF-8 does not have") from None


@attrs.frozen
class BlobCodec(LengthCodec):
    """Bytes."""

    python: ClassVar[Any] = bytes
    what: ClassVar[str] = "Blob"
    accepts: ClassVar[str] = "bytes"

    def content_code(self, octets: str, scope: Scope) -> str:
        return octets

    def octets_code(self, value: str, scope: Scope) -> str:
        return f"({value} if type({value}) is bytes else {scope.add(self.octets)}({value}))"

    def content(self, octets: bytes) -> Any:
        return octets

    def octets(self, value: Any) -> bytes:
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise self.refused(value)
        return bytes(value)


@attrs.frozen
class ArrayCodec(LengthCodec):
    """As many items as there are.

    Attributes:
        item: an item.
        as_numpy: whether values are NumPy arrays; otherwise lists.
    """

    item: FixedCodec = attrs.field(kw_only=True)
    as_numpy: bool = attrs.field(default=False, kw_only=True)
    _sequence: Sequence = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_sequence", Sequence(self.item, None, self.as_numpy))

    @property
    def what(self) -> str:
        return f"Array of {self.item.label}"

    @property
    def counted(self) -> str:
        return "items"

    @property
    def unit(self) -> int:
        return self.item.size

    @property
    def python(self) -> Any:
        return np.ndarray if self.as_numpy else list[self.item.python]  # type: ignore[name-defined]

    @property
    def comparisons(self) -> Literal["all", "equality", "none"]:
        return "none" if self.as_numpy else "equality"

    @property
    def accepts(self) -> str:
        return f"a sequence of items, each {self.item.accepts}"

    def constant(self, value: Any) -> Any:
        return self._sequence.constant(value)

    def comparable(self, value: Any) -> Any:
        return self._sequence.comparable(value)

    def content(self, octets: bytes) -> Any:
        return self._sequence.load(octets)

    def octets(self, value: Any) -> bytes:
        return self._sequence.dump(value)


@attrs.frozen
class PackedCodec(LengthCodec):
    """Any value that msgspec can encode, as MessagePack or JSON.

    Attributes:
        kind: type of the value.
        encoding: of the message.
    """

    kind: Any = attrs.field(kw_only=True)
    encoding: Literal["msgpack", "json"] = attrs.field(default="msgpack", kw_only=True)
    _encode: Any = attrs.field(init=False, repr=False, eq=False)
    _decode: Any = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        module: Any = getattr(msgspec, self.encoding)
        if why := unencodable(self.kind, module):
            raise TypeError(why)
        object.__setattr__(self, "_encode", module.Encoder().encode)
        object.__setattr__(self, "_decode", module.Decoder(self.kind).decode)

    @property
    def what(self) -> str:
        return f"Packed[{getattr(self.kind, '__name__', self.kind)}] {self.encoding}"

    @property
    def python(self) -> Any:
        return self.kind

    @property
    def acyclic(self) -> bool:
        return False

    @property
    def comparisons(self) -> Literal["all", "equality", "none"]:
        return "equality"

    @property
    def accepts(self) -> str:
        return f"what msgspec takes as {self.kind}"

    def content(self, octets: bytes) -> Any:
        try:
            return self._decode(octets)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise FieldFault(f"{self.what}: {error}") from None

    def octets(self, value: Any) -> bytes:
        try:
            octets: bytes = self._encode(value)
            if self.encoding == "json" and may_not_be_finite(octets) and (fault := not_finite(value)):
                raise fault
            self._decode(octets)  # so that what is stored can be read back
        except FieldFault:
            raise
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise FieldFault(f"{shown(value)} cannot be stored as {self.what}: {error}") from error
        return octets
