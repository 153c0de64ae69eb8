"""Enumerations, text, bytes, UUIDs and network addresses in plain data and in cells."""

from __future__ import annotations

import base64
import ipaddress
import re
import uuid
from collections.abc import Sequence
from enum import Enum, Flag
from typing import Any, ClassVar, Final

import numpy as np

from tsmodel.codec import FieldFault
from tsmodel.codec.enums import EnumCodec, FlagsCodec
from tsmodel.codec.lengths import TextCodec
from tsmodel.codec.octets import FixedTextCodec, IpCodec
from tsmodel.codec.scalars import shown
from tsmodel.model.conversion.base import Conversion, Spelling
from tsmodel.model.conversion.numbers import INTEGER

__all__ = [
    "BlobConversion",
    "CharConversion",
    "EnumConversion",
    "FlagsConversion",
    "IpConversion",
    "TextConversion",
    "UuidConversion",
]

_HEX: Final = re.compile(r"\s*(?:0[xX])?((?:[0-9a-fA-F]{2}\s*)*)", re.ASCII)
_INTEGER_16: Final = re.compile(r"\s*0[xX][0-9a-fA-F]+\s*", re.ASCII)
_UUID: Final = re.compile(
    r"\s*(?:urn:uuid:)?(\{?)([0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12})(\}?)\s*",
    re.ASCII | re.IGNORECASE,
)


def _number_of(data: Any) -> int | None:
    """The int that data are or spell, if they do."""
    if isinstance(data, str):
        if INTEGER.fullmatch(data):
            return int(data)
        return int(data, 16) if _INTEGER_16.fullmatch(data) else None
    is_number = isinstance(data, (int, np.integer)) and not isinstance(data, (bool, Enum))
    return int(data) if is_number else None


class EnumConversion(Conversion):
    """A member of an enumeration: its name; its value is read, too."""

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

    def load(self, data: Any) -> Any:
        if isinstance(data, self.codec.kind):
            return data
        if isinstance(data, str) and (member := self._names.get(data.strip())) is not None:
            return member
        number = _number_of(data)
        assert self.codec.storage.limits is not None
        least, greatest = self.codec.storage.limits
        if number is None or not least <= number <= greatest:
            raise self.refused(data)
        try:
            return self.codec.load(number)
        except FieldFault:
            raise self.refused(data) from None

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


class FlagsConversion(Conversion):
    """A set of flags: their names with `|` between, such as "HOT|COLD"; "0" for none; their bits are read, too."""

    codec: FlagsCodec

    def __init__(self, codec: FlagsCodec, spelling: Spelling) -> None:
        super().__init__(codec, spelling)
        self._names: dict[str, Flag] = dict(codec.kind.__members__)  # type: ignore[arg-type]
        # Names of one bit first: what they name needs no other name.
        members = sorted(self._names.items(), key=lambda item: item[1].value & (item[1].value - 1))
        self._bits = [(name, member.value) for name, member in members if member.value]

    @property
    def accepts(self) -> str:
        return f'names of {self.codec.kind.__name__} ({", ".join(self._names)}) with "|" between, or their bits as an int'

    def load(self, data: Any) -> Any:
        if isinstance(data, self.codec.kind):
            return self.held(data)
        bits = self._bits_of(data)
        assert self.codec.storage.limits is not None
        least, greatest = self.codec.storage.limits
        if bits is None or not least <= bits <= greatest:
            raise self.refused(data)
        try:
            return self.codec.load(bits)
        except FieldFault:
            raise self.refused(data) from None

    def _bits_of(self, data: Any) -> int | None:
        if (number := _number_of(data)) is not None:
            return number
        names = re.split(r"[|,]", data) if isinstance(data, str) else data if isinstance(data, (list, tuple)) else [None]
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


