"""`IpAddress`: an IPv4 or IPv6 address of the `ipaddress` module."""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv6Address
from typing import Any, ClassVar, Final, Literal

import msgspec
import numpy.typing as npt

from tsmodel.types.blob import BytesCodec
from tsmodel.types.codec import Description
from tsmodel.types.column_facet import decoded, is_text, stored_texts
from tsmodel.types.declaring import FieldType, Options
from tsmodel.types.field_faults import FieldFault
from tsmodel.types.text_facet import Conversion, Spelling

_MAPPED: Final = bytes(10) + b"\xff\xff"


class IpCodec(BytesCodec, msgspec.Struct, frozen=True):
    """Stores IP addresses in network byte order: 4 bytes for IPv4 only, otherwise 16.

    If both versions are allowed, an IPv4 address is stored as `::ffff:a.b.c.d`.

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
        """See `FieldCodec.comparable`: the stored bytes, because Python does not order addresses of both versions."""
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

    def description(self) -> Description:
        return {"type": "IpAddress", "addresses": self.version or "both"}

    def conversion(self, spelling: Spelling) -> Conversion:
        return IpConversion(self, spelling)

    def unencodable(self, module: Any) -> str | None:
        return f"msgspec does not encode {self.label}"

    def arrow_type(self, pa: Any) -> Any:
        return pa.string()

    def arrow_value(self, value: Any) -> Any:
        return str(value)

    def to_arrow(self, pa: Any, name: str, column: npt.NDArray[Any]) -> Any:
        return pa.array([str(self.load(stored)) for stored in self.stored_of(column)], pa.string())

    def from_arrow(self, pa: Any, array: Any) -> npt.NDArray[Any]:
        """See `FixedCodec.from_arrow`: text, and bytes."""
        array = decoded(pa, array)
        if not is_text(pa, array.type):
            return super().from_arrow(pa, array)
        return stored_texts(pa, array, self, ipaddress.ip_address)


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


class IpAddress(FieldType[IPv4Address | IPv6Address]):
    """An `IPv4Address` or `IPv6Address` of the `ipaddress` module, stored in network byte order.

    By default both versions are allowed: 16 bytes, with an IPv4 address as `::ffff:a.b.c.d`. `version=4` allows only IPv4,
    in 4 bytes. `version=6` allows only IPv6, in 16 bytes.
    """

    takes = ("version",)
    examples = ("IpAddress", "IpAddress = field(version=4)")

    @classmethod
    def codec(cls, argument: Any, options: Options) -> IpCodec:
        version = options.take("version")
        if version not in (None, 4, 6):
            raise ValueError(f"version={version!r} is not 4 or 6")
        return IpCodec(version)
