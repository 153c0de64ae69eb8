"""What field types of bytes have in common: a fixed number of bytes, bytes behind their length, or the rest of the payload.

Rules kept here:

* A length counts the bytes that follow it, or the items of an array. It is never trusted beyond the payload's end, and
  nothing is allocated from it.
* Only the last field of a payload may consume the rest of it.
"""

from __future__ import annotations

import struct
from abc import abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.types.codec import MARKS, Description, FixedCodec, Scope, Structures, VariableCodec, described_number
from tsmodel.types.column_facet import decoded, is_binary, opaque, padded_bytes
from tsmodel.types.field_faults import FieldFault
from tsmodel.types.scalars import ByteOrder, Scalar

if TYPE_CHECKING:
    from tsmodel.types.kinds import Kind

__all__ = ["BytesCodec", "LengthCodec"]


class BytesCodec(FixedCodec):
    """A field of so many bytes, without a byte order."""

    byte_order: ByteOrder = "little"

    fills: ClassVar[bool] = False
    """Whether fewer bytes are filled up with NUL."""

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

    def converted(self, values: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
        return opaque(self, values)

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
    def least_size(self) -> int:
        return 0 if self.prefix is None else self.prefix.size

    @property
    def as_length(self) -> LengthCodec:
        return self

    @property
    def counted(self) -> str:
        """What the length counts, in words."""
        return "bytes"

    @property
    def unit(self) -> int:
        """Bytes that the length counts as one."""
        return 1

    def content_code(self, raw: str, scope: Scope) -> str:
        """An expression for the value of bytes, given as an expression; as `content`."""
        return f"{scope.add(self.content)}({raw})"

    def to_bytes_code(self, value: str, scope: Scope) -> str:
        """An expression for the bytes of a value, given as an expression; may refuse more values than `to_bytes`."""
        return f"{scope.add(self.to_bytes)}({value})"

    @abstractmethod
    def content(self, raw: bytes) -> Any:
        """The value whose bytes these are; raises `FieldFault`, with an offset in them, when there is none."""

    @abstractmethod
    def to_bytes(self, value: Any) -> bytes:
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
        """See `content`, for many."""
        return list(map(self.content, pieces))

    def are_sound(self, offsets: npt.NDArray[np.int64], raw: npt.NDArray[np.uint8]) -> bool:
        """Whether contents are values.

        Args:
            offsets: where each begins, and behind them where the last one ends, shape (n + 1,).
            raw: one content after another.
        """
        return True

    def description(self) -> Description:
        """See `FieldCodec.description`."""
        return {"type": self.what, **self.described_length}

    @property
    def described_length(self) -> Description:
        """The length, in descriptions."""
        if self.prefix is None:
            return {"length": "rest"}
        return {"length": described_number(self.prefix.name, self.prefix, self.byte_order)}

    def declared(self, structures: Structures) -> Kind:
        from tsmodel.types.kinds import Bytes

        return Bytes(None, self.prefix, self.byte_order)

    def spans_to_arrow(
        self, pa: Any, name: str, offsets: npt.NDArray[np.int64], raw: npt.NDArray[np.uint8], present: Any
    ) -> Any:
        """An Arrow array of contents.

        Args:
            name: of the column, for errors.
            offsets, raw: see `are_sound`.
            present: Arrow's bitmap of values that are there; None when all are.
        """
        buffers = [present, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(raw)]
        return pa.Array.from_buffers(self.arrow_type(pa), len(offsets) - 1, buffers)

    def objects_from_arrow(self, pa: Any, array: Any) -> list[Any]:
        return array.to_pylist()  # type: ignore[no-any-return]
