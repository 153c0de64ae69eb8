"""Text, bytes, characters, UUIDs and network addresses, all of fixed width."""

from __future__ import annotations

import ipaddress
import uuid
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Final, Literal

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.codec.field import FieldFault, FixedCodec, Mask, Scope
from tsmodel.codec.scalars import ByteOrder, shown

__all__ = ["CharCodec", "FixedBlobCodec", "FixedTextCodec", "IpCodec", "UuidCodec", "text_of"]

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class _OctetsCodec(FixedCodec):
    """What all have in common: so many bytes, without a byte order."""

    byte_order: ByteOrder = "little"

    @property
    def code(self) -> str:
        return f"{self.size}s"

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(f"V{self.size}")

    @abstractmethod
    def load(self, stored: Any) -> Any: ...

    @abstractmethod
    def dump(self, value: Any) -> Any: ...


@attrs.frozen
class CharCodec(FixedCodec):
    """One character of Latin-1, in one byte."""

    byte_order: ByteOrder = "little"
    label: ClassVar[str] = "Char"
    python: ClassVar[Any] = str
    accepts: ClassVar[str] = "a text of one character from U+0000 to U+00FF"
    zero: ClassVar[object] = 0
    code: ClassVar[str] = "B"

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype("u1")

    def load(self, stored: Any) -> Any:
        return chr(stored)

    def load_code(self, stored: str, scope: Scope) -> str:
        return f"{scope.add(chr)}({stored})"

    def dump(self, value: Any) -> Any:
        if not isinstance(value, str) or len(value) != 1 or ord(value) > 255:
            raise self.refused(value)
        return ord(value)


def text_of(octets: bytes, at: int = 0) -> str:
    """The text that bytes hold in UTF-8.

    Raises:
        FieldFault: when they hold none.
    """
    try:
        return octets.decode()
    except UnicodeDecodeError as error:
        raise FieldFault(f"byte {octets[error.start]:#04x} is not UTF-8 ({error.reason})", at + error.start) from None


@attrs.frozen
class FixedTextCodec(_OctetsCodec):
    """Text in UTF-8, filled up with NUL."""

    size: int
    python: ClassVar[Any] = str

    @property
    def label(self) -> str:
        return f"Text of {self.size} bytes"

    @property
    def accepts(self) -> str:
        return f"a text of at most {self.size} bytes in UTF-8"

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(f"S{self.size}")

    def faulty(self, column: npt.NDArray[Any]) -> Mask | None:
        octets = np.ascontiguousarray(column).view(np.uint8).reshape(len(column), self.size)
        mask: Mask = ((octets[:, :-1] == 0) & (octets[:, 1:] != 0)).any(axis=1)
        (doubtful,) = np.nonzero((octets > 127).any(axis=1) & ~mask)
        for at in doubtful.tolist():
            mask[at] = not _is_text(bytes(column[at]))
        return mask

    def load(self, stored: Any) -> Any:
        octets = stored.rstrip(b"\0")
        if (nul := octets.find(b"\0")) >= 0:
            raise FieldFault(f"bytes follow the NUL that ends the text: {shown(bytes(stored))}", nul + 1)
        return text_of(octets)

    def load_code(self, stored: str, scope: Scope) -> str:
        return f'{stored}.rstrip(b"\\0").decode()'

    def dump_code(self, value: str, scope: Scope) -> str:
        return f"{value}.encode()"

    @property
    def defers(self) -> bool:
        return True

    def holds(self, stored: Sequence[Any]) -> bool:
        """None is too long, and none has a NUL."""
        return max(map(len, stored)) <= self.size and b"\0" not in b"".join(stored)

    def dump(self, value: Any) -> Any:
        if not isinstance(value, str):
            raise self.refused(value)
        octets = value.encode()
        if len(octets) > self.size:
            raise FieldFault(f"{shown(value)} has {len(octets)} bytes in UTF-8, and {self.size} can be stored")
        if b"\0" in octets:
            raise FieldFault(f"{shown(value)} has a NUL character, which ends a text of fixed size")
        return octets


def _is_text(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


@attrs.frozen
class FixedBlobCodec(_OctetsCodec):
    """Bytes, filled up with NUL: what is read has always the full size."""

    size: int
    python: ClassVar[Any] = bytes

    @property
    def label(self) -> str:
        return f"Blob of {self.size} bytes"

    @property
    def accepts(self) -> str:
        return f"at most {self.size} bytes"

    def load_code(self, stored: str, scope: Scope) -> str:
        return stored

    def load(self, stored: Any) -> Any:
        return stored

    def dump_code(self, value: str, scope: Scope) -> str:
        return value

    @property
    def defers(self) -> bool:
        return True

    def holds(self, stored: Sequence[Any]) -> bool:
        """All are bytes, and none are too many."""
        return set(map(type, stored)) == {bytes} and max(map(len, stored)) <= self.size

    def dump(self, value: Any) -> Any:
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise self.refused(value)
        octets = bytes(value)
        if len(octets) > self.size:
            raise FieldFault(f"{len(octets)} bytes are too many: {self.size} can be stored")
        return octets


@attrs.frozen
class UuidCodec(_OctetsCodec):
    """A UUID: its 16 bytes in the order in which it is written."""

    size: int = 16
    label: ClassVar[str] = "Uuid"
    python: ClassVar[Any] = uuid.UUID
    accepts: ClassVar[str] = "a uuid.UUID"
    zero: ClassVar[object] = bytes(16)

    def load(self, stored: Any) -> Any:
        return uuid.UUID(bytes=stored)

    def dump(self, value: Any) -> Any:
        if not isinstance(value, uuid.UUID):
            raise self.refused(value)
        return value.bytes


_MAPPED: Final = bytes(10) + b"\xff\xff"


@attrs.frozen
class IpCodec(_OctetsCodec):
    """An IPv4 or IPv6 address, or either of them: 4 or 16 bytes in network order, an IPv4 address among both as
    `::ffff:a.b.c.d`.

    Attributes:
        version: 4, 6, or None for either.
    """

    version: Literal[4, 6] | None = None
    python: ClassVar[Any] = Any

    @property
    def size(self) -> int:
        return 4 if self.version == 4 else 16

    @property
    def label(self) -> str:
        return f"IpAddress v{self.version}" if self.version else "IpAddress"

    @property
    def accepts(self) -> str:
        wanted = {4: "an ipaddress.IPv4Address", 6: "an ipaddress.IPv6Address"}
        return wanted.get(self.version or 0, "an ipaddress.IPv4Address or IPv6Address")

    def comparable(self, value: Any) -> Any:
        """Addresses of both versions are compared as they are stored; Python does not order them."""
        return self.dump(value)

    def load(self, stored: Any) -> Any:
        if self.version == 4:
            return ipaddress.IPv4Address(stored)
        if self.version is None and stored.startswith(_MAPPED):
            return ipaddress.IPv4Address(stored[12:])
        return ipaddress.IPv6Address(stored)

    def dump(self, value: Any) -> Any:
        if isinstance(value, ipaddress.IPv4Address) and self.version != 6:
            return value.packed if self.version == 4 else _MAPPED + value.packed
        if isinstance(value, ipaddress.IPv6Address) and self.version != 4:
            if value.scope_id is not None:
                raise FieldFault(f"{value} has a scope, which cannot be stored")
            if self.version is None and value.ipv4_mapped is not None:
                raise FieldFault(f"{value} would be read back as {value.ipv4_mapped}: give that address")
            return value.packed
        raise self.refused(value)
