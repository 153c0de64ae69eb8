"""`Blob`, and what all field types of bytes share: a fixed number of bytes, bytes after a length, or the rest of a payload.

Rules kept here:

* A length counts the bytes that follow it, or the items of an array. It is never trusted beyond the end of the payload, and
  no memory is allocated because of it.
* Only the last field of a payload may consume the rest of it.
"""

from __future__ import annotations

import re
import struct
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from tsmodel.types.codec import MARKS, Description, FixedCodec, Scope, Structures, VariableCodec, described_number
from tsmodel.types.column_facet import decoded, is_binary, is_text, padded, padded_bytes
from tsmodel.types.declaring import FieldType, Options, size_of
from tsmodel.types.field_faults import FieldFault
from tsmodel.types.integers import UInt16
from tsmodel.types.scalars import ByteOrder, Scalar, shown
from tsmodel.types.text_facet import Conversion, Spelling

if TYPE_CHECKING:
    from tsmodel.types.kinds import Kind


class BytesCodec(FixedCodec):
    """A field with a fixed number of bytes and no byte order."""

    byte_order: ByteOrder = "little"

    fills: ClassVar[bool] = False
    """Whether shorter values are padded with NUL."""

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(f"V{self.size}")

    @abstractmethod
    def load(self, stored: Any) -> Any: ...

    @abstractmethod
    def dump(self, value: Any) -> Any: ...

    def converted(self, values: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
        if values.ndim == 2 and values.dtype == np.uint8 and values.shape[1] == self.size:
            return np.ascontiguousarray(values).view(self.stored).reshape(-1)
        if values.ndim > 1 or values.dtype != np.dtype(f"V{self.size}"):
            return None
        return np.ascontiguousarray(values).view(self.stored)

    def arrow_type(self, pa: Any) -> Any:
        return pa.binary(self.size)

    def from_arrow(self, pa: Any, array: Any) -> npt.NDArray[Any]:
        """See `FixedCodec.from_arrow`: bytes, too."""
        array = decoded(pa, array)
        if is_binary(pa, array.type):
            return padded_bytes(array.cast(pa.large_binary()), self.size, exact=not self.fills)
        return super().from_arrow(pa, array)

    def declared(self, structures: Structures) -> Kind:
        from tsmodel.types.kinds import Bytes

        return Bytes(self.size, note=self.label, fills=self.fills)


class PaddedCodec(BytesCodec, msgspec.Struct, frozen=True):
    """Base class of bytes and text of a fixed size, padded with NUL."""

    fills = True
    defers = True
    name: ClassVar[str]

    size: int

    @property
    def label(self) -> str:
        return f"{self.name} of {self.size} bytes"

    def description(self) -> Description:
        return {"type": self.name, "fixed": self.size}

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


class LengthCodec(VariableCodec, msgspec.Struct, frozen=True):
    """A field whose bytes follow a length, or take the rest of the payload.

    Attributes:
        prefix: type of the length before the content; None if the content takes the rest of the payload.
    """

    prefix: Scalar | None
    byte_order: ByteOrder = "little"

    @property
    @abstractmethod
    def what(self) -> str:
        """The name of the type, without the length."""

    @property
    def label(self) -> str:
        return f"{self.what}, rest of the payload" if self.prefix is None else f"{self.what} behind {self.prefix.name}"

    @property
    def takes_rest(self) -> bool:
        return self.prefix is None

    @property
    def least_size(self) -> int:
        return 0 if self.prefix is None else self.prefix.size

    @property
    def as_length(self) -> LengthCodec:
        return self

    @property
    def counted(self) -> str:
        """What the length counts: bytes or items."""
        return "bytes"

    @property
    def unit(self) -> int:
        """Number of bytes per unit of the length."""
        return 1

    def content_code(self, raw: str, scope: Scope) -> str:
        """Returns the source of an expression for the value; `raw` is an expression for valid content."""
        return f"{scope.add(self.content)}({raw})"

    def to_bytes_code(self, value: str, scope: Scope) -> str:
        """Returns the source of an expression for the content; it may reject more values than `to_bytes`."""
        return f"{scope.add(self.to_bytes)}({value})"

    @abstractmethod
    def content(self, raw: bytes) -> Any:
        """Decodes a value; raises `FieldFault`, with the offset in `raw`, if it is invalid."""

    @abstractmethod
    def to_bytes(self, value: Any) -> bytes:
        """Encodes a value; raises `FieldFault` if the field cannot hold it."""

    def read(self, payload: bytes, at: int, end: int) -> tuple[Any, int]:
        start, stop = at, end
        if self.prefix is not None:
            start = at + self.prefix.size
            if start > end:
                raise FieldFault(
                    f"{self.label}: the length takes {self.prefix.size} bytes, but only {max(0, end - at)} are left", at
                )
            order: Literal["little", "big"] = self.byte_order
            count = int.from_bytes(payload[at:start], order)
            stop = start + count * self.unit
            if stop > end:
                raise FieldFault(
                    f"{self.label}: the length says {count * self.unit} bytes, but only {end - start} are left", at
                )
        elif (stop - start) % self.unit:
            raise FieldFault(f"{self.label}: {stop - start} bytes are not a whole number of items of {self.unit}", at)
        try:
            return self.content(payload[start:stop]), stop
        except FieldFault as fault:
            raise FieldFault(fault.why, fault.offset + start, fault.field) from None

    def write(self, value: Any) -> bytes:
        raw = self.to_bytes(value)
        if self.prefix is None:
            return raw
        count = len(raw) // self.unit
        assert self.prefix.limits is not None
        if count > self.prefix.limits[1]:
            raise FieldFault(
                f"{count} {self.counted} are too many for a length in {self.prefix.name}: give "
                "field(prefix=...) a wider type"
            )
        return struct.pack(MARKS[self.byte_order] + self.prefix.code, count) + raw

    def contents(self, pieces: Iterable[bytes]) -> list[Any]:
        """Decodes many values; see `content`."""
        return list(map(self.content, pieces))

    def are_sound(self, offsets: npt.NDArray[np.int64], raw: npt.NDArray[np.uint8]) -> bool:
        """Whether all contents are valid.

        Args:
            offsets: where each content begins, and where the last one ends; shape (n + 1,).
            raw: the concatenated contents.
        """
        return True

    def description(self) -> Description:
        return {"type": self.what, **self.described_length}

    @property
    def described_length(self) -> Description:
        """The description of the length."""
        if self.prefix is None:
            return {"length": "rest"}
        return {"length": described_number(self.prefix.name, self.prefix, self.byte_order)}

    def declared(self, structures: Structures) -> Kind:
        from tsmodel.types.kinds import Bytes

        return Bytes(None, self.prefix, self.byte_order)

    def spans_to_arrow(
        self, pa: Any, name: str, offsets: npt.NDArray[np.int64], raw: npt.NDArray[np.uint8], present: Any
    ) -> Any:
        """An Arrow array of the values.

        Args:
            name: of the column, for errors.
            offsets, raw: see `are_sound`.
            present: Arrow's validity bitmap; None if all values are present.
        """
        buffers = [present, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(raw)]
        return pa.Array.from_buffers(self.arrow_type(pa), len(offsets) - 1, buffers)

    def objects_from_arrow(self, pa: Any, array: Any) -> list[Any]:
        return array.to_pylist()  # type: ignore[no-any-return]


class FixedBlobCodec(PaddedCodec, frozen=True):
    """Bytes of a fixed size. Values that are read always have the full size."""

    name = "Blob"
    python: ClassVar[Any] = bytes

    @property
    def accepts(self) -> str:
        return f"at most {self.size} bytes"

    def load_code(self, stored: str, scope: Scope) -> str:
        return stored

    def load(self, stored: Any) -> Any:
        return stored

    def dump_code(self, value: str, scope: Scope) -> str:
        return value

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

    def conversion(self, spelling: Spelling) -> Conversion:
        return BlobConversion(self, spelling)


class BlobCodec(LengthCodec, frozen=True):
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
    examples = ("Blob = field(size=16)", "Blob = field(prefix=UInt32)")

    @classmethod
    def codec(cls, argument: Any, options: Options) -> FixedBlobCodec | BlobCodec:
        if (size := size_of(options)) is not None:
            return FixedBlobCodec(size)
        return BlobCodec(options.prefix(UInt16), options.byte_order)
