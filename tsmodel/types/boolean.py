"""`Bool`: true or false, in a byte."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from tsmodel.types.codec import Scope
from tsmodel.types.field_faults import FieldFault, Mask
from tsmodel.types.numbers import ScalarCodec, ScalarType
from tsmodel.types.scalars import BOOLS, SCALARS, are_bools, shown
from tsmodel.types.text_facet import Conversion, Spelling

_BOOL_TEXTS: Final = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}

_USUAL_BOOLS: Final = {
    spelled: value for text, value in _BOOL_TEXTS.items() for spelled in (text, text.upper(), text.capitalize())
}


class BoolConversion(Conversion):
    """A bool: true or false, yes or no, 1 or 0, in any case."""

    accepts: ClassVar[str] = "true or false, yes or no, 1 or 0"

    def load(self, data: Any) -> Any:
        if isinstance(data, str):
            return self.parse(data)
        if type(data) in BOOLS:
            return bool(data)
        if isinstance(data, int) and data in (0, 1):
            return data == 1
        raise self.refused(data)

    def parse(self, text: str) -> Any:
        value = _BOOL_TEXTS.get(text.strip().lower())
        if value is None:
            raise self.refused(text)
        return value

    def load_column(self, data: Sequence[Any]) -> list[Any]:
        return list(data) if set(map(type, data)) == {bool} else super().load_column(data)

    def parse_column(self, texts: Sequence[str]) -> list[Any]:
        return list(map(_USUAL_BOOLS.__getitem__, texts))

    def dump(self, value: Any) -> Any:
        return bool(self.held(value))

    def show(self, value: Any) -> Any:
        return "true" if self.dump(value) else "false"

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return {"type": "boolean"}


class BoolCodec(ScalarCodec, frozen=True):
    """A bool, stored as a byte of 1 or 0."""

    python: ClassVar[Any] = bool
    ordered = False
    defers = True  # `struct` would store the truth value of any object

    def operand(self, value: object) -> Any:
        """See `FieldCodec.operand`: 0 or 1."""
        if isinstance(value, (bool, np.bool_)):
            return int(value)
        raise FieldFault(f"cannot be compared with {shown(value)} ({type(value).__name__})")

    def faulty(self, column: npt.NDArray[Any]) -> Mask | None:
        raw = np.ascontiguousarray(column).view(np.uint8)
        return None if not len(raw) or raw.max() <= 1 else raw > 1

    def checked_code(self, stored: str, scope: Scope) -> str:
        return f"{scope.add(_bool)}({stored})"

    def holds(self, stored: Sequence[Any]) -> bool:
        return are_bools(stored)

    def dump(self, value: Any) -> Any:
        if type(value) not in BOOLS:
            raise self.refused(value)
        return value

    def read(self, payload: bytes, at: int, end: int) -> tuple[Any, int]:
        if at < end and payload[at] > 1:
            raise FieldFault(f"byte {payload[at]} is neither 0 nor 1, so it is not a Bool", at)
        return super().read(payload, at, end)

    def conversion(self, spelling: Spelling) -> Conversion:
        return BoolConversion(self, spelling)

    def converted(self, values: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
        return values if values.ndim == 1 and values.dtype.kind == "b" else None

    def arrow_type(self, pa: Any) -> Any:
        return pa.bool_()

    def arrow_shift(self, pa: Any, kind: Any) -> int | None:
        return None


def _bool(stored: int) -> bool:
    if stored > 1:
        raise ValueError("no bool")
    return stored == 1


class Bool(ScalarType[bool]):
    """True or False, stored as 1 or 0; 1 byte. Any other byte is an error on reading."""

    stored_by = BoolCodec
    scalar = SCALARS["Bool"]
