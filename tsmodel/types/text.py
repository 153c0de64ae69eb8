"""`Text`: UTF-8 text, with a fixed size, after a length, or up to the end of the payload. `Char`: a character of
Latin-1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import numpy as np
import numpy.typing as npt

from tsmodel.types.blob import LengthCodec, PaddedCodec
from tsmodel.types.codec import Description, FieldCodec, FixedCodec, Scope, Structures
from tsmodel.types.column_facet import (
    decoded,
    is_text,
    object_column,
    of_objects,
    padded,
    plain_value,
    refuse,
    stored_texts,
    strings,
)
from tsmodel.types.declaring import FieldType, Options, size_of
from tsmodel.types.field_faults import FieldFault, Mask
from tsmodel.types.integers import UInt16
from tsmodel.types.scalars import SCALARS, ByteOrder, shown
from tsmodel.types.text_facet import Conversion, Spelling

if TYPE_CHECKING:
    from tsmodel.types.kinds import Kind


def text_of(raw: bytes, at: int = 0) -> str:
    """Decodes UTF-8.

    Raises:
        FieldFault: if the bytes are not UTF-8.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise FieldFault(f"byte {raw[error.start]:#04x} is not UTF-8 ({error.reason})", at + error.start) from None


class FixedTextCodec(PaddedCodec, frozen=True):
    """UTF-8 text of a fixed size."""

    name = "Text"
    python: ClassVar[Any] = str

    @property
    def accepts(self) -> str:
        return f"a text of at most {self.size} bytes in UTF-8"

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(f"S{self.size}")

    def faulty(self, column: npt.NDArray[Any]) -> Mask | None:
        raw = np.ascontiguousarray(column).view(np.uint8).reshape(len(column), self.size)
        mask: Mask = ((raw[:, :-1] == 0) & (raw[:, 1:] != 0)).any(axis=1)
        (doubtful,) = np.nonzero((raw > 127).any(axis=1) & ~mask)
        for at in doubtful.tolist():
            mask[at] = not _is_text(bytes(column[at]))
        return mask

    def load(self, stored: Any) -> Any:
        raw = stored.rstrip(b"\0")
        if (nul := raw.find(b"\0")) >= 0:
            raise FieldFault(f"bytes follow the NUL that ends the text: {shown(bytes(stored))}", nul + 1)
        return text_of(raw)

    def load_code(self, stored: str, scope: Scope) -> str:
        return f'{stored}.rstrip(b"\\0").decode()'

    def dump_code(self, value: str, scope: Scope) -> str:
        return f"{value}.encode()"

    def holds(self, stored: Sequence[Any]) -> bool:
        """See `FixedCodec.holds`: no text is too long, and none has a NUL."""
        return max(map(len, stored)) <= self.size and b"\0" not in b"".join(stored)

    def dump(self, value: Any) -> Any:
        if not isinstance(value, str):
            raise self.refused(value)
        raw = value.encode()
        if len(raw) > self.size:
            raise FieldFault(f"{shown(value)} has {len(raw)} bytes in UTF-8, but the field holds at most {self.size}")
        if b"\0" in raw:
            raise FieldFault(f"{shown(value)} has a NUL character, which ends a text of fixed size")
        return raw

    def conversion(self, spelling: Spelling) -> Conversion:
        return TextConversion(self, spelling, self.size)

    def declared(self, structures: Structures) -> Kind:
        from tsmodel.types.kinds import Text as TextKind

        return TextKind(self.size)

    def objects(self, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
        texts: npt.NDArray[Any] = np.char.decode(column)
        return texts

    def converted(self, values: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
        if values.ndim == 1 and values.dtype.kind == "U":
            try:
                return padded(self.size, np.char.encode(values, "utf-8"), values)
            except UnicodeEncodeError:
                return of_objects(self, values.astype(object))  # raises an error that names the row
        return super().converted(values)

    def arrow_type(self, pa: Any) -> Any:
        return pa.string()

    def to_arrow(self, pa: Any, name: str, column: npt.NDArray[Any]) -> Any:
        raw = np.ascontiguousarray(column).view(np.uint8).reshape(len(column), self.size)
        filled = raw != 0
        return strings(pa, filled.sum(axis=1), raw[filled])


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


class TextCodec(LengthCodec, frozen=True):
    """Text in UTF-8."""

    python: ClassVar[Any] = str
    what: ClassVar[str] = "Text"
    has_spans = True
    accepts: ClassVar[str] = "a text"

    def content_code(self, raw: str, scope: Scope) -> str:
        return f"{raw}.decode()"

    def to_bytes_code(self, value: str, scope: Scope) -> str:
        return f"{value}.encode()"

    def content(self, raw: bytes) -> Any:
        return text_of(raw)

    def to_bytes(self, value: Any) -> bytes:
        if not isinstance(value, str):
            raise self.refused(value)
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise FieldFault(f"{shown(value)} has a lone surrogate, which UTF-8 cannot encode") from None

    def conversion(self, spelling: Spelling) -> Conversion:
        return TextConversion(self, spelling, None if self.prefix is None else (self.prefix.limits or (0, 0))[1])

    def declared(self, structures: Structures) -> Kind:
        from tsmodel.types.kinds import Text as TextKind

        return TextKind(None, self.prefix, self.byte_order)

    def contents(self, pieces: Iterable[bytes]) -> list[Any]:
        return list(map(bytes.decode, pieces))

    def are_sound(self, offsets: npt.NDArray[np.int64], raw: npt.NDArray[np.uint8]) -> bool:
        if not len(raw) or int(raw.max()) < 128:
            return True
        try:
            raw.tobytes().decode()
        except UnicodeDecodeError:
            return False
        # The whole is UTF-8, so each text that starts at a character boundary is UTF-8, too.
        begins = raw[offsets[:-1][np.diff(offsets) > 0]]
        return not ((begins & 0xC0) == 0x80).any()

    def arrow_type(self, pa: Any) -> Any:
        return pa.string()


class TextConversion(Conversion):
    """A text."""

    takes_empty = True

    def __init__(self, codec: FieldCodec, spelling: Spelling, most: int | None = None) -> None:
        super().__init__(codec, spelling)
        self._most = most
        """Number of bytes that certainly fit; None if there is no limit."""

    def load(self, data: Any) -> Any:
        return self.held(data)

    def load_column(self, data: Sequence[Any]) -> list[Any]:
        return self.parse_column(data) if set(map(type, data)) == {str} else super().load_column(data)

    def parse_column(self, texts: Sequence[str]) -> list[Any]:
        everything = "".join(texts)
        raw = everything.encode()
        most = self._most
        widest = max(map(len, texts), default=0) * (1 if len(raw) == len(everything) else 4)
        if (most is not None and widest > most) or "\0" in everything:
            return super().parse_column(texts)
        return list(texts)

    def dump(self, value: Any) -> Any:
        return str(self.held(value))

    def dump_column(self, values: Sequence[Any]) -> Sequence[Any]:
        return self.load_column(values)

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        if self._most is not None and self.codec.size is not None:
            return {"type": "string", "maxLength": self._most}
        return {"type": "string"}


class Text(FieldType[str]):
    """UTF-8 text: with a length prefix, with a fixed size, or up to the end of the payload.

    The length prefix counts bytes and has the type `prefix` (UInt16 by default). `size=16` fixes the size in bytes: shorter
    texts are padded with NUL, and a text cannot contain a NUL. `rest=True` consumes the rest of the payload.
    """

    takes = ("size", "prefix", "rest", "byte_order")
    examples = ("Text = field(size=16)", "Text", "Text = field(rest=True)")

    @classmethod
    def codec(cls, argument: Any, options: Options) -> FixedTextCodec | TextCodec:
        if (size := size_of(options)) is not None:
            return FixedTextCodec(size)
        return TextCodec(options.prefix(UInt16), options.byte_order)


class CharCodec(FixedCodec, msgspec.Struct, frozen=True):
    """One character of Latin-1, in one byte."""

    byte_order: ByteOrder = "little"
    label: ClassVar[str] = "Char"
    python: ClassVar[Any] = str
    accepts: ClassVar[str] = "a text of one character from U+0000 to U+00FF"
    zero: ClassVar[int] = 0
    size: ClassVar[int] = 1
    code: ClassVar[str] = "B"
    dtype: ClassVar[np.dtype[Any]] = np.dtype("u1")

    def load(self, stored: Any) -> Any:
        return chr(stored)

    def load_code(self, stored: str, scope: Scope) -> str:
        return f"{scope.add(chr)}({stored})"

    def dump(self, value: Any) -> Any:
        if not isinstance(value, str) or len(value) != 1 or ord(value) > 255:
            raise self.refused(value)
        return ord(value)

    def description(self) -> Description:
        return {"type": "Char"}

    def conversion(self, spelling: Spelling) -> Conversion:
        return CharConversion(self, spelling)

    def declared(self, structures: Structures) -> Kind:
        from tsmodel.types.kinds import Number

        return Number(SCALARS["UInt8"], self.byte_order, "a character of Latin-1")

    def converted(self, values: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
        if values.ndim > 1 or values.dtype.kind != "U":
            return None

        def why(at: int) -> str:
            return f"{plain_value(values, at)!r} (str) is not {self.accepts}"

        refuse(np.char.str_len(values) != 1, values, why)
        points = np.ascontiguousarray(values.astype("U1")).view(np.uint32)
        refuse(points > 255, values, why)
        return points.astype(np.uint8)

    def arrow_type(self, pa: Any) -> Any:
        return pa.string()

    def to_arrow(self, pa: Any, name: str, column: npt.NDArray[Any]) -> Any:
        raw = np.ascontiguousarray(column).view(np.uint8)
        wide = np.where(raw < 128, 1, 2).reshape(-1)
        return strings(pa, wide, np.frombuffer(raw.tobytes().decode("latin-1").encode(), np.uint8))

    def from_arrow(self, pa: Any, array: Any) -> npt.NDArray[Any]:
        array = decoded(pa, array)
        if not is_text(pa, array.type):
            return super().from_arrow(pa, array)
        stored = stored_texts(pa, array, self)
        return stored.astype(np.uint32).view("U1") if stored.all() else object_column(list(map(chr, stored.tolist())))


class CharConversion(TextConversion):
    """A character of Latin-1."""

    takes_empty = False

    def parse_column(self, texts: Sequence[str]) -> list[Any]:
        if set(map(len, texts)) == {1} and max(texts) <= "\xff":
            return list(texts)
        return [self.parse(text) for text in texts]

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return {"type": "string", "minLength": 1, "maxLength": 1}


class Char(FieldType[str]):
    """One character of Latin-1, U+0000 to U+00FF, as a `str`; 1 byte."""

    takes = ()

    @classmethod
    def codec(cls, argument: Any, options: Options) -> CharCodec:
        return CharCodec()
