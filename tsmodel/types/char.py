"""`Char`: a character of Latin-1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.types.codec import (
    Description,
    FixedCodec,
    Scope,
    Structures,
)
from tsmodel.types.column_facet import (
    decoded,
    distinct_stored,
    each_distinct,
    is_text,
    plain_value,
    refuse,
    strings,
)
from tsmodel.types.declaring import FieldType, Options
from tsmodel.types.scalars import SCALARS, ByteOrder
from tsmodel.types.text import TextConversion
from tsmodel.types.text_facet import Conversion, Spelling

if TYPE_CHECKING:
    from tsmodel.types.kinds import Kind


@attrs.frozen
class CharCodec(FixedCodec):
    """One character of Latin-1, in one byte."""

    byte_order: ByteOrder = "little"
    label: ClassVar[str] = "Char"
    python: ClassVar[Any] = str
    accepts: ClassVar[str] = "a text of one character from U+0000 to U+00FF"
    zero: ClassVar[int] = 0
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
        """See `FixedCodec.from_arrow`."""
        array = decoded(pa, array)
        if not is_text(pa, array.type):
            return super().from_arrow(pa, array)
        return each_distinct(pa, array, self._given, np.zeros(len(array), self.stored))

    def _given(self, texts: list[Any], places: npt.NDArray[Any]) -> npt.NDArray[Any]:
        stored = distinct_stored(self, texts, places)
        return stored.astype(np.uint32).view("U1") if stored.all() else np.array([chr(each) for each in stored], object)


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
        """See `FieldType.codec`."""
        return CharCodec()
