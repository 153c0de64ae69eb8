"""`Uuid`: a `uuid.UUID`."""

from __future__ import annotations

import re
import uuid
from typing import Any, ClassVar, Final

import msgspec

from tsmodel.types.blob import BytesCodec
from tsmodel.types.codec import Description
from tsmodel.types.declaring import FieldType, Options
from tsmodel.types.text_facet import Conversion, Spelling


class UuidCodec(BytesCodec, msgspec.Struct, frozen=True):
    """A UUID, stored as its 16 bytes in the order of its text form."""

    size: ClassVar[int] = 16
    label: ClassVar[str] = "Uuid"
    python: ClassVar[Any] = uuid.UUID
    accepts: ClassVar[str] = "a uuid.UUID"

    def load(self, stored: Any) -> Any:
        return uuid.UUID(bytes=stored)

    def dump(self, value: Any) -> Any:
        if not isinstance(value, uuid.UUID):
            raise self.refused(value)
        return value.bytes

    def description(self) -> Description:
        return {"type": "Uuid"}

    def conversion(self, spelling: Spelling) -> Conversion:
        return UuidConversion(self, spelling)

    def arrow_value(self, value: Any) -> Any:
        return value.bytes


_UUID: Final = re.compile(
    r"\s*(?:urn:uuid:)?(\{?)([0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12})(\}?)\s*",
    re.ASCII | re.IGNORECASE,
)


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


class Uuid(FieldType[uuid.UUID]):
    """A `uuid.UUID`; 16 bytes in the order of its text form."""

    takes = ()

    @classmethod
    def codec(cls, argument: Any, options: Options) -> UuidCodec:
        return UuidCodec()
