"""`Blob`: bytes; with a fixed size, with a length prefix, or up to the end of the payload."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import attrs
import numpy.typing as npt

from tsmodel.types.byte_codecs import BytesCodec, LengthCodec
from tsmodel.types.codec import (
    Description,
    Scope,
)
from tsmodel.types.column_facet import (
    decoded,
    is_text,
    padded,
    padded_bytes,
)
from tsmodel.types.declaring import FieldType, Options, size_of
from tsmodel.types.field_faults import FieldFault
from tsmodel.types.integers import UInt16
from tsmodel.types.scalars import shown
from tsmodel.types.text_facet import Conversion, Spelling


@attrs.frozen
class FixedBlobCodec(BytesCodec):
    """Bytes of a fixed size, padded with NUL. Values that are read always have the full size."""

    fills = True

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
        """See `FixedCodec.holds`: all values are bytes, and none is too long."""
        return set(map(type, stored)) == {bytes} and max(map(len, stored)) <= self.size

    def dump(self, value: Any) -> Any:
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise self.refused(value)
        raw = bytes(value)
        if len(raw) > self.size:
            raise FieldFault(f"{len(raw)} bytes are too many: the field holds at most {self.size}")
        return raw

    def description(self) -> Description:
        return {"type": "Blob", "fixed": self.size}

    def conversion(self, spelling: Spelling) -> Conversion:
        return BlobConversion(self, spelling)

    def converted(self, values: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
        if values.ndim == 1 and values.dtype.kind == "S":
            return padded(self.size, values, values)
        return super().converted(values)

    def from_arrow(self, pa: Any, array: Any) -> npt.NDArray[Any]:
        """See `FixedCodec.from_arrow`: bytes, and text."""
        array = decoded(pa, array)
        if is_text(pa, array.type):
            return padded_bytes(array.cast(pa.large_string()), self.size, exact=False)
        return super().from_arrow(pa, array)


@attrs.frozen
class BlobCodec(LengthCodec):
    """Bytes."""

    python: ClassVar[Any] = bytes
    what: ClassVar[str] = "Blob"
    has_spans = True
    accepts: ClassVar[str] = "bytes"

    def content_code(self, raw: str, scope: Scope) -> str:
        return raw

    def to_bytes_code(self, value: str, scope: Scope) -> str:
        return f"({value} if type({value}) is bytes else {scope.add(self.to_bytes)}({value}))"

    def content(self, raw: bytes) -> Any:
        return raw

    def to_bytes(self, value: Any) -> bytes:
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise self.refused(value)
        return bytes(value)

    def conversion(self, spelling: Spelling) -> Conversion:
        return BlobConversion(self, spelling)

    def arrow_type(self, pa: Any) -> Any:
        return pa.binary()


_HEX: Final = re.compile(r"\s*(?:0[xX])?((?:[0-9a-fA-F]{2}\s*)*)", re.ASCII)


class BlobConversion(Conversion):
    """Bytes, as hex or Base64."""

    takes_empty = True

    @property
    def accepts(self) -> str:
        return "bytes in hex" if self.spelling.binary == "hex" else "bytes in Base64"

    def load(self, data: Any) -> Any:
        if isinstance(data, str):
            return self.held(self._raw(data))
        return bytes(self.held(data))

    def _raw(self, text: str) -> bytes:
        import base64

        if self.spelling.binary == "base64":
            return base64.b64decode(text.strip(), validate=True)
        match = _HEX.fullmatch(text)
        if match is None:
            raise FieldFault(f"{shown(text)} is not bytes in hex, two digits each" + _hint(text))
        return bytes.fromhex(match[1])

    def dump(self, value: Any) -> Any:
        import base64

        raw = bytes(self.held(value))
        return raw.hex() if self.spelling.binary == "hex" else base64.b64encode(raw).decode()

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        if self.spelling.binary == "base64":
            return {"type": "string", "contentEncoding": "base64"}
        return {"type": "string", "pattern": "^([0-9a-f]{2})*$"}


def _hint(text: str) -> str:
    import base64

    try:
        base64.b64decode(text.strip(), validate=True)
    except ValueError:
        return ""
    return '; it may be Base64: give binary="base64"'


class Blob(FieldType[bytes]):
    """Bytes: with a length prefix, with a fixed size, or up to the end of the payload.

    The length prefix counts bytes and has the type `prefix` (UInt16 by default). `size=16` fixes the size in bytes: shorter
    values are padded with NUL, and values that are read always have the full size. `rest=True` consumes the rest of the
    payload.
    """

    takes = ("size", "prefix", "rest", "byte_order")
    examples = (
        "Blob = field(size=16)",
        "Blob = field(prefix=UInt32)",
    )

    @classmethod
    def codec(cls, argument: Any, options: Options) -> FixedBlobCodec | BlobCodec:
        """See `FieldType.codec`."""
        if (size := size_of(options)) is not None:
            return FixedBlobCodec(size)
        return BlobCodec(options.prefix(UInt16), options.byte_order)