class TextConversion(Conversion):
    """A text."""

    takes_empty = True

    @property
    def _most(self) -> int | None:
        """Bytes that surely have room; None when any number has."""
        if isinstance(self.codec, FixedTextCodec):
            return self.codec.size
        assert isinstance(self.codec, TextCodec)
        return None if self.codec.prefix is None else (self.codec.prefix.limits or (0, 0))[1]

    def load(self, data: Any) -> Any:
        return self.held(data)

    def load_column(self, data: Sequence[Any]) -> list[Any]:
        return self.parse_column(data) if set(map(type, data)) == {str} else super().load_column(data)

    def parse_column(self, texts: Sequence[str]) -> list[Any]:
        everything = "".join(texts)
        octets = everything.encode()
        most = self._most
        widest = max(map(len, texts), default=0) * (1 if len(octets) == len(everything) else 4)
        if (most is not None and widest > most) or "\0" in everything:
            return super().parse_column(texts)
        return list(texts)

    def dump(self, value: Any) -> Any:
        return str(self.held(value))

    def dump_column(self, values: Sequence[Any]) -> Sequence[Any]:
        return self.load_column(values)

    def show_column(self, values: Sequence[Any]) -> Sequence[Any]:
        return self.load_column(values)

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        if isinstance(self.codec, FixedTextCodec):
            return {"type": "string", "maxLength": self.codec.size}
        return {"type": "string"}


class CharConversion(TextConversion):
    """A character of Latin-1."""

    takes_empty = False

    def parse_column(self, texts: Sequence[str]) -> list[Any]:
        if set(map(len, texts)) == {1} and max(texts) <= "\xff":
            return list(texts)
        return [self.parse(text) for text in texts]

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return {"type": "string", "minLength": 1, "maxLength": 1}


class BlobConversion(Conversion):
    """Bytes, as hex or Base64."""

    takes_empty = True

    @property
    def accepts(self) -> str:
        return "bytes in hex" if self.spelling.binary == "hex" else "bytes in Base64"

    def load(self, data: Any) -> Any:
        if isinstance(data, str):
            return self.held(self._octets(data))
        return bytes(self.held(data))

    def _octets(self, text: str) -> bytes:
        if self.spelling.binary == "base64":
            return base64.b64decode(text.strip(), validate=True)
        match = _HEX.fullmatch(text)
        if match is None:
            raise FieldFault(f"{shown(text)} is not bytes in hex, two digits each" + _hint(text))
        return bytes.fromhex(match[1])

    def dump(self, value: Any) -> Any:
        octets = bytes(self.held(value))
        return octets.hex() if self.spelling.binary == "hex" else base64.b64encode(octets).decode()

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        if self.spelling.binary == "base64":
            return {"type": "string", "contentEncoding": "base64"}
        return {"type": "string", "pattern": "^([0-9a-f]{2})*$"}


def _hint(text: str) -> str:
    try:
        base64.b64decode(text.strip(), validate=True)
    except ValueError:
        return ""
    return '; it may be Base64: give binary="base64"'


class UuidConversion(Conversion):
    """A UUID, with or without its hyphens."""

    accepts: ClassVar[str] = "a UUID such as 6ba7b810-9dad-11d1-80b4-00c04fd430c8"

    def load(self, data: Any) -> Any:
        if not isinstance(data, str):
            return self.held(data)
        match = _UUID.fullmatch(data)
        if match is None or bool(match[1]) != bool(match[3]):
            raise self.refused(data)
        return uuid.UUID(match[2])

    def dump(self, value: Any) -> Any:
        return str(self.held(value))

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return {"type": "string", "format": "uuid"}


class IpConversion(Conversion):
    """A network address."""

    codec: IpCodec

    @property
    def accepts(self) -> str:
        return f"an IPv{self.codec.version} address" if self.codec.version else "an IPv4 or IPv6 address"

    def load(self, data: Any) -> Any:
        return self.held(ipaddress.ip_address(data.strip()) if isinstance(data, str) else data)

    def dump(self, value: Any) -> Any:
        return str(self.held(value))

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        formats = [f"ipv{version}" for version in (4, 6) if self.codec.version in (None, version)]
        kinds: list[dict[str, Any]] = [{"type": "string", "format": each} for each in formats]
        return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
